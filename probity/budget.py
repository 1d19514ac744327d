"""``BudgetStatement``: what the ledger of a data set said when it last changed, for those who only read.

Composing what was spent takes an accountant and seconds. The ledger does it whenever it has to decide, so it leaves a
statement in the workspace, and whoever shows a budget repeats that. The ledger stays the evidence: a statement names
the entry that it was made after.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from probity.digest import digest_bytes
from probity.errors import DataError
from probity.record import Digest, Number, Record
from probity.storage import read_record

__all__ = ["BudgetLine", "BudgetStatement", "budget_statements", "statement_path"]


class BudgetLine(Record):
    """One entry of the ledger, in words."""

    number: int = Field(ge=1)
    at: str
    """UTC, ISO 8601."""
    by: str
    kind: Literal["granted", "reserved", "paid", "refunded"]
    reservation: str | None = None
    run: str | None = None
    what: str
    """The cap, or the mechanism that was reserved or executed."""
    comment: str | None = None


class BudgetStatement(Record):
    """Where the budget of a data set stood.

    Guarantees: ``spent``, ``reserved`` and ``left`` are compositions at ``delta`` per ``unit``, made by the accountant
    that decides; infinite where no epsilon per unit bounds some of what was done.
    """

    schema_version: Literal[1] = 1
    account: str
    """``data.budget_id`` where it is declared, else the digest of the rows."""
    unit: str
    delta: float | None
    """``None``: nothing that has an epsilon was done, and no cap was granted."""
    granted: float | None
    """The cap in force; ``None``: nothing is limited."""
    spent: Number
    reserved: Number
    """What open reservations add to ``spent``."""
    left: Number | None
    payments: int = Field(ge=0)
    """Number of differentially private mechanisms that were executed."""
    non_private: int = Field(ge=0)
    """Number of trainings without differential privacy, which no epsilon bounds."""
    lines: tuple[BudgetLine, ...]
    """The history of the account, oldest first."""
    ledger: Digest
    """Digest of the ledger's last entry."""


def statement_path(workspace: Path, account: str) -> Path:
    """Returns where a workspace keeps the statement of an account."""
    name = digest_bytes(account.encode()).removeprefix("sha256:")[:16]
    return workspace / "budget" / f"{name}.statement.json"


def budget_statements(workspace: Path) -> tuple[BudgetStatement, ...]:
    """Returns the statements of all accounts that a workspace knows; one that cannot be read is left out."""
    found = []
    for path in sorted((workspace / "budget").glob("*.statement.json")):
        try:
            found.append(read_record(path, BudgetStatement))
        except DataError:
            continue
    return tuple(found)
