"""Runs cells in processes of their own, so that the seconds and the memory of each are its own.

Children never outlive their parent: the kernel ends them with it, however it ends.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal

from probity.config import RunConfig
from probity.errors import BudgetError, ProbityError
from probity.platform.compare.grid import Cell
from probity.record import Record

__all__ = ["CellResult", "Job", "perform", "run_cell"]

_PR_SET_PDEATHSIG = 1


class CellResult(Record):
    """What became of a cell (``cells/<cell>.json`` of the comparison)."""

    schema_version: Literal[1] = 1
    cell: Cell
    status: Literal["complete", "refused", "failed"]
    """``refused``: the privacy budget did not allow it; ``failed``: anything else that left no decision."""
    run: str | None = None
    reason: str | None = None
    seconds: float
    """Of the whole run."""
    peak_memory_bytes: int
    """Largest resident memory of its process."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Everything that a process needs for one cell.

    Attributes:
        cell: The cell.
        config: Its config.
        root: The config file's folder.
        workspace: Where the run goes.
        parent: MLflow run of the comparison.
    """

    cell: Cell
    config: RunConfig
    root: Path
    workspace: Path
    parent: str | None = None


def run_cell(job: Job) -> CellResult:
    """Runs one cell to its decision, in this process."""
    from probity.platform import pipeline
    from probity.platform.cli.options import quiet
    from probity.platform.plan import make_plan
    from probity.workspace import Workspace

    quiet()
    started = time.monotonic()
    run: str | None = None
    status: Literal["complete", "refused", "failed"] = "complete"
    reason = None
    try:
        plan = make_plan(job.config, root=job.root)
        run = pipeline.run(
            plan,
            workspace=Workspace(job.workspace),
            observer=_Silent(),
            until="gate",
            push_release=False,
            parent=job.parent,
        ).id
    except BudgetError as error:
        status, reason = "refused", str(error)
    except ProbityError as error:
        status, reason = "failed", str(error)
    except Exception as error:  # its words may quote data
        status, reason = "failed", type(error).__name__
    return CellResult(
        cell=job.cell,
        status=status,
        run=run,
        reason=reason,
        seconds=round(time.monotonic() - started, 3),
        peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def perform(jobs: Sequence[Job], *, at_once: int, run: Callable[[Job], CellResult] = run_cell) -> Iterator[CellResult]:
    """Runs jobs, several at once, and yields each result as it comes.

    Args:
        jobs: What to run.
        at_once: Number of processes.
        run: What a process does with a job.
    """
    waiting = list(jobs)
    running: dict[Connection, tuple[BaseProcess, Job]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                connection, process = _start(waiting[0], run)
                running[connection] = (process, waiting.pop(0))
            ready = wait(list(running))
            for connection in [entry for entry in running if entry in ready]:
                process, job = running.pop(connection)
                yield _result(connection, process, job)
    finally:
        # Whoever stops listening, by Ctrl-C or otherwise, wants no work to go on behind his back.
        for process, _ in running.values():
            process.terminate()
            process.join()


def _start(job: Job, run: Callable[[Job], CellResult]) -> tuple[Connection, BaseProcess]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(job, run, theirs))
    process.start()
    theirs.close()  # so that the end of the process is the end of the pipe
    return ours, process


def _work(job: Job, run: Callable[[Job], CellResult], answer: Connection) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    answer.send(run(job))


def _result(connection: Connection, process: BaseProcess, job: Job) -> CellResult:
    try:
        result: CellResult = connection.recv()
    except EOFError:
        process.join()
        reason = f"the process ended without a result (exit code {process.exitcode})"
        return CellResult(cell=job.cell, status="failed", reason=reason, seconds=0.0, peak_memory_bytes=0)
    process.join()
    return result


class _Silent:
    """Progress of many runs at once would be noise; the comparison reports whole cells."""

    def stage_started(self, name: str) -> None:
        return

    def stage_progress(self, fraction: float, text: str) -> None:
        return

    def stage_finished(self, name: str, *, seconds: float, reused_from: str | None) -> None:
        return

    def note(self, text: str) -> None:
        return
