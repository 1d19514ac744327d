"""Settings of the trainer ``federated``, and the mechanism that they mean for a population of clients."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from probity.errors import ConfigError
from probity.model import (
    CLIENT,
    AdaptiveClipping,
    DpFedAvg,
    DpFtrl,
    Federated,
    FixedClipping,
    Mechanism,
    NoiseSource,
)
from probity.record import Record
from probity.trainers.base import Population, TrainerSettings, Uncalibrated

__all__ = [
    "ClientColumn",
    "DpFedAvgSettings",
    "DpFtrlSettings",
    "FederatedSettings",
    "SimulatedClients",
    "propose",
]

_NAME = "trainer federated"
_ENGINE = "tensorflow_federated"
_COUNT_SHARE = 20.0
"""Andrew et al. (2021), section 3.1: noise of a twentieth of the clients of a round hardly moves the quantile."""

Address = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:\[\]-]+:[0-9]{1,5}$")]


class ClientColumn(Record):
    """Rows belong to the client that a column names."""

    by: str
    """A column of the data, or ``data.file_column`` where each client has a file of its own; each of its values is a
    client, and rows without a value form one more."""


class SimulatedClients(Record):
    """Rows are dealt out to made-up clients."""

    number: int = Field(ge=2, le=100_000)
    """How many clients."""
    partition: Literal["iid", "dirichlet"] = "iid"
    """``iid``: at random, in equal parts; ``dirichlet``: each client gets shares of the labels of its own (Hsu et al.
    2019)."""
    alpha: float = Field(default=0.3, gt=0.0)
    """Concentration of the shares for ``dirichlet``: the smaller, the less alike the clients."""


class LocalSettings(Record):
    """What a client does in a round. Nothing here can weaken clipping or noise, which are the server's."""

    epochs: int = Field(default=1, ge=1, le=100)
    """Passes over its rows."""
    batch_size: int = Field(default=32, ge=1)
    """Rows per step."""
    learning_rate: float = Field(default=0.05, gt=0.0)
    """Step size of plain gradient descent."""


class ServerSettings(Record):
    """What the server does with the average of the updates."""

    optimizer: Literal["fedavg", "fedadam", "fedprox", "fedsgd"] = "fedavg"
    """``fedavg`` (McMahan et al. 2017), ``fedadam`` (Reddi et al. 2021), ``fedprox`` (Li et al. 2020), or ``fedsgd``:
    one gradient per client and round."""
    learning_rate: float = Field(default=1.0, gt=0.0)
    """Step size of the server."""
    proximal_strength: float = Field(default=0.01, gt=0.0)
    """For ``fedprox``: how strongly a client is held near the model that it was sent."""


class EngineSettings(Record):
    """Where the clients' work is done."""

    workers: tuple[Address, ...] = ()
    """``host:port`` of remote workers (``probity workers serve federated``); none: this machine. Their ports are
    neither encrypted nor authenticated and belong inside a tunnel."""


class _Noise(Record):
    """How much noise: exactly one of ``target_epsilon`` and ``noise_multiplier``."""

    target_epsilon: float | None = Field(default=None, gt=0.0)
    """Add the least noise with which epsilon per client stays at or below this; greater than 0."""
    noise_multiplier: float | None = Field(default=None, gt=0.0)
    """Standard deviation of the noise over its sensitivity; for no noise at all say ``privacy: none``."""
    delta: Literal["auto"] | Annotated[float, Field(gt=0.0, lt=1.0)] = "auto"
    """Delta of the privacy statement, below one over the number of clients."""
    noise_seed: int | None = None
    """For tests only: makes sampling and noise repeatable. They hide nothing then, and no privacy statement is made."""

    @model_validator(mode="after")
    def _exactly_one_amount_of_noise(self) -> _Noise:
        if (self.target_epsilon is None) == (self.noise_multiplier is None):
            raise ValueError("exactly one of target_epsilon and noise_multiplier is given")
        return self


class DpFedAvgSettings(_Noise):
    """Clipped client updates, Gaussian noise on their sum, clients drawn by Poisson sampling."""

    mechanism: Literal["dp_fedavg"]
    clipping: Literal["adaptive", "fixed"] = "adaptive"
    """``adaptive``: the norm follows a quantile of the updates' norms; ``fixed``: ``l2_clip_norm`` stays."""
    l2_clip_norm: float | None = Field(default=None, gt=0.0)
    """Largest L2 norm of a client's update; with ``adaptive`` that of the first round. Default: 1, or 0.1 with
    ``adaptive``."""
    target_unclipped_quantile: float = Field(default=0.5, gt=0.0, lt=1.0)
    """Share of updates that ``adaptive`` is to leave unclipped."""
    clip_learning_rate: float = Field(default=0.2, gt=0.0)
    """How fast ``adaptive`` moves the norm."""
    clipped_count_stddev: float | None = Field(default=None, gt=0.0)
    """Noise on the number of unclipped updates, in clients, above half of the noise multiplier. Default: the larger of
    a twentieth of the clients per round and the noise multiplier."""

    @property
    def initial_norm(self) -> float:
        """The norm of the first round."""
        return self.l2_clip_norm or (0.1 if self.clipping == "adaptive" else 1.0)


class DpFtrlSettings(_Noise):
    """Tree aggregation: each client once per pass over all clients, and no sampling that has to stay secret."""

    mechanism: Literal["dp_ftrl"]
    l2_clip_norm: float = Field(default=1.0, gt=0.0)
    """Largest L2 norm of a client's update."""


class FederatedSettings(TrainerSettings):
    """Settings of the trainer ``federated``."""

    clients: ClientColumn | SimulatedClients = SimulatedClients(number=100)
    """Whose rows are whose: ``{by: column}``, or ``{number: 100, partition: iid | dirichlet, alpha: 0.3}``."""
    rounds: int = Field(default=100, ge=1, le=100_000)
    """Rounds of training."""
    clients_per_round: int = Field(default=20, ge=1)
    """Clients asked in each round; with ``dp_fedavg`` on average."""
    availability: float = Field(default=1.0, gt=0.0, le=1.0)
    """Probability that a client that was asked answers; simulates drop-out."""
    local: LocalSettings = LocalSettings()
    """What a client does."""
    server: ServerSettings = ServerSettings()
    """What the server does."""
    privacy: Literal["none"] | Annotated[DpFedAvgSettings | DpFtrlSettings, Field(discriminator="mechanism")] = "none"
    """Differential privacy for whole clients: ``none``, or a mapping with ``mechanism``."""
    aggregation: Literal["plain", "secure"] = "plain"
    """``secure`` executes the arithmetic of a secure sum, in the clear: it is reported as simulated."""
    compression: Literal["none", "quantize"] = "none"
    """``quantize``: updates travel with fewer bits."""
    engine: EngineSettings = EngineSettings()
    """Where the clients' work is done."""
    pooled_preprocessing: bool = False
    """Whether constants of the preprocessing may be computed from the rows of all clients together. Otherwise every
    constant has to be a public fact: of a curated schema or of the config."""
    deadline_seconds: float = Field(default=14_400.0, gt=0.0)
    """Time after which training is ended."""
    client_deadline_seconds: float = Field(default=60.0, gt=0.0)
    """Time that remote workers have for their share of a round."""

    @property
    def client_column(self) -> str | None:
        """The column whose values are the clients."""
        return self.clients.by if isinstance(self.clients, ClientColumn) else None

    @property
    def protects_clients(self) -> bool:
        """Whether the unit of privacy is a client."""
        return self.privacy != "none"

    @property
    def num_clients(self) -> int | None:
        """Number of simulated clients."""
        return self.clients.number if isinstance(self.clients, SimulatedClients) else None

    @property
    def public_preprocessing(self) -> bool:
        """Whether public facts come before facts of the rows in the preprocessing."""
        return True

    @field_validator("clients", mode="before")
    @classmethod
    def _one_way_to_have_clients(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        named = {name: value for name, value in given.items() if value is not None}  # null undoes what was extended
        if ("by" in named) == ("number" in named):
            raise ValueError("clients are either {by: column} or {number: N}")
        return named

    @model_validator(mode="after")
    def _what_goes_together(self) -> FederatedSettings:
        if self.aggregation == "secure" and (self.compression != "none" or self.engine.workers):
            raise ValueError("the secure sum is simulated on this machine and uncompressed; use aggregation: plain")
        if self.privacy == "none":
            return self
        if self.aggregation == "secure":
            raise ValueError("the simulated secure sum cannot carry noise; use aggregation: plain with privacy")
        if self.compression != "none":
            raise ValueError("compression changes the norm of clipped updates; use compression: none with privacy")
        if self.server.optimizer == "fedsgd":
            raise ValueError("fedsgd is a baseline without privacy; use fedavg")
        if isinstance(self.privacy, DpFtrlSettings) and (self.server.optimizer != "fedavg" or self.availability < 1.0):
            raise ValueError("dp_ftrl needs server.optimizer: fedavg and availability: 1")
        return self


def propose(settings: FederatedSettings, population: Population) -> Mechanism | Uncalibrated:
    """Returns the mechanism that these settings mean for such a population.

    Raises:
        ConfigError: If settings and population do not go together.
    """
    clients = settings.num_clients or population.num_clients
    if clients is None:
        raise ConfigError(
            f"{_NAME}, clients",
            seen="the values of a column, and nobody said how many there are",
            allowed="a population with a number of clients",
            remedy="use clients: {number: N} where rows have no column to tell clients by",
        )
    _require_fitting(settings, clients)
    privacy = settings.privacy
    if privacy == "none":
        return Federated(
            num_clients=clients,
            clients_per_round=settings.clients_per_round,
            rounds=settings.rounds,
            secure_aggregation="simulated" if settings.aggregation == "secure" else "none",
        )
    _require_unit(settings, population, clients)
    unit = population.unit if population.unit == settings.client_column else CLIENT

    def with_noise_multiplier(noise_multiplier: float) -> DpFedAvg | DpFtrl:
        if isinstance(privacy, DpFtrlSettings):
            return _dp_ftrl(settings, privacy, clients, noise_multiplier, unit=unit)
        return _dp_fedavg(settings, privacy, clients, noise_multiplier, unit=unit)

    if privacy.noise_multiplier is not None:
        return with_noise_multiplier(privacy.noise_multiplier)
    if privacy.target_epsilon is None:
        raise AssertionError("the settings' own validation lets exactly one be None")
    return Uncalibrated(
        target_epsilon=privacy.target_epsilon,
        target_delta=target_delta(settings),
        with_noise_multiplier=with_noise_multiplier,
    )


def target_delta(settings: FederatedSettings) -> float | None:
    """Returns the delta that was asked for, or ``None`` where the auditor's rule is to decide."""
    return None if settings.privacy == "none" or settings.privacy.delta == "auto" else settings.privacy.delta


def _dp_fedavg(
    settings: FederatedSettings, privacy: DpFedAvgSettings, clients: int, noise_multiplier: float, *, unit: str
) -> DpFedAvg:
    sampling_prob = settings.clients_per_round / clients * settings.availability
    expected = sampling_prob * clients
    clipping: FixedClipping | AdaptiveClipping = FixedClipping(l2_clip_norm=privacy.initial_norm)
    if privacy.clipping == "adaptive":
        count_stddev = privacy.clipped_count_stddev or max(expected / _COUNT_SHARE, noise_multiplier)
        if 2 * count_stddev <= noise_multiplier:
            raise ConfigError(
                f"{_NAME}, privacy.clipped_count_stddev",
                seen=f"{count_stddev:g}, with a noise multiplier of {noise_multiplier:g}",
                allowed=f"more than {noise_multiplier / 2:g}: the count alone may not spend everything",
                remedy="leave it out, or raise it",
            )
        clipping = AdaptiveClipping(
            initial_l2_clip_norm=privacy.initial_norm,
            target_unclipped_quantile=privacy.target_unclipped_quantile,
            learning_rate=privacy.clip_learning_rate,
            clipped_count_stddev=count_stddev,
        )
    return DpFedAvg(
        noise_multiplier=noise_multiplier,
        noise_source=_noise_source(privacy),
        sampling="poisson",
        sampling_prob=sampling_prob,
        rounds=settings.rounds,
        clipping=clipping,
        expected_clients_per_round=expected,
        unit=unit,
        secure_aggregation="none",
        engine=_ENGINE,
    )


def _dp_ftrl(
    settings: FederatedSettings, privacy: DpFtrlSettings, clients: int, noise_multiplier: float, *, unit: str
) -> DpFtrl:
    return DpFtrl(
        noise_multiplier=noise_multiplier,
        noise_source=_noise_source(privacy),
        sampling="shuffled",
        rounds=settings.rounds,
        rounds_per_tree=math.ceil(clients / settings.clients_per_round),
        l2_clip_norm=privacy.l2_clip_norm,
        expected_clients_per_round=settings.clients_per_round,
        unit=unit,
        secure_aggregation="none",
        engine=_ENGINE,
    )


def _noise_source(privacy: DpFedAvgSettings | DpFtrlSettings) -> NoiseSource:
    return "os_entropy" if privacy.noise_seed is None else "fixed_seed"


def _require_fitting(settings: FederatedSettings, clients: int) -> None:
    if settings.clients_per_round > clients:
        raise ConfigError(
            f"{_NAME}, clients_per_round",
            seen=f"{settings.clients_per_round}, with {clients} clients",
            allowed=f"at most {clients}",
            remedy="ask fewer clients in a round",
        )
    if clients < 2:
        raise ConfigError(
            f"{_NAME}, clients",
            seen=f"{clients} client: the column has one value",
            allowed="at least two clients",
            remedy="name another column, use clients: {number: N}, or the trainer plain",
        )


def _require_unit(settings: FederatedSettings, population: Population, clients: int) -> None:
    if population.unit not in ("row", CLIENT, settings.client_column):
        raise ConfigError(
            f"{_NAME}, privacy",
            seen=f"data.privacy_unit is {population.unit}, and clients are something else",
            allowed="data.privacy_unit: row, or the column whose values are the clients",
            remedy="use clients: {by: ...} with the privacy unit's column, or the trainer dp_sgd",
        )
    delta = target_delta(settings)
    if delta is not None and delta * clients >= 1.0:
        raise ConfigError(
            f"{_NAME}, privacy.delta",
            seen=f"{delta:g}, with {clients} clients",
            allowed=f"less than 1/{clients}: at that delta, publishing a client's rows would count as private",
            remedy="use delta: auto",
        )
