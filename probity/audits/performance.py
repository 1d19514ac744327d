"""How well the exported model predicts the test split: overall, for every sensitive group and every intersection.

Every value is computed twice, by TensorFlow Model Analysis on the exported SavedModel and by the slice engine on the
scored rows. The engine adds what TFMA has not: an interval and n for each number, and groups without rows. The report
is ``failed`` if the two disagree, because then one of them does not describe the model that would be released.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from probity.audits.auc import delong
from probity.audits.base import AuditInput
from probity.audits.evaluation import Evaluation, OfficialSlice, evaluate, quantised
from probity.audits.intervals import bonferroni
from probity.audits.measures import SCORES, Measure, finding_of, joint_interval, rate_measures, score_measures
from probity.audits.performance_tasks import measure_performance
from probity.audits.scoring import ScoredRows
from probity.audits.slices import RATES, Confusion, confusion, members_of, rate_counts, score_metrics
from probity.findings import AuditReport, Estimate, Finding, finding_id
from probity.metric import metric as vocabulary
from probity.task import TASKS

__all__ = ["TOLERANCE", "PerformanceAudit", "largest_difference"]

TOLERANCE = 1e-6
"""Largest difference between TFMA and the slice engine that is taken for rounding."""

_RESULT = "tfma"
_AUC_NOTE = (
    "TFMA integrates the ROC curve over 10,000 thresholds, so its AUC is compared with the AUC of the scores rounded "
    "in the same way; the AUC in the findings is the exact one"
)
Grouping = tuple[str, ...]


class PerformanceAudit:
    """Rates at every threshold, AUC, log loss, calibration error and row count of every slice."""

    name = "performance"
    tasks = frozenset(TASKS)

    def run(self, evidence: AuditInput, *, workdir: Path) -> AuditReport:
        """Measures; keeps TFMA's result in ``workdir/tfma``.

        Raises:
            AuditError: If TFMA cannot evaluate the model.
        """
        if not isinstance(evidence.scored, ScoredRows):
            return measure_performance(evidence, workdir=workdir)
        settings, scored = evidence.settings, evidence.scored
        groupings = evidence.dataset.slices()
        counts = confusion(scored, groupings=groupings, thresholds=settings.all_thresholds)
        findings = [*_rates(counts, evidence), *_scores(evidence, groupings), *_example_counts(counts, evidence)]
        if not len(scored):
            return self._report(evidence, findings, reasons=("the test split has no rows",), failed=True)
        official = evaluate(
            evidence.model_folder / "saved_model",
            evidence.examples.path("test"),
            labels=scored.labels,
            codes=scored.groups,
            names=scored.names,
            groupings=groupings,
            thresholds=settings.all_thresholds,
            output=workdir / _RESULT,
        )
        difference, where = largest_difference(official, evidence, counts=counts)
        findings.append(_difference_finding(difference, rows=len(scored)))
        if difference <= TOLERANCE:
            return self._report(evidence, findings, reasons=(_AUC_NOTE,), failed=False)
        reason = f"TFMA and the slice engine differ by {difference:.3g} in {where}; at most {TOLERANCE:g} is rounding"
        return self._report(evidence, findings, reasons=(reason, _AUC_NOTE), failed=True)

    def _report(
        self, evidence: AuditInput, findings: list[Finding], *, reasons: tuple[str, ...], failed: bool
    ) -> AuditReport:
        return AuditReport(
            audit=self.name,
            status="failed" if failed else "complete",
            subject=evidence.subject,
            reasons=reasons,
            findings=tuple(findings),
        )


def largest_difference(
    official: Evaluation, evidence: AuditInput, *, counts: dict[Grouping, Confusion]
) -> tuple[float, str]:
    """Returns the largest absolute difference between TFMA and the engine, and the metric and slice it is in.

    A slice that only one of them has, another number of rows, and a value that only one of them defines are infinite
    differences.
    """
    worst, where = 0.0, ""
    expected = 0
    for grouping, table in counts.items():
        aucs = _quantised_aucs(evidence, grouping)
        for group, slice_ in enumerate(table.slices):
            if not table.rows[group]:
                continue
            expected += 1
            found = official.get(frozenset(slice_.items()))
            name = ",".join(f"{attribute}={value}" for attribute, value in slice_.items()) or "overall"
            if found is None or found.example_count != table.rows[group]:
                return float("inf"), f"example_count of {name}"
            for label, difference in _differences(found, table, group=group, auc=aucs[group]):
                if difference > worst:
                    worst, where = difference, f"{label} of {name}"
    return (float("inf"), "the list of slices") if expected != len(official) else (worst, where)


def _differences(
    found: OfficialSlice, table: Confusion, *, group: int, auc: float | None
) -> Iterator[tuple[str, float]]:
    for rate in found.rates:
        successes, trials = rate_counts(rate.metric, table)
        place = table.thresholds.index(rate.threshold)
        n = int(trials[group, place])
        mine = float(successes[group, place] / n) if n else None
        yield f"{rate.source} at {rate.threshold:g}", _apart(mine, rate.value)
    if auc is not None:  # TFMA gives an AUC of a single class too
        yield "auc", _apart(auc, found.auc)


def _apart(mine: float | None, official: float | None) -> float:
    if mine is None or official is None:
        return 0.0 if mine is official else float("inf")
    return abs(mine - official)


def _quantised_aucs(evidence: AuditInput, grouping: Grouping) -> list[float | None]:
    scores, labels = quantised(evidence.scored.scores), evidence.scored.labels
    aucs = (delong(scores[members], labels[members]) for _, members in members_of(evidence.scored, grouping))
    return [None if auc is None else float(auc.values[0]) for auc in aucs]


def _rates(counts: dict[Grouping, Confusion], evidence: AuditInput) -> Iterator[Finding]:
    settings = evidence.settings
    for table in counts.values():
        for metric in RATES:
            for threshold in settings.all_thresholds:
                measure = partial(rate_measures, metric, table, threshold=threshold)
                yield from _findings(metric, measure, evidence, threshold=threshold)


def _scores(evidence: AuditInput, groupings: tuple[Grouping, ...]) -> Iterator[Finding]:
    for groups in score_metrics(evidence.scored, groupings=groupings).values():
        for metric in SCORES:
            yield from _findings(metric, partial(score_measures, metric, groups, seed=evidence.seed), evidence)


def _example_counts(counts: dict[Grouping, Confusion], evidence: AuditInput) -> Iterator[Finding]:
    for table in counts.values():
        for group, slice_ in enumerate(table.slices):
            rows = int(table.rows[group])
            measure = Measure(
                slice_=slice_, rows=rows, n=rows, value=float(rows), lower=None, upper=None, method="exact"
            )
            yield _finding("example_count", measure, measure, evidence)


def _findings(
    metric: str, measure: Callable[..., tuple[Measure, ...]], evidence: AuditInput, *, threshold: float | None = None
) -> Iterator[Finding]:
    """Yields a finding per group: an interval for itself, and one that holds together with the gate's other rules."""
    confidence, statements = evidence.settings.confidence, evidence.joint_statements
    alone = measure(confidence=confidence)
    together = measure(confidence=bonferroni(confidence, statements)) if statements > 1 else alone
    for each, wider in zip(alone, together, strict=True):
        yield _finding(metric, each, wider, evidence, threshold=threshold)


def _finding(
    metric: str, measure: Measure, wider: Measure, evidence: AuditInput, *, threshold: float | None = None
) -> Finding:
    return finding_of(
        PerformanceAudit.name,
        metric,
        measure,
        threshold=threshold,
        confidence=evidence.settings.confidence,
        min_group_size=evidence.settings.min_group_size,
        joint=joint_interval(wider.lower, wider.upper, statements=evidence.joint_statements),
    )


def _difference_finding(difference: float, *, rows: int) -> Finding:
    return Finding(
        id=finding_id(PerformanceAudit.name, "engine_difference"),
        metric="engine_difference",
        estimate=Estimate(value=difference, method="exact", n=rows),
        direction=vocabulary("engine_difference").direction,
        neutral=0.0,
    )
