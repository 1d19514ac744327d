"""The plain trainer: mini-batch gradient descent in Keras, without clipping or noise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from probity.model import UNMITIGATED, Mechanism, Mitigation, NonPrivate, TrainedModel
from probity.task import TASKS, Task
from probity.trainers.base import Population, Progress, TrainerSettings, TrainingRequest
from probity.trainers.mitigation.settings import (
    AnyMitigation,
    MitigationSettings,
    NoMitigation,
    distributions,
    require_extra,
)

if TYPE_CHECKING:
    from probity.trainers.fitting import Fitted, Rows
    from probity.trainers.mitigation.methods import Applied

__all__ = ["PlainSettings", "PlainTrainer"]


class PlainSettings(TrainerSettings):
    """Settings of the trainer ``plain``."""

    epochs: int = Field(default=8, ge=1, le=10_000)
    """Largest number of passes over the training split."""
    batch_size: int = Field(default=256, ge=1)
    """Rows per optimiser step; raised to the next multiple of the number of devices."""
    learning_rate: float = Field(default=0.001, gt=0.0, allow_inf_nan=False)
    """Step size of the optimiser."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """``adam``, or ``sgd`` without momentum."""
    weight_decay: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    """Decoupled weight decay per step, as a share of the learning rate (Loshchilov & Hutter 2019)."""
    patience: int = Field(default=2, ge=1)
    """Stop after this many epochs without a smaller loss on the eval split; the best epoch's weights are kept."""
    mitigation: AnyMitigation = NoMitigation()
    """What is done about differences between groups: ``none``, or a mapping with ``method`` and ``across``."""

    @property
    def across(self) -> tuple[str, ...]:
        """The sensitive attributes whose groups the mitigation reads."""
        return self.mitigation.across

    def require_packages(self) -> None:
        """Raises :class:`~probity.errors.MissingExtraError` if what the mitigation needs is not installed."""
        require_extra(self.mitigation)


class PlainTrainer:
    """Trains without privacy: the mechanism is :class:`~probity.model.NonPrivate`."""

    name: ClassVar[str] = "plain"
    settings_type: ClassVar[type[TrainerSettings]] = PlainSettings
    plants_gradients: ClassVar[bool] = False
    tasks: ClassVar[frozenset[Task]] = frozenset(TASKS)

    def propose(self, settings: TrainerSettings, population: Population) -> Mechanism:
        """Returns that no noise will be added."""
        return NonPrivate()

    def train(self, request: TrainingRequest, *, workdir: Path, report: Progress) -> TrainedModel:
        """Trains, exports and says what happened; see :meth:`probity.trainers.base.Trainer.train`.

        Guarantees: with the same data, settings, seed, library versions and hardware, the weights are equal bit by bit.

        Raises:
            ConfigError: If the user's ``build_model`` cannot be used.
            TrainingError: If the loss is not finite, or the scores are not what the task asks for.
        """
        from probity.trainers.export import export, weights_digest
        from probity.trainers.fitting import rows_of
        from probity.trainers.outcome import environment, require_scores

        settings = _own(request.settings)
        train, validation = rows_of(request, "train"), rows_of(request, "eval")
        done = _train(request, settings, train, validation, workdir=workdir, report=report)
        fitted, applied = done.fitted, done.applied
        require_scores(fitted.model, train.inputs, request.dataset.task)
        report(1.0, "exporting the model")
        return TrainedModel(
            trainer=self.name,
            mechanism=NonPrivate(),
            digest=export(
                fitted.model,
                request.transform,
                transform_folder=request.transform_folder,
                workdir=workdir,
                rule=None if applied is None else applied.rule,
            ),
            weights=weights_digest(fitted.model),
            train_examples=request.examples.files["train"].digest,
            transform=request.transform.digest,
            settings=fitted.settings.to_json(),
            seed=request.seed,
            num_train_examples=len(train),
            num_train_units=request.num_units,
            num_parameters=fitted.model.count_params(),
            steps=fitted.steps,
            epochs=fitted.epochs,
            best_epoch=fitted.best_epoch,
            chosen_on_eval=bool(len(validation)),
            history=fitted.history,
            environment=environment(devices=fitted.devices, packages=distributions(settings.mitigation)),
            warnings=done.warnings,
            mitigation=done.mitigation,
            uncovered=() if applied is None else applied.reads,
        )


@dataclass(frozen=True, kw_only=True)
class _Done:
    """The model to export, and what was done about differences between groups."""

    fitted: Fitted
    warnings: tuple[str, ...]
    applied: Applied | None = None
    mitigation: Mitigation | None = None


def _train(
    request: TrainingRequest, settings: PlainSettings, train: Rows, validation: Rows, *, workdir: Path, report: Progress
) -> _Done:
    from probity.trainers.fitting import fit

    if isinstance(settings.mitigation, MitigationSettings):
        return _train_twice(request, settings, settings.mitigation, train, validation, workdir=workdir, report=report)
    fitted = fit(request, settings, train=train, validation=validation, report=report, logs=workdir / "logs")
    return _Done(fitted=fitted, warnings=tuple(fitted.warnings))


def _train_twice(
    request: TrainingRequest,
    settings: PlainSettings,
    mitigation: MitigationSettings,
    train: Rows,
    validation: Rows,
    *,
    workdir: Path,
    report: Progress,
) -> _Done:
    """Trains without the mitigation, exports that for the comparison, and applies the mitigation."""
    from probity.trainers.export import export
    from probity.trainers.fitting import fit
    from probity.trainers.mitigation.methods import groups_for, mitigate, recorded

    groups_for(request, mitigation)  # before minutes of training
    without = workdir / UNMITIGATED
    before = fit(
        request, settings, train=train, validation=validation, report=_first_half(report), logs=without / "logs"
    )
    digest = export(before.model, request.transform, transform_folder=request.transform_folder, workdir=without)
    fitted, applied = mitigate(
        request,
        mitigation,
        unmitigated=before,
        train=train,
        validation=validation,
        report=_second_half(report),
        logs=workdir / "logs",
    )
    return _Done(
        fitted=fitted,
        warnings=(*before.warnings, *applied.warnings),
        applied=applied,
        mitigation=recorded(mitigation, applied, request.dataset, unmitigated=digest),
    )


def _own(settings: TrainerSettings) -> PlainSettings:
    if not isinstance(settings, PlainSettings):
        raise TypeError(f"the trainer plain takes PlainSettings, not {type(settings).__name__}")
    return settings


def _first_half(report: Progress) -> Progress:
    return lambda fraction, text: report(fraction / 2.0, f"without mitigation: {text}")


def _second_half(report: Progress) -> Progress:
    return lambda fraction, text: report(0.5 + fraction / 2.0, text)
