"""The statement that the ledger leaves in the workspace after every change, for those who only read."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from probity.audits.privacy_events import Spent
from probity.budget import BudgetLine, BudgetStatement, statement_path
from probity.data import PrivateStatistics
from probity.model import DpSgd
from probity.platform.budget.balance import Accountant, Standing, composed, private
from probity.platform.budget.entries import Entry, Granted
from probity.platform.budget.ledger import Ledger
from probity.storage import write_record
from probity.workspace import Workspace

__all__ = ["leave_statement", "spending_words", "statement_of"]


def leave_statement(ledger: Ledger, account: str, workspace: Workspace) -> None:
    """Writes the statement of an account into a workspace.

    It is a copy for readers: where it cannot be written, what was decided stands, and an earlier one stays.
    """
    entries = ledger.history()
    if not any(entry.account == account for entry in entries):
        return
    statement = statement_of(entries, account, accountant=ledger.accountant)
    with contextlib.suppress(OSError):
        write_record(statement_path(workspace.root, account), statement)


def statement_of(entries: Sequence[Entry], account: str, *, accountant: Accountant) -> BudgetStatement:
    """Returns where an account stands after these entries of its ledger, oldest first, at least one of them its own."""
    standing = Standing.of(entries, account)
    units = standing.units or ("row",)

    def epsilon(spent: Sequence[Spent]) -> float:
        return composed(spent, unit=units[0], delta=standing.delta, accountant=accountant)

    spent = epsilon(standing.paid)
    both = epsilon(standing.counted) if standing.open else spent
    executed = private(standing.paid)
    return BudgetStatement(
        account=account,
        unit=", ".join(units),
        delta=standing.delta,
        granted=None if standing.cap is None else standing.cap.epsilon,
        spent=spent,
        reserved=0.0 if both == spent else both - spent,
        left=None if standing.cap is None else max(standing.cap.epsilon - both, 0.0),
        payments=len(executed),
        non_private=len(standing.paid) - len(executed),
        lines=tuple(_line(entry) for entry in entries if entry.account == account),
        ledger=entries[-1].digest,
    )


def spending_words(spending: Spent) -> str:
    """Returns what a mechanism did, in words."""
    if isinstance(spending, DpSgd):
        return f"DP-SGD, {spending.steps} steps, noise multiplier {spending.noise_multiplier:g}, {spending.sampling}"
    if isinstance(spending, PrivateStatistics):
        return f"statistics, epsilon {spending.epsilon:g}, delta {spending.delta:g}"
    return "training without differential privacy"


def _line(entry: Entry) -> BudgetLine:
    event: Any = entry.event
    if isinstance(event, Granted):
        what = f"epsilon {event.epsilon:g}, delta {event.delta:g}, per {event.unit}"
    else:
        spending = getattr(event, "spending", None)
        what = "" if spending is None else spending_words(spending)
    return BudgetLine(
        number=entry.number,
        at=entry.at,
        by=entry.by,
        kind=event.kind,
        reservation=getattr(event, "reservation", None),
        run=getattr(event, "run", None),
        what=what,
        comment=entry.comment,
    )
