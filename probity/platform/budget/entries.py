"""What a ledger holds: entries that are only ever added, each chained to the one before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from probity.data import PrivateStatistics
from probity.digest import digest_json
from probity.model import DpFedAvg, DpFtrl, DpSgd, Encrypted, Federated, NonPrivate
from probity.record import Digest, Record

__all__ = ["GENESIS", "Account", "Entry", "Event", "Granted", "Paid", "Refunded", "Reserved", "chained", "is_chained"]

GENESIS = "sha256:" + "0" * 64
"""What stands before the first entry."""

Spending = Annotated[
    DpSgd | Federated | DpFedAvg | DpFtrl | NonPrivate | Encrypted | PrivateStatistics, Field(discriminator="kind")
]


class Account(Record):
    """Whose privacy is spent: the units of one data set."""

    id: str = Field(min_length=1)
    """``data.budget_id`` where it is declared, else the digest of the rows."""
    content: Digest
    """Digest of the rows of the data set as it is now."""
    unit: str
    """``row``, or the name of the privacy-unit column."""


class Granted(Record):
    """A cap was set; it replaces an earlier one."""

    kind: Literal["granted"] = "granted"
    epsilon: float = Field(gt=0.0, allow_inf_nan=False)
    delta: float = Field(gt=0.0, lt=1.0)
    unit: str
    forbid_non_private: bool = False
    """Whether trainings without differential privacy are refused."""


class Reserved(Record):
    """Somebody is about to spend. It counts from here on, until it is refunded."""

    kind: Literal["reserved"] = "reserved"
    reservation: str
    content: Digest
    run: str
    work: Digest | None = None
    """What is being done, and where; an attempt that continues the same work there continues the reservation."""
    spending: Spending
    delta: float = Field(gt=0.0, lt=1.0)
    """The delta at which the run states its epsilon."""


class Paid(Record):
    """What was reserved was executed, wholly or in part; only what was executed counts."""

    kind: Literal["paid"] = "paid"
    reservation: str
    spending: Spending


class Refunded(Record):
    """Nothing of what was reserved was executed, or nothing that came of it was seen by anybody."""

    kind: Literal["refunded"] = "refunded"
    reservation: str


Event = Annotated[Granted | Reserved | Paid | Refunded, Field(discriminator="kind")]


class Entry(Record):
    """One line of the ledger."""

    schema_version: Literal[1] = 1
    number: int = Field(ge=1)
    account: str
    at: str
    """UTC, ISO 8601."""
    by: str
    comment: str | None = None
    event: Event
    previous: Digest
    """Digest of the entry before it, whosever account that is."""
    digest: Digest
    """Digest of all other fields."""


def chained(entry: Entry, *, after: Entry | None) -> Entry:
    """Returns the entry in its place: with its number, the digest of the one before it, and its own."""
    number, previous = _place(after)
    placed = entry.model_copy(update={"number": number, "previous": previous})
    return placed.model_copy(update={"digest": _digest(placed.to_json())})


def is_chained(value: Mapping[str, Any], *, after: Entry | None) -> bool:
    """Whether a stored entry is as it was written, and stands where it was written.

    The stored JSON itself is digested, not what this version reads from it: a field that a later version adds, with a
    default, must not make every earlier entry look changed.
    """
    number, previous = _place(after)
    return (value.get("number"), value.get("previous"), value.get("digest")) == (number, previous, _digest(value))


def _place(after: Entry | None) -> tuple[int, str]:
    return (1, GENESIS) if after is None else (after.number + 1, after.digest)


def _digest(value: Mapping[str, Any]) -> str:
    return digest_json({name: entry for name, entry in value.items() if name != "digest"})
