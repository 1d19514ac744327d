"""How well a model of several classes, or of numbers, predicts the test split: the performance audit of these tasks.

As for a binary label, values are computed twice, by TensorFlow Model Analysis on the exported SavedModel and by our own
code on the scored rows; the report is ``failed`` if the two disagree. What TFMA has not is stated by our code alone,
and the report says which numbers these are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from probity.audits.base import AuditInput
from probity.audits.evaluation import SliceKey
from probity.audits.evaluation_tasks import OfficialNumbers, evaluate_classes, evaluate_numbers
from probity.audits.measures import Measure
from probity.audits.multiclass import ClassGroup, class_groups, class_quantities, confusion_measure
from probity.audits.quantities import Quantity, findings_of
from probity.audits.regression import RegressionGroup, regression_groups, regression_quantities
from probity.audits.slices import members_of
from probity.audits.task_rows import AnyRows, ClassifiedRows, PredictedRows
from probity.findings import AuditReport, Estimate, Finding, finding_id, slice_name
from probity.metric import metric as vocabulary

__all__ = ["TOLERANCE", "measure_performance", "quantities_of"]

TOLERANCE = 1e-6
"""Largest difference between TFMA and our code that is taken for rounding. Counts are compared as they are; a mean of
numbers relative to the mean size of what is averaged, since a unit of the label may be a cent or a kilometre."""

_NAME = "performance"
_NOTES = {
    "multiclass": "TFMA counts rows by label and decision, from which every rate follows; auc and log_loss are "
    "computed by our code alone",
    "regression": "TFMA computes the mean errors, mean_prediction and mean_residual; r_squared is computed by our code "
    "alone, since TFMA has no such number",
}

Grouping = tuple[str, ...]
Evidence = AuditInput[AnyRows]


def measure_performance(evidence: Evidence, *, workdir: Path) -> AuditReport:
    """Measures; keeps TFMA's result in ``workdir/tfma``.

    Raises:
        AuditError: If TFMA cannot evaluate the model.
    """
    rows, settings, groupings = evidence.scored, evidence.settings, evidence.dataset.slices()
    findings = [
        finding
        for grouping in groupings
        for quantity in (_example_count(rows, grouping), *quantities_of(evidence, grouping))
        for finding in findings_of(_NAME, quantity, settings, joint_statements=evidence.joint_statements)
    ]
    if isinstance(rows, ClassifiedRows):
        findings += _confusions(rows, evidence)
    if not len(rows):
        return _report(evidence, findings, reasons=("the test split has no rows",), failed=True)
    difference, where = _largest_difference(evidence, output=workdir / "tfma")
    findings.append(_difference_finding(difference, rows=len(rows)))
    note = _NOTES[evidence.dataset.task]
    if difference <= TOLERANCE:
        return _report(evidence, findings, reasons=(note,), failed=False)
    reason = f"TFMA and our code differ by {difference:.3g} in {where}; at most {TOLERANCE:g} is rounding"
    return _report(evidence, findings, reasons=(reason, note), failed=True)


def quantities_of(evidence: Evidence, grouping: Grouping) -> Iterator[Quantity]:
    """Yields every metric of the groups of a grouping, whichever of the two tasks it is."""
    rows = evidence.scored
    if isinstance(rows, ClassifiedRows):
        yield from class_quantities(rows, grouping, favourable=evidence.dataset.favourable)
    elif isinstance(rows, PredictedRows):
        yield from regression_quantities(rows, grouping, seed=evidence.seed)


def _example_count(rows: AnyRows, grouping: Grouping) -> Quantity:
    def measure(confidence: float) -> tuple[Measure, ...]:
        del confidence
        sizes = [(slice_, len(members)) for slice_, members in members_of(rows, grouping)]
        return tuple(
            Measure(slice_=slice_, rows=n, n=n, value=float(n), lower=None, upper=None, method="exact")
            for slice_, n in sizes
        )

    return Quantity(metric="example_count", measure=measure)


def _confusions(rows: ClassifiedRows, evidence: Evidence) -> Iterator[Finding]:
    """Yields, for all rows, how often each label is taken for each other class."""
    (everyone,) = class_groups(rows, ())
    for actual, name in enumerate(rows.classes):
        for predicted, other in enumerate(rows.classes):
            if predicted != actual:
                yield _confusion(everyone, (actual, predicted), (name, other), evidence)


def _confusion(group: ClassGroup, places: tuple[int, int], names: tuple[str, str], evidence: Evidence) -> Finding:
    measure = partial(_one, group, places)
    (found,) = findings_of(_NAME, Quantity(metric="confusion_rate", measure=measure), evidence.settings)
    name = finding_id(_NAME, "confusion_rate", label_class=names[0], predicted_class=names[1])
    return found.model_copy(update={"id": name, "label_class": names[0], "predicted_class": names[1]})


def _one(group: ClassGroup, places: tuple[int, int], confidence: float) -> tuple[Measure, ...]:
    return (confusion_measure(group, *places, confidence=confidence),)


# --- agreement with TFMA --------------------------------------------------------------------------------------------


def _largest_difference(evidence: Evidence, *, output: Path) -> tuple[float, str]:
    """Returns the largest difference between TFMA and our code, and the metric and slice it is in.

    A slice that only one of them has, another number of rows, and a value that only one of them has are infinite
    differences.
    """
    rows, groupings = evidence.scored, evidence.dataset.slices()
    place = (evidence.model_folder / "saved_model", evidence.examples.path("test"))
    official: dict[SliceKey, OfficialNumbers] = {}
    slices: list[tuple[dict[str, str], int, Callable[[OfficialNumbers], dict[str, float]]]] = []
    if isinstance(rows, ClassifiedRows):
        official = evaluate_classes(*place, rows, groupings=groupings, output=output)
        every = [group for grouping in groupings for group in class_groups(rows, grouping)]
        slices = [(group.slice_, group.rows, partial(_count_differences, group)) for group in every]
    elif isinstance(rows, PredictedRows):
        official = evaluate_numbers(*place, rows, groupings=groupings, output=output)
        all_ = [group for grouping in groupings for group in regression_groups(rows, grouping, seed=evidence.seed)]
        slices = [(group.slice_, group.rows, partial(_mean_differences, group)) for group in all_]
    return _worst(official, [entry for entry in slices if entry[1]])


def _worst(
    official: dict[SliceKey, OfficialNumbers],
    slices: list[tuple[dict[str, str], int, Callable[[OfficialNumbers], dict[str, float]]]],
) -> tuple[float, str]:
    if len(slices) != len(official):
        return float("inf"), "the list of slices"
    worst, where = 0.0, ""
    for slice_, rows, differences in slices:
        found = official.get(frozenset(slice_.items()))
        if found is None or found.example_count != rows:
            return float("inf"), f"example_count of {slice_name(slice_)}"
        for label, difference in differences(found).items():
            if np.isnan(difference):  # one of the two has no number
                return float("inf"), f"{label} of {slice_name(slice_)}"
            if difference > worst:
                worst, where = difference, f"{label} of {slice_name(slice_)}"
    return worst, where


def _count_differences(group: ClassGroup, found: OfficialNumbers) -> dict[str, float]:
    official = np.zeros(group.counts.shape)
    for key, count in found.values.items():
        _, actual, predicted = key.split("/")
        if int(predicted) < 0:
            return {"decisions": float("inf")}
        official[int(actual), int(predicted)] = count
    return {"counts by label and decision": float(np.abs(official - group.counts).max())}


def _mean_differences(group: RegressionGroup, found: OfficialNumbers) -> dict[str, float]:
    """Returns differences relative to the size of what is averaged."""
    size = float(np.abs(group.labels).mean() + np.abs(group.residuals).mean())
    differences = {}
    for name, value in found.values.items():
        statistics = group.mean_of(name)
        mine = float("nan") if statistics is None else statistics.mean
        if name == "root_mean_squared_error":
            mine = float(np.sqrt(mine))
        signed = vocabulary(name).signed
        differences[name] = abs(mine - value) / max(size if signed else abs(mine), float(np.finfo(np.float64).tiny))
    return differences


def _difference_finding(difference: float, *, rows: int) -> Finding:
    return Finding(
        id=finding_id(_NAME, "engine_difference"),
        metric="engine_difference",
        estimate=Estimate(value=difference, method="exact", n=rows),
        direction=vocabulary("engine_difference").direction,
        neutral=0.0,
    )


def _report(evidence: Evidence, findings: list[Finding], *, reasons: tuple[str, ...], failed: bool) -> AuditReport:
    return AuditReport(
        audit=_NAME,
        status="failed" if failed else "complete",
        subject=evidence.subject,
        reasons=reasons,
        findings=tuple(findings),
    )
