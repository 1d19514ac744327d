"""How much a model of several classes, or of numbers, differs between sensitive groups.

========================  =============================================================================================
task                      findings, for every attribute and every intersection
========================  =============================================================================================
several classes           of each class: ``selection_rate`` (demographic parity), ``true_positive_rate`` (equal
                          opportunity), ``false_positive_rate``, ``precision``; of all: ``accuracy``, ``auc``,
                          ``log_loss`` and, with ``data.label.favourable``, ``favourable_rate``: gap and ratio
numbers                   ``mean_residual`` (who is predicted too much, who too little), ``mean_prediction``,
                          ``r_squared``: gap; mean absolute, squared, percentage and root mean squared error: gap and
                          ratio (bounded group loss, Agarwal, Dudik and Wu 2019, bounds the largest of them)
========================  =============================================================================================

Gaps, ratios and their intervals are those of the binary audit (:mod:`probity.audits.fairness`).

References:
    Agarwal, A., Dudik, M. and Wu, Z. S. (2019). Fair Regression: Quantitative Definitions and Reduction-Based
    Algorithms. ICML.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from probity.audits.base import AuditInput
from probity.audits.intervals import Extremes, bonferroni, largest_gap, smallest_ratio
from probity.audits.performance_tasks import quantities_of
from probity.audits.quantities import Quantity
from probity.audits.task_rows import AnyRows
from probity.config import AuditsConfig
from probity.data import Dataset
from probity.findings import AuditReport, Estimate, Finding, finding_id, slice_name
from probity.metric import METRICS, Direction

__all__ = ["compare_groups"]

_NAME = "fairness"
_NO_GUARANTEE = (
    "Small differences in these numbers do not prove that a model treats people justly: they cover the groups, metrics "
    "and rows that were measured, and nothing else."
)
_METHOD = (
    "Intervals of gaps and ratios hold for the most different pair of groups: all pairwise intervals (MOVER on each "
    "group's own bounds) at a Bonferroni-corrected level. n counts the rows of the two extreme groups, for a rate "
    "those in its denominator. Groups that could not be measured are named and left out of the value. Each class has "
    "intervals of its own: they do not hold for all classes together."
)
Grouping = tuple[str, ...]
Comparison = Literal["gap", "ratio"]


def compare_groups(evidence: AuditInput[AnyRows]) -> AuditReport:
    """Compares the groups of every sensitive attribute and intersection."""
    groupings = tuple(grouping for grouping in evidence.dataset.slices() if grouping)
    if not groupings:
        return AuditReport(
            audit=_NAME,
            status="not_applicable",
            subject=evidence.subject,
            reasons=("data.sensitive declares no attribute, so there are no groups to compare", _NO_GUARANTEE),
        )
    findings = [
        _finding(quantity, comparison, evidence.settings, across=grouping)
        for grouping in groupings
        for quantity in quantities_of(evidence, grouping)
        for comparison in _comparisons(quantity)
    ]
    return AuditReport(
        audit=_NAME,
        status="complete",
        subject=evidence.subject,
        reasons=(_NO_GUARANTEE, *_favourable(evidence.dataset), _METHOD),
        findings=tuple(findings),
    )


def _comparisons(quantity: Quantity) -> Iterator[Comparison]:
    yield "gap"
    if not METRICS[quantity.metric].signed:
        yield "ratio"


def _favourable(dataset: Dataset) -> Iterator[str]:
    if dataset.task == "regression":
        more = "higher" if dataset.favourable_outcome == "positive" else "lower"
        worse = "below" if dataset.favourable_outcome == "positive" else "above"
        yield (
            f"A {more} prediction benefits a person, so a group whose mean_residual is {worse} that of the others is "
            "predicted less than the others, measured by what its people had."
        )
    elif dataset.favourable:
        yield f"Classes whose prediction benefits a person: {', '.join(dataset.favourable)}."
    else:
        yield "data.label.favourable names no class, so nothing is said about which prediction benefits a person."


@dataclass(frozen=True, kw_only=True)
class _Compared:
    """A comparison of the measurable groups, and why it rests on less than all of them."""

    extremes: Extremes | None
    n: int
    method: str
    problems: tuple[str, ...]


def _compare(quantity: Quantity, comparison: Comparison, settings: AuditsConfig) -> _Compared:
    """Compares the groups that are large enough and have a value; the others are named."""
    measured = quantity.measure(settings.confidence)
    reasons = [group.insufficiency(settings.min_group_size) for group in measured]
    kept = [place for place, reason in enumerate(reasons) if reason is None]
    left_out = [f"{slice_name(measured[i].slice_)} ({reason})" for i, reason in enumerate(reasons) if reason]
    problems = (f"not compared: {', '.join(left_out)}",) if left_out else ()
    method = f"mover_{measured[0].method}"
    if len(kept) < 2:
        why = "fewer than two groups can be measured"
        return _Compared(extremes=None, n=0, method=method, problems=(why, *problems))
    pairs = len(kept) * (len(kept) - 1) // 2
    again = quantity.measure(bonferroni(settings.confidence, pairs))
    groups = [again[place] for place in kept]
    values, lower, upper = (
        np.array([getattr(group, name) for group in groups], np.float64) for name in ("value", "lower", "upper")
    )
    extremes = (largest_gap if comparison == "gap" else smallest_ratio)(values, lower, upper)
    if extremes is None:
        return _Compared(extremes=None, n=0, method=method, problems=("the value of every group is 0", *problems))
    return _Compared(
        extremes=extremes,
        n=groups[extremes.smallest].n + groups[extremes.largest].n,
        method=f"{method}_bonferroni" if pairs > 1 else method,
        problems=problems,
    )


def _finding(quantity: Quantity, comparison: Comparison, settings: AuditsConfig, *, across: Grouping) -> Finding:
    compared = _compare(quantity, comparison, settings)
    extremes = compared.extremes
    name = finding_id(_NAME, quantity.metric, across=across, comparison=comparison, label_class=quantity.label_class)
    return Finding(
        id=name,
        metric=quantity.metric,
        across=across,
        comparison=comparison,
        label_class=quantity.label_class,
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
        evidence="insufficient" if compared.problems else "sufficient",
        reason="; ".join(compared.problems) or None,
    )
