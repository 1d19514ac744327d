"""What a training is asked to do, as read from the body of the request; knows no framework."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from probity_worker_contract.messages import WorkerFailure

__all__ = [
    "AdaptiveClipping",
    "Client",
    "FixedClipping",
    "LocalTraining",
    "Privacy",
    "Request",
    "ServerOptimizer",
    "read_body",
]

SAMPLINGS = ("uniform_without_replacement", "poisson", "each_once_per_pass")
SERVERS = ("fedavg", "fedprox", "fedadam", "fedsgd")
LOCAL_OPTIMIZERS = ("sgd", "adam")
MECHANISMS = ("dp_fedavg", "dp_ftrl")
AGGREGATIONS = ("plain", "secure")
COMPRESSIONS = (None, "quantize")


@dataclass(frozen=True, kw_only=True)
class Client:
    """One client: who it is stays with probity, which numbers clients by position.

    Attributes:
        file: Its rows, below the worker folder: ``features`` of shape (n, d) and ``label`` of shape (n,).
        num_examples: How many rows, 0 or more.
        group: Number of the group whose rounds are reported together.
    """

    file: str
    num_examples: int
    group: int = 0


@dataclass(frozen=True, kw_only=True)
class LocalTraining:
    """What a client does in one round: passes over its rows, rows per step, step size, ``sgd`` or ``adam``."""

    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: str


@dataclass(frozen=True, kw_only=True)
class ServerOptimizer:
    """How the server applies the mean update; ``proximal_strength`` (mu of FedProx) holds clients near its weights."""

    optimizer: str
    learning_rate: float
    proximal_strength: float


@dataclass(frozen=True, kw_only=True)
class FixedClipping:
    """Every client's update is scaled down to this Euclidean norm at most."""

    l2_clip_norm: float


@dataclass(frozen=True, kw_only=True)
class AdaptiveClipping:
    """The bound follows a quantile of the clients' norms, itself estimated with noise.

    Reference: Andrew, Thakkar, McMahan and Ramaswamy (2021), Differentially Private Learning with Adaptive Clipping,
    algorithm 1.
    """

    initial_l2_clip_norm: float
    target_unclipped_quantile: float
    learning_rate: float
    clipped_count_stddev: float


@dataclass(frozen=True, kw_only=True)
class Privacy:
    """Clipping and noise of the server's aggregation. No client can change or leave out either.

    Attributes:
        mechanism: ``dp_fedavg``: fresh noise in each round. ``dp_ftrl``: noise of a binary tree over the rounds.
        noise_multiplier: Noise of the whole release, in clip norms; with adaptive clipping the updates get more, see
            :attr:`update_noise_multiplier`.
        expected_clients_per_round: What the noisy sum is divided by: a constant, so that it tells nothing.
        clipping: How the bound is found.
        restart_every: Rounds after which the tree of ``dp_ftrl`` starts over; ``None``: never.
        noise_seed: For tests only: makes the noise repeatable, so that it hides nothing.
    """

    mechanism: str
    noise_multiplier: float
    expected_clients_per_round: float
    clipping: FixedClipping | AdaptiveClipping
    restart_every: int | None
    noise_seed: int | None

    @property
    def update_noise_multiplier(self) -> float:
        """Noise of the sum of updates, in clip norms (Andrew et al. 2021, theorem 1)."""
        if isinstance(self.clipping, FixedClipping) or self.noise_multiplier == 0:
            return self.noise_multiplier
        rest = self.noise_multiplier**-2 - (2 * self.clipping.clipped_count_stddev) ** -2
        if rest <= 0:
            raise WorkerFailure(
                "noise_multiplier", "the count of clipped clients has too little noise for the noise multiplier asked"
            )
        return float(rest**-0.5)


@dataclass(frozen=True, kw_only=True)
class Request:
    """One federated training."""

    architecture: str
    initial_weights: str | None
    clients: tuple[Client, ...]
    rounds: int
    clients_per_round: int
    sampling: str
    sampling_prob: float
    availability: float
    local: LocalTraining
    server: ServerOptimizer
    privacy: Privacy | None
    secure: bool
    quantized: bool
    remote_workers: tuple[str, ...]
    client_deadline_seconds: float

    @property
    def num_groups(self) -> int:
        """Number of client groups, at least 1."""
        return 1 + max(client.group for client in self.clients)


def read_body(body: Mapping[str, Any]) -> Request:
    """Reads the body of a request.

    Raises:
        WorkerFailure: If it asks for what this worker does not do; the text names the setting and no value of data.
    """
    try:
        return _read(body)
    except (KeyError, TypeError, ValueError) as error:
        raise WorkerFailure("settings", f"the request misses a setting or has one of another type: {error}") from error


def _read(body: Mapping[str, Any]) -> Request:
    settings = body["settings"]
    clients = _clients(body)
    per_round = int(settings["clients_per_round"])
    request = Request(
        architecture=body["architecture"],
        initial_weights=body.get("initial_weights"),
        clients=clients,
        rounds=int(settings["rounds"]),
        clients_per_round=per_round,
        sampling=_one_of(settings["sampling"], SAMPLINGS, "sampling"),
        sampling_prob=float(settings.get("sampling_prob") or per_round / len(clients)),
        availability=float(settings.get("availability", 1.0)),
        local=_local(settings["local"]),
        server=_server(settings["server"]),
        privacy=_privacy(settings.get("privacy"), per_round=per_round),
        secure=_one_of(settings.get("aggregation", "plain"), AGGREGATIONS, "aggregation") == "secure",
        quantized=_one_of(settings.get("compression"), COMPRESSIONS, "compression") is not None,
        remote_workers=tuple((settings.get("engine") or {}).get("workers", ())),
        client_deadline_seconds=float(settings.get("client_deadline_seconds", 60.0)),
    )
    _require_possible(request)
    return request


def _clients(body: Mapping[str, Any]) -> tuple[Client, ...]:
    groups = body.get("client_groups") or [0] * len(body["clients"])
    clients = tuple(
        Client(file=entry["file"], num_examples=int(entry["num_examples"]), group=int(group))
        for entry, group in zip(body["clients"], groups, strict=True)
    )
    if not any(client.num_examples for client in clients):
        raise WorkerFailure("no_clients", "no client has a row; at least one is needed")
    return clients


def _local(value: Mapping[str, Any]) -> LocalTraining:
    return LocalTraining(
        epochs=int(value["epochs"]),
        batch_size=int(value["batch_size"]),
        learning_rate=float(value["learning_rate"]),
        optimizer=_one_of(value.get("optimizer", "sgd"), LOCAL_OPTIMIZERS, "local.optimizer"),
    )


def _server(value: Mapping[str, Any]) -> ServerOptimizer:
    optimizer = _one_of(value["optimizer"], SERVERS, "server.optimizer")
    strength = float(value.get("proximal_strength") or 0.0)
    return ServerOptimizer(
        optimizer=optimizer,
        learning_rate=float(value["learning_rate"]),
        proximal_strength=strength if optimizer == "fedprox" else 0.0,
    )


def _privacy(value: Mapping[str, Any] | None, *, per_round: int) -> Privacy | None:
    if value is None:
        return None
    mechanism = _one_of(value["mechanism"], MECHANISMS, "privacy.mechanism")
    return Privacy(
        mechanism=mechanism,
        noise_multiplier=float(value["noise_multiplier"]),
        expected_clients_per_round=float(value.get("expected_clients_per_round") or per_round),
        clipping=_clipping(value),
        restart_every=value.get("restart_every"),
        noise_seed=value.get("noise_seed"),
    )


def _clipping(value: Mapping[str, Any]) -> FixedClipping | AdaptiveClipping:
    clipping = value.get("clipping") or {"kind": "fixed", "l2_clip_norm": value["l2_clip_norm"]}
    if _one_of(clipping["kind"], ("fixed", "adaptive"), "privacy.clipping.kind") == "fixed":
        return FixedClipping(l2_clip_norm=float(clipping["l2_clip_norm"]))
    if value["mechanism"] == "dp_ftrl":
        raise WorkerFailure("settings", "privacy.clipping: dp_ftrl needs a fixed clip norm")
    return AdaptiveClipping(
        initial_l2_clip_norm=float(clipping["initial_l2_clip_norm"]),
        target_unclipped_quantile=float(clipping["target_unclipped_quantile"]),
        learning_rate=float(clipping["learning_rate"]),
        clipped_count_stddev=float(clipping["clipped_count_stddev"]),
    )


def _require_possible(request: Request) -> None:
    """Refuses what would train something else than what was asked."""
    count = len(request.clients)
    if not 1 <= request.clients_per_round <= count:
        raise WorkerFailure("clients_per_round", f"{request.clients_per_round} clients per round, of {count} clients")
    if not (0 < request.sampling_prob <= 1 and 0 < request.availability <= 1):
        raise WorkerFailure("settings", "sampling_prob and availability are greater than 0 and at most 1")
    if min(request.rounds, request.local.epochs, request.local.batch_size) < 1:
        raise WorkerFailure("settings", "rounds, local.epochs and local.batch_size are at least 1")
    positive = [request.local.learning_rate, request.server.learning_rate, request.client_deadline_seconds]
    if request.privacy is not None:
        positive.append(request.privacy.expected_clients_per_round)
        if not (request.privacy.noise_multiplier >= 0 and math.isfinite(request.privacy.update_noise_multiplier)):
            raise WorkerFailure("noise_multiplier", "privacy.noise_multiplier is a number of at least 0")
        if request.quantized:
            raise WorkerFailure("compression", "a quantised update can exceed the clip norm; leave out one of both")
    if not all(0 < number < math.inf for number in positive):
        raise WorkerFailure("settings", "learning rates, deadlines and expected clients are greater than 0")
    if request.secure and (request.quantized or request.remote_workers):
        raise WorkerFailure(
            "aggregation", "the simulated secure sum is computed on this machine and uncompressed; ask for plain"
        )


def _one_of(value: Any, allowed: tuple[Any, ...], setting: str) -> Any:
    if value not in allowed:
        names = ", ".join(str(name) for name in allowed)
        raise WorkerFailure("settings", f"{setting} is none of: {names}")
    return value
