"""A ledger that was cut short or replaced is noticed by every workspace that wrote to it."""

from __future__ import annotations

import shutil
import sqlite3

import pytest

from probity.errors import BudgetError
from probity.platform.budget import head
from probity.platform.budget.ledger import ledger_at
from probity.workspace import Workspace
from tests.platform.budget.test_ledger import ACCOUNT, DATA, RUN, costs


@pytest.fixture
def workspace(tmp_path):
    """A workspace whose ledger has three entries."""
    place = Workspace(tmp_path / "workspace")
    ledger = ledger_at(None, place)
    ledger.grant(DATA, epsilon=1.0, delta=1e-5)
    for _ in range(2):
        ledger.reserve(ACCOUNT, costs(0.1), **RUN)
    return place


def cut(workspace, *, after):
    """Removes every entry after this one."""
    with sqlite3.connect(workspace.root / "budget.sqlite") as database:
        database.execute("delete from probity_budget where number > ?", [after])


@pytest.mark.parametrize("after", [2, 1, 0])
def test_a_ledger_without_its_last_entries_stops_all_spending(workspace, after):
    cut(workspace, after=after)
    for use in (lambda ledger: ledger.balance(DATA), lambda ledger: ledger.reserve(ACCOUNT, costs(0.1), **RUN)):
        with pytest.raises(BudgetError, match="entry 3: it was written from this workspace"):
            use(ledger_at(None, workspace))


def test_a_ledger_that_is_gone_is_not_an_empty_one(workspace):
    (workspace.root / "budget.sqlite").unlink()
    with pytest.raises(BudgetError, match="which has 0 entries"):
        ledger_at(None, workspace).history()


def test_a_ledger_that_was_begun_anew_is_noticed_however_long_it_is(workspace):
    fresh = Workspace(workspace.root.parent / "fresh")
    for _ in range(5):
        ledger_at(None, fresh).grant(DATA, epsilon=100.0, delta=1e-5)
    shutil.copyfile(fresh.root / "budget.sqlite", workspace.root / "budget.sqlite")
    with pytest.raises(BudgetError, match="entry 3"):
        ledger_at(None, workspace).history()


def test_a_workspace_that_was_moved_still_knows_its_ledger(workspace):
    moved = Workspace(workspace.root.rename(workspace.root.with_name("moved")))
    assert len(ledger_at(None, moved).history()) == 3
    cut(moved, after=2)
    with pytest.raises(BudgetError, match="entry 3"):
        ledger_at(None, moved).history()


def test_what_others_added_is_no_reason_to_complain(workspace):
    other = Workspace(workspace.root.parent / "other")
    url = f"sqlite:///{workspace.root / 'budget.sqlite'}"
    ledger_at(url, other).reserve(ACCOUNT, costs(0.1), **RUN)
    assert len(ledger_at(None, workspace).history()) == 4
    cut(workspace, after=3)
    assert len(ledger_at(None, workspace).history()) == 3  # this workspace never saw the fourth
    with pytest.raises(BudgetError, match="entry 4"):
        ledger_at(url, other).history()


def test_each_ledger_has_a_note_of_its_own(workspace):
    ledger_at("sqlite:///second.sqlite", workspace).grant(DATA, epsilon=1.0, delta=1e-5)
    assert len(ledger_at(None, workspace).history()) == 3
    assert len(list((workspace.root / "budget").glob("*.json"))) == 2


def test_a_note_that_cannot_be_read_stops_all_spending(workspace):
    (note,) = (workspace.root / "budget").glob("*.json")
    note.write_text("{}")
    with pytest.raises(BudgetError, match="cannot be read"):
        ledger_at(None, workspace).reserve(ACCOUNT, costs(0.1), **RUN)


def test_a_note_that_cannot_be_written_undoes_nothing(workspace, monkeypatch):
    def full(*arguments):
        raise OSError("no space left")

    monkeypatch.setattr(head, "write_record", full)
    ledger_at(None, workspace).reserve(ACCOUNT, costs(0.1), **RUN)
    assert len(ledger_at(None, workspace).history()) == 4


def test_a_refused_reservation_is_not_noted(workspace):
    (note,) = (workspace.root / "budget").glob("*.json")
    before = note.read_text()
    with pytest.raises(BudgetError):
        ledger_at(None, workspace).reserve(ACCOUNT, costs(5.0), **RUN)
    assert note.read_text() == before
