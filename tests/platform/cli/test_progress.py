"""What a user sees of long work: something that moves on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import re

from rich.console import Console

from probity.platform.cli import progress as module
from probity.platform.cli.progress import progress


def told(capsys):
    with progress() as display:
        display.stage_started("train")
        display.stage_progress(0.5, "epoch 2 of 4")
        display.stage_finished("train", seconds=1.25, reused_from=None)
        display.runs_done(0, 2, "")
        display.runs_done(1, 2, "plain-seed-7: 40 s [bold]")
    return capsys.readouterr()


def test_lines_elsewhere_go_to_stderr_and_say_nothing_of_what_is_not_done(capsys):
    said = told(capsys)
    assert said.out == ""
    assert said.err.splitlines() == ["train             1.2 s", "[1/2] plain-seed-7: 40 s [bold]"]


def test_a_terminal_shows_a_bar_over_all_runs_and_text_as_it_is(capsys, monkeypatch):
    shown = io.StringIO()
    terminal = Console(file=shown, force_terminal=True, width=100)
    monkeypatch.setattr(module, "Console", lambda **_: terminal)
    told(capsys)
    assert "1 of 2" in shown.getvalue()
    assert "40 s [bold]" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.getvalue())
