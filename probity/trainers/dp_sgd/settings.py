"""Settings of the trainer ``dp_sgd``, and the mechanism that they mean for a population."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from probity.errors import ConfigError
from probity.model import DpSgd
from probity.record import Number, Record
from probity.trainers.base import Population, TrainerSettings, Uncalibrated
from probity.trainers.mitigation.settings import NoMitigation, PrivateMitigation, require_extra

__all__ = ["DpSgdSettings", "OptimizerSettings", "propose"]

_NAME = "trainer dp_sgd"
_ADAM_DEFAULTS = {"learning_rate": 0.01, "momentum": 0.0}


class OptimizerSettings(Record):
    """What the optimiser does with the noisy mean gradient; it costs no privacy."""

    kind: Literal["sgd", "adam"] = "sgd"
    """``sgd`` (with ``momentum``) or ``adam``."""
    learning_rate: float = Field(default=1.0, gt=0.0)
    """Step size; 0.01 for ``adam`` where it is not given."""
    momentum: float = Field(default=0.6, ge=0.0, lt=1.0)
    """Share of the last update that is repeated, for ``sgd``; ``adam`` has moments of its own and takes none."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    """Decoupled weight decay per step, as a share of the learning rate (Loshchilov & Hutter 2019)."""

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_adam(cls, given: Any) -> Any:
        return {**_ADAM_DEFAULTS, **given} if isinstance(given, dict) and given.get("kind") == "adam" else given

    @model_validator(mode="after")
    def _adam_takes_no_momentum(self) -> OptimizerSettings:
        if self.kind == "adam" and self.momentum:
            raise ValueError("momentum belongs to sgd; leave it out with adam")
        return self


class DpSgdSettings(TrainerSettings):
    """Settings of the trainer ``dp_sgd``. Exactly one of ``target_epsilon`` and ``noise_multiplier`` is given."""

    target_epsilon: float | None = None
    """Add the least noise with which epsilon stays at or below this; greater than 0."""
    noise_multiplier: float | None = Field(default=None, ge=0.0)
    """Standard deviation of the noise over ``l2_clip_norm``. 0 adds none: epsilon is infinite."""
    delta: Literal["auto"] | Annotated[float, Field(gt=0.0, lt=1.0)] = "auto"
    """Delta of the privacy statement, below one over the number of units. ``auto``: the largest such power of ten."""
    l2_clip_norm: Number = Field(default=1.0, gt=0.0)
    """Largest L2 norm with which one unit enters the sum of a step. ``.inf`` does not clip, and needs
    ``noise_multiplier: 0``."""
    expected_batch_size: int = Field(default=2048, ge=1)
    """Units per step: on average (``poisson``), or exactly but for the last batch of a pass (``shuffled``)."""
    epochs: int = Field(default=30, ge=1, le=10_000)
    """How often each unit takes part: on average (``poisson``), or exactly (``shuffled``)."""
    sampling: Literal["poisson", "shuffled"] = "poisson"
    """``poisson``: every unit independently at every step. ``shuffled``: a new order for each pass, accounted without
    amplification, so the same noise gives a much larger epsilon."""
    rows_per_unit: int = Field(default=1, ge=1)
    """Largest number of rows that one unit gives to one step, drawn anew each time; each is clipped to
    ``l2_clip_norm / rows_per_unit``. Only where ``data.privacy_unit`` is a column."""
    optimizer: OptimizerSettings = OptimizerSettings()
    """The optimiser."""
    average: Literal["none", "ema", "tail"] = "none"
    """Which weights are released: the last ones; ``ema``: an exponential moving average over about one epoch;
    ``tail``: the mean of the second half of all steps. Averages hold less noise, and cost no privacy."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after this many epochs without a smaller loss on the eval split and keep the best epoch's weights. Not
    covered by the privacy statement, as the eval split decides; off unless it is given."""
    engine: Literal["auto", "book_keeping", "tensorflow_privacy"] = "auto"
    """What computes the clipped sums. ``auto``: the first of the others that knows all layers of the model."""
    physical_batch_size: int = Field(default=4096, ge=1)
    """Rows in memory at once; larger batches are summed in pieces, which changes nothing but memory and time."""
    mitigation: PrivateMitigation = NoMitigation()
    """What is done about differences between groups: ``none``, or a mapping with ``method`` and ``across``. The weights
    of ``reweighing`` are computed from the training rows without noise, which no epsilon covers."""
    noise_seed: int | None = None
    """For tests only: makes noise and batches repeatable. They hide nothing then, and no privacy statement is made."""

    @property
    def across(self) -> tuple[str, ...]:
        """The sensitive attributes whose groups the mitigation reads."""
        return self.mitigation.across

    def require_packages(self) -> None:
        """Raises :class:`~probity.errors.MissingExtraError` if what the mitigation needs is not installed."""
        require_extra(self.mitigation)

    @field_validator("target_epsilon")
    @classmethod
    def _epsilon_zero_is_no_limit_at_all(cls, value: float | None) -> float | None:
        if value is not None and value <= 0.0:
            raise ValueError(
                "epsilon must be greater than 0: a model with epsilon 0 may not depend on the data at all, and 0 never "
                "means without a limit"
            )
        return value

    @model_validator(mode="after")
    def _exactly_one_amount_of_noise(self) -> DpSgdSettings:
        if (self.target_epsilon is None) == (self.noise_multiplier is None):
            raise ValueError("exactly one of target_epsilon and noise_multiplier is given")
        if math.isinf(self.l2_clip_norm) and self.noise_multiplier != 0.0:
            raise ValueError(
                "without clipping (l2_clip_norm: .inf) no noise is enough; give noise_multiplier: 0 with it"
            )
        return self


def propose(settings: DpSgdSettings, population: Population) -> DpSgd | Uncalibrated:
    """Returns the mechanism that these settings mean for such a population.

    ========  ==============================  ====================================================================
    sampling  ``sampling_prob`` ``q``         steps
    ========  ==============================  ====================================================================
    poisson   expected batch size over units  ``epochs / q``, rounded
    shuffled  batch size over units           ``epochs * ceil(units / batch size)``: the last, smaller batch counts
    ========  ==============================  ====================================================================

    Raises:
        ConfigError: If settings and population do not go together.
    """
    _require_fitting(settings, population)
    if settings.noise_multiplier is not None:
        return _mechanism(settings, population, settings.noise_multiplier)
    if settings.target_epsilon is None:
        raise AssertionError("the settings' own validation lets exactly one be None")
    return Uncalibrated(
        target_epsilon=settings.target_epsilon,
        target_delta=target_delta(settings),
        with_noise_multiplier=lambda noise_multiplier: _mechanism(settings, population, noise_multiplier),
    )


def target_delta(settings: DpSgdSettings) -> float | None:
    """Returns the delta that was asked for, or ``None`` where the auditor's rule is to decide."""
    return None if settings.delta == "auto" else settings.delta


def _mechanism(settings: DpSgdSettings, population: Population, noise_multiplier: float) -> DpSgd:
    units, batch = population.num_units, settings.expected_batch_size
    shuffled = settings.sampling == "shuffled"
    steps = (
        settings.epochs * math.ceil(units / batch) if shuffled else math.floor(settings.epochs / (batch / units) + 0.5)
    )
    return DpSgd(
        noise_multiplier=noise_multiplier,
        noise_source="os_entropy" if settings.noise_seed is None else "fixed_seed",
        sampling=settings.sampling,
        sampling_prob=batch / units,
        max_participations=settings.epochs if shuffled else None,
        steps=steps,
        l2_clip_norm=settings.l2_clip_norm,
        expected_batch_size=batch,
        normalization="expected_batch_size",
        unit=population.unit,
        rows_per_unit=settings.rows_per_unit,
        engine=settings.engine,
    )


def _require_fitting(settings: DpSgdSettings, population: Population) -> None:
    units = population.num_units
    if settings.expected_batch_size > units:
        raise ConfigError(
            f"{_NAME}, expected_batch_size",
            seen=f"{settings.expected_batch_size}, with {units} units in the training split",
            allowed=f"at most {units}",
            remedy="use a smaller expected_batch_size",
        )
    if settings.delta != "auto" and settings.delta * units >= 1.0:
        raise ConfigError(
            f"{_NAME}, delta",
            seen=f"{settings.delta:g}, with {units} units in the training split",
            allowed=f"less than 1/{units}: at that delta, publishing one unit's rows outright would count as private",
            remedy="use delta: auto",
        )
    if settings.rows_per_unit > 1 and population.unit == "row":
        raise ConfigError(
            f"{_NAME}, rows_per_unit",
            seen=f"{settings.rows_per_unit}, where each row is a unit",
            allowed="1",
            remedy="leave rows_per_unit out, or name the unit's column in data.privacy_unit",
        )
