"""The gate's decision as a card prints it: every check, without a number that the card withholds.

A check repeats what a finding says, to the last digit and with its count. What is printed here is the card's own number
in its place, so a group that the card says nothing about is not spoken of here either.
"""

from __future__ import annotations

from collections.abc import Iterator

from probity.card import CardNumber, ModelCard
from probity.decision import Check
from probity.findings import slice_name
from probity.model_cards.blocks import Block, Cell, Facts, Gap, Items, Row, Subheading, Table
from probity.model_cards.publication import Publication, Waived
from probity.model_cards.tables import cell
from probity.model_cards.wording import ABSENT

__all__ = ["decision_blocks", "public_observation", "public_reason"]

_LEFT_OUT = "it speaks of a group that is too small for publication; the decision itself holds it"
_OUTCOMES = {"insufficient_evidence": "insufficient evidence"}


def decision_blocks(publication: Publication) -> Iterator[Block]:
    """Yields the verdict, every check, and what was waived."""
    decision = publication.decision
    if decision is None:
        yield Gap(reason="the gate reads this card before it decides; the decision stands beside it in the run folder")
        if publication.waived:
            yield Subheading(text="Waivers")
            yield _waivers(publication.waived)
        return
    yield Facts(
        pairs=(
            ("Verdict", (decision.verdict,)),
            ("Released as", (_released(publication),)),
            ("Checks", (f"{len(decision.checks)}; against a release: {len(decision.blocking)}",)),
        )
    )
    yield Facts(pairs=(("Policy", (decision.policy,)), ("Decision", (decision.record_digest(),))), monospace=True)
    rules = [check for check in decision.checks if not check.rule.startswith("evidence: ")]
    evidence = [check for check in decision.checks if check.rule.startswith("evidence: ")]
    if rules:
        yield _checks(publication.card, rules, caption="Checks of the owner's rules")
    if evidence:
        yield _checks(publication.card, evidence, caption="Checks that the evidence is there", collapsed=True)
    yield Subheading(text="Waivers")
    yield _waivers(publication.waived)


def public_observation(card: ModelCard, check: Check) -> CardNumber | None:
    """Returns the card's number that a check rests on, or ``None`` where the card prints none."""
    numbers = {number.finding: number for number in card.numbers()}
    return next((numbers[name] for name in check.evidence if name in numbers), None)


def public_reason(card: ModelCard, check: Check) -> str:
    """Returns why a check came out as it did; a reason that repeats measured numbers is left to the card's number."""
    if check.observed is not None:
        return ""
    withheld = {slice_name(number.slice) for number in card.numbers() if number.slice and number.status == "withheld"}
    return _LEFT_OUT if any(name in check.reason for name in withheld) else check.reason


def _checks(card: ModelCard, checks: list[Check], *, caption: str, collapsed: bool = False) -> Table:
    rows = []
    for check in checks:
        number = public_observation(card, check)
        observed = Cell(text=ABSENT, muted=True) if number is None else cell(number, with_id=True, with_n=True)
        rows.append(
            Row(
                header=check.rule,
                cells=(
                    Cell(text=_OUTCOMES.get(check.outcome, check.outcome)),
                    Cell(text=check.required),
                    observed,
                    Cell(text=public_reason(card, check)),
                ),
            )
        )
    heads = ("Rule", "Outcome", "Required", "Observed", "Reason")
    return Table(caption=caption, heads=heads, rows=tuple(rows), numeric=False, collapsed=collapsed)


def _released(publication: Publication) -> str:
    release = publication.release
    return f"{release.model_name}, version {release.version}" if release is not None else "not released"


def _waivers(waived: tuple[Waived, ...]) -> Block:
    if not waived:
        return Items(texts=("No rule was set aside.",))
    return Table(
        caption="Rules that were set aside",
        heads=("Rule", "By", "Reason", "Until"),
        rows=tuple(
            Row(header=entry.rule, cells=(Cell(text=entry.owner), Cell(text=entry.reason), Cell(text=entry.expires)))
            for entry in waived
        ),
        numeric=False,
    )
