"""What is published of a run: its card, the decision on it, the release, and the rules that somebody answered for."""

from __future__ import annotations

from datetime import UTC, datetime

from probity.digest import digest_file
from probity.errors import DataError, DigestMismatchError
from probity.history import parse_time
from probity.model_cards.publication import Publication, Waived
from probity.review import Reviewers, SealedWaiver, unseal_waiver
from probity.runs import CARD, DECISION, RunFolder

__all__ = ["publication_of", "waived_in", "waivers_of"]


def publication_of(folder: RunFolder) -> Publication:
    """Returns a run's card with the decision on it and the release, if there is one.

    Raises:
        DataError: If the run has no card.
        DigestMismatchError: If the card is not the one that was composed, or not the one that was decided about.
    """
    path = folder.path / CARD / "card.json"
    receipt = folder.receipt("card")
    if not path.is_file() or receipt is None:
        raise DataError(
            f"run {folder.id}",
            seen=f"no card ({folder.status()})",
            allowed="a run that reached the stage card",
            remedy="run the pipeline again without --until",
        )
    decision = folder.decision() if (folder.path / DECISION).is_file() else None
    if not folder.intact(receipt) or (decision is not None and decision.card != digest_file(path)):
        raise DigestMismatchError(
            f"{folder.id}/{CARD}",
            seen="another card than the one that was composed and decided about",
            allowed="the recorded bytes",
            remedy="run the pipeline again; a card is not edited, say what is missing in the config",
        )
    return Publication(
        card=folder.card(),
        decision=decision,
        release=folder.release(),
        waived=waived_in(folder, now=parse_time(receipt.finished_at)),
        pictures=folder.pictures(),
        recorded=path.read_text(encoding="utf-8"),
    )


def waived_in(folder: RunFolder, *, now: datetime | None = None) -> tuple[Waived, ...]:
    """Returns the rules that somebody answered for when a run started, as its card prints them.

    Args:
        folder: The run.
        now: When the waivers must be in force; ``None``: now.

    Raises:
        SignatureError: If one was not sealed by a reviewer who may waive.
    """
    return tuple(
        Waived(rule=entry.waiver.rule, owner=entry.waiver.owner, reason=entry.waiver.reason, expires=entry.waiver.until)
        for entry in waivers_of(folder, now=now)
    )


def waivers_of(folder: RunFolder, *, now: datetime | None = None) -> tuple[SealedWaiver, ...]:
    """Returns the waivers that a run started with and that are in force.

    A waiver that was signed later is not among them: the card of the run does not show it.
    """
    written = folder.provenance()
    people, moment = Reviewers.from_json(written.get("reviewers", {})), now or datetime.now(UTC)
    sealed = [unseal_waiver(line, people) for line in written.get("waivers", ())]
    return tuple(entry for entry in sealed if parse_time(entry.waiver.until) > moment)
