"""``Publication``: everything that a printed form of a card is made from."""

from __future__ import annotations

from dataclasses import dataclass

from probity.card import ModelCard, Picture
from probity.decision import GateDecision, Release

__all__ = ["Publication", "Waived"]


@dataclass(frozen=True, kw_only=True)
class Waived:
    """A rule that somebody set aside for this model, in words.

    Attributes:
        rule: Name of the rule.
        owner: Who answers for the exception.
        reason: Why it was made.
        expires: Until when it holds; ISO 8601.
    """

    rule: str
    owner: str
    reason: str
    expires: str


@dataclass(frozen=True, kw_only=True)
class Publication:
    """A card with what came after it.

    The gate reads the card, so the card cannot hold the decision; what is printed for readers holds both.

    Attributes:
        card: The card, in its public form already.
        decision: What the gate decided; ``None``: it has not, or the forms are those that the gate itself reads.
        release: The release that followed, if one did.
        waived: Rules that were set aside.
        pictures: Drawings of the audits, for forms that can show them.
        recorded: The card's JSON text as the gate digested it; ``None``: it was not read from a run.
    """

    card: ModelCard
    decision: GateDecision | None = None
    release: Release | None = None
    waived: tuple[Waived, ...] = ()
    pictures: tuple[Picture, ...] = ()
    recorded: str | None = None

    @property
    def version(self) -> str:
        """The released version, or the run where nothing was released."""
        return str(self.release.version) if self.release is not None else self.card.run
