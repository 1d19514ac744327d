"""The ledger: nothing is spent twice, nothing is lost, and no number of processes gets past the cap."""

from __future__ import annotations

import json
import math
import os
import signal
import sqlite3
import time

import pytest

from probity.audits.accounting import epsilon_of, renyi_epsilon_of
from probity.config_file import parse_config
from probity.data import PrivateStatistics
from probity.digest import digest_bytes, digest_json
from probity.errors import BudgetError, BudgetExceededError, ConfigError
from probity.model import NonPrivate
from probity.platform.budget.entries import Account, Refunded
from probity.platform.budget.ledger import Ledger, account_of, ledger_at
from probity.platform.budget.store import Store, sqlite_url
from probity.workspace import Workspace
from tests.audits.mechanisms import dp_sgd
from tests.platform.conftest import make_dataset

DATA = digest_bytes(b"rows")
ACCOUNT = Account(id=DATA, content=DATA, unit="row")
RUN = {"run": "run-1", "delta": 1e-5}
TRAINING = dp_sgd(2.0, 0.05, 40)


def plain_sum(spent, *, delta):
    """A cheap accountant for tests of everything but accounting: basic composition of what states its epsilon."""
    return sum(entry.epsilon for entry in spent)


def slow_sum(spent, *, delta):
    """Takes a while, as composing does: whoever does not hold the ledger meanwhile is overtaken."""
    time.sleep(0.02)
    return plain_sum(spent, delta=delta)


def costs(epsilon):
    return PrivateStatistics(epsilon=epsilon, delta=0.0, unit="row", mechanisms=("test",))


@pytest.fixture
def ledger(tmp_path):
    return Ledger(Store(sqlite_url(tmp_path / "budget.sqlite")), accountant=plain_sum, by="owner")


def test_without_a_cap_spending_is_recorded_and_nothing_is_limited(ledger):
    for _ in range(3):
        ledger.pay(ledger.reserve(ACCOUNT, costs(5.0), **RUN), costs(5.0))
    balance = ledger.balance(DATA)
    assert (balance.granted, balance.left, balance.spent, balance.payments) == (None, None, 15.0, 3)


def test_what_is_reserved_counts_and_what_is_refunded_does_not(ledger):
    ledger.grant(DATA, epsilon=1.0, delta=1e-5)
    first = ledger.reserve(ACCOUNT, costs(0.7), **RUN)
    balance = ledger.balance(DATA)
    assert (balance.spent, balance.reserved, balance.left) == (0.0, 0.7, pytest.approx(0.3))
    with pytest.raises(BudgetExceededError, match=r"asked epsilon 0\.4, spent or reserved 0\.7.*0\.3 left"):
        ledger.reserve(ACCOUNT, costs(0.4), **RUN)
    ledger.refund(first)
    ledger.pay(ledger.reserve(ACCOUNT, costs(0.4), **RUN), costs(0.4))
    assert ledger.balance(DATA).spent == pytest.approx(0.4)


def test_exactly_the_cap_is_allowed_and_a_little_more_is_not(ledger):
    ledger.grant(DATA, epsilon=1.0, delta=1e-5)
    ledger.reserve(ACCOUNT, costs(1.0), **RUN)
    with pytest.raises(BudgetExceededError):
        ledger.reserve(ACCOUNT, costs(1e-9), **RUN)


def test_steps_that_were_not_executed_are_free_again(tmp_path):
    ledger = Ledger(Store(sqlite_url(tmp_path / "budget.sqlite")))
    ledger.grant(DATA, epsilon=3.0, delta=1e-5)
    reservation = ledger.reserve(ACCOUNT, TRAINING, **RUN)
    executed = TRAINING.model_copy(update={"steps": 10})
    ledger.pay(reservation, executed)
    assert ledger.balance(DATA).spent == epsilon_of([executed], delta=1e-5) < epsilon_of([TRAINING], delta=1e-5)


@pytest.mark.parametrize(
    "executed",
    [TRAINING.model_copy(update={"steps": 41}), TRAINING.model_copy(update={"noise_multiplier": 1.9}), NonPrivate()],
)
def test_more_than_was_reserved_cannot_be_paid_and_stays_counted(ledger, executed):
    ledger._accountant = epsilon_of
    reservation = ledger.reserve(ACCOUNT, TRAINING, **RUN)
    with pytest.raises(BudgetError, match="more than what was reserved"):
        ledger.pay(reservation, executed)
    assert len(ledger.balance(DATA).open) == 1


def test_several_trainings_are_composed_and_the_plain_sum_stands_beside_it(tmp_path):
    ledger = Ledger(Store(sqlite_url(tmp_path / "budget.sqlite")))
    for _ in range(4):
        ledger.pay(ledger.reserve(ACCOUNT, TRAINING, **RUN), TRAINING)
    balance, single = ledger.balance(DATA), epsilon_of([TRAINING], delta=1e-5)
    assert balance.spent == epsilon_of([TRAINING] * 4, delta=1e-5)
    assert balance.spent < 0.8 * balance.plain_sum
    assert balance.plain_sum == pytest.approx(4 * single)


def test_an_attempt_that_continues_adopts_the_reservation_of_the_one_before(ledger):
    work = digest_bytes(b"the same work")
    first = ledger.reserve(ACCOUNT, costs(0.7), **RUN, work=work)
    again = ledger.reserve(ACCOUNT, costs(0.7), run="run-2", delta=1e-5, work=work, resume=True)
    assert (again.id, again.continued) == (first.id, True)
    from_scratch = ledger.reserve(ACCOUNT, costs(0.7), run="run-3", delta=1e-5, work=work)
    assert not from_scratch.continued
    assert ledger.balance(DATA).reserved == pytest.approx(1.4)


def test_a_refused_config_costs_nothing_and_any_other_end_stays_counted(ledger):
    with pytest.raises(ConfigError), ledger.spending(ACCOUNT, costs(0.5), **RUN):
        raise ConfigError("model", seen="x", allowed="y", remedy="z")
    assert ledger.balance(DATA).reserved == 0.0
    with pytest.raises(ZeroDivisionError), ledger.spending(ACCOUNT, costs(0.5), **RUN):
        raise ZeroDivisionError
    assert ledger.balance(DATA).reserved == 0.5
    (entry,) = ledger.balance(DATA).open
    ledger.resolve(entry.event.reservation, None, comment="its model was seen")
    assert ledger.balance(DATA).spent == 0.5
    with pytest.raises(BudgetError, match="resolved already"):
        ledger.resolve(entry.event.reservation, Refunded(reservation=entry.event.reservation))


def test_trainings_without_privacy_are_shown_and_refused_only_if_the_cap_says_so(ledger):
    ledger.grant(DATA, epsilon=1.0, delta=1e-5)
    ledger.pay(ledger.reserve(ACCOUNT, NonPrivate(), **RUN), NonPrivate())
    balance = ledger.balance(DATA)
    assert (balance.non_private, balance.spent, balance.left) == (1, 0.0, 1.0)
    ledger.grant(DATA, epsilon=1.0, delta=1e-5, forbid_non_private=True)
    with pytest.raises(BudgetExceededError, match="without differential privacy"):
        ledger.reserve(ACCOUNT, NonPrivate(), **RUN)


def test_under_a_cap_what_cannot_be_accounted_for_is_refused(ledger):
    ledger.grant(DATA, epsilon=1.0, delta=1e-5)
    for mechanism in (dp_sgd(2.0, noise_source="fixed_seed"), dp_sgd(2.0, unit="person")):
        with pytest.raises(BudgetError):
            ledger.reserve(ACCOUNT, mechanism, **RUN)


def test_without_a_cap_what_cannot_be_accounted_for_makes_the_spending_infinite(ledger):
    mechanism = dp_sgd(2.0, noise_source="fixed_seed")
    ledger.pay(ledger.reserve(ACCOUNT, mechanism, **RUN), mechanism)
    assert ledger.balance(DATA).spent == float("inf")


def test_the_same_rows_under_another_name_are_the_same_rows(ledger):
    ledger.reserve(ACCOUNT, costs(0.5), **RUN)
    with pytest.raises(BudgetError, match="these very rows belong to"):
        ledger.reserve(Account(id="fresh-start", content=DATA, unit="row"), costs(0.5), **RUN)


def test_a_new_name_does_not_escape_a_cap_that_nothing_was_charged_to_yet(ledger):
    ledger.grant(DATA, epsilon=1.0, delta=1e-5)
    renamed = Account(id="fresh-start", content=DATA, unit="row")
    with pytest.raises(BudgetError, match="these very rows belong to"):
        ledger.reserve(renamed, costs(0.5), **RUN)
    with pytest.raises(BudgetError, match="these very rows belong to"):
        ledger.require(renamed, [costs(0.5)])


def test_a_name_that_nothing_private_was_charged_under_can_be_changed(ledger):
    misspelt = Account(id="panle", content=DATA, unit="row")
    ledger.refund(ledger.reserve(misspelt, costs(0.5), **RUN))
    ledger.pay(ledger.reserve(misspelt, NonPrivate(), **RUN), NonPrivate())
    ledger.grant("panle", epsilon=1.0, delta=1e-5)
    assert ledger.reserve(Account(id="panel", content=DATA, unit="row"), costs(0.5), **RUN).spending == costs(0.5)
    with pytest.raises(BudgetError, match="belong to panel"):
        ledger.reserve(misspelt, costs(0.5), **RUN)


def test_what_was_spent_per_row_is_not_composed_per_person(ledger):
    ledger.pay(ledger.reserve(ACCOUNT, costs(0.1), **RUN), costs(0.1))
    ledger.grant(DATA, epsilon=5.0, delta=1e-5, unit="person")
    per_person = costs(0.1).model_copy(update={"unit": "person"})
    with pytest.raises(BudgetError, match="no epsilon per person bounds"):
        ledger.reserve(ACCOUNT, per_person, **RUN)
    assert (ledger.balance(DATA).spent, ledger.balance(DATA).left) == (float("inf"), 0.0)


def test_without_a_cap_several_units_have_no_common_epsilon(ledger):
    for spending in (costs(0.1), costs(0.1).model_copy(update={"unit": "person"})):
        ledger.pay(ledger.reserve(ACCOUNT, spending, **RUN), spending)
    balance = ledger.balance(DATA)
    assert (balance.unit, balance.spent, balance.reserved) == ("row, person", float("inf"), 0.0)


def test_an_attempt_elsewhere_does_not_take_over_a_reservation(tmp_path):
    work = digest_bytes(b"the same work")
    here, there = (
        Ledger(Store(sqlite_url(tmp_path / "shared.sqlite")), accountant=plain_sum, place=place)
        for place in ("alpha:/work", "beta:/work")
    )
    first = here.reserve(ACCOUNT, costs(0.7), **RUN, work=work)
    assert not there.reserve(ACCOUNT, costs(0.7), **RUN, work=work, resume=True).continued
    assert here.reserve(ACCOUNT, costs(0.7), **RUN, work=work, resume=True).id == first.id
    assert here.balance(DATA).reserved == pytest.approx(1.4)


def test_an_attempt_with_another_mechanism_does_not_take_over_a_reservation(ledger):
    work = digest_bytes(b"the same work")
    ledger.reserve(ACCOUNT, costs(0.7), **RUN, work=work)
    assert not ledger.reserve(ACCOUNT, costs(0.6), **RUN, work=work, resume=True).continued


def test_ledgers_do_not_see_each_other(tmp_path):
    one, two = (Ledger(Store(sqlite_url(tmp_path / name)), accountant=plain_sum) for name in ("a.sqlite", "b.sqlite"))
    one.grant(DATA, epsilon=0.1, delta=1e-5)
    two.reserve(ACCOUNT, costs(5.0), **RUN)
    assert len(one.history()) == len(two.history()) == 1


def test_accounts_do_not_see_each_other(ledger):
    other = digest_bytes(b"other rows")
    ledger.grant(DATA, epsilon=0.1, delta=1e-5)
    ledger.reserve(Account(id=other, content=other, unit="row"), costs(5.0), **RUN)
    assert ledger.balance(DATA).left == 0.1
    assert ledger.accounts() == [DATA, other]


def test_a_user_without_a_name_can_spend(tmp_path, monkeypatch):
    def nameless():
        raise KeyError("uid not found")

    monkeypatch.setattr("getpass.getuser", nameless)
    ledger = Ledger(Store(sqlite_url(tmp_path / "budget.sqlite")), accountant=plain_sum)
    assert ledger.grant(DATA, epsilon=1.0, delta=1e-5).by == f"user {os.getuid()}"


def test_data_that_grow_share_one_account():
    config = parse_config(
        {
            "name": "a",
            "data": {"source": "a.csv", "label": {"column": "y"}, "budget_id": "panel"},
            "model": {"kind": "logistic"},
            "serving": {"model_name": "a"},
        }
    )
    accounts = [account_of(config, make_dataset(data)) for data in ("2024", "2025")]
    assert {account.id for account in accounts} == {"panel"}
    assert accounts[0].content != accounts[1].content


def test_lowering_a_cap_below_what_was_spent_blocks_further_runs(ledger):
    ledger.pay(ledger.reserve(ACCOUNT, costs(2.0), **RUN), costs(2.0))
    ledger.grant(DATA, epsilon=1.0, delta=1e-5)
    assert ledger.balance(DATA).left == 0.0
    with pytest.raises(BudgetExceededError):
        ledger.reserve(ACCOUNT, costs(0.001), **RUN)


def test_far_from_the_cap_the_quick_accountant_decides_and_near_it_the_tight_one_does(tmp_path):
    asked = []

    def tight(spent, *, delta):
        asked.append(len(spent))
        return plain_sum(spent, delta=delta)

    def quick(spent, *, delta):
        return 2 * plain_sum(spent, delta=delta)

    ledger = Ledger(Store(sqlite_url(tmp_path / "budget.sqlite")), accountant=tight, quick=quick)
    ledger.grant(DATA, epsilon=1.0, delta=1e-5)
    ledger.reserve(ACCOUNT, costs(0.5), **RUN)
    assert not asked
    ledger.reserve(ACCOUNT, costs(0.5), **RUN)
    assert asked
    with pytest.raises(BudgetExceededError):
        ledger.reserve(ACCOUNT, costs(0.1), **RUN)


def test_the_quick_accountant_of_real_ledgers_never_says_less_than_the_tight_one():
    for spent in ([TRAINING] * 3, [TRAINING, costs(0.3)], [dp_sgd(1.0, 0.02, 100)]):
        assert renyi_epsilon_of(spent, delta=1e-5) >= epsilon_of(spent, delta=1e-5)


# --- what cannot be undone or forged ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_fifty_processes_at_once_never_pass_the_cap(tmp_path):
    path = tmp_path / "budget.sqlite"
    ledger = Ledger(Store(sqlite_url(path)), accountant=plain_sum)
    ledger.grant(DATA, epsilon=1.0, delta=1e-5)
    # Forking from one process that has imported everything: fifty interpreters would spend a minute on imports.
    start = time.time() + 1.0
    children = []
    for _ in range(50):
        child = os.fork()
        if child == 0:
            code = 2
            try:
                time.sleep(max(0.0, start - time.time()))
                Ledger(Store(sqlite_url(path)), accountant=slow_sum).reserve(ACCOUNT, costs(0.1), **RUN)
                code = 0
            except BudgetExceededError:
                code = 1
            finally:
                os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert sorted(codes) == [0] * 10 + [1] * 40
    assert ledger.balance(DATA).left == pytest.approx(0.0, abs=1e-9)


def test_a_process_killed_between_reserving_and_paying_leaves_it_counted(tmp_path):
    path = tmp_path / "budget.sqlite"
    ledger = Ledger(Store(sqlite_url(path)), accountant=plain_sum)
    ledger.grant(DATA, epsilon=1.0, delta=1e-5)
    child = os.fork()
    if child == 0:
        with Ledger(Store(sqlite_url(path)), accountant=plain_sum).spending(ACCOUNT, costs(0.8), **RUN):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert ledger.balance(DATA).reserved == 0.8
    with pytest.raises(BudgetExceededError, match="1 open reservations"):
        ledger.reserve(ACCOUNT, costs(0.3), **RUN)


def test_a_process_killed_within_a_transaction_leaves_the_ledger_as_it_was(tmp_path):
    path = tmp_path / "budget.sqlite"
    store = Store(sqlite_url(path))
    ledger = Ledger(store, accountant=plain_sum)
    ledger.grant(DATA, epsilon=1.0, delta=1e-5)
    child = os.fork()
    if child == 0:
        other = Ledger(Store(sqlite_url(path)), accountant=plain_sum)
        with other._store.transaction() as pages:
            other._add(pages, DATA, pages.entries[0].event)
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(ledger.history()) == 1


def rewritten(path, number, change):
    with sqlite3.connect(path) as database:
        (text,) = database.execute("select entry from probity_budget where number = ?", [number]).fetchone()
        value = json.loads(text)
        change(value)
        database.execute("update probity_budget set entry = ? where number = ?", [json.dumps(value), number])


CHANGES = {
    "account": lambda value: value.update(account="other"),
    "at": lambda value: value.update(at="2000-01-01T00:00:00+00:00"),
    "by": lambda value: value.update(by="somebody else"),
    "comment": lambda value: value.update(comment="never happened"),
    "epsilon": lambda value: value["event"]["spending"].update(epsilon=0.01),
    "run": lambda value: value["event"].update(run="run-9"),
    "reservation": lambda value: value["event"].update(reservation="0"),
    "previous": lambda value: value.update(previous="sha256:" + "1" * 64),
    "digest": lambda value: value.update(digest="sha256:" + "1" * 64),
    "unknown field": lambda value: value.update(extra=1),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_entry_is_named_and_stops_all_spending(ledger, tmp_path, name):
    for _ in range(3):
        ledger.reserve(ACCOUNT, costs(0.1), **RUN)
    rewritten(tmp_path / "budget.sqlite", 2, CHANGES[name])
    with pytest.raises(BudgetError, match="entry 2"):
        ledger.reserve(ACCOUNT, costs(0.1), **RUN)
    with pytest.raises(BudgetError, match="entry 2"):
        ledger.balance(DATA)


@pytest.mark.parametrize(("removed", "named"), [(1, 2), (2, 3)])
def test_a_removed_entry_is_noticed_at_the_next_one(ledger, tmp_path, removed, named):
    for _ in range(3):
        ledger.reserve(ACCOUNT, costs(0.1), **RUN)
    with sqlite3.connect(tmp_path / "budget.sqlite") as database:
        database.execute("delete from probity_budget where number = ?", [removed])
    with pytest.raises(BudgetError, match=f"entry {named}"):
        ledger.history()


def test_an_entry_of_another_version_of_the_program_is_not_taken_for_a_changed_one(ledger, tmp_path):
    """A field that is added later has a default, and is absent from what was written before."""
    ledger.grant(DATA, epsilon=1.0, delta=1e-5)

    def as_if_written_before_there_were_comments(value):
        del value["comment"]
        value["digest"] = digest_json({name: entry for name, entry in value.items() if name != "digest"})

    rewritten(tmp_path / "budget.sqlite", 1, as_if_written_before_there_were_comments)
    ledger.reserve(ACCOUNT, costs(0.1), **RUN)
    assert [entry.number for entry in ledger.history()] == [1, 2]


def test_entries_in_another_order_are_noticed(ledger, tmp_path):
    for _ in range(3):
        ledger.reserve(ACCOUNT, costs(0.1), **RUN)
    with sqlite3.connect(tmp_path / "budget.sqlite") as database:
        database.execute("update probity_budget set number = 9 where number = 2")
        database.execute("update probity_budget set number = 2 where number = 3")
        database.execute("update probity_budget set number = 3 where number = 9")
    with pytest.raises(BudgetError, match="entry 2"):
        ledger.history()


def test_a_ledger_that_is_not_there_yet_is_empty_and_is_not_made_by_looking(tmp_path):
    ledger = ledger_at(None, Workspace(tmp_path / "absent"))
    assert ledger.history() == []
    assert ledger.balance(DATA).granted is None
    assert not (tmp_path / "absent").exists()


def test_a_relative_file_lies_in_the_workspace_whatever_the_current_folder_is(tmp_path, monkeypatch):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        ledger_at("sqlite:///ours.sqlite", Workspace(tmp_path / "workspace")).grant(DATA, epsilon=1.0, delta=1e-5)
    assert len(ledger_at("sqlite:///ours.sqlite", Workspace(tmp_path / "workspace")).history()) == 2


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://host/db"])
def test_a_database_that_forgets_or_cannot_be_held_alone_is_refused(url, tmp_path):
    with pytest.raises(ConfigError, match=r"budget\.url"):
        ledger_at(url, Workspace(tmp_path))


@pytest.mark.parametrize("url", ["nonsense", "postgresql+nodriver://host/db"])
def test_an_address_that_is_none_is_refused(url, tmp_path):
    with pytest.raises(BudgetError, match="cannot be used"):
        ledger_at(url, Workspace(tmp_path))


def test_a_ledger_that_cannot_be_used_says_so_without_credentials():
    with pytest.raises(BudgetError) as caught:
        Ledger(Store("postgresql+psycopg://user:secret@127.0.0.1:1/budgets")).history()
    assert "127.0.0.1" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "user" not in str(caught.value)


def test_a_card_is_told_what_all_trainings_reveal_together(ledger):
    assert ledger.cumulative(DATA, unit="row", delta=1e-5) is None
    for _ in range(2):
        ledger.pay(ledger.reserve(ACCOUNT, costs(0.4), **RUN), costs(0.4))
    ledger.pay(ledger.reserve(ACCOUNT, NonPrivate(), **RUN), NonPrivate())
    ledger.reserve(ACCOUNT, costs(9.0), **RUN)
    spent = ledger.cumulative(DATA, unit="row", delta=1e-5)
    assert (spent.mechanisms, spent.non_private, spent.open_reservations) == (2, 1, 1)
    assert spent.epsilon == pytest.approx(0.8)
    assert spent.ledger == ledger.history()[-1].digest
    assert math.isinf(ledger.cumulative(DATA, unit="person", delta=1e-5).epsilon)
