"""The trainer ``encrypted``: prepares what the parties need, lets the worker train, and checks what came back.

The worker is a process of another environment (:mod:`probity.trainers.worker_exchange`); this side holds no share. What
it does in the clear - dealing parts where owners are simulated, the comparison - is said in the record.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, ValidationError

from probity.errors import WorkerContractError
from probity.model import PLAINTEXT, EncryptionCost, Mechanism, TrainedModel
from probity.record import Record
from probity.task import Task
from probity.trainers.base import Population, Progress, TrainerSettings, TrainingRequest
from probity.trainers.encrypted.settings import EncryptedSettings, mechanism_of, require_own
from probity.trainers.worker import Runner, run_worker

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from probity.trainers.encrypted.parts import Plan
    from probity.trainers.encrypted.stack import Stack
    from probity.trainers.encrypted.twin import Twin
    from probity.trainers.worker_environments import WorkerEnvironment
    from probity.trainers.worker_messages import WorkerFinished

__all__ = ["EncryptedTrainer"]

_NAME = "encrypted"
_WORKERS = {"tf_encrypted": "encrypted", "spu": "spu"}
_PROBE_ROWS = 64
_PROBE_TOLERANCE = 1e-5
"""Both sides compute the probe from the same float32 weights; only the order of sums differs."""
_CLOSE = 0.5
"""Fraction of progress before the worker's first epoch is a guess: compiling takes about as long as a few epochs."""


class ExecutedEpoch(Record):
    """One epoch that the worker executed now."""

    epoch: int = Field(ge=1)
    seconds: float = Field(ge=0.0)
    brier_score: float | None = None


class Executed(Record):
    """What the worker says that it did (``body`` of its result)."""

    epochs: int = Field(ge=1)
    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    resumed_epochs: int = Field(ge=0)
    history: tuple[ExecutedEpoch, ...]
    sent_bytes: dict[str, int]


class EncryptedTrainer:
    """Trains on secret shares: the mechanism is :class:`~probity.model.Encrypted`, and epsilon is infinite.

    Args:
        environment: The worker; that of this checkout by default.
        runner: How processes are run.
    """

    name: ClassVar[str] = _NAME
    settings_type: ClassVar[type[TrainerSettings]] = EncryptedSettings
    plants_gradients: ClassVar[bool] = False
    tasks: ClassVar[frozenset[Task]] = frozenset({"binary"})

    def __init__(self, *, environment: WorkerEnvironment | None = None, runner: Runner = run_worker) -> None:
        self._environment = environment
        self._runner = runner

    def propose(self, settings: TrainerSettings, population: Population) -> Mechanism:
        """Returns protocol, parties, threat model and what will be revealed."""
        return mechanism_of(require_own(settings))

    def train(self, request: TrainingRequest, *, workdir: Path, report: Progress) -> TrainedModel:
        """Trains, exports and says what happened; see :meth:`probity.trainers.base.Trainer.train`.

        Guarantees: the weights are those of the model whose scores the worker saw; batches and initial weights follow
        from the seed, and equal trainings give weights that differ by the rounding of fixed-point numbers only.

        Raises:
            ConfigError: If the model cannot be computed on shares; names the layers.
            WorkerError: If the worker is not ready, or gave no model.
            TrainingError: If the scores are no probabilities.
        """
        from probity.trainers.outcome import environment, require_probabilities

        settings = require_own(request.settings)
        prepared = _prepare(request, settings)
        result = self._ask(request, settings, prepared, folder=workdir / "worker", report=report)
        executed = _executed(result)
        report(0.95, "comparing with the same training in the clear" if settings.compare else "exporting the model")
        twin = _twin(settings, prepared)
        cost = _cost(request, settings, prepared, executed, twin, trained=result.weights, workdir=workdir)
        prepared.stack.set_weights(result.weights)
        require_probabilities(prepared.model, prepared.inputs)
        report(1.0, "exporting the model")
        return self._record(request, settings, prepared, executed, cost, workdir=workdir, versions={
            **environment(devices=1), **{f"worker {name}": text for name, text in result.finished.environment.items()}
        })  # fmt: skip

    def _ask(
        self, request: TrainingRequest, settings: EncryptedSettings, prepared: _Prepared, *, folder: Path,
        report: Progress,
    ) -> _Answer:  # fmt: skip
        from probity.trainers.encrypted.messages import write_files
        from probity.trainers.worker_environments import environment_of
        from probity.trainers.worker_exchange import Exchange

        worker = self._environment or environment_of(_WORKERS[settings.engine])
        exchange = Exchange(environment=worker, folder=folder, runner=self._runner)
        folder.mkdir(parents=True)
        try:
            body = write_files(
                folder, settings, prepared.plan, prepared.stack,
                joined=prepared.joined, labels=prepared.labels, probe=prepared.probe, root=request.root,
            )  # fmt: skip
            finished = exchange.ask(
                body,
                seed=request.seed,
                deadline_seconds=settings.deadline_seconds,
                checkpoints=request.checkpoints,
                on_progress=_Watch(settings.epochs, report).line,
            )
            order = prepared.plan.column_order
            shapes = [array.shape for array in prepared.stack.weights()]
            weights = exchange.weights(finished, shapes=shapes)
            weights[0] = _back_in_order(weights[0], order)
            exchange.require_probe(finished, _probe_scores(prepared, weights), tolerance=_PROBE_TOLERANCE)
        finally:
            # Rows in the clear have no business in the run folder once the parties have read them.
            shutil.rmtree(folder / "owners", ignore_errors=True)
            (folder / "probe_inputs.npz").unlink(missing_ok=True)
        return _Answer(finished=finished, weights=weights)

    def _record(
        self,
        request: TrainingRequest,
        settings: EncryptedSettings,
        prepared: _Prepared,
        executed: Executed,
        cost: EncryptionCost,
        *,
        workdir: Path,
        versions: dict[str, str],
    ) -> TrainedModel:
        from probity.trainers.export import export, weights_digest

        return TrainedModel(
            trainer=self.name,
            mechanism=mechanism_of(settings),
            digest=export(
                prepared.model, request.transform, transform_folder=request.transform_folder, workdir=workdir
            ),
            weights=weights_digest(prepared.model),
            train_examples=request.examples.files["train"].digest,
            transform=request.transform.digest,
            settings=settings.to_json(),
            seed=request.seed,
            num_train_examples=len(prepared.labels),
            num_train_units=request.num_units,
            num_parameters=prepared.model.count_params(),
            steps=executed.steps,
            epochs=executed.epochs,
            best_epoch=executed.epochs,
            chosen_on_eval=False,
            history=_history(executed),
            environment=versions,
            warnings=tuple(_warnings(settings, prepared, executed)),
            encryption=cost,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Prepared:
    """The model, and the training split as the parties will have it."""

    model: Any
    stack: Stack
    plan: Plan
    inputs: dict[str, npt.NDArray[np.float32]]
    joined: npt.NDArray[np.float32]
    labels: npt.NDArray[np.float32]
    probe: npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Answer:
    """What the worker left, checked."""

    finished: WorkerFinished
    weights: list[npt.NDArray[np.float32]]


def _prepare(request: TrainingRequest, settings: EncryptedSettings) -> _Prepared:
    import numpy as np
    import tensorflow as tf

    from probity.trainers.architecture import build
    from probity.trainers.encrypted.parts import plan
    from probity.trainers.encrypted.stack import stack_of

    tf.keras.utils.set_random_seed(request.seed)
    model = build(request.model, request.transform.outputs, root=request.root)
    stack = stack_of(model, protocol=settings.protocol)
    inputs, labels = request.examples.arrays("train")
    joined = np.concatenate([inputs[name] for name in stack.inputs], axis=1)
    parts = plan(settings, request.transform.outputs, stack.inputs, rows=len(labels), seed=request.seed)
    return _Prepared(
        model=model, stack=stack, plan=parts, inputs=inputs, joined=joined, labels=labels, probe=joined[:_PROBE_ROWS]
    )


class _Watch:
    """Turns the worker's lines into progress that ascends."""

    def __init__(self, epochs: int, report: Progress) -> None:
        self._epochs, self._report = epochs, report
        report(0.0, "starting the parties and compiling the step on shares")

    def line(self, line: dict[str, Any]) -> None:
        epoch, seconds = line.get("epoch"), line.get("seconds")
        if not isinstance(epoch, int) or not isinstance(seconds, int | float) or not 1 <= epoch <= self._epochs:
            return
        self._report(0.9 * epoch / self._epochs, f"epoch {epoch} of {self._epochs} on shares, {seconds:.1f} s")


def _executed(result: _Answer) -> Executed:
    try:
        return Executed.model_validate(result.finished.body)
    except ValidationError as error:
        raise WorkerContractError(
            f"worker {_NAME}",
            seen=f"{error.error_count()} entries of the result's body are missing or of another form",
            allowed="what this version's worker writes",
            remedy=f"run: probity workers sync {_NAME}",
        ) from error


def _back_in_order(kernel: npt.NDArray[np.float32], order: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Returns the first kernel with its rows in the model's order instead of the owners'."""
    import numpy as np

    found = np.empty_like(kernel)
    found[order] = kernel
    return found


def _probe_scores(prepared: _Prepared, weights: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    import numpy as np

    model = prepared.stack.sequential()
    model.set_weights(weights)
    logits = np.asarray(model(prepared.probe), np.float64)[:, 0]
    scores: npt.NDArray[np.float32] = (1.0 / (1.0 + np.exp(-logits))).astype(np.float32)
    return scores


def _twin(settings: EncryptedSettings, prepared: _Prepared) -> Twin | None:
    from probity.trainers.encrypted.twin import train_twin

    if not settings.compare or settings.data_owners.files == "own":
        return None
    return train_twin(
        prepared.stack, prepared.plan, prepared.joined, prepared.labels, learning_rate=settings.learning_rate
    )


def _cost(
    request: TrainingRequest,
    settings: EncryptedSettings,
    prepared: _Prepared,
    executed: Executed,
    twin: Twin | None,
    *,
    trained: list[npt.NDArray[np.float32]],
    workdir: Path,
) -> EncryptionCost:
    """Says what shares cost, and exports the model of the comparison."""
    import numpy as np

    from probity.trainers.export import export

    seconds = [epoch.seconds for epoch in executed.history]
    mean = float(np.mean(seconds)) if seconds else None
    if twin is None:
        reason = (
            "the data owners' rows are not here"
            if settings.data_owners.files == "own"
            else "the settings say compare: false"
        )
        return EncryptionCost(seconds_per_epoch=mean, sent_bytes=executed.sent_bytes, no_comparison=reason)
    prepared.stack.set_weights(twin.weights)
    pairs = zip(trained, twin.weights, strict=True)
    return EncryptionCost(
        seconds_per_epoch=mean,
        sent_bytes=executed.sent_bytes,
        plaintext=export(
            prepared.model, request.transform, transform_folder=request.transform_folder, workdir=workdir / PLAINTEXT
        ),
        plaintext_seconds_per_epoch=twin.seconds_per_epoch,
        largest_weight_difference=float(max(np.abs(own - plain).max() for own, plain in pairs)),
    )


def _history(executed: Executed) -> dict[str, tuple[float, ...]]:
    """Returns what is known of every epoch; nothing of those that an earlier attempt executed."""
    if executed.resumed_epochs or len(executed.history) != executed.epochs:
        return {}
    found = {"seconds": tuple(epoch.seconds for epoch in executed.history)}
    losses = [epoch.brier_score for epoch in executed.history if epoch.brier_score is not None]
    return {**found, "brier_score": tuple(losses)} if len(losses) == executed.epochs else found


def _warnings(settings: EncryptedSettings, prepared: _Prepared, executed: Executed) -> list[str]:
    found = []
    if settings.execution == "simulated":
        found.append("one process simulated all parties: this run hid nothing from whoever ran it")
    elif settings.data_owners.files == "dealt":
        found.append("the data owners' parts were dealt by this run, which has all rows in the clear")
    if executed.resumed_epochs:
        found.append(f"{executed.resumed_epochs} epochs were continued from the servers' shared checkpoints")
    left = len(prepared.labels) - prepared.plan.rows_per_epoch
    if left:
        found.append(f"{left} rows, drawn anew for every epoch, did not fill a batch and sat it out")
    if settings.data_owners.files == "own":
        found.append("the rows are the data owners' own: that this run's split has the same is their word")
    return found
