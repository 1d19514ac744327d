"""``probity runs --waiting``: who waits for whom, and a card's path that can be copied."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from probity import run_reviews
from probity.platform.cli import app
from probity.run_reviews import Waiting

CARD = "/srv/" + "a-long-folder/" * 12 + ".probity/runs/20260102T000000Z-a-0000/09_card/card.html"


@pytest.fixture
def waiting(monkeypatch):
    found = [
        Waiting(run="20260102T000000Z-a-0000", model_name="m", approved_by=("kim",), quorum=2, card=CARD),
        Waiting(run="20260101T000000Z-a-0000", model_name="m", approved_by=(), quorum=2, card="short"),
    ]
    monkeypatch.setattr(run_reviews, "waiting_runs", lambda workspace: tuple(found))
    return found


def call(tmp_path, *options):
    return CliRunner().invoke(app, ["runs", "--waiting", "--workspace", str(tmp_path), *options])


def test_the_path_of_a_card_is_whole_on_a_line_of_its_own(waiting, tmp_path):
    lines = call(tmp_path).stdout.splitlines()
    assert lines[0] == "20260102T000000Z-a-0000  model m, 2 approval(s) needed, approved by kim"
    assert lines[1] == f"    card: {CARD}"
    assert lines[2] == "20260101T000000Z-a-0000  model m, 2 approval(s) needed"


def test_as_json_it_is_data(waiting, tmp_path):
    found = json.loads(call(tmp_path, "--json").stdout)
    assert (found[0]["run"], found[0]["needed"], found[0]["card"]) == (waiting[0].run, 2, CARD)


def test_nobody_waits(waiting, tmp_path):
    waiting.clear()
    assert call(tmp_path).stdout == "no run waits for approval\n"
