"""What the mitigation changed, for every group: the model minus the same training without it, on the same test rows.

A mitigation makes one difference between groups smaller. It can do so by making a group worse off, or by moving the
harm to a group that nobody named. So every slice is compared, not only the groups that the mitigation was told of, and
a group that lost more than its interval allows for is named.

==============================  ======================================================================================
change in                       interval
==============================  ======================================================================================
a rate or score of one slice    paired; :mod:`probity.audits.paired`
a gap between groups            conservative; :mod:`probity.audits.gap_changes`
==============================  ======================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from probity.audits.base import AuditInput
from probity.audits.gap_changes import gap_changes
from probity.audits.paired import paired_changes
from probity.audits.scoring import ScoredRows, score
from probity.digest import digest_tree
from probity.findings import AuditReport, Finding, slice_name
from probity.metric import Direction
from probity.model import UNMITIGATED, Mitigation

__all__ = ["MitigationAudit"]

_LOSSES = ("accuracy", "true_positive_rate", "false_positive_rate")
"""The rates by which a group is said to be worse off. A selection rate has no direction of its own."""


_FEWEST_ROWS = 10
"""A change that rests on fewer rows is a finding, and is not put into words: those words are on the card."""


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
        yield from gap_changes(
            evidence.scored,
            before,
            audit=self.name,
            groupings=groupings,
            thresholds=evidence.settings.all_thresholds,
            settings=evidence.settings,
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
        and finding.estimate.n >= _FEWEST_ROWS
    )


def _is_worse(finding: Finding) -> bool:
    lower, upper = finding.estimate.lower, finding.estimate.upper
    if lower is None or upper is None:
        return False
    return lower > 0.0 if finding.direction is Direction.LOWER_IS_BETTER else upper < 0.0
