import pytest

from probity.audits.accounting import epsilon_of
from probity.budget import budget_statements
from probity.digest import digest_bytes
from probity.model import DpSgd, NonPrivate
from probity.platform.budget.entries import Account
from probity.platform.budget.ledger import ledger_at
from probity.platform.budget.statement import leave_statement
from probity.workspace import Workspace

MECHANISM = DpSgd(
    noise_multiplier=2.0, noise_source="os_entropy", sampling="poisson", sampling_prob=0.01, steps=100,
    l2_clip_norm=1.0, expected_batch_size=100.0, normalization="expected_batch_size", unit="row", engine="test",
)  # fmt: skip
ACCOUNT = Account(id="census", content=digest_bytes(b"rows"), unit="row")


@pytest.fixture
def place(tmp_path):
    return Workspace(tmp_path / ".probity")


def test_a_statement_says_what_the_ledger_says(place):
    ledger = ledger_at(None, place, by="Ada")
    ledger.grant("census", epsilon=3.0, delta=1e-5, comment="agreed")
    paid = ledger.reserve(ACCOUNT, MECHANISM, run="first", delta=1e-5)
    ledger.pay(paid, MECHANISM)
    ledger.reserve(ACCOUNT, MECHANISM, run="second", delta=1e-5)
    leave_statement(ledger, "census", place)
    (found,) = budget_statements(place.root)
    balance = ledger.balance("census")
    assert found.spent == balance.spent == pytest.approx(epsilon_of([MECHANISM], delta=1e-5))
    assert (found.reserved, found.left) == (balance.reserved, balance.left)
    assert found.reserved > 0
    assert found.granted == 3.0
    assert [line.kind for line in found.lines] == ["granted", "reserved", "paid", "reserved"]
    assert [line.run for line in found.lines] == [None, "first", None, "second"]
    assert found.lines[0].by == "Ada"
    assert found.ledger == ledger.history()[-1].digest


def test_trainings_without_privacy_are_counted_and_have_no_epsilon(place):
    ledger = ledger_at(None, place)
    reserved = ledger.reserve(ACCOUNT, NonPrivate(), run="first", delta=1e-5)
    ledger.pay(reserved, NonPrivate())
    leave_statement(ledger, "census", place)
    (found,) = budget_statements(place.root)
    assert (found.spent, found.payments, found.non_private, found.left) == (0.0, 0, 1, None)


def test_an_account_that_nobody_used_leaves_nothing(place):
    leave_statement(ledger_at(None, place), "census", place)
    assert budget_statements(place.root) == ()


def test_a_statement_that_cannot_be_written_undoes_nothing(place, monkeypatch):
    ledger = ledger_at(None, place)
    ledger.grant("census", epsilon=3.0, delta=1e-5)

    def refuse(*_):
        raise OSError

    monkeypatch.setattr("probity.platform.budget.statement.write_record", refuse)
    leave_statement(ledger, "census", place)
    assert ledger.balance("census").left == 3.0
