"""``probity budget``: what a user types and reads, and the exit codes that a script sees."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from probity.errors import BudgetError, ConfigError
from probity.model import NonPrivate
from probity.platform.budget.entries import Account
from probity.platform.budget.ledger import ledger_at
from probity.platform.cli import app
from probity.workspace import Workspace
from tests.audits.mechanisms import dp_sgd
from tests.platform.budget.test_account import config_file, finished_run
from tests.platform.budget.test_ledger import ACCOUNT, DATA, RUN, costs


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder to type commands in; returns what is printed, or raises what the user would be told."""
    monkeypatch.chdir(tmp_path)

    def probity(*arguments):
        result = CliRunner().invoke(app, ["budget", *arguments], env={"COLUMNS": "200", "TERM": "dumb"})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    return probity


@pytest.fixture
def ledger(tmp_path):
    return ledger_at(None, Workspace(tmp_path / ".probity"), by="trainer")


def test_grant_says_what_is_left_and_show_repeats_it(project, ledger):
    ledger.pay(ledger.reserve(ACCOUNT, costs(1.0), **RUN), costs(1.0))
    said = project("grant", DATA, "--epsilon", "3", "--delta", "1e-5", "--by", "owner", "--comment", "agreed")
    assert said == f"granted epsilon 3 at delta 1e-05 per row on {DATA}; 2 left\n"
    shown = project("show")
    for line in ("epsilon 3 at delta 1e-05", "epsilon 1 at delta 1e-05, 1 mechanisms composed", "left", "epsilon 2"):
        assert line in shown
    entry = ledger.history()[-1]
    assert (entry.by, entry.comment) == ("owner", "agreed")


def test_without_a_grant_show_says_that_nothing_is_limited(project, ledger):
    ledger.reserve(ACCOUNT, costs(1.0), **RUN)
    assert "no cap: spending is recorded and not limited" in project("show")
    assert json.loads(project("show", "--json"))["left"] is None


def test_show_warns_of_trainings_without_privacy_and_of_open_reservations(project, ledger):
    ledger.pay(ledger.reserve(ACCOUNT, NonPrivate(), **RUN), NonPrivate())
    reservation = ledger.reserve(ACCOUNT, costs(1.0), **RUN)
    shown = " ".join(project("show", DATA[:14]).split())
    assert "1 trainings without differential privacy read this data as well" in shown
    assert f"reservation {reservation.id} of run run-1" in shown
    assert f"probity budget resolve {reservation.id} --commit" in shown


def test_infinite_spending_is_spelt_in_json_and_drawn_on_the_terminal(project, ledger):
    mechanism = dp_sgd(1.0, noise_source="fixed_seed")
    ledger.pay(ledger.reserve(ACCOUNT, mechanism, **RUN), mechanism)
    assert json.loads(project("show", "--json"))["spent"] == "Infinity"
    assert "epsilon ∞" in project("show")


def test_history_lists_every_event_with_who_and_why(project, ledger):
    project("grant", "panel", "--epsilon", "3", "--forbid-non-private", "--by", "owner", "--comment", "agreed")
    account = Account(id="panel", content=DATA, unit="row")
    kept = ledger.reserve(account, dp_sgd(20.0, 0.01, 40), **RUN)
    ledger.pay(kept, dp_sgd(20.0, 0.01, 30))
    ledger.refund(ledger.reserve(account, costs(0.5), **RUN))
    printed = project("history", "panel")
    for part in (
        "granted",
        "owner",
        "agreed",
        "reserved",
        "trainer",
        "DP-SGD, 40 steps",
        "paid",
        "30 steps",
        "refunded",
    ):
        assert part in printed
    kinds = [entry["event"]["kind"] for entry in json.loads(project("history", "--json"))]
    assert kinds == ["granted", "reserved", "paid", "reserved", "refunded"]


@pytest.mark.parametrize(("how", "spent"), [("--commit", 1.0), ("--refund", 0.0)])
def test_resolve_ends_an_open_reservation_once(project, ledger, how, spent):
    reservation = ledger.reserve(ACCOUNT, costs(1.0), **RUN)
    project("resolve", reservation.id, how, "--by", "owner", "--comment", "killed")
    balance = ledger.balance(DATA)
    assert (balance.spent, balance.reserved) == (pytest.approx(spent, rel=1e-4), 0.0)
    assert (ledger.history()[-1].by, ledger.history()[-1].comment) == ("owner", "killed")
    with pytest.raises(BudgetError, match="resolved already") as caught:
        project("resolve", reservation.id, how)
    assert caught.value.exit_code == 4


def test_resolve_wants_to_be_told_how(ledger):
    reservation = ledger.reserve(ACCOUNT, costs(1.0), **RUN)
    assert CliRunner().invoke(app, ["budget", "resolve", reservation.id]).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--epsilon", "0"), "--epsilon"),
        (("--epsilon", "-1"), "--epsilon"),
        (("--epsilon", "inf"), "--epsilon"),
        (("--epsilon", "nan"), "--epsilon"),
        (("--epsilon", "1", "--delta", "0"), "--delta"),
        (("--epsilon", "1", "--delta", "1"), "--delta"),
    ],
)
def test_a_cap_that_is_none_is_refused(project, ledger, arguments, named):
    with pytest.raises(ConfigError, match=named) as caught:
        project("grant", "panel", *arguments)
    assert caught.value.exit_code == 2
    assert ledger.history() == []


def test_a_config_names_the_workspace_beside_it_the_ledger_and_the_unit(project, tmp_path, monkeypatch):
    folder = tmp_path / "project"
    folder.mkdir()
    path = config_file(folder, privacy_unit={"column": "person"}, budget_id="panel")
    path.write_text(path.read_text() + "budget: {url: 'sqlite:///team.sqlite'}\n")
    said = project("grant", str(path), "--epsilon", "1")
    assert "per person on panel" in said
    assert (folder / ".probity/team.sqlite").is_file()
    assert json.loads(project("show", str(path), "--json"))["unit"] == "person"
    assert json.loads(project("show", "--url", f"sqlite:///{folder}/.probity/team.sqlite", "--json"))["left"] == 1.0


def test_a_run_names_its_account(project, ledger, tmp_path):
    _, dataset = finished_run(config_file(tmp_path), Workspace(tmp_path / ".probity"))
    assert dataset.content_digest in project("grant", "latest", "--epsilon", "2")


def test_a_changed_ledger_is_exit_4_in_a_real_process(project, ledger, tmp_path):
    import sqlite3

    project("grant", DATA, "--epsilon", "1")
    with sqlite3.connect(tmp_path / ".probity/budget.sqlite") as database:
        database.execute("update probity_budget set entry = replace(entry, '\"epsilon\": 1.0', '\"epsilon\": 9.0')")
    command = [sys.executable, "-m", "probity", "budget", "show", "--workspace", ".probity"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (4, "")
    assert "entry 1" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["show", "grant", "history", "resolve"])
def test_every_command_has_help_with_an_example(command):
    result = CliRunner().invoke(app, ["budget", command, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert f"Example: probity budget {command}" in result.output
