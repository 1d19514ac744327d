"""The rollout's nouns: the plan, what was seen at each stage, and the state that survives a killed process."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from probity.record import Record, Slug
from probity.task import Task

__all__ = [
    "SHADOW",
    "Comparison",
    "RolloutMetric",
    "RolloutPlan",
    "RolloutState",
    "RunningDifference",
    "StageEvidence",
    "Tolerance",
    "Transition",
    "state_path",
]

SHADOW = "shadow"
"""The stage before the first percentage: the candidate is asked too, and nobody gets its answers."""

RolloutMetric = Literal["error_rate", "slow_rate", "selection_rate"]


class Tolerance(Record):
    """What a candidate may be worse by, as differences of rates, before the rollout is rolled back."""

    error_rise: float = Field(default=0.01, ge=0.0, lt=1.0)
    """Rise of the share of requests that fail (status 400 or above, no answer, a score that is no number)."""
    slow_rise: float = Field(default=0.05, ge=0.0, lt=1.0)
    """Rise of the share of requests that take longer than the latency limit."""
    selection_drop: float = Field(default=0.02, ge=0.0, lt=1.0)
    """Drop of the share of favourable outcomes, overall and in every group."""

    def of(self, metric: RolloutMetric) -> float:
        """Returns the bound on the mean difference candidate minus incumbent: positive where less is better."""
        if metric == "selection_rate":
            return -self.selection_drop
        return self.error_rise if metric == "error_rate" else self.slow_rise


class RolloutPlan(Record):
    """What is to happen, fixed before the first request.

    Comparisons and stages that are added later would be searches for a harm, and the rate of false alarms would no
    longer be the stated one.
    """

    schema_version: Literal[1] = 1
    model_name: Slug
    incumbent: int
    """The version that answers now."""
    candidate: int
    """The version that is to take over."""
    stages: tuple[int, ...] = (1, 10, 50, 100)
    """Percentages of requests that the candidate answers, ascending, the last one 100."""
    shadow_share: float = Field(default=1.0, gt=0.0, le=1.0)
    """Share of the requests that are copied to the other version in the shadow stage, and at 100 %."""
    requests_per_stage: int = Field(default=1000, ge=1)
    """Answers of the candidate that a stage needs at least."""
    requests_per_group: int = Field(default=4000, ge=0)
    """Answers of the candidate to each group, shadow included, without which no stage ends. With the default the shadow
    stage shows a drop of five points for one group nearly always, with 50 no stage does."""
    groups: tuple[str, ...] = ()
    """The groups that are watched one by one, as ``attribute=group``."""
    task: Task = Field(default="binary", exclude_if=lambda task: task == "binary")
    """What the model answers."""
    decision_threshold: float | None = 0.5
    """A score above it is the positive outcome; of a number, a prediction above it. Null: nothing is decided by one."""
    favourable_outcome: Literal["positive", "negative"] = "positive"
    """Which outcome benefits a person."""
    classes: tuple[str, ...] = Field(default=(), exclude_if=lambda classes: not classes)
    """The classes of a multi-class label, in the order of the scores."""
    favourable: tuple[str, ...] = Field(default=(), exclude_if=lambda classes: not classes)
    """Those whose prediction benefits a person."""
    latency_limit_milliseconds: float = Field(default=100.0, gt=0.0)
    """A request that takes longer is slow."""
    tolerance: Tolerance = Tolerance()
    """What a candidate may be worse by."""
    false_alarm: float = Field(default=0.05, gt=0.0, lt=1.0)
    """Probability at most of ever rolling back a candidate that keeps every tolerance: all stages, metrics and groups
    together."""

    @field_validator("stages")
    @classmethod
    def _ascending(cls, stages: tuple[int, ...]) -> tuple[int, ...]:
        if not stages or stages[-1] != 100 or stages[0] < 1 or any(low >= high for low, high in pairwise(stages)):
            raise ValueError("stages are whole percentages from 1, ascending, and the last one is 100")
        return stages

    @model_validator(mode="after")
    def _two_versions(self) -> RolloutPlan:
        if self.incumbent == self.candidate:
            raise ValueError("a rollout is from one version to another")
        if len(set(self.groups)) < len(self.groups):
            raise ValueError("groups names one twice")
        if self.groups and not self.decides:
            how = "name the classes that benefit a person (data.label.favourable)"
            how = how if self.task == "multiclass" else "give --decision-threshold"
            raise ValueError(f"what a {self.task} model answers to a group is compared by favourable outcomes: {how}")
        return self

    @property
    def decides(self) -> bool:
        """Whether an answer is an outcome for a person, or else only the health of the server is compared."""
        return bool(self.favourable) if self.task == "multiclass" else self.decision_threshold is not None

    def is_favourable(self, scores: tuple[float, ...]) -> bool | None:
        """Returns whether the answer to one row benefits a person.

        Args:
            scores: The finite scores of the row, one for each class of a multi-class label.

        Returns:
            ``None`` if they are not what this model decides by.
        """
        if self.task == "multiclass":
            if not self.favourable or len(scores) != len(self.classes):
                return None
            return self.classes[scores.index(max(scores))] in self.favourable
        if self.decision_threshold is None or len(scores) != 1:
            return None
        return (scores[0] > self.decision_threshold) == (self.favourable_outcome == "positive")

    @property
    def steps(self) -> tuple[str, ...]:
        """The stages by name: ``shadow``, then the percentages."""
        return (SHADOW, *(f"{stage}%" for stage in self.stages))

    @property
    def compared(self) -> tuple[tuple[RolloutMetric, str | None], ...]:
        """Every comparison of a stage: metric, and group or ``None`` for all requests."""
        health: tuple[tuple[RolloutMetric, str | None], ...] = (("error_rate", None), ("slow_rate", None))
        return (*health, *(("selection_rate", group) for group in ((None, *self.groups) if self.decides else ())))

    @property
    def error_of_one(self) -> float:
        """The share of ``false_alarm`` that one comparison of one stage may use (Bonferroni)."""
        return self.false_alarm / (len(self.steps) * len(self.compared))

    @property
    def log_evidence_needed(self) -> float:
        """From which evidence on a comparison counts as harmed."""
        return -math.log(self.error_of_one)

    def candidate_share(self, step: int) -> float:
        """Returns the share of requests whose answer comes from the candidate, by the position of the stage."""
        return 0.0 if step == 0 else self.stages[step - 1] / 100


class RunningDifference(Record):
    """All that the sequential tests need to know of the differences so far: three numbers."""

    n: int = Field(default=0, ge=0)
    total: float = Field(default=0.0, ge=0.0)
    """Sum of ``(1 + difference) / 2``."""
    spread: float = Field(default=0.0, ge=0.0)
    """Sum of the squared distances of these from the mean of those before."""

    @property
    def mean(self) -> float | None:
        """The mean difference, or ``None`` before the first."""
        return 2 * self.total / self.n - 1 if self.n else None


class Comparison(Record):
    """Candidate against incumbent in one stage: one metric, of all requests or of one group."""

    metric: RolloutMetric
    group: str | None = None
    """``attribute=group``; ``None``: all requests."""
    candidate_requests: int = Field(default=0, ge=0)
    incumbent_requests: int = Field(default=0, ge=0)
    running: RunningDifference = RunningDifference()
    """Candidate minus incumbent."""
    lower: float = Field(default=-1.0, ge=-1.0, le=1.0)
    """Always-valid bound; each bound alone is ever wrong with the plan's error of one comparison at most."""
    upper: float = Field(default=1.0, ge=-1.0, le=1.0)

    @property
    def name(self) -> str:
        """Metric and group, for people."""
        return f"{self.metric} of {self.group}" if self.group else self.metric


class StageEvidence(Record):
    """What was seen at one stage."""

    stage: str
    entered_at: str
    """UTC, ISO 8601."""
    comparisons: tuple[Comparison, ...]


class Transition(Record):
    """One step of the state machine, and why it was taken."""

    at: str
    """UTC, ISO 8601."""
    to: str
    """A stage, or ``completed``, ``rolled_back``, ``stopped``."""
    reason: str


class RolloutState(Record):
    """Where a rollout stands. Written before the traffic follows, so a killed router comes back to where it was."""

    schema_version: Literal[1] = 1
    plan: RolloutPlan
    status: Literal["running", "completed", "rolled_back", "stopped"] = "running"
    """``stopped``: a person ended it; the incumbent answers, as after ``rolled_back``."""
    step: int = Field(default=0, ge=0)
    """Position of the stage in ``plan.steps``."""
    evidence: tuple[StageEvidence, ...] = ()
    """By stage, in order; the last one is the present one."""
    transitions: tuple[Transition, ...] = ()

    @model_validator(mode="after")
    def _is_somewhere(self) -> RolloutState:
        if self.step >= len(self.plan.steps):
            raise ValueError("the plan has no such stage")
        return self

    @property
    def stage(self) -> str:
        """The present stage, or the last one before the end."""
        return self.plan.steps[self.step]

    @property
    def candidate_share(self) -> float:
        """Share of requests whose answer comes from the candidate now."""
        if self.status == "running":
            return self.plan.candidate_share(self.step)
        return 1.0 if self.status == "completed" else 0.0


def state_path(base_path: Path, model_name: str) -> Path:
    """Returns where the state of a model's rollout lies: beside the model's folder, where no server looks."""
    return base_path / f"{model_name}.rollout.json"
