"""The trainer ``federated``: rows stay in one file per client, and a worker of its own environment trains over rounds.

What runs here is the parent: it deals out the rows, asks the worker, follows its rounds, and believes what comes back
only as far as it can be checked. TensorFlow Federated is in the worker's environment alone.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from probity.data import Role
from probity.errors import ConfigError
from probity.federated.settings import FederatedSettings, propose, target_delta
from probity.federation import FEDERATION, SIZE_GROUPS, Federation, Round, size_groups
from probity.model import DpFedAvg, DpFtrl, Federated, Mechanism, TrainedModel
from probity.storage import write_record
from probity.task import Task
from probity.trainers.base import Population, Progress, TrainerSettings, TrainingRequest, Uncalibrated
from probity.trainers.worker import Runner, run_worker
from probity.trainers.worker_environments import WorkerEnvironment, environment_of
from probity.trainers.worker_exchange import Exchange
from probity.trainers.worker_messages import LOG, PROBE_INPUTS, PROGRESS, REQUEST, RESULT, WorkerFinished

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from probity.federated.clients import Rows
    from probity.federated.reply import Reply

__all__ = ["FederatedTrainer"]

_NAME = "trainer federated"
_WORKER = "federated"
_INITIAL = "initial.npz"
_PROBE_TOLERANCE = 1e-5
_COVERED = ("l2_clip_norm",)
_COUNTED = ("loss", "accuracy", "participants", "dropped", "failed", "l2_clip_norm")
_KEPT = (REQUEST, RESULT, PROGRESS, LOG)


class FederatedTrainer:
    """Trains over clients: the mechanism is ``Federated``, ``DpFedAvg`` or ``DpFtrl`` of :mod:`probity.model`.

    Args:
        environment: The worker; the one of the workers folder by default.
        runner: How its process is run.
    """

    name: ClassVar[str] = "federated"
    settings_type: ClassVar[type[TrainerSettings]] = FederatedSettings
    plants_gradients: ClassVar[bool] = False
    tasks: ClassVar[frozenset[Task]] = frozenset({"binary"})

    def __init__(self, *, environment: WorkerEnvironment | None = None, runner: Runner = run_worker) -> None:
        self._environment = environment
        self._runner = runner

    @property
    def environment(self) -> WorkerEnvironment:
        """The worker that is asked."""
        return self._environment or environment_of(_WORKER)

    @property
    def code(self) -> str:
        """Digest of the worker's source and locks: a change of them is a change of this trainer."""
        return self.environment.code

    def require_ready(self) -> None:
        """Raises :class:`~probity.errors.WorkerNotReadyError` if the worker's environment is not ready."""
        self.environment.require_ready()

    def propose(self, settings: TrainerSettings, population: Population) -> Mechanism | Uncalibrated:
        """Returns what these settings mean for such clients; see :func:`probity.federated.settings.propose`."""
        return propose(_own(settings), population)

    def train(self, request: TrainingRequest, *, workdir: Path, report: Progress) -> TrainedModel:
        """Trains, exports and says what happened; see :meth:`probity.trainers.base.Trainer.train`.

        Guarantees: what crosses to the worker are the features and labels of each client in a file of its own; no raw
        column, no name of a client, no sensitive attribute. The files are gone when this returns or raises. What the
        worker executed is the agreed mechanism or fewer rounds of it.

        Raises:
            ConfigError: If settings, model or preprocessing do not go together.
            WorkerError: If the worker is not ready or does not deliver.
            TrainingError: If the scores are not probabilities.
        """
        job = _prepare(request)
        self.require_ready()
        folder = workdir / "worker"
        folder.mkdir()
        exchange = Exchange(environment=self.environment, folder=folder, runner=self._runner)
        try:
            body, shapes = _write(job, folder)
            result = exchange.ask(
                body,
                seed=request.seed,
                deadline_seconds=job.settings.deadline_seconds,
                checkpoints=request.checkpoints,
                on_progress=_follower(job, report),
            )
            return _export(job, exchange, result, shapes=shapes, workdir=workdir, report=report)
        finally:
            _remove_rows(folder)


@dataclass(frozen=True, kw_only=True)
class _Job:
    """A request with everything that was made from it before the worker is asked."""

    request: TrainingRequest
    settings: FederatedSettings
    mechanism: Federated | DpFedAvg | DpFtrl
    features: npt.NDArray[np.float32]
    labels: npt.NDArray[np.float32]
    rows: Rows

    @property
    def private(self) -> bool:
        """Whether clients are protected: then no other number about them than the noisy sums may leave."""
        return not isinstance(self.mechanism, Federated)


def _own(settings: TrainerSettings) -> FederatedSettings:
    if not isinstance(settings, FederatedSettings):
        raise TypeError(f"the trainer federated takes FederatedSettings, not {type(settings).__name__}")
    return settings


def _prepare(request: TrainingRequest) -> _Job:
    from probity.federated.clients import assign
    from probity.federated.network import joined, require_built_in

    settings = _own(request.settings)
    require_built_in(request.model, trainer=FederatedTrainer.name)
    _require_public(request, settings)
    inputs, labels = request.examples.arrays("train")
    rows = assign(settings, labels, given=request.clients, seed=request.seed)
    return _Job(
        request=request,
        settings=settings,
        mechanism=_agreed(request, settings, num_clients=len(rows)),
        features=joined(inputs, request.transform.outputs),
        labels=labels,
        rows=rows,
    )


def _agreed(
    request: TrainingRequest, settings: FederatedSettings, *, num_clients: int
) -> Federated | DpFedAvg | DpFtrl:
    """Returns the mechanism to execute, which is one that the settings mean for these clients, or raises."""
    mechanism = request.mechanism
    unit = mechanism.unit if isinstance(mechanism, DpFedAvg | DpFtrl) else request.dataset.privacy_unit
    population = Population(num_rows=request.num_rows, num_units=num_clients, unit=unit, num_clients=num_clients)
    proposal = propose(settings, population)
    if isinstance(proposal, Uncalibrated) and isinstance(mechanism, DpFedAvg | DpFtrl):
        proposal = proposal.with_noise_multiplier(mechanism.noise_multiplier)
    if not isinstance(mechanism, Federated | DpFedAvg | DpFtrl) or mechanism != proposal:
        raise ConfigError(
            f"{_NAME}, mechanism",
            seen="one that the settings do not mean for these clients",
            allowed="the trainer's own proposal, calibrated",
            remedy="propose, calibrate and train with the same settings and rows",
        )
    return mechanism


def _require_public(request: TrainingRequest, settings: FederatedSettings) -> None:
    pooled = sorted({entry.feature for entry in request.transform.constants if entry.source == "training data"})
    if pooled and not settings.pooled_preprocessing:
        raise ConfigError(
            f"{_NAME}, preprocessing",
            seen=f"constants of {', '.join(pooled)} were computed from the rows of all clients together",
            allowed="constants that are public facts: rows of different clients are not pooled unasked",
            remedy="state bounds and vocabularies in a curated schema or boundaries in transform, or say "
            "trainer.pooled_preprocessing: true, which the card repeats",
        )


def _write(job: _Job, folder: Path) -> tuple[dict[str, Any], list[tuple[int, ...]]]:
    """Writes what the worker may read; returns the body of the request and the shapes of the weights."""
    import numpy as np
    import tensorflow as tf

    from probity.federated.clients import write
    from probity.federated.network import FEATURES, crossing, probe_rows

    request = job.request
    tf.keras.utils.set_random_seed(request.seed)
    network = crossing(request.model, request.transform.outputs, root=request.root)
    initial = [np.asarray(array, np.float32) for array in network.get_weights()]
    np.savez(folder / _INITIAL, **{f"w{i:04d}": array for i, array in enumerate(initial)})
    np.savez(folder / PROBE_INPUTS, **{FEATURES: probe_rows(job.features.shape[1], seed=request.seed)})
    body = {
        "architecture": network.to_json(),
        "initial_weights": _INITIAL,
        "clients": write(folder, job.rows, job.features, job.labels),
        "client_groups": None if job.private else size_groups([len(own) for own in job.rows]).tolist(),
        "settings": _asked(job),
    }
    return body, [array.shape for array in initial]


def _asked(job: _Job) -> dict[str, Any]:
    """Returns the settings in the worker's words."""
    settings = job.settings
    privacy, sampling = _asked_privacy(job)
    return {
        "rounds": settings.rounds,
        "clients_per_round": settings.clients_per_round,
        **sampling,
        # Under privacy an absence is part of the sampling, whose probability is accounted for.
        "availability": 1.0 if job.private else settings.availability,
        "local": {**settings.local.to_json(), "optimizer": "sgd"},
        "server": settings.server.to_json(),
        "privacy": privacy,
        "aggregation": settings.aggregation,
        "compression": None if settings.compression == "none" else settings.compression,
        "engine": settings.engine.to_json(),
        "client_deadline_seconds": settings.client_deadline_seconds,
    }


def _asked_privacy(job: _Job) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    mechanism, settings = job.mechanism, job.settings
    if isinstance(mechanism, Federated) or settings.privacy == "none":
        return None, {"sampling": "uniform_without_replacement"}
    common = {
        "mechanism": mechanism.kind,
        "noise_multiplier": mechanism.noise_multiplier,
        "expected_clients_per_round": mechanism.expected_clients_per_round,
        "noise_seed": settings.privacy.noise_seed,
    }
    if isinstance(mechanism, DpFtrl):
        tree = {"l2_clip_norm": mechanism.l2_clip_norm, "restart_every": mechanism.rounds_per_tree}
        return {**common, **tree}, {"sampling": "each_once_per_pass"}
    sampling = {"sampling": "poisson", "sampling_prob": mechanism.sampling_prob}
    return {**common, "clipping": mechanism.clipping.to_json()}, sampling


def _follower(job: _Job, report: Progress) -> Any:
    """Returns what is told of each round as it ends; under privacy only what the noise covers is said aloud."""
    from probity.federated.reply import parse_round

    total, told = job.settings.rounds, job.request.rounds
    report(0.0, f"starting the worker for {len(job.rows)} clients")

    def follow(progress: dict[str, Any]) -> None:
        finished = parse_round(progress)
        words, numbers = _shown(finished, job.private), _numbers(finished, job.private)
        if told is not None:
            epsilon = told.epsilon_after(finished.round)
            if epsilon is not None:
                words.append(f"epsilon below {epsilon:.3g} so far")
                numbers["epsilon_so_far"] = epsilon
            told.finished(finished.round, numbers)
        text = ": ".join([f"round {finished.round} of {total}", *([", ".join(words)] if words else [])])
        report(min(finished.round / total, 1.0), text)

    return follow


def _numbers(finished: Round, private: bool) -> dict[str, float]:
    """Returns a round's numbers that the tracker may have; under privacy only what the noise covers."""
    found = {name: getattr(finished, name) for name in (_COVERED if private else _COUNTED)}
    if not private:
        by_group = ((name, finished.groups.get(str(number))) for number, name in enumerate(SIZE_GROUPS))
        for name, entry in by_group:
            if entry is not None:
                found |= {
                    f"{metric}_{name.replace(' ', '_')}": getattr(entry, metric) for metric in ("loss", "accuracy")
                }
    return {name: float(value) for name, value in found.items() if value is not None}


def _shown(finished: Round, private: bool) -> list[str]:
    parts = [] if private else [f"{finished.participants} clients"]
    if finished.l2_clip_norm is not None:
        parts.append(f"clip norm {finished.l2_clip_norm:.3g}")
    if not private:
        parts += [f"loss {finished.loss:.4f}"] if finished.loss is not None else []
        parts += [f"{finished.dropped} absent"] if finished.dropped else []
        parts += [f"{finished.failed} not finite"] if finished.failed else []
    return parts


def _export(
    job: _Job,
    exchange: Exchange,
    result: WorkerFinished,
    *,
    shapes: list[tuple[int, ...]],
    workdir: Path,
    report: Progress,
) -> TrainedModel:
    import numpy as np

    from probity.federated.network import probe_rows, rebuilt
    from probity.federated.reply import executed_mechanism, parse_reply
    from probity.trainers.export import export, weights_digest
    from probity.trainers.outcome import environment, require_probabilities

    request, outputs = job.request, job.request.transform.outputs
    reply = parse_reply(result.body)
    mechanism = executed_mechanism(job.mechanism, reply)
    weights = exchange.weights(result, shapes=shapes)
    model = rebuilt(request.model, outputs, weights, root=request.root)
    probe, cuts = probe_rows(job.features.shape[1], seed=request.seed), np.cumsum([f.width for f in outputs])[:-1]
    parts = dict(zip((feature.name for feature in outputs), np.split(probe, cuts, axis=1), strict=True))
    scores = np.asarray(model.predict(parts, verbose=0), np.float32).reshape(-1)
    exchange.require_probe(result, scores, tolerance=_PROBE_TOLERANCE)
    require_probabilities(model, parts)
    report(1.0, "exporting the model")
    write_record(workdir / FEDERATION, _federation(job, reply, result))
    rounds = reply.executed.rounds
    return TrainedModel(
        trainer=FederatedTrainer.name,
        mechanism=mechanism,
        digest=export(model, request.transform, transform_folder=request.transform_folder, workdir=workdir),
        weights=weights_digest(model),
        train_examples=request.examples.files["train"].digest,
        transform=request.transform.digest,
        settings=job.settings.to_json(),
        seed=request.seed,
        num_train_examples=len(job.labels),
        num_train_units=len(job.rows) if job.private else request.num_units,
        target_delta=target_delta(job.settings),
        num_parameters=model.count_params(),
        steps=rounds,
        epochs=rounds,
        best_epoch=rounds,
        chosen_on_eval=False,
        history=_history(reply.history, private=job.private),
        environment={
            **environment(devices=1),
            **{f"worker {name}": version for name, version in result.environment.items()},
        },
        warnings=(*_warnings(job, reply), *result.warnings),
    )


def _history(rounds: tuple[Round, ...], *, private: bool) -> dict[str, tuple[float, ...]]:
    """Returns what every round has a number for; under privacy only what the noise covers."""
    names = _COVERED if private else _COUNTED
    columns = {name: [getattr(entry, name) for entry in rounds] for name in names}
    return {name: tuple(map(float, column)) for name, column in columns.items() if None not in column}


def _federation(job: _Job, reply: Reply, result: WorkerFinished) -> Federation:
    import numpy as np

    from probity.federated.clients import groups, label_skew

    sizes, settings = [len(own) for own in job.rows], job.settings
    column = settings.client_column
    return Federation(
        described=f"values of {column}" if column else f"{len(sizes)} simulated clients, {_partition(settings)}",
        column=column,
        simulated=column is None,
        num_clients=len(sizes),
        empty_clients=sizes.count(0),
        smallest=min(sizes),
        median=float(np.median(sizes)),
        largest=max(sizes),
        label_skew=label_skew(job.rows, job.labels),
        groups=groups(job.rows),
        rounds=reply.history,
        request=result.request,
        environment=result.environment,
    )


def _partition(settings: FederatedSettings) -> str:
    clients = settings.clients.to_json()
    return f"dirichlet({clients['alpha']:g})" if clients.get("partition") == "dirichlet" else "iid"


def _warnings(job: _Job, reply: Reply) -> list[str]:
    from probity.federated.clients import circumstances, suitability

    settings, dataset = job.settings, job.request.dataset
    files = {column.name for column in dataset.columns if Role.FILE in column.roles}
    found = circumstances(
        len(job.rows),
        simulated=settings.client_column is None,
        one_source=settings.client_column not in files,
        sensitive=bool(dataset.sensitive) or dataset.privacy_unit != "row",
        clients_per_round=settings.clients_per_round,
    )
    if not job.private:  # the others are exact facts about the clients' rows
        found += suitability(job.rows, job.labels)
    failed, dropped = (sum(getattr(entry, name) for entry in reply.history) for name in ("failed", "dropped"))
    if failed and not job.private:
        found.append(f"{failed} updates were not finite and were left out")
    if dropped and not job.private:
        found.append(f"{dropped} times a client that was asked did not answer")
    if settings.aggregation == "secure":
        found.append("the secure sum was simulated: its arithmetic was executed in the clear")
    if settings.privacy != "none" and settings.privacy.noise_seed is not None:
        found.append("noise_seed is for tests: sampling and noise can be repeated, so they hide nothing")
    return found


def _remove_rows(folder: Path) -> None:
    """Leaves of the worker folder what explains the training, and no row of any client."""
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name not in _KEPT:
            entry.unlink()
