"""Findings by column: how much it moves the output, in which direction, and for whom more than for others.

=========================  ==========================================================================================
``mean_abs_shap``          mean of ``|value|``: how much the column moves the output, either way
``mean_shap``              mean of the value: whether it raises or lowers the output of these rows
``mean_shap_difference``   mean of a group minus that of all other rows; over the columns they add up to the difference
                           of the mean outputs, so they say through which columns a group scores lower
=========================  ==========================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probity.audits.base import AuditInput
from probity.audits.explained import Explained
from probity.audits.intervals import normal_quantile
from probity.findings import Estimate, Finding, finding_id
from probity.metric import metric

__all__ = ["importances"]

_Values = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Rows of one group among the explained ones, and the rows it is compared with."""

    slice_: dict[str, str]
    rows: npt.NDArray[np.bool_]
    others: npt.NDArray[np.bool_]
    reason: str | None
    """Why no number of the group may be used, if so."""
    no_comparison: str | None


def importances(explained: Explained, evidence: AuditInput, *, withheld: str | None) -> Iterator[Finding]:
    """Yields the findings of every column: overall, then for every group of every attribute.

    Args:
        explained: What was explained.
        evidence: Groups, and from which size on they count.
        withheld: Why no importance may be printed; then every finding is insufficient, without a value.
    """
    confidence, contributions = evidence.settings.confidence, explained.attribution.contributions
    groups = list(_groups(explained, evidence))
    for position, column in enumerate(explained.model.columns):
        values = contributions[:, position]
        chosen = values[explained.sample.overall]
        yield _finding("mean_abs_shap", column, {}, _mean(np.abs(chosen), confidence, floor=0.0), reason=withheld)
        yield _finding("mean_shap", column, {}, _mean(chosen, confidence), reason=withheld)
        for group in groups:
            mine, reason = values[group.rows], withheld or group.reason
            magnitude = _mean(np.abs(mine), confidence, floor=0.0)
            yield _finding("mean_abs_shap", column, group.slice_, magnitude, reason=reason)
            yield _finding("mean_shap", column, group.slice_, _mean(mine, confidence), reason=reason)
            compared = _difference(mine, values[group.others], confidence)
            reason = reason or group.no_comparison
            yield _finding("mean_shap_difference", column, group.slice_, compared, reason=reason, neutral=0.0)


def _groups(explained: Explained, evidence: AuditInput) -> Iterator[_Group]:
    sample, scored, smallest = explained.sample, evidence.scored, evidence.settings.min_group_size
    for attribute, codes in scored.groups.items():
        for code, name in enumerate(scored.names[attribute]):
            members = codes == code
            rows = sample.attributes[attribute] & members[sample.rows]
            # Not the rows that filled other groups up: they would make the others more like the small groups.
            others = sample.overall & ~members[sample.rows]
            reason = no_comparison = None
            if members.sum() < smallest:
                reason = f"the group has fewer than {smallest} test rows"
            elif rows.sum() < smallest:
                reason = f"fewer than {smallest} rows of the group were explained"
            if others.sum() < smallest:
                no_comparison = f"fewer than {smallest} rows outside the group were explained"
            yield _Group(slice_={attribute: name}, rows=rows, others=others, reason=reason, no_comparison=no_comparison)


def _finding(
    name: str,
    column: str,
    slice_: dict[str, str],
    estimate: Estimate,
    *,
    reason: str | None,
    neutral: float | None = None,
) -> Finding:
    if estimate.value is None and reason is None:
        reason = "no rows were explained"
    return Finding(
        id=finding_id("explanations", name, slice_=slice_, feature=column),
        metric=name,
        slice=slice_,
        feature=column,
        estimate=estimate if reason is None else Estimate(value=None, method=estimate.method, n=estimate.n),
        direction=metric(name).direction,
        neutral=neutral,
        evidence="insufficient" if reason else "sufficient",
        reason=reason,
    )


def _mean(values: _Values, confidence: float, *, floor: float = -math.inf) -> Estimate:
    """Returns the mean with its normal interval, cut where the mean cannot be."""
    if len(values) == 0:
        return Estimate(value=None, method="normal", n=0)
    mean = float(values.mean())
    if len(values) < 2:
        return Estimate(value=mean, method="one row: no interval", n=len(values))
    half = normal_quantile(confidence) * float(values.std(ddof=1)) / math.sqrt(len(values))
    lower, upper = max(floor, mean - half), mean + half
    return Estimate(value=mean, lower=lower, upper=upper, confidence=confidence, method="normal", n=len(values))


def _difference(group: _Values, others: _Values, confidence: float) -> Estimate:
    """Returns the difference of the means with Welch's standard error."""
    if min(len(group), len(others)) < 2:
        return Estimate(value=None, method="normal (Welch)", n=len(group))
    value = float(group.mean() - others.mean())
    variance = float(group.var(ddof=1)) / len(group) + float(others.var(ddof=1)) / len(others)
    half = normal_quantile(confidence) * math.sqrt(variance)
    return Estimate(
        value=value,
        lower=value - half,
        upper=value + half,
        confidence=confidence,
        method="normal (Welch)",
        n=len(group),
    )
