"""The ledger: a run reserves before it trains, pays for what it executed, and what it did not execute is free again.

Everything that was reserved counts until it is known to be less: a process that dies between reserving and paying
leaves its reservation counted until an owner resolves it, and two processes never both get the last of a budget,
because checking and reserving are one transaction.

What is left is found by *composing* what was executed (:mod:`probity.audits.accounting`), not by adding epsilons: the
composition is tighter, and it is what the accountants prove. The plain sum is shown beside it. Trainings of a search
are entered one by one: whoever compares them sees them all, so composition is the valid way to count them, however many
they become.

A training without differential privacy has no epsilon that a cap could bound. It is written down and shown, and
refused only if the cap says so; what keeps its model from being released is the gate.
"""

from __future__ import annotations

import re
import secrets
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from probity.audits.accounting import epsilon_of, renyi_epsilon_of
from probity.audits.privacy_events import Spent
from probity.card import CumulativeSpending
from probity.config import RunConfig
from probity.data import Dataset
from probity.digest import digest_json
from probity.errors import BudgetError, ConfigError
from probity.platform.budget.balance import Accountant, Balance, Standing, balance_of, composed, private
from probity.platform.budget.entries import GENESIS, Account, Entry, Event, Granted, Paid, Refunded, Reserved
from probity.platform.budget.rules import covers, require_allowed, require_same_account
from probity.platform.budget.store import Pages, Store, sqlite_url
from probity.platform.person import current_user
from probity.workspace import Workspace

__all__ = ["Ledger", "Reservation", "account_of", "ledger_at", "open_ledger"]


@dataclass(frozen=True, kw_only=True)
class Reservation:
    """What was set aside.

    Attributes:
        id: Under which it is paid or refunded.
        account: Whose budget it is.
        spending: What it covers.
        continued: Whether an earlier attempt at the same work had made it.
    """

    id: str
    account: Account
    spending: Spent
    continued: bool = False


class Ledger:
    """The budgets of all data sets in one store.

    Args:
        store: Where entries lie.
        accountant: Composes what was spent.
        quick: A cheaper one, whose epsilons are bounds as well; asked first whether a budget allows something.
        by: Who acts; the user of the process when absent.
        place: Where work that can be continued is kept. An attempt continues a reservation of its own place only:
            elsewhere somebody else may be at the same work, with randomness of their own.
    """

    def __init__(
        self,
        store: Store,
        *,
        accountant: Accountant = epsilon_of,
        quick: Accountant | None = None,
        by: str | None = None,
        place: str = "",
    ) -> None:
        self._store = store
        self._accountant = accountant
        self._quick = quick
        self._by = by or current_user()
        self._place = place

    @property
    def accountant(self) -> Accountant:
        """What composes."""
        return self._accountant

    # -- changes ---------------------------------------------------------------------------------------------------

    def grant(
        self,
        account: str,
        *,
        epsilon: float,
        delta: float,
        unit: str = "row",
        forbid_non_private: bool = False,
        comment: str | None = None,
    ) -> Entry:
        """Sets the cap of an account; the latest one counts, also if it is below what was spent."""
        event = Granted(epsilon=epsilon, delta=delta, unit=unit, forbid_non_private=forbid_non_private)
        with self._store.transaction() as pages:
            return self._add(pages, account, event, comment=comment)

    def reserve(
        self,
        account: Account,
        spending: Spent,
        *,
        run: str,
        delta: float,
        work: str | None = None,
        resume: bool = False,
    ) -> Reservation:
        """Sets aside what is about to be executed.

        Guarantees: what is counted on the account, this included, stays within the cap; if it would not, nothing is
        written. With ``resume`` an open reservation for the same work is continued and nothing is counted twice.

        Args:
            account: Whose budget it is.
            spending: What is about to be executed.
            run: The run that does it.
            delta: The delta at which the run states its epsilon.
            work: Digest of everything that decides what is done.
            resume: Whether earlier work of an interrupted attempt is being continued.

        Raises:
            BudgetExceededError: If the budget does not allow it.
            BudgetError: If it cannot be composed with what the account holds, if the rows belong to another account, or
                if the ledger cannot be used.
        """
        here = None if work is None else digest_json([work, self._place])
        with suppress(BudgetError):  # composing takes seconds: done before, it need not be done while others wait
            self.require(account, [spending])
        with self._store.transaction() as pages:
            standing = Standing.of(pages.entries, account.id)
            if resume and here is not None:
                for earlier in standing.open:
                    if earlier.work == here and earlier.spending == spending:
                        return Reservation(id=earlier.reservation, account=account, spending=spending, continued=True)
            require_same_account(pages.entries, account)
            require_allowed(standing, account, [spending], accountant=self._accountant, quick=self._quick)
            event = Reserved(
                reservation=secrets.token_hex(6),
                content=account.content,
                run=run,
                work=here,
                spending=spending,
                delta=delta,
            )
            self._add(pages, account.id, event)
        return Reservation(id=event.reservation, account=account, spending=spending)

    def pay(self, reservation: Reservation, spent: Spent) -> None:
        """Counts what was executed instead of what was reserved.

        Raises:
            BudgetError: If more was executed than reserved, or the reservation is not open.
        """
        if not covers(reservation.spending, spent):
            raise BudgetError(
                f"reservation {reservation.id}",
                seen="what was executed is more than what was reserved, or something else",
                allowed="the reserved mechanism, with as many steps or fewer",
                remedy="the reservation stays counted; tell the author of the trainer",
            )
        self.resolve(reservation.id, Paid(reservation=reservation.id, spending=spent))

    def refund(self, reservation: Reservation) -> None:
        """Frees what was reserved, because nothing of it was executed."""
        self.resolve(reservation.id, Refunded(reservation=reservation.id))

    def resolve(self, reservation: str, event: Paid | Refunded | None, *, comment: str | None = None) -> Entry:
        """Ends an open reservation.

        Args:
            reservation: Its id.
            event: How; ``None``: everything that was reserved counts as executed.
            comment: Why, where an owner decides.

        Raises:
            BudgetError: If there is no such open reservation.
        """
        with self._store.transaction() as pages:
            account, reserved = _open_reservation(pages.entries, reservation)
            event = event or Paid(reservation=reservation, spending=reserved.spending)
            return self._add(pages, account, event, comment=comment)

    @contextmanager
    def spending(
        self,
        account: Account,
        spending: Spent,
        *,
        run: str,
        delta: float,
        work: str | None = None,
        resume: bool = False,
    ) -> Iterator[list[Spent]]:
        """Reserves, and pays at the end for what was put into the list it yields.

        A :class:`~probity.errors.ConfigError` means that what was asked could not even be begun, so the reservation is
        refunded. Any other error leaves it open, and counted: how far the work had come is not known here. The next
        attempt at the same work continues it, or an owner resolves it.
        """
        reservation = self.reserve(account, spending, run=run, delta=delta, work=work, resume=resume)
        executed: list[Spent] = []
        try:
            yield executed
        except ConfigError:
            if not reservation.continued:
                self.refund(reservation)
            raise
        (spent,) = executed
        self.pay(reservation, spent)

    # -- questions -------------------------------------------------------------------------------------------------

    def require(self, account: Account, asked: Sequence[Spent]) -> None:
        """Raises if the budget would not allow all of these together. Nothing is reserved.

        Raises:
            BudgetExceededError: If it would not.
            BudgetError: As :meth:`reserve`.
        """
        entries = self._store.entries()
        require_same_account(entries, account)
        standing = Standing.of(entries, account.id)
        require_allowed(standing, account, asked, accountant=self._accountant, quick=self._quick)

    def history(self, account: str | None = None) -> list[Entry]:
        """Returns the entries of an account, or all, oldest first."""
        return [entry for entry in self._store.entries() if account in (None, entry.account)]

    def accounts(self) -> list[str]:
        """Returns the ids of all accounts, the one used last coming last."""
        return list(dict.fromkeys(entry.account for entry in reversed(self.history())))[::-1]

    def is_unlimited(self) -> bool:
        """Whether no account has a cap, so that nothing can be refused."""
        return not any(isinstance(entry.event, Granted) for entry in self.history())

    def balance(self, account: str) -> Balance:
        """Returns where an account stands."""
        return balance_of(account, Standing.of(self.history(), account), accountant=self._accountant)

    def cumulative(self, account: str, *, unit: str, delta: float) -> CumulativeSpending | None:
        """Returns what everything paid on an account reveals together; ``None`` if nothing was ever written there."""
        entries = self._store.entries()
        standing = Standing.of(entries, account)
        if not any(entry.account == account for entry in entries):
            return None
        executed = private(standing.paid)
        return CumulativeSpending(
            epsilon=composed(executed, unit=unit, delta=delta, accountant=self._accountant),
            delta=delta,
            unit=unit,
            mechanisms=len(executed),
            non_private=len(standing.paid) - len(executed),
            open_reservations=len(standing.open),
            ledger=entries[-1].digest,
        )

    def _add(self, pages: Pages, account: str, event: Event, *, comment: str | None = None) -> Entry:
        draft = Entry(
            number=1,
            account=account,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            by=self._by,
            comment=comment,
            event=event,
            previous=GENESIS,
            digest=GENESIS,
        )
        return pages.add(draft)


def open_ledger(config: RunConfig, workspace: Workspace) -> Ledger:
    """Returns the ledger that a config names, by default the workspace's own."""
    return ledger_at(config.budget.url, workspace)


def ledger_at(url: str | None, workspace: Workspace, *, by: str | None = None) -> Ledger:
    """Returns the ledger at a URL, or that of a SQLite file in the workspace.

    Args:
        url: SQLAlchemy URL; a relative SQLite file lies in the workspace.
        workspace: From which the ledger is used.
        by: Who acts; the user of the process when absent.
    """
    file = re.fullmatch(r"sqlite(?:\+\w+)?:///([^?]+)", url or "sqlite:///budget.sqlite")
    if file is not None and file[1] != ":memory:":
        url = sqlite_url(workspace.root / file[1])
    store = Store(url or "", workspace=workspace.root.resolve())
    return Ledger(store, quick=renyi_epsilon_of, by=by, place=f"{socket.gethostname()}:{workspace.root.resolve()}")


def account_of(config: RunConfig, dataset: Dataset) -> Account:
    """Returns whose budget a run spends."""
    return Account(
        id=config.data.budget_id or dataset.content_digest, content=dataset.content_digest, unit=dataset.privacy_unit
    )


def _open_reservation(entries: Sequence[Entry], reservation: str) -> tuple[str, Reserved]:
    found = [
        (entry.account, entry.event)
        for entry in entries
        if isinstance(entry.event, Reserved) and entry.event.reservation == reservation
    ]
    ended = any(
        isinstance(entry.event, Paid | Refunded) and entry.event.reservation == reservation for entry in entries
    )
    if not found or ended:
        raise BudgetError(
            f"reservation {reservation}",
            seen="it has been resolved already" if found else "no such reservation",
            allowed="an open reservation",
            remedy="list them with: probity budget show",
        )
    return found[0]
