"""The last entry that a workspace has seen: what shows that a ledger was cut short or replaced.

The chain inside a ledger shows a change to what is there; it cannot show that the last entries are missing. So every
workspace keeps the number and digest of the last entry that it wrote, outside of the database. A ledger that no longer
holds that entry is not the one that was written to. Whoever can change the ledger *and* this file of every workspace
that uses it can still hide entries.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from probity.digest import digest_bytes
from probity.errors import BudgetError, DataError
from probity.platform.budget.entries import Entry
from probity.record import Digest, Record
from probity.storage import read_record, write_record

__all__ = ["Head", "head_path", "note", "require_held", "seen"]


class Head(Record):
    """The last entry that was written from here."""

    schema_version: Literal[1] = 1
    number: int = Field(ge=1)
    digest: Digest


def head_path(folder: Path, ledger: str) -> Path:
    """Returns where a workspace keeps what it saw of a ledger.

    Args:
        folder: The workspace.
        ledger: The ledger's address, without credentials.
    """
    return folder / "budget" / f"{digest_bytes(ledger.encode()).removeprefix('sha256:')[:16]}.json"


def seen(path: Path) -> Head | None:
    """Returns what was noted, or ``None`` if nothing was.

    Raises:
        BudgetError: If the note cannot be read: it may have been made unreadable to hide something.
    """
    if not path.exists():
        return None
    try:
        return read_record(path, Head)
    except DataError as error:
        raise BudgetError(
            f"budget/{path.name}",
            seen="the note of the last entry of the ledger cannot be read",
            allowed="the file as it was written",
            remedy="restore it; only if the ledger is known to be whole, remove it instead",
        ) from error


def note(path: Path, entry: Entry) -> None:
    """Notes an entry that was written, after it was written.

    Two processes that note at the same time may leave the earlier of their entries noted: a true note, about less. A
    note that cannot be written leaves an earlier one, and must not undo what the ledger already holds.
    """
    with contextlib.suppress(OSError):
        write_record(path, Head(number=entry.number, digest=entry.digest))


def require_held(head: Head, entries: Sequence[Entry]) -> None:
    """Raises unless a ledger, read after the note was read, still holds the noted entry.

    Raises:
        BudgetError: If it does not.
    """
    if len(entries) < head.number or entries[head.number - 1].digest != head.digest:
        raise BudgetError(
            f"budget ledger, entry {head.number}",
            seen=f"it was written from this workspace, and is not in the ledger, which has {len(entries)} entries",
            allowed="a ledger that was only ever added to",
            remedy="restore the ledger from a copy; until then nothing can be spent",
        )
