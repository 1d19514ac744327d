"""Trainings per client in the ledger: a unit of their own, which no budget per row pays for."""

import math

import pytest

from probity.audits.accounting import epsilon_of
from probity.digest import digest_bytes
from probity.errors import BudgetError, BudgetExceededError
from probity.model import Federated
from probity.platform.budget.entries import Account
from probity.platform.budget.ledger import Ledger
from probity.platform.budget.rules import covers
from probity.platform.budget.store import Store, sqlite_url
from tests.audits.mechanisms import dp_fedavg, dp_ftrl, dp_sgd

DATA = digest_bytes(b"rows")
ACCOUNT = Account(id=DATA, content=DATA, unit="row")
RUN = {"run": "run-1", "delta": 1e-4}
ALONE = Federated(num_clients=100, clients_per_round=20, rounds=5, secure_aggregation="none")


@pytest.fixture
def ledger(tmp_path):
    return Ledger(Store(sqlite_url(tmp_path / "budget.sqlite")), by="owner")


def test_a_cap_per_client_is_spent_by_rounds(ledger):
    ledger.grant(DATA, epsilon=20.0, delta=1e-4, unit="client")
    once = dp_fedavg(1.0, 0.02, 100)
    ledger.pay(ledger.reserve(ACCOUNT, once, **RUN), once)
    balance = ledger.balance(DATA)
    assert balance.unit == "client"
    assert balance.spent == pytest.approx(epsilon_of([once], delta=1e-4), rel=1e-9)
    with pytest.raises(BudgetExceededError):
        ledger.reserve(ACCOUNT, dp_ftrl(0.5, 4, 2), **RUN)


def test_a_cap_per_row_does_not_pay_for_clients(ledger):
    ledger.grant(DATA, epsilon=20.0, delta=1e-4, unit="row")
    with pytest.raises(BudgetError, match="protects one client, and the data declares row"):
        ledger.reserve(ACCOUNT, dp_fedavg(1.0), **RUN)


def test_rows_and_clients_have_no_epsilon_together(ledger):
    for spent in (dp_sgd(2.0, 0.05, 40), dp_fedavg(1.0)):
        ledger.pay(ledger.reserve(ACCOUNT, spent, **RUN), spent)
    assert math.isinf(ledger.balance(DATA).spent)


def test_federation_alone_can_be_forbidden(ledger):
    ledger.grant(DATA, epsilon=1.0, delta=1e-4, forbid_non_private=True)
    with pytest.raises(BudgetExceededError, match="without differential privacy"):
        ledger.reserve(ACCOUNT, ALONE, **RUN)


@pytest.mark.parametrize("make", [dp_fedavg, dp_ftrl])
def test_fewer_rounds_than_reserved_are_covered_and_less_noise_is_not(make):
    assert covers(make(1.0), make(1.0).model_copy(update={"rounds": 3}))
    assert not covers(make(1.0), make(1.0).model_copy(update={"rounds": 1000}))
    assert not covers(make(1.0), make(0.9))
    assert not covers(make(1.0), ALONE)
