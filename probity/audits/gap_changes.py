"""How the gaps between groups differ between two models of the same rows.

The interval of the change is MOVER on the intervals of the two gaps (Zou and Donner 2008, eq. 3), taken as independent.
Two models of the same rows err alike, so it is rather too wide: a change whose interval excludes 0 is one. A bootstrap
of the change would be narrower and would not hold, because a gap is a maximum over groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from probity.audit_plan import AuditsConfig
from probity.audits.comparison import Compared, compare
from probity.audits.intervals import Bounds, difference
from probity.audits.measures import rate_measures
from probity.audits.scoring import ScoredRows
from probity.audits.slices import Confusion, confusion
from probity.findings import Estimate, Finding, finding_id
from probity.metric import Direction

__all__ = ["GAPS", "gap_changes"]

GAPS = ("accuracy", "selection_rate", "true_positive_rate", "false_positive_rate")
"""The rates whose gaps are compared."""

Grouping = tuple[str, ...]


def gap_changes(
    candidate: ScoredRows,
    other: ScoredRows,
    *,
    audit: str,
    groupings: Sequence[Grouping],
    thresholds: Sequence[float],
    settings: AuditsConfig,
) -> Iterator[Finding]:
    """Yields the change in every gap: candidate minus other.

    Args:
        candidate: The rows as the candidate scores them.
        other: The same rows, in the same order, as the other model scores them.
        audit: Whose findings they are.
        groupings: Combinations of attributes that form the groups.
        thresholds: Decision thresholds.
        settings: Minimum group size, confidence.
    """
    both = [confusion(rows, groupings=groupings, thresholds=thresholds) for rows in (candidate, other)]
    for grouping in groupings:
        for threshold in thresholds:
            for metric in GAPS:
                after, before = (_gap(metric, counts[grouping], settings, threshold=threshold) for counts in both)
                yield _change(metric, after, before, audit, settings, across=grouping, threshold=threshold)


def _gap(metric: str, counts: Confusion, settings: AuditsConfig, *, threshold: float) -> Compared:
    measure = partial(rate_measures, metric, counts, threshold=threshold, exact=True)
    return compare(measure, "gap", settings, confidence=settings.confidence)


def _change(
    metric: str,
    after: Compared,
    before: Compared,
    audit: str,
    settings: AuditsConfig,
    *,
    across: Grouping,
    threshold: float,
) -> Finding:
    estimate = Estimate(value=None, method="mover", n=0)
    if after.extremes is not None and before.extremes is not None:
        gaps: list[Bounds] = [(e.value, e.lower, e.upper) for e in (after.extremes, before.extremes)]
        lower, upper = difference(gaps[0], gaps[1])
        estimate = Estimate(
            value=after.extremes.value - before.extremes.value,
            lower=max(-1.0, float(lower)),
            upper=min(1.0, float(upper)),
            confidence=settings.confidence,
            method="mover",
            n=min(after.n, before.n),
        )
    undefined = after.undefined or before.undefined
    problems = [undefined] if undefined else []
    if after.unmeasured:  # the same groups of the same rows: what one leaves out for its size, so does the other
        problems.append(f"not compared: {', '.join(after.unmeasured)}")
    return Finding(
        id=finding_id(audit, metric, across=across, comparison="change", threshold=threshold),
        metric=metric,
        across=across,
        comparison="change",
        threshold=threshold,
        estimate=estimate,
        direction=Direction.LOWER_IS_BETTER,
        neutral=0.0,
        evidence="insufficient" if problems else "sufficient",
        reason="; ".join(problems) or None,
    )
