"""One number per group with its interval and, where there is none, the reason: what the audits make findings of.

A rate of a group below the minimum size keeps its number - dropping it would hide the group, and 0 would be a lie - but
counts as insufficient evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from probity.audits import intervals
from probity.audits.auc import auc_interval
from probity.audits.slices import Confusion, ScoreMetrics, rate_counts, undefined_reason
from probity.findings import Estimate, Finding, JointInterval, finding_id
from probity.metric import metric as vocabulary

__all__ = [
    "NO_WIDTH",
    "SCORES",
    "Measure",
    "finding_of",
    "joint_interval",
    "rate_measures",
    "score_measures",
    "whole_measure",
]

SCORES = ("auc", "log_loss", "calibration_error")
"""The metrics that depend on scores and not on a threshold."""


NO_WIDTH = "all rows contribute the same, so they do not say how uncertain the value is"
"""Why no verdict may rest on a value whose interval has no width: what is rare may only not have been drawn."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A metric of one group. ``lower`` and ``upper`` are absent where the value or its interval is undefined."""

    slice_: dict[str, str]
    rows: int
    """Rows of the group."""
    n: int
    """Rows that the value rests on: the denominator, for a rate."""
    value: float | None
    lower: float | None
    upper: float | None
    method: str
    undefined: str | None = None
    """Why there is no value."""

    def insufficiency(self, min_group_size: int) -> str | None:
        """Returns why no verdict may rest on this measure, or ``None``."""
        if self.undefined is not None:
            return self.undefined
        if self.rows < min_group_size:
            return f"fewer than {min_group_size} rows"
        # Equal too where there is no interval at all.
        return NO_WIDTH if self.value is not None and self.method != "exact" and self.lower == self.upper else None


def rate_measures(
    metric: str, counts: Confusion, *, threshold: float, confidence: float, exact: bool = False
) -> tuple[Measure, ...]:
    """Measures a rate of every group at one threshold.

    Args:
        metric: One of :data:`probity.audits.slices.RATES`.
        counts: The groups.
        threshold: One of the thresholds of ``counts``.
        confidence: Level of the intervals.
        exact: Clopper-Pearson intervals, which hold at least as often as they say for any group, in place of Wilson's,
            which are shorter and hold so often on average. Comparisons of groups rest on the exact ones.
    """
    place = counts.thresholds.index(threshold)
    successes, trials = (part[:, place] for part in rate_counts(metric, counts))
    interval = intervals.clopper_pearson if exact else intervals.wilson
    lower, upper = interval(successes, trials, confidence=confidence)
    measures = []
    for group, slice_ in enumerate(counts.slices):
        n, rows = int(trials[group]), int(counts.rows[group])
        measures.append(
            Measure(
                slice_=slice_,
                rows=rows,
                n=n,
                value=float(successes[group] / n) if n else None,
                lower=float(lower[group]) if n else None,
                upper=float(upper[group]) if n else None,
                method="clopper_pearson" if exact else "wilson",
                undefined=None if n else undefined_reason(metric, rows=rows),
            )
        )
    return tuple(measures)


def score_measures(metric: str, groups: Sequence[ScoreMetrics], *, confidence: float, seed: int) -> tuple[Measure, ...]:
    """Measures one of :data:`SCORES` of every group.

    Intervals: AUC - :func:`probity.audits.auc.auc_interval`; log loss - normal; calibration error -
    :func:`calibration_interval`.
    """
    measure = {"auc": _auc, "log_loss": _log_loss, "calibration_error": _calibration_error}[metric]
    return tuple(measure(group, confidence=confidence, seed=seed) for group in groups)


def calibration_interval(group: ScoreMetrics, *, confidence: float, seed: int) -> tuple[float, float]:
    """Returns the interval of the calibration error, a sum of absolute values over bins.

    Each bin's residual sum is taken as normal with the variance that a Poisson bootstrap of the rows would give it; the
    bounds are those of :func:`probity.audits.intervals.absolute_sum`, cut at 1.
    """
    lower, upper = intervals.absolute_sum(group.residual_sums, group.residual_squares, confidence=confidence, seed=seed)
    return lower / group.rows, max(group.calibration_error or 0.0, min(1.0, upper / group.rows))


def joint_interval(lower: float | None, upper: float | None, *, statements: int) -> JointInterval | None:
    """Returns bounds that hold together with those of other statements; ``None`` without bounds or without others."""
    if lower is None or upper is None or statements < 2:
        return None
    return JointInterval(lower=lower, upper=upper, statements=statements)


def finding_of(
    audit: str,
    metric: str,
    measure: Measure,
    *,
    threshold: float | None,
    confidence: float,
    min_group_size: int,
    joint: JointInterval | None = None,
) -> Finding:
    """Returns the finding that states one measure."""
    reason = measure.insufficiency(min_group_size)
    return Finding(
        id=finding_id(audit, metric, slice_=measure.slice_, threshold=threshold),
        metric=metric,
        slice=measure.slice_,
        threshold=threshold,
        estimate=Estimate(
            value=measure.value,
            lower=measure.lower,
            upper=measure.upper,
            confidence=None if measure.lower is None else confidence,
            method=measure.method,
            n=measure.n,
        ),
        joint=joint,
        direction=vocabulary(metric).direction,
        evidence="sufficient" if reason is None else "insufficient",
        reason=reason,
    )


def _auc(group: ScoreMetrics, *, confidence: float, seed: int) -> Measure:
    del seed
    bounds = None if group.auc is None else auc_interval(group.auc, confidence=confidence)
    missing = "positive" if group.positives == 0 else "negative"
    return whole_measure(
        group,
        None if group.auc is None else float(group.auc.values[0]),
        bounds,
        method="delong_newcombe",
        undefined=f"no row has a {missing} label" if group.rows else "no rows",
    )


def _log_loss(group: ScoreMetrics, *, confidence: float, seed: int) -> Measure:
    del seed
    bounds = None
    if group.log_loss is not None:
        bounds = intervals.normal_mean(
            group.log_loss, variance=group.log_loss_variance, n=group.rows, confidence=confidence
        )
        bounds = None if bounds is None else (max(0.0, bounds[0]), bounds[1])
    return whole_measure(group, group.log_loss, bounds, method="normal", undefined="no rows")


def _calibration_error(group: ScoreMetrics, *, confidence: float, seed: int) -> Measure:
    bounds = calibration_interval(group, confidence=confidence, seed=seed) if group.rows else None
    return whole_measure(group, group.calibration_error, bounds, method="l1_bounds", undefined="no rows")


class _Group(Protocol):
    """A group of rows, however it is measured."""

    @property
    def slice_(self) -> dict[str, str]: ...

    @property
    def rows(self) -> int: ...


def whole_measure(
    group: _Group,
    value: float | None,
    bounds: tuple[float, float] | None,
    *,
    method: str,
    undefined: str | None = None,
) -> Measure:
    """Returns a measure that rests on every row of a group.

    Args:
        group: The group.
        value: The value, or ``None`` where it is undefined.
        bounds: Its interval, or ``None`` where there is none.
        method: How the interval was made.
        undefined: Why there would be no value; kept only where there is none.
    """
    lower, upper = bounds if bounds is not None else (None, None)
    return Measure(
        slice_=group.slice_,
        rows=group.rows,
        n=group.rows,
        value=value,
        lower=lower,
        upper=upper,
        method=method,
        undefined=undefined if value is None else None,
    )
