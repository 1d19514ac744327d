"""Candidate minus the latest released model, both scored on the same rows: is the new one a step back, and for whom?

:mod:`probity.audits.paired` says how the changes and their intervals are made.
"""

from __future__ import annotations

from collections.abc import Sequence

from probity.audit_plan import AuditsConfig
from probity.audits.paired import paired_changes
from probity.audits.scoring import ScoredRows
from probity.findings import AuditReport, Subject

__all__ = ["NAME", "compare_with_baseline"]

NAME = "baseline"


def compare_with_baseline(
    candidate: ScoredRows,
    baseline: ScoredRows | None,
    *,
    subject: Subject,
    settings: AuditsConfig,
    seed: int,
    intersections: Sequence[tuple[str, ...]] = (),
    joint_statements: int = 1,
) -> AuditReport:
    """Measures the change in every rate at every threshold and in every score metric: candidate minus baseline.

    Overall, for every group of every attribute, and for every group of ``intersections``.

    Args:
        candidate: The test rows as the candidate scores them.
        baseline: The same rows, in the same order, as the latest released model scores them; ``None`` if there is none.
        subject: The candidate and the test split.
        settings: Thresholds, minimum group size, confidence.
        seed: Of the bootstrap.
        intersections: Combinations of attributes to compare as well.
        joint_statements: For how many statements intervals are made that hold together.

    Raises:
        AuditError: If the two are not about the same rows.
    """
    if baseline is None:
        reason = "no model has been released under this name, so there is nothing to compare with"
        return AuditReport(audit=NAME, status="not_applicable", subject=subject, reasons=(reason,))
    findings = paired_changes(
        candidate,
        baseline,
        audit=NAME,
        settings=settings,
        seed=seed,
        intersections=intersections,
        joint_statements=joint_statements,
    )
    return AuditReport(audit=NAME, status="complete", subject=subject, findings=tuple(findings))
