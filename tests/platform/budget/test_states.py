"""Whatever happens in whatever order, the ledger says what a plain model of it says, and never passes the cap."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from probity.digest import digest_bytes
from probity.errors import BudgetError, BudgetExceededError
from probity.model import NonPrivate
from probity.platform.budget.entries import Account, Refunded
from probity.platform.budget.ledger import Ledger
from probity.platform.budget.store import Store, sqlite_url
from tests.audits.mechanisms import dp_sgd

ACCOUNTS = [Account(id=name, content=digest_bytes(name.encode()), unit="row") for name in ("a", "b")]
STEPS = st.integers(min_value=1, max_value=40)


def steps_of(spent, *, delta):
    """An accountant that counts steps: whole numbers leave no room for rounding."""
    return float(sum(entry.steps for entry in spent))


def training(steps):
    return dp_sgd(1.0, 0.1, steps)


class Bookkeeping(RuleBasedStateMachine):
    """The ledger beside dictionaries."""

    reservations = Bundle("reservations")

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "budget.sqlite"
        self.caps = {}
        self.open = {account.id: {} for account in ACCOUNTS}
        self.paid = {account.id: 0 for account in ACCOUNTS}
        self.non_private = {account.id: 0 for account in ACCOUNTS}
        self.entries = 0
        self.reopen()

    def teardown(self):
        self.folder.cleanup()

    @rule()
    def reopen(self):
        """Another process comes to the same file."""
        self.ledger = Ledger(Store(sqlite_url(self.path)), accountant=steps_of, by="owner")

    @rule(account=st.sampled_from(ACCOUNTS), epsilon=st.integers(min_value=1, max_value=100))
    def grant(self, account, epsilon):
        self.ledger.grant(account.id, epsilon=float(epsilon), delta=1e-5)
        self.caps[account.id] = epsilon
        self.entries += 1

    @rule(target=reservations, account=st.sampled_from(ACCOUNTS), steps=STEPS)
    def reserve(self, account, steps):
        counted = self.paid[account.id] + sum(self.open[account.id].values())
        if counted + steps > self.caps.get(account.id, float("inf")):
            with pytest.raises(BudgetExceededError):
                self.ledger.reserve(account, training(steps), run="r", delta=1e-5)
            return None
        reservation = self.ledger.reserve(account, training(steps), run="r", delta=1e-5)
        self.open[account.id][reservation.id] = steps
        self.entries += 1
        return reservation

    @rule(account=st.sampled_from(ACCOUNTS))
    def train_without_privacy(self, account):
        with self.ledger.spending(account, NonPrivate(), run="r", delta=1e-5) as executed:
            executed.append(NonPrivate())
        self.non_private[account.id] += 1
        self.entries += 2

    @rule(reservation=consumes(reservations), share=st.floats(min_value=0, max_value=1))
    def pay(self, reservation, share):
        if reservation is None:
            return
        reserved = self.open[reservation.account.id].pop(reservation.id)
        executed = round(share * reserved)
        self.ledger.pay(reservation, training(executed))
        self.paid[reservation.account.id] += executed
        self.entries += 1

    @rule(reservation=reservations)
    def pay_too_much(self, reservation):
        if reservation is not None:
            with pytest.raises(BudgetError):
                self.ledger.pay(reservation, training(reservation.spending.steps + 1))

    @rule(reservation=consumes(reservations))
    def refund_and_try_again(self, reservation):
        if reservation is None:
            return
        del self.open[reservation.account.id][reservation.id]
        self.ledger.refund(reservation)
        self.entries += 1
        with pytest.raises(BudgetError):
            self.ledger.pay(reservation, reservation.spending)

    @rule(reservation=consumes(reservations), refunded=st.booleans())
    def resolve(self, reservation, refunded):
        if reservation is None:
            return
        steps = self.open[reservation.account.id].pop(reservation.id)
        self.ledger.resolve(reservation.id, Refunded(reservation=reservation.id) if refunded else None)
        self.paid[reservation.account.id] += 0 if refunded else steps
        self.entries += 1

    @invariant()
    def the_ledger_says_what_the_model_says(self):
        assert len(self.ledger.history()) == self.entries
        for account in ACCOUNTS:
            balance, reserved = self.ledger.balance(account.id), sum(self.open[account.id].values())
            cap = self.caps.get(account.id)
            assert (balance.spent, balance.reserved) == (self.paid[account.id], reserved)
            assert {entry.event.reservation for entry in balance.open} == set(self.open[account.id])
            assert balance.non_private == self.non_private[account.id]
            assert balance.left == (None if cap is None else max(cap - self.paid[account.id] - reserved, 0))


TestBookkeeping = Bookkeeping.TestCase
TestBookkeeping.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
