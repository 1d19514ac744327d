"""The rules of a release: each is one condition on one metric, and all of them together are the owner's policy."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from probity.metric import METRICS, Direction, MetricKind
from probity.record import Number, Record, refuse_repeats
from probity.release_policy import Approval
from probity.suggestion import did_you_mean
from probity.task import Task

__all__ = ["GateConfig", "JudgedBy", "Rule", "Severity"]

_CHANGES = (
    "change_from_baseline_at_least",
    "change_from_baseline_at_most",
    "change_from_unmitigated_at_least",
    "change_from_unmitigated_at_most",
)


Severity = Literal["block", "warn"]
"""Whether a rule that is not kept holds the release."""


def _may_be_one_name(schema: dict[str, Any]) -> None:
    """Tells editors of the short form: one name in place of a list."""
    listed = {key: schema.pop(key) for key in ("type", "items")}
    schema["anyOf"] = [listed, {"type": "string"}]


class Rule(Record):
    """One condition of the gate on one metric.

    ``at_least`` and ``at_most`` bound the metric itself, on the whole test split or on ``slice``;
    ``change_from_baseline_at_least`` and ``…_at_most`` bound candidate minus latest released model on the same rows;
    ``change_from_unmitigated_at_least`` bounds candidate minus the same training without its mitigation, likewise;
    ``gap_at_most`` (largest minus smallest group) and ``ratio_at_least`` (smallest over largest) compare the groups
    of ``across``. A list in ``across`` is one intersection: ``[sex, race]`` compares sex x race groups.
    """

    name: str = Field(min_length=1)
    """Name of the rule in the decision and the card."""
    metric: str
    """A gateable term of the vocabulary of metrics."""
    slice: dict[str, str] = Field(default={})
    """Rows that the rule speaks of: sensitive attribute to group, for example ``{sex: Female}``; empty: all rows."""
    across: tuple[str, ...] = Field(default=(), json_schema_extra=_may_be_one_name)
    """Sensitive attribute, or list of them for an intersection, whose groups are compared."""
    threshold: float | None = Field(default=None, ge=0.0, lt=1.0)
    """Decision threshold of a rate; ``audits.decision_threshold`` when absent."""
    label_class: str | None = None
    """For ``task: multiclass``: the class whose rate, against all others, the rule speaks of."""
    at_least: Number | None = None
    """Lower bound on the metric."""
    at_most: Number | None = None
    """Upper bound on the metric."""
    change_from_baseline_at_least: Number | None = None
    """Lower bound on candidate minus latest released model, both on the candidate's test rows."""
    change_from_baseline_at_most: Number | None = None
    """The same as an upper bound, for metrics of which less is better, such as an error."""
    change_from_unmitigated_at_least: Number | None = None
    """Lower bound on the model with its mitigation minus the one without, both on the candidate's test rows; ``slice``
    names the group that must not get worse."""
    change_from_unmitigated_at_most: Number | None = None
    """The same as an upper bound, for metrics of which less is better."""
    gap_at_most: float | None = Field(default=None, ge=0.0, allow_inf_nan=False)
    """Upper bound on the largest minus the smallest group."""
    ratio_at_least: float | None = Field(default=None, gt=0.0, le=1.0)
    """Lower bound on the smallest over the largest group; 0.8 is the four-fifths rule."""
    severity: Severity = Field(default="block", exclude_if=lambda severity: severity == "block")
    """``block``: a rule that is not kept holds the release. ``warn``: it is reported and holds nothing."""

    @field_validator("across", mode="before")
    @classmethod
    def _one_name(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, value: str) -> str:
        gateable = [name for name, entry in METRICS.items() if entry.gateable]
        if value not in gateable:
            raise ValueError(f"unknown metric {value!r}{did_you_mean(value, gateable)}; known: {', '.join(gateable)}")
        return value

    @model_validator(mode="after")
    def _one_condition(self) -> Rule:
        given = self.conditions
        if len(given) != 1:
            raise ValueError(
                f"a rule has exactly one condition, this one has {len(given)}: {', '.join(given) or 'none'}"
            )
        if (given[0] in ("gap_at_most", "ratio_at_least")) != bool(self.across):
            raise ValueError("across goes with gap_at_most or ratio_at_least, and they need it")
        if self.across and self.slice:
            raise ValueError("give across or slice, not both")
        kind = METRICS[self.metric].kind
        if kind is MetricKind.DATA and (given[0] not in ("at_least", "at_most") or not self.slice):
            raise ValueError(f"{self.metric} speaks of the data: give a slice, and at_least or at_most")
        if kind is MetricKind.SERVING and (given[0] != "at_most" or self.slice):
            raise ValueError(f"{self.metric} speaks of the model in a server: give at_most, and no slice")
        if kind is MetricKind.EDGE_CASES and (given[0] not in ("at_least", "at_most") or self.slice):
            raise ValueError(f"{self.metric} speaks of a fixed list: give at_least or at_most, and no slice")
        wrong = {"_at_least": Direction.LOWER_IS_BETTER, "_at_most": Direction.HIGHER_IS_BETTER}
        if given[0] in _CHANGES and any(
            given[0].endswith(end) and METRICS[self.metric].direction is way for end, way in wrong.items()
        ):
            end = "_at_most" if given[0].endswith("_at_least") else "_at_least"
            better = "less" if end == "_at_most" else "more"
            raise ValueError(
                f"{better} {self.metric} is better, so this bound would let a worse model through; use "
                f"{given[0].removesuffix('_at_least').removesuffix('_at_most')}{end}"
            )
        if self.threshold is not None and kind is not MetricKind.RATE:
            raise ValueError(f"threshold goes with rates only, and {self.metric} is none")
        return self

    def require_reported(self, task: Task) -> None:
        """Refuses a rule about a number that no audit reports for this task.

        Raises:
            ValueError: Says what does not go together.
        """
        entry, rule = METRICS[self.metric], f"gate rule {self.name!r}"
        if task not in entry.tasks:
            known = ", ".join(name for name, other in METRICS.items() if other.gateable and task in other.tasks)
            raise ValueError(f"{rule}: {self.metric} is not reported for task {task}; reported: {known}")
        if self.threshold is not None and task != "binary":
            raise ValueError(f"{rule}: threshold goes with task binary, and this is task {task}")
        if (self.label_class is not None) != (task == "multiclass" and entry.per_class):
            needs = "needs label_class, the class it speaks of" if self.label_class is None else "has no label_class"
            raise ValueError(f"{rule}: {self.metric} {needs}, for task {task}")
        if self.ratio_at_least is not None and entry.signed:
            raise ValueError(f"{rule}: {self.metric} can be negative, so it has no ratio; use gap_at_most")

    @property
    def is_statistical(self) -> bool:
        """Whether its metric is estimated from test rows; one on privacy, a count or a fixed list is not."""
        apart = (MetricKind.PRIVACY, MetricKind.COUNT, MetricKind.SERVING, MetricKind.EDGE_CASES)
        return METRICS[self.metric].kind not in apart

    @property
    def conditions(self) -> list[str]:
        """Names of the conditions given."""
        names = ("at_least", "at_most", *_CHANGES, "gap_at_most", "ratio_at_least")
        return [name for name in names if getattr(self, name) is not None]


JudgedBy = Literal["interval", "joint_interval", "estimate"]
"""What of a finding must keep the bound of a rule."""


class GateConfig(Record):
    """The release policy. A config without rules is legal and always held: absent policy fails closed."""

    rules: tuple[Rule, ...] = ()
    """Every rule must pass."""
    judged_by: JudgedBy = "interval"
    """``interval``: a rule passes only if its whole interval keeps the bound. As every rule must pass, a model that
    breaks one is released with at most the error that one interval permits. ``joint_interval``: the same with wider
    intervals that hold all together. ``estimate``: the value alone decides, and chance with it."""
    approval: Approval = Approval()
    """Whether people must sign as well."""
    waivers: str = "waivers.jsonl"
    """File with signed waivers (``probity waive``), relative to the config file."""
    expires_after_days: dict[str, int] = Field(default={})
    """Audit to the number of days for which its report counts, for example ``{fairness: 365}``: after that nothing is
    released on it, and a version that rests on it no longer verifies, until the model is audited again."""
    uncovered_preprocessing: Literal["forbidden", "allowed"] = "forbidden"
    """Whether a model with a finite epsilon may be released although constants of its transform, or weights of its
    mitigation, were computed from private rows without noise, which its epsilon does not cover."""
    require_risk_answers: bool = Field(default=False, exclude_if=lambda required: not required)
    """Whether every question under ``card.risks`` must have an answer on the card before a model is released."""

    @property
    def joint_statements(self) -> int:
        """How many rules are judged by an interval; those on privacy and on counts are not."""
        return sum(rule.is_statistical for rule in self.rules)

    @field_validator("expires_after_days")
    @classmethod
    def _at_least_a_day(cls, days: dict[str, int]) -> dict[str, int]:
        if any(number < 1 for number in days.values()):
            raise ValueError("expires_after_days needs at least one day for each audit")
        return days

    @model_validator(mode="after")
    def _names_differ(self) -> GateConfig:
        refuse_repeats("rules", [rule.name for rule in self.rules])
        return self
