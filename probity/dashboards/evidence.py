"""What the audits of one run say, in the form that a role may see: one door for every number on every page.

Viewers read the reports. The public reads the model card, from which small groups were withheld before it was written
(:mod:`probity.model_cards.disclosure`): this module does no suppressing of its own, it only chooses the source, so no
page can show the public a number that the card does not publish.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from probity.card import CardNumber, ModelCard, NotAssessed, Numbers
from probity.findings import AuditReport, Finding

__all__ = ["Audited", "from_card", "from_report", "in_full", "pick", "published"]

Status = Literal["complete", "not_applicable", "failed", "missing"]


@dataclass(frozen=True, kw_only=True)
class Audited:
    """What is known of one audit.

    Attributes:
        audit: Its name.
        status: ``missing`` where there is no report, or it is not the file that was audited.
        notes: What the audit says about its numbers, or why there are none.
        numbers: What it measured.
    """

    audit: str
    status: Status
    notes: tuple[str, ...] = ()
    numbers: tuple[CardNumber, ...] = ()

    def of(self, metric: str | None = None, **where: object) -> tuple[CardNumber, ...]:
        """Returns the numbers of a metric whose fields have these values: ``threshold=0.5``, ``comparison="gap"``."""
        return tuple(
            number
            for number in self.numbers
            if metric in (None, number.metric) and all(getattr(number, name) == value for name, value in where.items())
        )

    def one(self, metric: str, **where: object) -> CardNumber | None:
        """Returns the first such number over all rows, or ``None``."""
        return next(iter(self.of(metric, **{"slice": {}, "across": (), "comparison": None, **where})), None)

    @property
    def attributes(self) -> tuple[tuple[str, ...], ...]:
        """The combinations of attributes by which numbers are given, single ones first."""
        tables = dict.fromkeys(tuple(number.slice) for number in self.numbers if number.slice)
        return tuple(sorted(tables, key=len))


def from_report(audit: str, report: AuditReport | None) -> Audited:
    """Returns a report as it is; ``None`` stands for one that is absent or was changed after its audit."""
    if report is None:
        return Audited(audit=audit, status="missing", notes=("there is no report, or not the one that was audited",))
    return Audited(
        audit=audit,
        status=report.status,
        notes=report.reasons,
        numbers=tuple(in_full(finding) for finding in report.findings),
    )


def from_card(audit: str, card: ModelCard | None) -> Audited:
    """Returns what the card publishes of an audit."""
    if card is None:
        return Audited(audit=audit, status="missing", notes=("there is no card, so nothing is published",))
    parts = _sections(audit, card)
    measured = [part for part in parts if isinstance(part, Numbers)]
    gaps = [part.reason for part in parts if isinstance(part, NotAssessed)]
    if not measured:
        return Audited(audit=audit, status="not_applicable", notes=tuple(gaps) or ("the card has nothing about it",))
    return Audited(
        audit=audit,
        status="complete",
        notes=tuple(note for part in measured for note in part.notes) + tuple(gaps),
        numbers=tuple(number for part in measured for number in part.numbers),
    )


def published(card: ModelCard | None, ids: Iterable[str]) -> bool:
    """Whether the card publishes every one of these findings with its value."""
    numbers = {} if card is None else {number.finding: number.status for number in card.numbers()}
    return all(numbers.get(entry) == "measured" for entry in ids)


def in_full(finding: Finding) -> CardNumber:
    """Returns a finding in the form of a card's number, with nothing withheld."""
    estimate = finding.estimate
    return CardNumber.model_construct(
        finding=finding.id,
        metric=finding.metric,
        status="insufficient" if finding.evidence == "insufficient" else "measured",
        slice=finding.slice,
        across=finding.across,
        comparison=finding.comparison,
        feature=finding.feature,
        attack=finding.attack,
        threshold=finding.threshold,
        label_class=finding.label_class,
        predicted_class=finding.predicted_class,
        value=estimate.value,
        lower=estimate.lower,
        upper=estimate.upper,
        confidence=estimate.confidence,
        method=estimate.method,
        n=estimate.n,
        decimals=None,
        direction=finding.direction,
        neutral=finding.neutral,
        reason=finding.reason,
    )


def pick(numbers: Sequence[CardNumber], slice_: dict[str, str]) -> CardNumber | None:
    """Returns the number of a group, or ``None``."""
    return next((number for number in numbers if number.slice == slice_), None)


def _sections(audit: str, card: ModelCard) -> tuple[Numbers | NotAssessed, ...]:
    found: dict[str, tuple[Numbers | NotAssessed, ...]] = {
        "performance": (card.overall, card.by_group),
        "fairness": (card.disparities,),
        "baseline": (card.baseline,),
        "mitigation": (card.mitigation,),
        "privacy": (card.privacy.findings,),
        "attacks": (card.privacy.attacks,),
        "explanations": (card.explanations,),
        "individuals": (card.individuals,),
        "edge_cases": (card.edge_cases,),
        "regulatory": (card.regulatory,),
        "data": (card.data.findings, card.factors.proxies),
    }
    return found.get(audit, ())
