"""The trainer ``dp_sgd``: differentially private stochastic gradient descent on a Keras model.

It executes the mechanism that it was given and says what it executed. It has no accountant and states no epsilon.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from probity.canaries import GRADIENT_SCORES, write_arrays
from probity.digest import digest_bytes, digest_file, digest_json
from probity.errors import ConfigError, TrainingError
from probity.model import DpSgd, Mechanism, TrainedModel
from probity.task import Task
from probity.trainers.base import Population, Progress, TrainerSettings, TrainingRequest, Uncalibrated
from probity.trainers.dp_sgd import mitigation
from probity.trainers.dp_sgd.canaries import Planted, plant, planted_rows, planted_units
from probity.trainers.dp_sgd.checkpoints import Checkpoints, Snapshot
from probity.trainers.dp_sgd.choice import Choice, choose
from probity.trainers.dp_sgd.settings import DpSgdSettings, OptimizerSettings, propose, target_delta
from probity.trainers.mitigation.settings import distributions

if TYPE_CHECKING:
    from probity.trainers.dp_sgd.keystream import KeyStream
    from probity.trainers.dp_sgd.loop import Loop, Outcome
    from probity.trainers.dp_sgd.sampling import Batches
    from probity.trainers.dp_sgd.steps import Steps

__all__ = ["DpSgdTrainer"]

_NAME = "trainer dp_sgd"
_PACKAGES = ("cryptography", "tensorflow-privacy")


class DpSgdTrainer:
    """Trains with clipped, noisy gradients: the mechanism is :class:`~probity.model.DpSgd`."""

    name: ClassVar[str] = "dp_sgd"
    settings_type: ClassVar[type[TrainerSettings]] = DpSgdSettings
    plants_gradients: ClassVar[bool] = True
    tasks: ClassVar[frozenset[Task]] = frozenset({"binary"})

    def propose(self, settings: TrainerSettings, population: Population) -> Mechanism | Uncalibrated:
        """Returns what these settings mean for such a population; see :func:`probity.trainers.dp_sgd.settings.propose`.

        The engine of the mechanism is the one asked for, ``auto`` included: which one can be used depends on the model.
        """
        return propose(_own(settings), population)

    def train(self, request: TrainingRequest, *, workdir: Path, report: Progress) -> TrainedModel:
        """Trains, exports and says what happened; see :meth:`probity.trainers.base.Trainer.train`.

        Guarantees: the training rows reach the exported model through the noisy sums of the mechanism and in no other
        way; the recorded mechanism is the one of the request, with the engine that was used. Where patience ended
        training early, the whole mechanism is recorded all the same: when to stop was decided by looking at outcomes,
        and what is proven then is the epsilon of all the steps that might have been executed (Whitehouse et al. 2023,
        Fully Adaptive Composition in Differential Privacy). ``TrainedModel.steps`` says how many were.

        Raises:
            ConfigError: If no engine can take the model, or the request does not go together.
            TrainingError: If the weights are not finite, or the scores are not probabilities.
        """
        job = _prepare(request)
        frozen = _frozen(job.model)
        snapshot = job.checkpoints.read()
        steps = _steps(job)
        outcome = _loop(job, steps, snapshot).run(report, resume=snapshot)
        _require_untouched(job.model, frozen)
        report(1.0, "exporting the model")
        record = _export(job, outcome, workdir=workdir)
        if job.planted is not None:
            _write_canaries(steps, workdir)
        job.checkpoints.remove()
        return record


@dataclass(frozen=True, kw_only=True)
class _Job:
    """A request with everything that was made from it before the first step."""

    request: TrainingRequest
    settings: DpSgdSettings
    mechanism: DpSgd
    model: Any
    planted: Planted | None
    engine: Choice
    train: tuple[dict[str, Any], Any]
    validation: tuple[dict[str, Any], Any]
    weights: Any
    """Weight of each training row's loss; ``None``: each counts once."""
    checkpoints: Checkpoints

    @property
    def chosen_on_eval(self) -> bool:
        return self.settings.patience is not None and len(self.validation[1]) > 0


def _own(settings: TrainerSettings) -> DpSgdSettings:
    if not isinstance(settings, DpSgdSettings):
        raise TypeError(f"the trainer dp_sgd takes DpSgdSettings, not {type(settings).__name__}")
    return settings


def _agreed(request: TrainingRequest) -> DpSgd:
    """Returns the mechanism to execute, which is one that the settings mean for these rows, or raises."""
    rows, unit = request.examples.files["train"].num_rows, request.dataset.privacy_unit
    population = Population(num_rows=request.num_rows, num_units=request.num_units, unit=unit)
    proposal: Mechanism | Uncalibrated = propose(_own(request.settings), population)
    mechanism = request.mechanism
    if isinstance(proposal, Uncalibrated) and isinstance(mechanism, DpSgd):
        proposal = proposal.with_noise_multiplier(mechanism.noise_multiplier)
    if not isinstance(mechanism, DpSgd) or mechanism != proposal:
        raise ConfigError(
            f"{_NAME}, mechanism",
            seen="one that the settings do not mean for these rows",
            allowed="the trainer's own proposal, calibrated",
            remedy="propose, calibrate and train with the same settings and rows",
        )
    given = None if request.units is None else len(request.units)
    if (given is None) != (unit == "row") or given not in (None, rows):
        raise ConfigError(
            f"{_NAME}, units",
            seen=f"{'no units' if given is None else f'units of {given} rows'} for {rows} rows of unit {unit}",
            allowed="one unit per training row where data.privacy_unit is a column, and none where it is row",
            remedy="pass the units of the training rows in file order",
        )
    return mechanism


def _prepare(request: TrainingRequest) -> _Job:
    import numpy as np
    import tensorflow as tf

    from probity.trainers.architecture import build

    settings, mechanism = _own(request.settings), _agreed(request)
    # Initial weights and dropout masks may be known to anybody; batches and noise never come from this seed.
    tf.keras.utils.set_random_seed(request.seed)
    if settings.noise_seed is not None:
        tf.config.experimental.enable_op_determinism()
    model = build(request.model, request.transform.outputs, root=request.root)
    row_clip_norm = mechanism.l2_clip_norm / mechanism.rows_per_unit
    engine = choose(model, settings.engine, l2_clip_norm=row_clip_norm)
    train, planted = request.examples.arrays("train"), None
    weights = mitigation.row_weights(request, settings.mitigation, train[1])
    if request.gradient_canaries is not None:
        # Refusals and warnings are about the owner's model; then the same engine takes it with the canaries.
        planted = plant(model, len(request.gradient_canaries))
        of_planted = choose(planted.model, engine.name, l2_clip_norm=row_clip_norm)
        engine = replace(engine, clipped_sum=of_planted.clipped_sum)
        train = planted_rows(*train, request.gradient_canaries, rows_per_unit=mechanism.rows_per_unit)
        if weights is not None:  # planted rows weigh as much as a row may weigh on average
            weights = np.concatenate([weights, np.ones(len(train[1]) - len(weights), np.float32)])
    mechanism = mechanism.model_copy(update={"engine": engine.name})
    return _Job(
        request=request,
        settings=settings,
        mechanism=mechanism,
        model=model,
        planted=planted,
        engine=engine,
        train=train,
        validation=request.examples.arrays("eval"),
        weights=weights,
        checkpoints=Checkpoints(request.checkpoints, identity=_identity(request, mechanism, model)),
    )


def _identity(request: TrainingRequest, mechanism: DpSgd, model: Any) -> str:
    """Returns the digest of everything that a training depends on: a checkpoint of another one must not be taken up."""
    from probity.trainers.export import weights_digest
    from probity.usercode import module_path

    module, units, canaries = request.model.module, request.units, request.gradient_canaries
    groups = None if request.groups is None else request.groups.codes["train"]
    return digest_json(
        {
            "mechanism": mechanism.to_json(),
            "settings": request.settings.to_json(),
            "seed": request.seed,
            "model": request.model.to_json(),
            "module": module and digest_file(module_path(module, root=request.root, key="model.module")),
            "initial_weights": weights_digest(model),
            "examples": {split: request.examples.files[split].digest for split in ("train", "eval")},
            "transform": request.transform.digest,
            "units": None if units is None else digest_bytes(units.tobytes()),
            "groups": None if groups is None else digest_bytes(groups.tobytes()),
            "gradient_canaries": None if canaries is None else digest_bytes(canaries.tobytes()),
        }
    )


def _steps(job: _Job) -> Steps:
    from probity.trainers.dp_sgd.steps import Steps

    settings, (inputs, labels) = job.settings, job.train
    return Steps(
        job.model if job.planted is None else job.planted.model,
        job.engine.clipped_sum,
        optimizer=_optimizer(settings.optimizer),
        mechanism=job.mechanism,
        inputs=inputs,
        labels=labels,
        weights=job.weights,
        physical_batch_size=settings.physical_batch_size,
        averaging=settings.average != "none",
        watched=None if job.planted is None else job.planted.place,
    )


def _loop(job: _Job, steps: Steps, snapshot: Snapshot | None) -> Loop:
    from probity.trainers.dp_sgd.evaluation import Evaluation
    from probity.trainers.dp_sgd.loop import Loop
    from probity.trainers.dp_sgd.noise import GaussianNoise
    from probity.trainers.dp_sgd.sampling import BoundedRows

    settings, mechanism, units = job.settings, job.mechanism, job.request.units
    if units is not None and job.request.gradient_canaries is not None:
        units = planted_units(units, job.request.gradient_canaries, rows_per_unit=mechanism.rows_per_unit)
    return Loop(
        steps,
        mechanism=mechanism,
        batches=_batches(job, snapshot),
        rows=None
        if units is None
        else BoundedRows(units, rows_per_unit=mechanism.rows_per_unit, stream=_stream(settings, "rows")),
        noise=GaussianNoise(steps.size, stream=_stream(settings, "noise")) if steps.noisy else None,
        evaluation=Evaluation(job.model, *job.validation),
        checkpoints=job.checkpoints,
        average=settings.average,
        patience=settings.patience,
    )


def _batches(job: _Job, snapshot: Snapshot | None) -> Batches:
    from probity.trainers.dp_sgd.sampling import PoissonBatches, ShuffledBatches

    units, stream = job.request.num_units, _stream(job.settings, "batches")
    if job.mechanism.sampling == "poisson":
        return PoissonBatches(units, sampling_prob=job.mechanism.sampling_prob, stream=stream)
    state = None if snapshot is None else snapshot.batches[0].astype("int64")
    return ShuffledBatches(units, batch_size=job.settings.expected_batch_size, stream=stream, state=state)


def _stream(settings: DpSgdSettings, purpose: str) -> KeyStream:
    from probity.trainers.dp_sgd.keystream import KeyStream

    return KeyStream(purpose, fixed_seed=settings.noise_seed)


def _optimizer(settings: OptimizerSettings) -> Any:
    import tensorflow as tf

    decay = settings.weight_decay or None
    if settings.kind == "adam":
        return tf.keras.optimizers.Adam(settings.learning_rate, weight_decay=decay)
    return tf.keras.optimizers.SGD(settings.learning_rate, momentum=settings.momentum, weight_decay=decay)


def _frozen(model: Any) -> list[Any]:
    return [variable.numpy() for variable in model.non_trainable_variables if variable.dtype.is_floating]


def _write_canaries(steps: Steps, workdir: Path) -> None:
    """Writes how much the noisy sums held of each canary's axis; the first weight belongs to no canary."""
    write_arrays(workdir / GRADIENT_SCORES, scores=steps.watched_sums.reshape(-1)[1:].astype("float64"))


def _require_untouched(model: Any, before: list[Any]) -> None:
    """Raises if training changed weights that are not trained: they would carry data past clipping and noise."""
    import numpy as np

    if all(map(np.array_equal, before, _frozen(model))):
        return
    raise TrainingError(
        "model",
        seen="weights that are not trainable were changed by calling the model in training",
        allowed="layers that keep nothing of the rows that pass through them",
        remedy="use layers without moving statistics, such as LayerNormalization",
    )


def _export(job: _Job, outcome: Outcome, *, workdir: Path) -> TrainedModel:
    from probity.trainers.export import export, weights_digest
    from probity.trainers.outcome import environment, require_probabilities

    request, model = job.request, job.model
    require_probabilities(model, (job.validation if len(job.validation[1]) else job.train)[0])
    applied, described = mitigation.after_training(
        request, job.settings.mitigation, model=model, validation=job.validation, workdir=workdir
    )
    return TrainedModel(
        trainer=DpSgdTrainer.name,
        mechanism=job.mechanism,
        digest=export(
            model,
            request.transform,
            transform_folder=request.transform_folder,
            workdir=workdir,
            rule=None if applied is None else applied.rule,
        ),
        weights=weights_digest(model),
        train_examples=request.examples.files["train"].digest,
        transform=request.transform.digest,
        settings=job.settings.to_json(),
        seed=request.seed,
        num_train_examples=len(job.train[1]),
        num_train_units=request.num_units,
        target_delta=target_delta(job.settings),
        num_parameters=model.count_params(),
        steps=outcome.steps,
        epochs=outcome.epochs,
        best_epoch=outcome.best_epoch,
        chosen_on_eval=job.chosen_on_eval,
        history=outcome.history,
        environment=environment(devices=1, packages=(*_PACKAGES, *distributions(job.settings.mitigation))),
        warnings=(*job.engine.warnings, *_warnings(job, outcome), *(() if applied is None else applied.warnings)),
        mitigation=described,
        uncovered=() if applied is None else applied.reads,
    )


def _warnings(job: _Job, outcome: Outcome) -> list[str]:
    warnings = []
    if job.settings.noise_seed is not None:
        warnings.append("noise_seed is for tests: noise and batches can be repeated, so they hide nothing")
    if job.mechanism.noise_multiplier == 0.0:
        warnings.append("no noise was added: training was not private")
    if job.settings.patience is not None and not job.chosen_on_eval:
        warnings.append("the eval split is empty: patience had nothing to look at, and the last weights were kept")
    if job.chosen_on_eval:
        warnings.append("the eval split decided which weights were kept; the privacy of its rows is not covered")
    if outcome.stopped_early:
        warnings.append(
            f"patience ended training after {outcome.steps} of {job.mechanism.steps} steps; all of them are accounted "
            "for, because a smaller epsilon is not proven where outcomes decide when to stop"
        )
    if outcome.resumed_at is not None:
        warnings.append(f"training was interrupted, and went on from step {outcome.resumed_at}")
    return warnings
