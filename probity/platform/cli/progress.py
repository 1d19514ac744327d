"""How a run tells the user where it is: a live display on a terminal, plain lines elsewhere. Always on stderr."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from probity.platform.stages import Observer

__all__ = ["Display", "progress"]


@contextlib.contextmanager
def progress() -> Iterator[Display]:
    """Yields the display that suits stderr."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    columns = (SpinnerColumn(), TextColumn("{task.description:<14}"), BarColumn(bar_width=24))
    with Progress(*columns, TextColumn("{task.fields[text]}"), TimeElapsedColumn(), console=console) as display:
        yield _Moving(display)


class Display(Observer, Protocol):
    """Shows the stages of a run, or how many of several runs are done."""

    def runs_done(self, done: int, total: int, text: str) -> None:
        """Shows how many of several runs are finished, and a line about the last one: empty before the first."""


class _Moving:
    """One line per stage; the current one moves. One for all runs of several."""

    def __init__(self, display: Progress) -> None:
        self._display = display
        self._task: TaskID | None = None
        self._runs: TaskID | None = None

    def stage_started(self, name: str) -> None:
        self._task = self._display.add_task(escape(name), total=1.0, text="")

    def stage_progress(self, fraction: float, text: str) -> None:
        if self._task is not None:
            self._display.update(self._task, completed=fraction, text=escape(text))

    def stage_finished(self, name: str, *, seconds: float, reused_from: str | None) -> None:
        if self._task is not None:
            text = f"reused from {reused_from}" if reused_from else ""
            self._display.update(self._task, completed=1.0, text=escape(text))
            self._display.stop_task(self._task)

    def note(self, text: str) -> None:
        self._display.console.print(escape(text))

    def runs_done(self, done: int, total: int, text: str) -> None:
        if self._runs is None:
            self._runs = self._display.add_task("runs", total=total, text="")
        self._display.update(self._runs, completed=done, text=f"{done} of {total}")
        if text:
            self.note(text)


class _Lines:
    """One line when a stage begins to take long, one when it is done."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def stage_started(self, name: str) -> None:
        self._said = time.monotonic()

    def stage_progress(self, fraction: float, text: str) -> None:
        if time.monotonic() - self._said >= 10.0:
            self._said = time.monotonic()
            self._say(f"  {fraction:4.0%} {text}")

    def stage_finished(self, name: str, *, seconds: float, reused_from: str | None) -> None:
        self._say(f"{name:<14} {seconds:6.1f} s" + (f"  reused from {reused_from}" if reused_from else ""))

    def note(self, text: str) -> None:
        self._say(text)

    def runs_done(self, done: int, total: int, text: str) -> None:
        if text:
            self._say(f"[{done}/{total}] {text}")

    @staticmethod
    def _say(text: str) -> None:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
