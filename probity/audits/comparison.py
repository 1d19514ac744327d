"""The comparison of groups: the largest gap and the smallest ratio of any measure, and the finding that states one.

The two extreme groups are found by looking at the data, so their interval must hold whichever groups attain the
extreme; see :func:`probity.audits.intervals.largest_gap`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from probity.audit_plan import AuditsConfig
from probity.audits.intervals import Extremes, bonferroni, largest_gap, smallest_ratio
from probity.audits.measures import Measure, joint_interval
from probity.findings import Estimate, Finding, finding_id, slice_name
from probity.metric import Direction

__all__ = ["COMPARISONS", "NO_GUARANTEE", "SHARED", "Compared", "Comparison", "compare", "comparison_finding"]

Comparison = Literal["gap", "ratio"]
COMPARISONS: tuple[Comparison, ...] = ("gap", "ratio")
"""``gap``: the largest minus the smallest group; ``ratio``: the smallest over the largest."""
SHARED = "_bonferroni"
"""Ends the name of a method whose pairwise intervals share the permitted error."""
NO_GUARANTEE = (
    "Small differences in these numbers do not prove that a model treats people justly: they cover the groups, metrics "
    "and rows that were measured, and nothing else."
)


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A comparison of the measurable groups, and which groups could not be measured."""

    extremes: Extremes | None
    n: int
    method: str
    unmeasured: tuple[str, ...]
    """Groups that the comparison leaves out, each with its reason."""
    undefined: str | None = None
    """Why there is no value."""


def compare(
    measure: Callable[..., tuple[Measure, ...]], comparison: Comparison, settings: AuditsConfig, *, confidence: float
) -> Compared:
    """Compares the groups that are large enough and have a value; the others are named.

    Args:
        measure: Gives the measures of all groups, in one order, for a keyword ``confidence``.
        comparison: ``gap`` or ``ratio``.
        settings: Says how large a group has to be.
        confidence: Level at which the interval of the comparison holds, whichever groups are extreme.
    """
    reasons = [(group, group.insufficiency(settings.min_group_size)) for group in measure(confidence=confidence)]
    kept = [place for place, (_, reason) in enumerate(reasons) if reason is None]
    unmeasured = tuple(f"{slice_name(group.slice_)} ({reason})" for group, reason in reasons if reason is not None)
    method = f"mover_{reasons[0][0].method}"
    if len(kept) < 2:
        why = "fewer than two groups can be measured"
        return Compared(extremes=None, n=0, method=method, unmeasured=unmeasured, undefined=why)
    pairs = len(kept) * (len(kept) - 1) // 2
    every = measure(confidence=bonferroni(confidence, pairs))
    groups = [every[place] for place in kept]
    values, lower, upper = (
        np.array([getattr(group, name) for group in groups], np.float64) for name in ("value", "lower", "upper")
    )
    extremes = (largest_gap if comparison == "gap" else smallest_ratio)(values, lower, upper)
    rows = 0 if extremes is None else groups[extremes.smallest].n + groups[extremes.largest].n
    return Compared(
        extremes=extremes,
        n=rows,
        method=f"{method}{SHARED}" if pairs > 1 else method,
        unmeasured=unmeasured,
        undefined="the value of every group is 0" if extremes is None else None,
    )


def comparison_finding(
    audit: str,
    metric: str,
    comparison: Comparison,
    made: Callable[..., Compared],
    *,
    settings: AuditsConfig,
    joint_statements: int,
    across: tuple[str, ...],
    threshold: float | None = None,
    feature: str | None = None,
    label_class: str | None = None,
) -> Finding:
    """Returns the finding that states a comparison, with an interval of its own and a joint one.

    Args:
        audit: Name of the audit.
        metric: What is compared.
        comparison: How.
        made: Gives the comparison for a keyword ``confidence``.
        settings: Says at which confidence.
        joint_statements: For how many statements the joint interval holds.
        across: The attributes that form the groups.
        threshold: Decision threshold, for a rate.
        feature: The column that it speaks of, if it speaks of one.
        label_class: The class that it speaks of, where the label has several.
    """
    confidence, statements = settings.confidence, joint_statements
    compared = made(confidence=confidence)
    together = made(confidence=bonferroni(confidence, statements)) if statements > 1 else compared
    extremes, wider = compared.extremes, together.extremes
    problems = [compared.undefined] if compared.undefined else []
    if compared.unmeasured:
        problems.append(f"not compared: {', '.join(compared.unmeasured)}")
    return Finding(
        id=finding_id(
            audit,
            metric,
            across=across,
            comparison=comparison,
            threshold=threshold,
            feature=feature,
            label_class=label_class,
        ),
        metric=metric,
        across=across,
        comparison=comparison,
        feature=feature,
        label_class=label_class,
        threshold=threshold,
        estimate=Estimate(
            value=None if extremes is None else extremes.value,
            lower=None if extremes is None else extremes.lower,
            upper=None if extremes is None else extremes.upper,
            confidence=None if extremes is None else confidence,
            method=compared.method,
            n=compared.n,
        ),
        joint=None if wider is None else joint_interval(wider.lower, wider.upper, statements=statements),
        direction=Direction.LOWER_IS_BETTER if comparison == "gap" else Direction.HIGHER_IS_BETTER,
        neutral=0.0 if comparison == "gap" else 1.0,
        evidence="insufficient" if problems else "sufficient",
        reason="; ".join(problems) or None,
    )
