"""What the audits found: estimates with intervals, findings with ids, reports with a status.

A number never travels alone. An :class:`Estimate` carries its interval, how the interval was made and ``n``; a
:class:`Finding` says of which rows, at which threshold and in which direction it is good; an :class:`AuditReport`
says which model and which rows it speaks of. What could not be measured is a finding too.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, field_validator, model_validator

from probity.metric import METRICS, Direction
from probity.record import Digest, Number, Record

__all__ = [
    "AuditReport",
    "EpsilonByEpoch",
    "Estimate",
    "Finding",
    "JointInterval",
    "PrivacyStatement",
    "Subject",
    "finding_id",
    "slice_name",
]


class JointInterval(Record):
    """Bounds at which several statements hold together: with the confidence of the estimate, none of them is wrong.

    Every rule of the gate that can be judged by an interval is one statement. Each interval is made at a level that
    shares the permitted error among them (Bonferroni).
    """

    lower: Number
    upper: Number
    statements: int = Field(ge=2)
    """How many statements hold together."""


class Estimate(Record):
    """A number with what is needed to believe it.

    Guarantees: ``lower <= value <= upper`` where they are given; no field is NaN.
    """

    value: Number | None
    """``None``: it could not be computed; the finding says why."""
    lower: Number | None = None
    upper: Number | None = None
    confidence: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Confidence level of the interval; ``None`` for an exact number."""
    method: str
    """How the interval was made, for example ``wilson``; ``exact`` for a number without sampling error."""
    n: int = Field(ge=0)
    """Number of rows that the estimate rests on (the denominator, for a rate)."""

    @model_validator(mode="after")
    def _ordered(self) -> Estimate:
        if (self.lower is None) != (self.upper is None):
            raise ValueError("an interval has both ends or neither")
        if self.value is None and self.lower is not None:
            raise ValueError("a value that could not be computed has no interval")
        if self.lower is not None and self.upper is not None and not self.within(self.lower, self.upper):
            raise ValueError("the interval does not hold the value")
        return self

    def within(self, lower: float, upper: float) -> bool:
        """Whether the value lies between two bounds, which are computed by other formulas and may miss it by rounding.

        A value that could not be computed lies nowhere.
        """
        if self.value is None:
            return False
        slack = 1e-9 * max(1.0, abs(self.value)) if math.isfinite(self.value) else 0.0
        return lower - slack <= self.value <= upper + slack


class Finding(Record):
    """One measured fact about the model or the data, or the statement that it could not be measured.

    Guarantees: ``evidence`` is ``insufficient`` whenever the estimate has no value, and then ``reason`` is given.
    """

    id: str
    """Unique in the run; starts with the name of the audit. The card and the gate cite it."""
    metric: str
    """A term of :data:`probity.metric.METRICS`."""
    slice: dict[str, str] = Field(default={})
    """The rows it speaks of: sensitive attribute to group; empty for all rows of the split."""
    across: tuple[str, ...] = ()
    """For a comparison of groups: the attributes that form them."""
    comparison: Literal["gap", "ratio", "change"] | None = None
    """``gap``: largest minus smallest group; ``ratio``: smallest over largest; ``change``: candidate minus
    baseline or minus the model without mitigation; with ``across``: of the gap between these groups."""
    feature: str | None = None
    """The source column it speaks of, for findings about columns."""
    attack: str | None = None
    """The attack it speaks of; ``None`` in a finding of an attack audit: the strongest one."""
    threshold: float | None = None
    """The decision threshold, for rates; the false-positive rate, for the true-positive rate of an attack."""
    # Left out where there is none: reports on binary labels keep the form and the digest that they had.
    label_class: str | None = Field(default=None, exclude_if=lambda name: name is None)
    """The class it speaks of, against all others, where the label has several."""
    predicted_class: str | None = Field(default=None, exclude_if=lambda name: name is None)
    """The class that is predicted for rows of ``label_class``, for a confusion between the two."""
    estimate: Estimate
    joint: JointInterval | None = None
    """Bounds of the estimate that hold together with those of the gate's other rules, and are wider than its own;
    ``None``: at most one rule is judged by an interval, or there is none to widen."""
    direction: Direction
    neutral: Number | None = None
    """The value that means "no difference" (0 for a gap, 1 for a ratio); ``None`` where there is none."""
    evidence: Literal["sufficient", "insufficient"] = "sufficient"
    """``insufficient``: a group is below the minimum size or the metric is undefined, so no verdict may rest on it."""
    reason: str | None = None

    @field_validator("metric")
    @classmethod
    def _in_the_vocabulary(cls, value: str) -> str:
        if value not in METRICS:
            raise ValueError(f"{value!r} is not in the vocabulary of metrics")
        return value

    @model_validator(mode="after")
    def _gaps_are_explained(self) -> Finding:
        if self.estimate.value is None and self.evidence == "sufficient":
            raise ValueError("a value that could not be computed is insufficient evidence")
        if self.evidence == "insufficient" and not self.reason:
            raise ValueError("insufficient evidence needs a reason")
        if self.joint is not None and not self.estimate.within(self.joint.lower, self.joint.upper):
            raise ValueError("the joint interval does not hold the value")
        return self


class PrivacyStatement(Record):
    """What may be claimed about privacy, and on what conditions.

    ``epsilon`` is infinite when the training was not differentially private; it is never left out.
    """

    epsilon: Number
    delta: float = Field(ge=0.0, lt=1.0)
    unit: str
    """What one protected unit is: ``row``, ``client``, or the name of the privacy-unit column."""
    neighbouring_relation: str
    """How two neighbouring data sets differ."""
    accountant: str
    sampling: str
    """How examples were drawn, as it was done."""
    assumptions: tuple[str, ...]
    not_covered: tuple[str, ...]
    """What else read the data without noise, such as vocabularies or bucket boundaries."""
    uncovered_preprocessing: tuple[str, ...] = ()
    """Columns whose constants in the transform were computed from private rows without noise."""
    uncovered_training: tuple[str, ...] = ()
    """What the trainer read from private training rows without noise beside its mechanism, in words."""
    composed: tuple[str, ...] = ()
    """What the epsilon was composed of, in words."""
    second_accountant: str | None = None
    second_epsilon: Number | None = None
    """What the second accountant says: not smaller than ``epsilon``, or no statement would have been made."""
    text: str
    """The statement in words."""


class EpsilonByEpoch(Record):
    """What the training had spent after each epoch, by the accountant of the statement (``privacy/by_epoch.json``).

    For reading: the claim is the statement's epsilon, which the last value repeats where nothing else was composed.
    """

    schema_version: Literal[1] = 1
    delta: float = Field(gt=0.0, lt=1.0)
    epochs: tuple[int, ...] = Field(min_length=1)
    """Ascending, the last one being the last epoch that was executed."""
    epsilon: tuple[Number, ...] = Field(min_length=1)
    """Of all noisy steps up to the end of that epoch, composed with everything else that the statement covers."""

    @model_validator(mode="after")
    def _one_each(self) -> EpsilonByEpoch:
        if len(self.epochs) != len(self.epsilon):
            raise ValueError("each epoch has one epsilon")
        return self


class Subject(Record):
    """What a report speaks of. The gate holds when either digest is not the candidate's."""

    model: Digest | None
    """Digest of the SavedModel; ``None`` for a report about the data alone."""
    examples: Digest
    """Digest of the raw examples of the test split."""
    baseline: Digest | None = Field(default=None, exclude_if=lambda digest: digest is None)
    """Of a comparison with the latest release: digest of its SavedModel; ``None``: there was no release."""


class AuditReport(Record):
    """Everything one audit found.

    ``complete``: the audit ran to its end (single findings may still be insufficient). ``not_applicable``: it has
    nothing to say about this run, for the reason given. ``failed``: it could not run or contradicts itself; the gate
    holds.
    """

    schema_version: Literal[1] = 1
    audit: str
    status: Literal["complete", "not_applicable", "failed"]
    subject: Subject
    reasons: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    privacy_statement: PrivacyStatement | None = None

    @model_validator(mode="after")
    def _consistent(self) -> AuditReport:
        if self.status != "complete" and not self.reasons:
            raise ValueError(f"status {self.status} needs a reason")
        ids = [finding.id for finding in self.findings]
        if len(set(ids)) != len(ids):
            raise ValueError("two findings share an id")
        if any(not name.startswith(f"{self.audit}/") for name in ids):
            raise ValueError("a finding's id starts with the name of its audit")
        return self

    def find(self, finding: str) -> Finding | None:
        """Returns the finding with this id, or ``None``."""
        return next((entry for entry in self.findings if entry.id == finding), None)


def slice_name(slice_: dict[str, str]) -> str:
    """Returns the written form of a slice: ``sex=Female,race=White``, or ``overall``."""
    return ",".join(f"{name}={group}" for name, group in slice_.items()) or "overall"


def finding_id(
    audit: str,
    metric: str,
    *,
    slice_: dict[str, str] | None = None,
    across: tuple[str, ...] = (),
    comparison: str | None = None,
    feature: str | None = None,
    attack: str | None = None,
    threshold: float | None = None,
    label_class: str | None = None,
    predicted_class: str | None = None,
) -> str:
    """Returns the id that a finding has everywhere, so that the gate can look for what a rule needs.

    Examples:
        ``performance/true_positive_rate/sex=Female@0.5``, ``performance/auc/overall``,
        ``fairness/selection_rate/ratio/sex*race@0.5``, ``baseline/auc/change/overall``,
        ``mitigation/accuracy/change/sex=Female@0.5``, ``mitigation/selection_rate/change/sex@0.5``,
        ``data/missing_rate/occupation/sex=Female``, ``attacks/membership_auc/random_forest/overall``,
        ``performance/true_positive_rate/class=good/sex=Female``.
    """
    parts = [audit, metric]
    if feature is not None:
        parts.append(feature)
    if attack is not None:
        parts.append(attack)
    if comparison is not None:
        parts.append(comparison)
    if label_class is not None:
        parts.append(f"class={label_class}")
    if predicted_class is not None:
        parts.append(f"predicted={predicted_class}")
    parts.append("*".join(across) or slice_name(slice_ or {}))
    at = f"@{threshold:g}" if threshold is not None else ""
    return "/".join(parts) + at
