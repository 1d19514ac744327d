"""What the mitigation changed, for every group: the model minus the same training without it, on the same test rows.

A mitigation makes one difference between groups smaller. It can do so by making a group worse off, or by moving the
harm to a group that nobody named. So every slice is compared, not only the groups that the mitigation was told of, and
a group that lost more than its interval allows for is named.

==============================  ======================================================================================
change in                       interval
==============================  ======================================================================================
a rate or score of one slice    paired; :mod:`probity.audits.paired`
a gap between groups            MOVER on the intervals of the two gaps (Zou and Donner 2008, eq. 3), taken as
                                independent: two models of the same rows err alike, so it is rather too wide
==============================  ======================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from probity.audits.base import AuditInput
from probity.audits.comparison import Compared, compare
from probity.audits.intervals import Bounds, difference
from probity.audits.measures import rate_measures
from probity.audits.paired import paired_changes
from probity.audits.scoring import ScoredRows, score
from probity.audits.slices import Confusion, confusion
from probity.digest import digest_tree
from probity.findings import AuditReport, Estimate, Finding, finding_id, slice_name
from probity.metric import Direction
from probity.model import UNMITIGATED, Mitigation

__all__ = ["MitigationAudit"]

_LOSSES = ("accuracy", "true_positive_rate", "false_positive_rate")
"""The rates by which a group is said to be worse off. A selection rate has no direction of its own."""
_GAPS = ("accuracy", "selection_rate", "true_positive_rate", "false_positive_rate")

Grouping = tuple[str, ...]


class MitigationAudit:
    """The change in every rate and score of every slice, and in the gaps between groups.

    Guarantees: the two models were scored on the same rows; the model without mitigation is the one that the training
    recorded, or the report is ``failed``; without a mitigation, or without a model to compare with, it is
    ``not_applicable`` and says why.
    """

    name = "mitigation"

    def run(self, evidence: AuditInput, *, workdir: Path) -> AuditReport:
        """Compares; see :class:`probity.audits.base.Audit`. Writes nothing."""
        del workdir
        mitigation = evidence.model.mitigation
        if mitigation is None:
            return self._without(evidence, "not_applicable", "nothing was done about differences between groups")
        if mitigation.unmitigated is None:
            return self._without(evidence, "not_applicable", mitigation.no_comparison or "there is no such model")
        folder = evidence.model_folder / UNMITIGATED
        if not folder.is_dir() or digest_tree(folder / "saved_model") != mitigation.unmitigated:
            return self._without(
                evidence, "failed", "the model without mitigation is absent, or not the one that was recorded"
            )
        before = score(folder, dataset=evidence.dataset, examples=evidence.examples)
        findings = tuple(self._findings(evidence, before))
        return AuditReport(
            audit=self.name,
            status="complete",
            subject=evidence.subject,
            reasons=tuple(_reasons(mitigation, findings, evidence)),
            findings=findings,
        )

    def _without(self, evidence: AuditInput, status: str, reason: str) -> AuditReport:
        return AuditReport.model_validate(
            {"audit": self.name, "status": status, "subject": evidence.subject, "reasons": (reason,)}
        )

    def _findings(self, evidence: AuditInput, before: ScoredRows) -> Iterator[Finding]:
        groupings = tuple(grouping for grouping in evidence.dataset.slices() if grouping)
        yield from paired_changes(
            evidence.scored,
            before,
            audit=self.name,
            settings=evidence.settings,
            seed=evidence.seed,
            intersections=evidence.dataset.intersections,
            joint_statements=evidence.joint_statements,
        )
        thresholds = evidence.settings.all_thresholds
        after_counts = confusion(evidence.scored, groupings=groupings, thresholds=thresholds)
        before_counts = confusion(before, groupings=groupings, thresholds=thresholds)
        for grouping in groupings:
            for threshold in thresholds:
                for metric in _GAPS:
                    both = [
                        _gap(metric, counts[grouping], evidence, threshold=threshold)
                        for counts in (after_counts, before_counts)
                    ]
                    yield _change_of_gap(metric, both[0], both[1], evidence, across=grouping, threshold=threshold)


def _gap(metric: str, counts: Confusion, evidence: AuditInput, *, threshold: float) -> Compared:
    measure = partial(rate_measures, metric, counts, threshold=threshold, exact=True)
    return compare(measure, "gap", evidence.settings, confidence=evidence.settings.confidence)


def _change_of_gap(
    metric: str, after: Compared, before: Compared, evidence: AuditInput, *, across: Grouping, threshold: float
) -> Finding:
    estimate = Estimate(value=None, method="mover", n=0)
    if after.extremes is not None and before.extremes is not None:
        gaps: list[Bounds] = [(e.value, e.lower, e.upper) for e in (after.extremes, before.extremes)]
        lower, upper = difference(gaps[0], gaps[1])
        estimate = Estimate(
            value=after.extremes.value - before.extremes.value,
            lower=max(-1.0, float(lower)),
            upper=min(1.0, float(upper)),
            confidence=evidence.settings.confidence,
            method="mover",
            n=min(after.n, before.n),
        )
    undefined = after.undefined or before.undefined
    problems = [undefined] if undefined else []
    if after.unmeasured:  # the same groups of the same rows: what one leaves out for its size, so does the other
        problems.append(f"not compared: {', '.join(after.unmeasured)}")
    return Finding(
        id=finding_id(MitigationAudit.name, metric, across=across, comparison="change", threshold=threshold),
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


def _reasons(mitigation: Mitigation, findings: tuple[Finding, ...], evidence: AuditInput) -> Iterator[str]:
    at, confidence = evidence.settings.decision_threshold, evidence.settings.confidence
    yield (
        f"Mitigation: {mitigation.method} across {' x '.join(mitigation.across)}, for {mitigation.constraint}. Every "
        "change is the model minus the same training without mitigation, on the same test rows; whether a change of a "
        "selection rate is good depends on the outcome."
    )
    if mitigation.served_columns:
        yield (
            f"The decision depends on {', '.join(mitigation.served_columns)}, which the served model asks for: people "
            "who differ in nothing else may be decided differently."
        )
    judged = [finding for finding in findings if _is_judged(finding, at)]
    worse = [finding for finding in judged if _is_worse(finding)]
    for finding in worse:
        estimate = finding.estimate
        yield (
            f"Worse than without mitigation, by more than its interval: {finding.metric} of "
            f"{slice_name(finding.slice)} at {at:g} changed by {estimate.value:+.3f} ({estimate.lower:+.3f} to "
            f"{estimate.upper:+.3f})."
        )
    yield (
        f"{len(worse)} of {len(judged)} changes in {', '.join(_LOSSES)} are for the worse by more than their "
        f"{100 * confidence:g} % intervals. Each was looked at by itself: where nothing changed, about "
        f"{100 * (1 - confidence) / 2:.2g} in a hundred would be named by chance."
    )


def _is_judged(finding: Finding, threshold: float) -> bool:
    return (
        finding.metric in _LOSSES
        and finding.threshold == threshold
        and not finding.across
        and finding.evidence == "sufficient"
    )


def _is_worse(finding: Finding) -> bool:
    lower, upper = finding.estimate.lower, finding.estimate.upper
    if lower is None or upper is None:
        return False
    return lower > 0.0 if finding.direction is Direction.LOWER_IS_BETTER else upper < 0.0
