"""What may stand under ``trainer: {mitigation: ...}``: ``none``, or one method with its settings."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator

from probity.errors import MissingExtraError
from probity.record import Record

__all__ = [
    "EXTRA",
    "AnyMitigation",
    "Constraint",
    "ExponentiatedGradientSettings",
    "MinDiffSettings",
    "MitigationSettings",
    "NoMitigation",
    "PrivateMitigation",
    "ReweighingSettings",
    "ThresholdOptimizerSettings",
    "distributions",
    "require_extra",
]

EXTRA = "mitigation"
"""The extra of this distribution that brings the libraries."""

Constraint = Literal["demographic_parity", "equal_opportunity", "false_positive_rate_parity", "equalized_odds"]
"""Which rates are to be alike between groups.

===========================  ===========================================================================================
demographic_parity           selection_rate
equal_opportunity            true_positive_rate where the positive prediction benefits a person, else true_negative_rate
                             (Hardt et al. 2016, definition 2.2)
false_positive_rate_parity   false_positive_rate
equalized_odds               true_positive_rate and false_positive_rate (Hardt et al. 2016, definition 2.1)
===========================  ===========================================================================================
"""


class NoMitigation(Record):
    """Nothing is done about differences between groups; they are measured all the same."""

    method: Literal["none"] = "none"
    """``none``. ``mitigation: none`` is short for it."""

    @property
    def across(self) -> tuple[str, ...]:
        """No attribute is read."""
        return ()


class MitigationSettings(Record):
    """What every method is told."""

    packages: ClassVar[tuple[str, ...]] = ()
    """Import names of what the method needs beyond this distribution's own requirements."""

    across: tuple[str, ...] = Field(min_length=1)
    """Sensitive attribute, or list of them for one intersection, whose groups are to be treated more alike. Each is
    declared under ``data.sensitive``."""

    @field_validator("across", mode="before")
    @classmethod
    def _one_name(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("across")
    @classmethod
    def _names_differ(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError("across names an attribute twice")
        return names


class ReweighingSettings(MitigationSettings):
    """Weights under which group and label are independent in the training rows (Kamiran and Calders 2012)."""

    method: Literal["reweighing"] = "reweighing"
    """``reweighing``."""


class MinDiffSettings(MitigationSettings):
    """A penalty on the distance between score distributions of groups (Prost et al. 2019, Beutel et al. 2019)."""

    packages: ClassVar[tuple[str, ...]] = ("tensorflow_model_remediation",)

    method: Literal["mindiff"] = "mindiff"
    """``mindiff``."""
    equalizes: Literal["false_positive_rate", "false_negative_rate"] = "false_negative_rate"
    """Whose scores are to be distributed alike between groups: those of rows with a negative label
    (``false_positive_rate``), or with a positive one (``false_negative_rate``)."""
    weight: float = Field(default=1.0, gt=0.0)
    """Weight of the penalty beside the cross-entropy."""
    loss: Literal["mmd", "absolute_correlation"] = "mmd"
    """``mmd``: maximum mean discrepancy with a Gaussian kernel; ``absolute_correlation``: of score and group."""
    batch_size: int = Field(default=128, ge=2)
    """Rows of each side of a comparison that a step's penalty is computed on."""


class ThresholdOptimizerSettings(MitigationSettings):
    """A decision threshold for each group (Hardt et al. 2016); the served model asks for the group."""

    packages: ClassVar[tuple[str, ...]] = ("fairlearn",)

    method: Literal["threshold_optimizer"] = "threshold_optimizer"
    """``threshold_optimizer``."""
    constraint: Constraint = "equal_opportunity"
    """Which rates are to be alike."""
    objective: Literal["accuracy_score", "balanced_accuracy_score"] = "accuracy_score"
    """What is to be as large as possible under the constraint."""
    min_group_size: int = Field(default=100, ge=2)
    """Groups with fewer rows to choose a threshold by, or with labels of one class only, keep the common one."""


class ExponentiatedGradientSettings(MitigationSettings):
    """Several models, trained under changing weights, that decide together (Agarwal et al. 2018, algorithm 1)."""

    packages: ClassVar[tuple[str, ...]] = ("fairlearn",)

    method: Literal["exponentiated_gradient"] = "exponentiated_gradient"
    """``exponentiated_gradient``."""
    constraint: Constraint = "equal_opportunity"
    """Which rates are to be alike."""
    eps: float = Field(default=0.01, gt=0.0, lt=1.0)
    """How far the constraint may be violated on the training rows, before it counts."""
    max_iter: int = Field(default=5, ge=1, le=100)
    """Largest number of iterations; each trains one to five models."""
    score: Literal["expected_decision", "mean_probability"] = "expected_decision"
    """``expected_decision``: the probability that the randomised classifier decides positively; its decisions are a
    weighted majority. ``mean_probability``: the models' scores, averaged with their probabilities: it ranks rows
    finely, and is no property of the randomised classifier."""


AnyMitigation = Annotated[
    NoMitigation | ReweighingSettings | MinDiffSettings | ThresholdOptimizerSettings | ExponentiatedGradientSettings,
    Field(discriminator="method"),
    BeforeValidator(lambda value: _short_form(value)),
]
"""Every method."""

PrivateMitigation = Annotated[
    NoMitigation | ReweighingSettings | ThresholdOptimizerSettings,
    Field(discriminator="method"),
    BeforeValidator(lambda value: _short_form(value)),
]
"""The methods that go with clipped, noisy gradients."""


def _short_form(value: Any) -> Any:
    """A plain word names the method; only ``none`` needs nothing else."""
    return {"method": value} if isinstance(value, str) else value


def require_extra(mitigation: NoMitigation | MitigationSettings) -> None:
    """Raises unless what a method needs is installed; imports nothing.

    Raises:
        MissingExtraError: Names the extra.
    """
    if isinstance(mitigation, NoMitigation):
        return
    missing = [name for name in mitigation.packages if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"trainer: mitigation.method {getattr(mitigation, 'method', '')}",
            seen=f"{', '.join(missing)} cannot be imported",
            allowed=f"an environment with the extra {EXTRA}",
            remedy=f"pip install 'probity[{EXTRA}]'",
        )


def distributions(mitigation: NoMitigation | MitigationSettings) -> tuple[str, ...]:
    """Returns the distributions whose versions a method adds to what decides the numbers."""
    names = () if isinstance(mitigation, NoMitigation) else mitigation.packages
    return tuple(name.replace("_", "-") for name in names)
