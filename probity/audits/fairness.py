"""How much the model's behaviour differs between sensitive groups, by several definitions at once.

======================  ===============================================================================================
definition              findings, for every attribute and every intersection, at every threshold
======================  ===============================================================================================
demographic parity      ``selection_rate``: gap and ratio
equal opportunity       ``true_positive_rate`` where the positive prediction benefits a person, else
                        ``true_negative_rate``: gap and ratio (Hardt, Price, Srebro 2016, definition 2.2)
equalised odds          gaps of ``true_positive_rate`` and ``false_positive_rate``, and ``equalized_odds``, the larger
predictive parity       ``precision``: gap and ratio (Chouldechova 2017, definition 2)
accuracy equity         ``accuracy``, ``auc``, ``log_loss``, ``calibration_error``: gap and ratio
======================  ===============================================================================================

A gap is the largest minus the smallest group, a ratio the smallest over the largest. The definitions exclude one
another in general (Chouldechova 2017; Kleinberg et al. 2016), so all are reported and the config says which count.

The two extreme groups are found by looking at the data, so their interval must hold for the largest gap whichever
groups attain it: all pairwise intervals are made at a Bonferroni-corrected level and the extremes of their bounds taken
(:func:`probity.audits.intervals.largest_gap`). For two groups that is Newcombe's interval itself.

References:
    Hardt, Price, Srebro (2016), Equality of Opportunity in Supervised Learning.
    Chouldechova (2017), Fair prediction with disparate impact, Big Data 5(2). Kleinberg, Mullainathan, Raghavan (2016),
    Inherent Trade-Offs in the Fair Determination of Risk Scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from probity.audits.base import AuditInput
from probity.audits.fairness_tasks import compare_groups
from probity.audits.intervals import Extremes, bonferroni, largest_gap, smallest_ratio
from probity.audits.measures import SCORES, Measure, rate_measures, score_measures
from probity.audits.scoring import ScoredRows
from probity.audits.slices import RATES, Confusion, ScoreMetrics, confusion, score_metrics
from probity.config import AuditsConfig
from probity.findings import AuditReport, Estimate, Finding, finding_id, slice_name
from probity.metric import Direction
from probity.task import TASKS

__all__ = ["NO_GUARANTEE", "FairnessAudit"]

NO_GUARANTEE = (
    "Small differences in these numbers do not prove that a model treats people justly: they cover the groups, metrics "
    "and rows that were measured, and nothing else."
)
_BIAS = (
    "These numbers describe the model's predictions on the test rows (disparate outcomes). Whether the rows represent "
    "the people the model will meet is a property of the data and is reported by the data audit."
)
_METHOD = (
    "Intervals of gaps and ratios hold for the most different pair of groups: all pairwise intervals (MOVER on each "
    "group's own bounds) at a Bonferroni-corrected level. n counts the rows of the two extreme groups, for a rate "
    "those in its denominator. Groups that could not be measured are named and left out of the value."
)
_FAVOURABLE = {
    "positive": "A positive prediction benefits a person, so equal opportunity is read from true_positive_rate.",
    "negative": "A negative prediction benefits a person, so equal opportunity is read from true_negative_rate, and "
    "false_positive_rate is the rate at which people are wrongly denied it.",
}
_ODDS = ("true_positive_rate", "false_positive_rate")

Grouping = tuple[str, ...]
Comparison = Literal["gap", "ratio"]
_COMPARISONS: tuple[Comparison, ...] = ("gap", "ratio")


class FairnessAudit:
    """Gaps and ratios between the groups of every sensitive attribute and intersection."""

    name = "fairness"
    tasks = frozenset(TASKS)

    def run(self, evidence: AuditInput, *, workdir: Path) -> AuditReport:
        """Measures. Writes nothing."""
        del workdir
        if not isinstance(evidence.scored, ScoredRows):
            return compare_groups(evidence)
        groupings = tuple(grouping for grouping in evidence.dataset.slices() if grouping)
        if not groupings:
            return AuditReport(
                audit=self.name,
                status="not_applicable",
                subject=evidence.subject,
                reasons=("data.sensitive declares no attribute, so there are no groups to compare", NO_GUARANTEE),
            )
        settings = evidence.settings
        counts = confusion(evidence.scored, groupings=groupings, thresholds=settings.all_thresholds)
        scores = score_metrics(evidence.scored, groupings=groupings)
        findings = [
            finding
            for grouping in groupings
            for finding in (
                *_rate_findings(counts[grouping], settings),
                *_score_findings(scores[grouping], settings, across=grouping, seed=evidence.seed),
            )
        ]
        return AuditReport(
            audit=self.name,
            status="complete",
            subject=evidence.subject,
            reasons=(NO_GUARANTEE, _FAVOURABLE[evidence.dataset.favourable_outcome], _METHOD, _BIAS),
            findings=tuple(findings),
        )


def _rate_findings(counts: Confusion, settings: AuditsConfig) -> Iterator[Finding]:
    for threshold in settings.all_thresholds:
        for metric in RATES:
            measure = partial(rate_measures, metric, counts, threshold=threshold)
            for comparison in _COMPARISONS:
                compared = _compare(measure, comparison, settings, confidence=settings.confidence)
                yield _finding(metric, compared, comparison, settings, across=counts.grouping, threshold=threshold)
        odds = _equalized_odds(counts, settings, threshold=threshold)
        yield _finding("equalized_odds", odds, "gap", settings, across=counts.grouping, threshold=threshold)


def _score_findings(
    groups: Sequence[ScoreMetrics], settings: AuditsConfig, *, across: Grouping, seed: int
) -> Iterator[Finding]:
    for metric in SCORES:
        measure = partial(score_measures, metric, groups, seed=seed)
        for comparison in _COMPARISONS:
            compared = _compare(measure, comparison, settings, confidence=settings.confidence)
            yield _finding(metric, compared, comparison, settings, across=across, threshold=None)


@dataclass(frozen=True, kw_only=True)
class _Compared:
    """A comparison of the measurable groups, and which groups could not be measured."""

    extremes: Extremes | None
    n: int
    method: str
    unmeasured: tuple[str, ...]
    """Groups that the comparison leaves out, each with its reason."""
    undefined: str | None = None
    """Why there is no value."""


def _compare(
    measure: Callable[..., tuple[Measure, ...]], comparison: Comparison, settings: AuditsConfig, *, confidence: float
) -> _Compared:
    """Compares the groups that are large enough and have a value; the others are named."""
    reasons = [(group, group.insufficiency(settings.min_group_size)) for group in measure(confidence=confidence)]
    kept = [place for place, (_, reason) in enumerate(reasons) if reason is None]
    unmeasured = tuple(f"{slice_name(group.slice_)} ({reason})" for group, reason in reasons if reason is not None)
    method = f"mover_{reasons[0][0].method}"
    if len(kept) < 2:
        why = "fewer than two groups can be measured"
        return _Compared(extremes=None, n=0, method=method, unmeasured=unmeasured, undefined=why)
    pairs = len(kept) * (len(kept) - 1) // 2
    every = measure(confidence=bonferroni(confidence, pairs))
    groups = [every[place] for place in kept]
    values, lower, upper = (
        np.array([getattr(group, name) for group in groups], np.float64) for name in ("value", "lower", "upper")
    )
    extremes = (largest_gap if comparison == "gap" else smallest_ratio)(values, lower, upper)
    rows = 0 if extremes is None else groups[extremes.smallest].n + groups[extremes.largest].n
    return _Compared(
        extremes=extremes,
        n=rows,
        method=f"{method}_bonferroni" if pairs > 1 else method,
        unmeasured=unmeasured,
        undefined="the value of every group is 0" if extremes is None else None,
    )


def _equalized_odds(counts: Confusion, settings: AuditsConfig, *, threshold: float) -> _Compared:
    """Returns the larger gap; either interval holds at a level for two, so both hold together."""
    gaps = [
        _compare(
            partial(rate_measures, metric, counts, threshold=threshold),
            "gap",
            settings,
            confidence=bonferroni(settings.confidence, len(_ODDS)),
        )
        for metric in _ODDS
    ]
    unmeasured = tuple(dict.fromkeys(entry for gap in gaps for entry in gap.unmeasured))
    method = "mover_wilson_bonferroni"
    found = [(gap.extremes, gap.n) for gap in gaps if gap.extremes is not None]
    if len(found) < len(gaps):
        why = "one of the two rates can be measured in fewer than two groups"
        return _Compared(extremes=None, n=0, method=method, unmeasured=unmeasured, undefined=why)
    larger, rows = max(found, key=lambda entry: entry[0].value)
    bounds = replace(
        larger,
        lower=max(extremes.lower for extremes, _ in found),
        upper=max(extremes.upper for extremes, _ in found),
    )
    return _Compared(extremes=bounds, n=rows, method=method, unmeasured=unmeasured)


def _finding(
    metric: str,
    compared: _Compared,
    comparison: Comparison,
    settings: AuditsConfig,
    *,
    across: Grouping,
    threshold: float | None,
) -> Finding:
    extremes = compared.extremes
    problems = [compared.undefined] if compared.undefined else []
    if compared.unmeasured:
        problems.append(f"not compared: {', '.join(compared.unmeasured)}")
    return Finding(
        id=finding_id(FairnessAudit.name, metric, across=across, comparison=comparison, threshold=threshold),
        metric=metric,
        across=across,
        comparison=comparison,
        threshold=threshold,
        estimate=Estimate(
            value=None if extremes is None else extremes.value,
            lower=None if extremes is None else extremes.lower,
            upper=None if extremes is None else extremes.upper,
            confidence=None if extremes is None else settings.confidence,
            method=compared.method,
            n=compared.n,
        ),
        direction=Direction.LOWER_IS_BETTER if comparison == "gap" else Direction.HIGHER_IS_BETTER,
        neutral=0.0 if comparison == "gap" else 1.0,
        evidence="insufficient" if problems else "sufficient",
        reason="; ".join(problems) or None,
    )
