"""The ledger: a run reserves before it trains, pays for what it executed, and what it did not execute is free again.

Everything that was reserved counts until it is known to be less: a process that dies between reserving and paying
leaves its reservation counted until an owner resolves it, and two processes never both get the last of a budget,
because checking and reserving are one transaction.

What is left is found by *composing* what was executed (:mod:`probity.audits.accounting`), not by adding epsilons: the
composition is tighter, and it is what the accountants prove. The plain sum is shown beside it.

A training without differential privacy has no epsilon that a cap could bound. It is written down and shown, and
refused only if the cap says so; what keeps its model from being released is the gate.
"""

from __future__ import annotations

import getpass
import math
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from probity.audits.accounting import Spent, epsilon_of, unaccountable
from probity.config import RunConfig
from probity.data import Dataset
from probity.errors import BudgetError, BudgetExceededError, ConfigError
from probity.model import DpSgd, NonPrivate
from probity.platform.budget.entries import GENESIS, Account, Entry, Event, Granted, Paid, Refunded, Reserved
from probity.platform.budget.store import Pages, Store, sqlite_url
from probity.record import Number, Record
from probity.runs import Workspace

__all__ = ["Balance", "Ledger", "Reservation", "account_of", "ledger_url", "open_ledger"]

Accountant = Callable[..., float]
"""``accountant(spent, delta=delta)`` returns the epsilon of everything spent, composed."""


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


class Balance(Record):
    """Where an account stands."""

    account: str
    unit: str
    delta: float | None
    """The delta at which all epsilons here hold: the cap's; without a cap, the smallest that a run stated."""
    granted: Granted | None
    """The cap in force; ``None``: none was granted, nothing is limited."""
    spent: Number
    """Epsilon of everything that was executed, composed."""
    reserved: Number
    """Epsilon of that and of everything reserved, composed, minus ``spent``."""
    left: Number | None
    """The cap minus both; ``None`` without a cap."""
    plain_sum: Number
    """The sum of the single epsilons, for comparison: a valid bound too, and a worse one."""
    payments: int
    """Number of mechanisms that were executed."""
    open: tuple[Entry, ...]
    """Reservations that are neither paid nor refunded."""
    non_private: int
    """Number of trainings without differential privacy, which no epsilon bounds."""


class Ledger:
    """The budgets of all data sets in one store.

    Args:
        store: Where entries lie.
        accountant: Composes what was spent.
        by: Who acts; the user of the process when absent.
    """

    def __init__(self, store: Store, *, accountant: Accountant = epsilon_of, by: str | None = None) -> None:
        self._store = store
        self._accountant = accountant
        self._by = by or getpass.getuser()

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
            BudgetError: If it cannot be composed with what the account holds, or the ledger cannot be used.
        """
        with self._store.transaction() as pages:
            state = _State.of(pages.entries, account.id)
            if resume and work is not None:
                for number, earlier in state.open.items():
                    if earlier.work == work and earlier.spending == spending:
                        return Reservation(id=number, account=account, spending=spending, continued=True)
            _require_same_account(pages.entries, account)
            self._require_allowed(state, account, [spending])
            number = secrets.token_hex(6)
            event = Reserved(
                reservation=number, content=account.content, run=run, work=work, spending=spending, delta=delta
            )
            self._add(pages, account.id, event)
        return Reservation(id=number, account=account, spending=spending)

    def require(self, account: Account, asked: Sequence[Spent]) -> None:
        """Raises if the budget would not allow all of these together. Nothing is reserved.

        Raises:
            BudgetExceededError: If it would not.
        """
        with self._store.transaction() as pages:
            self._require_allowed(_State.of(pages.entries, account.id), account, asked)

    def pay(self, reservation: Reservation, spent: Spent) -> None:
        """Counts what was executed instead of what was reserved.

        Raises:
            BudgetError: If more was executed than reserved, or the reservation is not open.
        """
        if not _covers(reservation.spending, spent):
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
            found = [
                (entry.account, entry.event)
                for entry in pages.entries
                if isinstance(entry.event, Reserved) and entry.event.reservation == reservation
            ]
            ended = any(
                isinstance(entry.event, Paid | Refunded) and entry.event.reservation == reservation
                for entry in pages.entries
            )
            if not found or ended:
                raise BudgetError(
                    f"reservation {reservation}",
                    seen="it has been resolved already" if found else "no such reservation",
                    allowed="an open reservation",
                    remedy="list them with: probity budget show",
                )
            ((account, reserved),) = found
            done = event or Paid(reservation=reservation, spending=reserved.spending)
            return self._add(pages, account, done, comment=comment)

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

    def history(self, account: str | None = None) -> list[Entry]:
        """Returns the entries of an account, or all, oldest first."""
        with self._store.transaction() as pages:
            return [entry for entry in pages.entries if account in (None, entry.account)]

    def accounts(self) -> list[str]:
        """Returns the ids of all accounts, the one used last coming last."""
        return list(dict.fromkeys(entry.account for entry in reversed(self.history())))[::-1]

    def is_unlimited(self) -> bool:
        """Whether no account has a cap, so that nothing can be refused."""
        return not any(isinstance(entry.event, Granted) for entry in self.history())

    def balance(self, account: str) -> Balance:
        """Returns where an account stands."""
        state = _State.of(self.history(account), account)
        cap = state.cap
        delta = cap.delta if cap is not None else min(state.deltas, default=None)
        spent = self._compose(list(state.paid), delta)
        both = self._compose([*state.paid, *(entry.spending for entry in state.open.values())], delta)
        private = [entry for entry in state.paid if not isinstance(entry, NonPrivate)]
        return Balance(
            account=account,
            unit=cap.unit if cap is not None else next(iter(state.units), "row"),
            delta=delta,
            granted=cap,
            spent=spent,
            reserved=both - spent if math.isfinite(both) else both,
            left=None if cap is None else max(cap.epsilon - both, 0.0),
            plain_sum=sum(self._compose([entry], delta) for entry in private),
            payments=len(private),
            open=state.open_entries,
            non_private=len(state.paid) - len(private),
        )

    def _require_allowed(self, state: _State, account: Account, asked: Sequence[Spent]) -> None:
        cap = state.cap
        if cap is None:
            return
        private = [entry for entry in asked if not isinstance(entry, NonPrivate)]
        if cap.forbid_non_private and len(private) < len(asked):
            raise BudgetExceededError(
                f"privacy budget of {_short(account.id)}",
                seen="a training without differential privacy: its epsilon is infinite",
                allowed="differentially private training only, as the owner of the budget decided",
                remedy="use a private trainer, for example --trainer dp_sgd",
            )
        for reason in filter(None, (unaccountable(entry, unit=cap.unit) for entry in private)):
            raise BudgetError(
                f"privacy budget of {_short(account.id)}",
                seen=reason,
                allowed=f"mechanisms whose epsilon per {cap.unit} an accountant can state",
                remedy="change the settings, or let the owner of the budget grant one for this unit",
            )
        before = [*state.paid, *(entry.spending for entry in state.open.values())]
        counted, total = self._compose(before, cap.delta), self._compose([*before, *private], cap.delta)
        if private and not total <= cap.epsilon:
            alone = self._compose(private, cap.delta)
            waiting = f" (of which {len(state.open)} open reservations)" if state.open else ""
            raise BudgetExceededError(
                f"privacy budget of {_short(account.id)}",
                seen=f"asked epsilon {alone:.4g}, spent or reserved {counted:.4g}{waiting}; together {total:.4g}, "
                "composed "
                f"at delta {cap.delta:g}",
                allowed=f"{cap.epsilon:.4g} in all; {max(cap.epsilon - counted, 0.0):.4g} left",
                remedy="ask for less with trainer.target_epsilon, resolve reservations that ended without a model "
                "(probity "
                "budget show), or let the owner grant more",
            )

    def _compose(self, spent: Sequence[Spent], delta: float | None) -> float:
        private = [entry for entry in spent if not isinstance(entry, NonPrivate)]
        if any(unaccountable(entry, unit=entry.unit) for entry in private):
            return math.inf  # recorded while there was no cap; no epsilon bounds it
        return self._accountant(private, delta=delta) if private and delta is not None else 0.0

    def _add(self, pages: Pages, account: str, event: Event, *, comment: str | None = None) -> Entry:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return pages.add(
            Entry(
                number=1,
                account=account,
                at=now,
                by=self._by,
                comment=comment,
                event=event,
                previous=GENESIS,
                digest=GENESIS,
            )
        )


@dataclass(frozen=True, kw_only=True)
class _State:
    """What the entries of one account add up to."""

    cap: Granted | None
    paid: tuple[Spent, ...]
    open_entries: tuple[Entry, ...]
    deltas: tuple[float, ...]

    @classmethod
    def of(cls, entries: Sequence[Entry], account: str) -> _State:
        cap: Granted | None = None
        paid: list[Spent] = []
        opened: dict[str, Entry] = {}
        deltas = []
        for entry in entries:
            event = entry.event
            if entry.account != account:
                continue
            if isinstance(event, Granted):
                cap = event
            elif isinstance(event, Reserved):
                opened[event.reservation] = entry
                deltas.append(event.delta)
            else:
                opened.pop(event.reservation, None)
                if isinstance(event, Paid):
                    paid.append(event.spending)
        return cls(cap=cap, paid=tuple(paid), open_entries=tuple(opened.values()), deltas=tuple(deltas))

    @property
    def open(self) -> dict[str, Reserved]:
        """Open reservations by id."""
        return {
            entry.event.reservation: entry.event for entry in self.open_entries if isinstance(entry.event, Reserved)
        }

    @property
    def units(self) -> list[str]:
        """Units that were spent on, in order."""
        spendings = [*self.paid, *(entry.spending for entry in self.open.values())]
        return [entry.unit for entry in spendings if not isinstance(entry, NonPrivate)]


def open_ledger(config: RunConfig, workspace: Workspace) -> Ledger:
    """Returns the ledger that a config names, by default the workspace's own."""
    return Ledger(Store(ledger_url(config.budget.url, workspace)))


def ledger_url(url: str | None, workspace: Workspace) -> str:
    """Returns the URL of the ledger: the given one, or that of a SQLite file in the workspace."""
    return url or sqlite_url(workspace.root / "budget.sqlite")


def account_of(config: RunConfig, dataset: Dataset) -> Account:
    """Returns whose budget a run spends."""
    return Account(
        id=config.data.budget_id or dataset.content_digest, content=dataset.content_digest, unit=dataset.privacy_unit
    )


def _covers(reserved: Spent, executed: Spent) -> bool:
    """Whether what was executed is what was reserved, or less of it."""
    if isinstance(reserved, DpSgd) and isinstance(executed, DpSgd):
        same = executed.model_copy(update={"steps": reserved.steps, "engine": reserved.engine})
        return same == reserved and executed.steps <= reserved.steps
    return executed == reserved


def _require_same_account(entries: Sequence[Entry], account: Account) -> None:
    """Raises if these very rows were charged to another account: a new name does not make their privacy new."""
    others = {
        entry.account
        for entry in entries
        if isinstance(entry.event, Reserved) and entry.event.content == account.content and entry.account != account.id
    }
    if others:
        raise BudgetError(
            "data.budget_id",
            seen=f"{_short(account.id)}, but these very rows were charged to "
            f"{', '.join(map(_short, sorted(others)))} before",
            allowed="one account for one set of rows",
            remedy="keep the earlier budget_id (or none, if there was none)",
        )


def _short(account: str) -> str:
    return account[:19] if account.startswith("sha256:") else account
