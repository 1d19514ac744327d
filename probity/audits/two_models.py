"""Two finished models on the same test rows: what differs, for whom, and by more than chance.

======================  ===============================================================================================
what                    how
======================  ===============================================================================================
rates and scores        paired intervals of every slice (:mod:`probity.audits.paired`; for several classes and numbers
                        :mod:`probity.audits.baseline_tasks`)
accuracy                McNemar's exact test as well, at the decision threshold
gaps between groups     :mod:`probity.audits.gap_changes`
======================  ===============================================================================================

References:
    McNemar (1947), Psychometrika 12, 153-157; in its exact form, the binomial test of the discordant rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from probity.audit_plan import AuditsConfig
from probity.audits.baseline_tasks import task_changes
from probity.audits.gap_changes import gap_changes
from probity.audits.paired import paired_changes
from probity.audits.scoring import ScoredRows
from probity.audits.slices import exact_threshold, members_of
from probity.audits.task_rows import AnyRows
from probity.findings import AuditReport, Estimate, Finding, Subject, finding_id
from probity.metric import metric

__all__ = ["NAME", "compare_models"]

NAME = "comparison"
_NOTE = (
    "Every change is the model minus the reference, on the same test rows. Each interval and p-value is for itself: of "
    "many that are looked at, some exclude no change by chance."
)


def compare_models(
    candidate: AnyRows,
    reference: AnyRows,
    *,
    subject: Subject,
    settings: AuditsConfig,
    seed: int,
    intersections: Sequence[tuple[str, ...]] = (),
) -> AuditReport:
    """Compares a model with a reference, both scored on the same rows in the same order.

    Args:
        candidate: The rows as the model scores them.
        reference: The same rows as the reference scores them.
        subject: The model and the rows.
        settings: Thresholds, minimum group size, confidence.
        seed: Of the bootstrap of the change in precision.
        intersections: Combinations of attributes to compare as well.

    Raises:
        AuditError: If the two are not about the same rows.
    """
    if isinstance(candidate, ScoredRows) and isinstance(reference, ScoredRows):
        groupings = (*((name,) for name in candidate.names), *intersections)
        findings = [
            *paired_changes(
                candidate, reference, audit=NAME, settings=settings, seed=seed, intersections=intersections
            ),
            *_mcnemar(candidate, reference, groupings=((), *groupings), settings=settings),
            *gap_changes(
                candidate,
                reference,
                audit=NAME,
                groupings=groupings,
                thresholds=(settings.decision_threshold,),
                settings=settings,
            ),
        ]
    else:
        findings = list(
            task_changes(candidate, reference, audit=NAME, settings=settings, seed=seed, intersections=intersections)
        )
    return AuditReport(audit=NAME, status="complete", subject=subject, reasons=(_NOTE,), findings=tuple(findings))


def _mcnemar(
    candidate: ScoredRows, reference: ScoredRows, *, groupings: Sequence[tuple[str, ...]], settings: AuditsConfig
) -> Iterator[Finding]:
    from scipy.stats import binomtest

    name, at = "mcnemar_p_value", settings.decision_threshold
    right = [(rows.scores > exact_threshold(at)) == rows.labels for rows in (candidate, reference)]
    for grouping in groupings:
        for slice_, members in members_of(candidate, grouping):
            mine, theirs = (flags[members] for flags in right)
            only, other = int((mine & ~theirs).sum()), int((~mine & theirs).sum())
            value = float(binomtest(only, only + other).pvalue) if only + other else 1.0
            reason = f"fewer than {settings.min_group_size} rows" if len(members) < settings.min_group_size else None
            yield Finding(
                id=finding_id(NAME, name, slice_=slice_, threshold=at),
                metric=name,
                slice=slice_,
                threshold=at,
                estimate=Estimate(
                    value=min(1.0, value) if len(members) else None, method="McNemar's exact test", n=only + other
                ),
                direction=metric(name).direction,
                evidence="insufficient" if reason else "sufficient",
                reason=reason or f"{int(np.sum(right[0][members]))} rows right, against {int(np.sum(theirs))}",
            )
