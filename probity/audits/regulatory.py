"""Tables that rules of particular places ask for, computed from the test rows; what follows from them is for people.

*New York City, Local Law 144 of 2021* (6 RCNY § 5-300 and § 5-301): for each category of sex, of race or ethnicity and
of their intersections the selection rate and the scoring rate - the share of a category that scores above the median of
all - and the impact ratio, the rate over that of the category with the highest one; how many people are of unknown
category; categories of less than 2 % of the people may be left out of the impact ratios, and are shown all the same.

*Uniform Guidelines on Employee Selection Procedures* (29 CFR 1607.4 D): a selection rate below four fifths of the
highest one, and whether the difference is significant (Fisher's exact test, two-sided).

*Regulation B* (12 CFR 1002.9(b)(2)): principal reasons for unfavourable predictions, each verified by asking the model
(:mod:`probity.audits.adverse_action`).

A person is *selected* when the prediction is the favourable outcome. The groups are all declared sensitive attributes
and intersections: which of them a rule means, its reader knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from probity.audits.adverse_action import MAX_REASONS, Reasons, find_reasons
from probity.audits.adverse_findings import reason_findings, write_reasons
from probity.audits.base import AuditInput
from probity.audits.intervals import ratio, wilson
from probity.audits.regulatory_page import write_page
from probity.audits.scoring import ScoredRows
from probity.audits.slices import exact_threshold
from probity.data import MISSING_GROUP
from probity.errors import AuditError, DataError, DigestMismatchError
from probity.findings import AuditReport, Estimate, Finding, finding_id
from probity.metric import metric

__all__ = ["EXCLUDABLE_SHARE", "RegulatoryAudit"]

EXCLUDABLE_SHARE = 0.02
"""Categories with a smaller share of the people may be left out of impact ratios (6 RCNY § 5-301 (d))."""

NO_CLAIM = (
    "These tables are computed as the named rules define their numbers. Whether a rule applies, and what follows from "
    "a number, is not said here: that is a question of law and of how the model is used."
)
_MEANING = (
    "Selected means that the prediction at the decision threshold is the favourable outcome. Numbers are of the test "
    "split: they speak of people like those in it. The interval of an impact ratio is that of the two groups, as if "
    "the one with the highest rate had been named beforehand."
)

Grouping = tuple[str, ...]
Flags = npt.NDArray[np.bool_]


class RegulatoryAudit:
    """Impact ratios and the four-fifths comparison, by group, and reasons for unfavourable predictions.

    Guarantees: people of unknown category are counted and in no ratio; every group is shown, and one whose numbers no
    verdict may rest on is marked with the reason; where reasons cannot be found, the report says why and the tables are
    there all the same; equal evidence gives an equal report. Beside the report it writes ``tables.html``, for printing,
    and ``internal/adverse_action.json``, the reasons of single people without their values.
    """

    name = "regulatory"

    def run(self, evidence: AuditInput, *, workdir: Path) -> AuditReport:
        """Computes the tables; see :class:`probity.audits.base.Audit`."""
        groupings = tuple(grouping for grouping in evidence.dataset.slices() if grouping)
        if len(evidence.scored) == 0:
            return self._not_applicable(evidence, "there are no test rows")
        findings = [finding for grouping in groupings for finding in _of_grouping(grouping, evidence)]
        try:
            reasons = find_reasons(evidence)
        except DigestMismatchError:
            raise  # rows or a model that are not those on record are no matter of explaining
        except (AuditError, DataError) as error:
            if not groupings:
                return self._not_applicable(
                    evidence, f"there are no groups to compare: data.sensitive declares none; and {error.seen}"
                )
            said: tuple[str, ...] = (f"No reasons for unfavourable predictions are given: {error.seen}.",)
        else:
            findings += reason_findings(reasons, evidence)
            said = _about(reasons)
            write_reasons(workdir / "internal" / "adverse_action.json", reasons)
        report = AuditReport(
            audit=self.name,
            status="complete",
            subject=evidence.subject,
            reasons=(NO_CLAIM, _MEANING, *said),
            findings=tuple(findings),
        )
        write_page(workdir / "tables.html", report, name=evidence.dataset.name, said=said)
        return report

    def _not_applicable(self, evidence: AuditInput, reason: str) -> AuditReport:
        return AuditReport(audit=self.name, status="not_applicable", subject=evidence.subject, reasons=(reason,))


def _about(reasons: Reasons) -> tuple[str, ...]:
    """Returns what a reader must know about the reasons."""
    named = ", ".join(reasons.sensitive)
    return (
        f"Reasons were found for {len(reasons.people)} test rows with an unfavourable prediction. A reason is a column "
        f"that lowers the favourable score relative to {reasons.reference}; at most {MAX_REASONS}, the largest first. "
        f"Method: {reasons.method}.",
        "Each reason was verified by asking the model: with that column alone at the typical value of those rows (the "
        "median, or the most frequent value), the score is more favourable. It need not be favourable enough. "
        "Candidates that did not hold were struck, and the next one was taken.",
        f"Sensitive columns that are features, and so may be reasons: {named}."
        if reasons.sensitive
        else "No sensitive column is a feature, so none can be a reason.",
        "Reasons are names of columns. How they are put to a person, and whether they are specific enough, is for "
        "people to decide. The reasons of single rows are internal.",
    )


@dataclass(frozen=True, kw_only=True)
class _Category:
    """One group of a grouping: how many people, how many of them selected, and how many above the median score."""

    slice_: dict[str, str]
    rows: int
    selected: int
    above: int
    unknown: bool

    def count(self, rate: str) -> int:
        return self.selected if rate == "favourable_rate" else self.above


def _of_grouping(grouping: Grouping, evidence: AuditInput) -> Iterator[Finding]:
    settings, scored = evidence.settings, evidence.scored
    selected = (scored.scores > exact_threshold(settings.decision_threshold)) == (
        evidence.dataset.favourable_outcome == "positive"
    )
    categories = _categories(grouping, scored, selected)
    known = [category for category in categories if not category.unknown]
    total = sum(category.rows for category in known)
    for category in categories:
        yield _count(category)
    for rate, impact, threshold in (
        ("favourable_rate", "impact_ratio", settings.decision_threshold),
        ("scoring_rate", "scoring_impact_ratio", None),
    ):
        top = _most(known, rate)
        for category in known:
            reason = _insufficient(category, total=total, minimum=settings.min_group_size)
            yield _rate(category, rate, threshold=threshold, reason=reason, confidence=settings.confidence)
            if top is not None:
                yield _impact(
                    category, top, rate, impact, threshold=threshold, reason=reason, confidence=settings.confidence
                )
    top = _most(known, "favourable_rate")
    for category in known:
        if top is not None and category is not top:
            yield _exact_test(category, top, threshold=settings.decision_threshold)


def _categories(grouping: Grouping, scored: ScoredRows, selected: Flags) -> list[_Category]:
    """Returns every declared group, in order; one with a missing attribute is of unknown category."""
    above = scored.scores > np.median(scored.scores)
    pairs: list[tuple[tuple[str, ...], Flags]] = [((), np.ones(len(scored), np.bool_))]
    for attribute in grouping:
        pairs = [
            ((*names, name), rows & (scored.groups[attribute] == i))
            for names, rows in pairs
            for i, name in enumerate(scored.names[attribute])
        ]
    return [
        _Category(
            slice_=dict(zip(grouping, names, strict=True)),
            rows=int(rows.sum()),
            selected=int((rows & selected).sum()),
            above=int((rows & above).sum()),
            unknown=MISSING_GROUP in names,
        )
        for names, rows in pairs
    ]


def _most(categories: list[_Category], rate: str) -> _Category | None:
    """Returns the category with the highest rate; ``None`` where every rate is 0."""
    counted = [category for category in categories if category.rows and category.count(rate)]
    return max(counted, key=lambda category: category.count(rate) / category.rows, default=None)


def _insufficient(category: _Category, *, total: int, minimum: int) -> str | None:
    if category.rows == 0:
        return "no people of this category"
    if category.rows < EXCLUDABLE_SHARE * total:
        return f"less than {EXCLUDABLE_SHARE:.0%} of the people of known category"
    return f"fewer than {minimum} people" if category.rows < minimum else None


def _count(category: _Category) -> Finding:
    name = "example_count"
    return Finding(
        id=finding_id(RegulatoryAudit.name, name, slice_=category.slice_),
        metric=name,
        slice=category.slice_,
        estimate=Estimate(value=float(category.rows), method="exact", n=category.rows),
        direction=metric(name).direction,
    )


def _rate(category: _Category, rate: str, *, threshold: float | None, reason: str | None, confidence: float) -> Finding:
    value = category.count(rate) / category.rows if category.rows else None
    lower, upper = wilson(category.count(rate), category.rows, confidence=confidence)
    return Finding(
        id=finding_id(RegulatoryAudit.name, rate, slice_=category.slice_, threshold=threshold),
        metric=rate,
        slice=category.slice_,
        threshold=threshold,
        estimate=Estimate(
            value=value,
            lower=None if value is None else float(lower),
            upper=None if value is None else float(upper),
            confidence=None if value is None else confidence,
            method="wilson",
            n=category.rows,
        ),
        direction=metric(rate).direction,
        evidence="sufficient" if reason is None else "insufficient",
        reason=reason,
    )


def _impact(
    category: _Category,
    top: _Category,
    rate: str,
    impact: str,
    *,
    threshold: float | None,
    reason: str | None,
    confidence: float,
) -> Finding:
    """Returns the rate over that of the category with the highest one, which itself has 1 by definition."""
    value = lower = upper = None
    if category is top:
        value = lower = upper = 1.0
    elif category.rows:
        mine, best = (
            (c.count(rate) / c.rows, *wilson(c.count(rate), c.rows, confidence=confidence)) for c in (category, top)
        )
        value = mine[0] / best[0]
        lower, upper = (float(bound) for bound in ratio(mine, best))
    return Finding(
        id=finding_id(RegulatoryAudit.name, impact, slice_=category.slice_, threshold=threshold),
        metric=impact,
        slice=category.slice_,
        threshold=threshold,
        estimate=Estimate(
            value=value,
            lower=lower,
            upper=upper,
            confidence=None if value is None or category is top else confidence,
            method="exact" if category is top else "mover_wilson",
            n=category.rows if category is top else category.rows + top.rows,
        ),
        direction=metric(impact).direction,
        neutral=1.0,
        evidence="sufficient" if reason is None else "insufficient",
        reason=reason,
    )


def _exact_test(category: _Category, top: _Category, *, threshold: float) -> Finding:
    from scipy.stats import fisher_exact

    name, value = "four_fifths_p_value", None
    if category.rows:
        table = [[c.selected, c.rows - c.selected] for c in (category, top)]
        value = min(1.0, float(fisher_exact(table, alternative="two-sided")[1]))
    return Finding(
        id=finding_id(RegulatoryAudit.name, name, slice_=category.slice_, threshold=threshold),
        metric=name,
        slice=category.slice_,
        threshold=threshold,
        estimate=Estimate(value=value, method="Fisher's exact test, two-sided", n=category.rows + top.rows),
        direction=metric(name).direction,
        evidence="sufficient" if value is not None else "insufficient",
        reason=None if value is not None else "no people of this category",
    )
