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
from functools import partial

from probity.audits.base import AuditInput
from probity.audits.comparison import NO_GUARANTEE, Comparison, compare, comparison_finding
from probity.audits.measures import Measure
from probity.audits.performance_tasks import quantities_of
from probity.audits.quantities import Quantity
from probity.audits.task_rows import AnyRows
from probity.data import Dataset
from probity.findings import AuditReport, Finding
from probity.metric import METRICS

__all__ = ["compare_groups"]

_NAME = "fairness"
_METHOD = (
    "Intervals of gaps and ratios hold for the most different pair of groups: all pairwise intervals (MOVER on each "
    "group's own bounds) at a Bonferroni-corrected level. n counts the rows of the two extreme groups, for a rate "
    "those in its denominator. Groups that could not be measured are named and left out of the value. Each class has "
    "intervals of its own: they do not hold for all classes together."
)
Grouping = tuple[str, ...]


def compare_groups(evidence: AuditInput[AnyRows]) -> AuditReport:
    """Compares the groups of every sensitive attribute and intersection."""
    groupings = tuple(grouping for grouping in evidence.dataset.slices() if grouping)
    if not groupings:
        return AuditReport(
            audit=_NAME,
            status="not_applicable",
            subject=evidence.subject,
            reasons=("data.sensitive declares no attribute, so there are no groups to compare", NO_GUARANTEE),
        )
    findings = [
        _finding(quantity, comparison, evidence, across=grouping)
        for grouping in groupings
        for quantity in quantities_of(evidence, grouping)
        for comparison in _comparisons(quantity)
    ]
    return AuditReport(
        audit=_NAME,
        status="complete",
        subject=evidence.subject,
        reasons=(NO_GUARANTEE, *_favourable(evidence.dataset), _METHOD),
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


def _finding(quantity: Quantity, comparison: Comparison, evidence: AuditInput[AnyRows], *, across: Grouping) -> Finding:
    def measure(*, confidence: float) -> tuple[Measure, ...]:
        return quantity.measure(confidence)

    return comparison_finding(
        _NAME,
        quantity.metric,
        comparison,
        partial(compare, measure, comparison, evidence.settings),
        settings=evidence.settings,
        joint_statements=evidence.joint_statements,
        across=across,
        label_class=quantity.label_class,
    )
