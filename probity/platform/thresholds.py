"""Which decision threshold would satisfy the gate's rules on rates, and at what cost.

Looked for on the eval split: a threshold chosen on the test rows would be audited by the very rows that chose it. What
is found is a proposal; a run with it in ``audits.decision_threshold`` measures on the test split whether it holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from probity.audit_plan import AuditsConfig
from probity.audits import scoring
from probity.audits.comparison import Comparison, compare, comparison_finding
from probity.audits.curves import GRID
from probity.audits.intervals import bonferroni
from probity.audits.measures import finding_of, joint_interval, rate_measures
from probity.audits.slices import Confusion, confusion, rate_counts
from probity.decision import GatePolicy
from probity.errors import ConfigError
from probity.findings import AuditReport, Finding, Subject
from probity.metric import METRICS, MetricKind
from probity.platform.gate_rules import condition_of, judge
from probity.rule import Rule
from probity.runs import MODEL, RunFolder

__all__ = ["Candidate", "Search", "search"]

_COSTS = ("accuracy", "selection_rate", "true_positive_rate", "false_positive_rate")

Counts = dict[tuple[str, ...], Confusion]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One threshold: how each rule comes out, and what the decisions are like."""

    threshold: float
    outcomes: Mapping[str, str]
    """By name of the rule: ``pass``, ``fail`` or ``insufficient_evidence``."""
    costs: dict[str, float | None]
    """Accuracy, selection, true and false positive rate over all rows; ``None`` where undefined."""

    @property
    def satisfies(self) -> bool:
        """Whether every rule passes."""
        return all(outcome == "pass" for outcome in self.outcomes.values())


@dataclass(frozen=True, kw_only=True)
class Search:
    """Every threshold that was tried, on which rows, and the rules that no threshold can change."""

    split: str
    rows: int
    current: Candidate
    candidates: tuple[Candidate, ...]
    untouched: tuple[str, ...]
    """Names of the rules that do not depend on the decision threshold."""

    @property
    def satisfying(self) -> tuple[Candidate, ...]:
        """The thresholds that satisfy every rule."""
        return tuple(candidate for candidate in self.candidates if candidate.satisfies)

    @property
    def proposal(self) -> Candidate:
        """The most accurate threshold that satisfies every rule, or else the one that satisfies most of them."""

        def passed(candidate: Candidate) -> int:
            return sum(outcome == "pass" for outcome in candidate.outcomes.values())

        return max(self.candidates, key=lambda candidate: (passed(candidate), candidate.costs["accuracy"] or 0.0))


def search(folder: RunFolder, *, policy: GatePolicy) -> Search:
    """Judges the rules on rates at every threshold of the grid, by the eval rows.

    Args:
        folder: A run with a trained model.
        policy: The gate's policy.

    Raises:
        ConfigError: If there is no rule on a rate at the decision threshold, or no eval rows.
    """
    config, dataset, examples = folder.config(), folder.dataset(), folder.examples()
    rules = [rule for rule in config.gate.rules if _depends(rule)]
    split = "eval"
    if split not in examples.files or not examples.files[split].num_rows:
        raise ConfigError(
            "eval split",
            seen="no rows to choose a threshold by",
            allowed="a run with an eval split",
            remedy="give data.split an eval share, or data.source an eval file",
        )
    if not rules:
        raise ConfigError(
            "gate.rules",
            seen="no rule on a rate at the decision threshold",
            allowed="a rule such as {metric: selection_rate, across: sex, ratio_at_least: 0.8}",
            remedy="add one; other rules do not depend on the threshold",
        )
    scored = scoring.score(folder.path / MODEL / "saved_model", dataset=dataset, examples=examples, split=split)
    current = config.audits.decision_threshold
    grid = tuple(sorted({*GRID, current}))
    groupings = list(dict.fromkeys([(), *(tuple(rule.slice) or rule.across for rule in rules)]))
    counts = confusion(scored, groupings=groupings, thresholds=grid)
    subject = Subject(model=folder.model().digest, examples=examples.files[split].digest)
    judged = partial(_candidate, rules=rules, counts=counts, settings=config.audits, policy=policy, subject=subject)
    candidates = tuple(judged(threshold) for threshold in grid)
    return Search(
        split=split,
        rows=len(scored),
        current=next(candidate for candidate in candidates if candidate.threshold == current),
        candidates=candidates,
        untouched=tuple(rule.name for rule in config.gate.rules if not _depends(rule)),
    )


def _depends(rule: Rule) -> bool:
    return (
        METRICS[rule.metric].kind is MetricKind.RATE
        and rule.threshold is None
        and not rule.conditions[0].startswith("change_from")
    )


def _candidate(
    threshold: float,
    *,
    rules: list[Rule],
    counts: Counts,
    settings: AuditsConfig,
    policy: GatePolicy,
    subject: Subject,
) -> Candidate:
    at = policy.model_copy(update={"decision_threshold": threshold})
    outcomes = {}
    for rule in rules:
        condition = condition_of(rule, at)
        finding = _measured(rule, counts, settings, threshold=threshold, statements=policy.joint_statements)
        report = AuditReport(audit=condition.report, status="complete", subject=subject, findings=(finding,))
        outcomes[rule.name] = judge(condition, report, policy=at).outcome
    whole = counts[()]
    return Candidate(
        threshold=threshold, outcomes=outcomes, costs={name: _overall(name, whole, threshold) for name in _COSTS}
    )


def _measured(rule: Rule, counts: Counts, settings: AuditsConfig, *, threshold: float, statements: int) -> Finding:
    table = counts[tuple(rule.slice) or rule.across]
    measure = partial(rate_measures, rule.metric, table, threshold=threshold)
    if rule.across:
        comparison: Comparison = "gap" if rule.gap_at_most is not None else "ratio"
        made = partial(compare, partial(measure, exact=True), comparison, settings)
        return comparison_finding(
            "fairness",
            rule.metric,
            comparison,
            made,
            settings=settings,
            joint_statements=statements,
            across=rule.across,
            threshold=threshold,
        )
    place = table.slices.index(dict(rule.slice))
    wider = measure(confidence=bonferroni(settings.confidence, statements))[place]
    return finding_of(
        "performance",
        rule.metric,
        measure(confidence=settings.confidence)[place],
        threshold=threshold,
        confidence=settings.confidence,
        min_group_size=settings.min_group_size,
        joint=joint_interval(wider.lower, wider.upper, statements=statements),
    )


def _overall(metric: str, table: Confusion, threshold: float) -> float | None:
    successes, trials = (part[0, table.thresholds.index(threshold)] for part in rate_counts(metric, table))
    return float(np.divide(successes, trials)) if trials else None
