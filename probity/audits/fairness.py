"""How much the model's behaviour differs between sensitive groups, by several definitions at once.

======================  ===============================================================================================
definition              findings, for every attribute and every intersection, at every threshold
======================  ===============================================================================================
demographic parity      ``selection_rate``: gap and ratio
equal opportunity       ``true_positive_rate`` where the positive prediction benefits a person, else
                        ``true_negative_rate``: gap and ratio (Hardt, Price, Srebro 2016, definition 2.2)
equalised odds          gaps of ``true_positive_rate`` and ``false_positive_rate``, and ``equalized_odds``, the larger
predictive parity       ``precision``: gap and ratio (Chouldechova 2017, definition 2)
accuracy equity         ``accuracy``, ``auc``, ``log_loss``, ``calibration_error``: gap and ratio
======================  ===============================================================================================

A gap is the largest minus the smallest group, a ratio the smallest over the largest. The definitions exclude one
another in general (Chouldechova 2017; Kleinberg et al. 2016), so all are reported and the config says which count.

The two extreme groups are found by looking at the data, so their interval must hold for the largest gap whichever
groups attain it: all pairwise intervals are made at a Bonferroni-corrected level and the extremes of their bounds taken
(:func:`probity.audits.intervals.largest_gap`). The bounds of single rates are exact (Clopper-Pearson): with Wilson's
the interval of the largest gap holds in 91 to 94 % of draws, in place of 95 %, where a group is small and rates low.
Where the gate has several rules, every finding also carries bounds that hold together for as many statements.

References:
    Hardt, Price, Srebro (2016), Equality of Opportunity in Supervised Learning.
    Chouldechova (2017), Fair prediction with disparate impact, Big Data 5(2). Kleinberg, Mullainathan, Raghavan (2016),
    Inherent Trade-Offs in the Fair Determination of Risk Scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from probity.audit_plan import AuditsConfig
from probity.audits.base import AuditInput
from probity.audits.comparison import COMPARISONS, NO_GUARANTEE, SHARED, Compared, compare, comparison_finding
from probity.audits.curves import write_curves
from probity.audits.fairness_tasks import compare_groups
from probity.audits.intervals import bonferroni
from probity.audits.measures import SCORES, rate_measures, score_measures
from probity.audits.scoring import ScoredRows
from probity.audits.slices import RATES, Confusion, ScoreMetrics, confusion, score_metrics
from probity.findings import AuditReport, Finding
from probity.task import TASKS

__all__ = ["NO_GUARANTEE", "FairnessAudit"]

_BIAS = (
    "These numbers describe the model's predictions on the test rows (disparate outcomes). Whether the rows represent "
    "the people the model will meet is a property of the data and is reported by the data audit."
)
_METHOD = (
    "Intervals of gaps and ratios hold for the most different pair of groups: all pairwise intervals (MOVER on each "
    "group's own bounds, exact ones for rates) at a Bonferroni-corrected level. n counts the rows of the two "
    "extreme groups, for a rate those in its denominator. Groups that could not be measured are named and left out of "
    "the value."
)
_FAVOURABLE = {
    "positive": "A positive prediction benefits a person, so equal opportunity is read from true_positive_rate.",
    "negative": "A negative prediction benefits a person, so equal opportunity is read from true_negative_rate, and "
    "false_positive_rate is the rate at which people are wrongly denied it.",
}
_ODDS = ("true_positive_rate", "false_positive_rate")

Grouping = tuple[str, ...]


class FairnessAudit:
    """Gaps and ratios between the groups of every sensitive attribute and intersection."""

    name = "fairness"
    tasks = frozenset(TASKS)

    def run(self, evidence: AuditInput, *, workdir: Path) -> AuditReport:
        """Measures; keeps the rates at every threshold, and plots of them, below ``workdir/internal``."""
        if not isinstance(evidence.scored, ScoredRows):
            return compare_groups(evidence)
        groupings = tuple(grouping for grouping in evidence.dataset.slices() if grouping)
        if not groupings:
            return AuditReport(
                audit=self.name,
                status="not_applicable",
                subject=evidence.subject,
                reasons=("data.sensitive declares no attribute, so there are no groups to compare", NO_GUARANTEE),
            )
        settings = evidence.settings
        write_curves(workdir / "internal", evidence.scored, groupings=groupings, settings=settings)
        counts = confusion(evidence.scored, groupings=groupings, thresholds=settings.all_thresholds)
        scores = score_metrics(evidence.scored, groupings=groupings)
        findings = [
            finding
            for grouping in groupings
            for finding in (
                *_rate_findings(counts[grouping], evidence),
                *_score_findings(scores[grouping], evidence, across=grouping),
            )
        ]
        return AuditReport(
            audit=self.name,
            status="complete",
            subject=evidence.subject,
            reasons=(NO_GUARANTEE, _FAVOURABLE[evidence.dataset.favourable_outcome], _METHOD, _BIAS),
            findings=tuple(findings),
        )


def _rate_findings(counts: Confusion, evidence: AuditInput) -> Iterator[Finding]:
    settings = evidence.settings
    finding = partial(
        comparison_finding,
        FairnessAudit.name,
        settings=settings,
        joint_statements=evidence.joint_statements,
        across=counts.grouping,
    )
    for threshold in settings.all_thresholds:
        for metric in RATES:
            measure = partial(rate_measures, metric, counts, threshold=threshold, exact=True)
            for comparison in COMPARISONS:
                made = partial(compare, measure, comparison, settings)
                yield finding(metric, comparison, made, threshold=threshold)
        odds = partial(_equalized_odds, counts, settings, threshold=threshold)
        yield finding("equalized_odds", "gap", odds, threshold=threshold)


def _score_findings(groups: Sequence[ScoreMetrics], evidence: AuditInput, *, across: Grouping) -> Iterator[Finding]:
    for metric in SCORES:
        measure = partial(score_measures, metric, groups, seed=evidence.seed)
        for comparison in COMPARISONS:
            made = partial(compare, measure, comparison, evidence.settings)
            yield comparison_finding(
                FairnessAudit.name,
                metric,
                comparison,
                made,
                settings=evidence.settings,
                joint_statements=evidence.joint_statements,
                across=across,
            )


def _equalized_odds(counts: Confusion, settings: AuditsConfig, *, threshold: float, confidence: float) -> Compared:
    """Returns the larger gap; either interval holds at a level for two, so both hold together."""
    gaps = [
        compare(
            partial(rate_measures, metric, counts, threshold=threshold, exact=True),
            "gap",
            settings,
            confidence=bonferroni(confidence, len(_ODDS)),
        )
        for metric in _ODDS
    ]
    unmeasured = tuple(dict.fromkeys(entry for gap in gaps for entry in gap.unmeasured))
    method = f"{gaps[0].method.removesuffix(SHARED)}{SHARED}"
    found = [(gap.extremes, gap.n) for gap in gaps if gap.extremes is not None]
    if len(found) < len(gaps):
        why = "one of the two rates can be measured in fewer than two groups"
        return Compared(extremes=None, n=0, method=method, unmeasured=unmeasured, undefined=why)
    larger, rows = max(found, key=lambda entry: entry[0].value)
    bounds = replace(
        larger,
        lower=max(extremes.lower for extremes, _ in found),
        upper=max(extremes.upper for extremes, _ in found),
    )
    return Compared(extremes=bounds, n=rows, method=method, unmeasured=unmeasured)
