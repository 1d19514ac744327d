"""Metrics of predicted numbers for every group, with intervals.

==============================  ====================================================================================
metric                          interval
==============================  ====================================================================================
mean_absolute_error,            Hall's interval of a mean without its skewness
mean_squared_error, mean_       (:mod:`probity.audits.mean_intervals`); not below 0 where no value can be
absolute_percentage_error,
mean_residual, mean_prediction
root_mean_squared_error         the square roots of the bounds of mean_squared_error: a monotone function keeps the
                                level
r_squared                       bootstrap-t of the rows (:mod:`probity.audits.r_squared`)
==============================  ====================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt

from probity.audits.mean_intervals import METHOD, MeanStatistics, mean_interval, mean_statistics
from probity.audits.measures import Measure, whole_measure
from probity.audits.quantities import Quantity
from probity.audits.r_squared import RSquared, r_squared
from probity.audits.slices import members_of
from probity.audits.task_rows import PredictedRows
from probity.metric import METRICS, MetricKind

__all__ = ["NUMBERS", "RegressionGroup", "regression_groups", "regression_measure", "regression_quantities"]

NUMBERS = tuple(name for name, entry in METRICS.items() if entry.kind is MetricKind.REGRESSION)
"""The metrics of a regression."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class RegressionGroup:
    """The rows of one group; both arrays have shape (rows,)."""

    slice_: dict[str, str]
    residuals: Floats
    """Prediction minus label."""
    labels: Floats
    seed: int
    """Of the resampling for the interval of R2."""

    @property
    def rows(self) -> int:
        """Number of rows of the group."""
        return len(self.labels)

    @cached_property
    def r_squared(self) -> RSquared | None:
        """R2, drawn once for all levels; ``None`` where it is undefined."""
        return r_squared(self.residuals, self.labels, seed=self.seed)

    def contributions(self, metric: str) -> Floats | None:
        """Returns the rows' contributions to a metric that is a mean (or the root of one), shape (rows,).

        ``None`` where the metric is undefined.
        """
        if metric in ("mean_squared_error", "root_mean_squared_error"):
            return self.residuals**2
        if metric == "mean_absolute_percentage_error":
            return None if (self.labels == 0).any() else 100 * np.abs(self.residuals / self.labels)
        if metric == "mean_absolute_error":
            return np.abs(self.residuals)
        return self.residuals + self.labels if metric == "mean_prediction" else self.residuals

    def mean_of(self, metric: str) -> MeanStatistics | None:
        """Returns the statistics of :meth:`contributions`; ``None`` where the metric is undefined."""
        contributions = self.contributions(metric)
        return None if contributions is None else mean_statistics(contributions)


def regression_groups(rows: PredictedRows, grouping: tuple[str, ...], *, seed: int) -> tuple[RegressionGroup, ...]:
    """Returns the groups of a grouping in the order of the data set, empty ones included."""
    residuals = rows.residuals
    return tuple(
        RegressionGroup(slice_=slice_, residuals=residuals[members], labels=rows.labels[members], seed=seed)
        for slice_, members in members_of(rows, grouping)
    )


def regression_quantities(rows: PredictedRows, grouping: tuple[str, ...], *, seed: int) -> Iterator[Quantity]:
    """Yields every metric of the groups of a grouping."""
    groups = regression_groups(rows, grouping, seed=seed)

    def measure(metric: str, confidence: float) -> tuple[Measure, ...]:
        return tuple(regression_measure(metric, group, confidence=confidence) for group in groups)

    for metric in NUMBERS:
        yield Quantity(metric=metric, measure=partial(measure, metric))


def regression_measure(metric: str, group: RegressionGroup, *, confidence: float) -> Measure:
    """Measures one metric of one group.

    Args:
        metric: One of :data:`NUMBERS`.
        group: The group.
        confidence: Level of the interval.
    """
    if metric == "r_squared":
        found = group.r_squared
        undefined = _undefined(group, "all labels are equal, so there is nothing to explain")
        if found is None:
            return whole_measure(group, None, None, method="bootstrap_t_log", undefined=undefined)
        return whole_measure(group, found.value, found.interval(confidence=confidence), method=found.method)
    statistics = group.mean_of(metric)
    if statistics is None:
        zeros = int((group.labels == 0).sum())
        why = _undefined(group, f"the label is 0 in {zeros} of {group.rows} rows, and nothing is a percentage of 0")
        return whole_measure(group, None, None, method=METHOD, undefined=why)
    value, bounds = statistics.mean, mean_interval(statistics, confidence=confidence)
    if bounds is not None and not METRICS[metric].signed:
        bounds = (max(0.0, bounds[0]), bounds[1])
    if metric == "root_mean_squared_error":
        value = math.sqrt(value)
        bounds = None if bounds is None else (math.sqrt(bounds[0]), math.sqrt(bounds[1]))
    return whole_measure(group, value, bounds, method=METHOD)


def _undefined(group: RegressionGroup, why: str) -> str:
    return why if group.rows else "no rows"
