"""Processes of training workers: the only module of the trainers that starts any.

A worker's output goes to a file, never to a pipe: a pipe is kept open by whatever the worker started, and a full one
stops it. Its environment is ours without the variables that would lead another Python astray.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, Protocol

__all__ = ["MISLEADING_VARIABLES", "PARENT", "Runner", "become", "child_environment", "run_tool", "run_worker"]

MISLEADING_VARIABLES = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "UV_PYTHON")
"""What in our own environment would make a child use our packages or our interpreter."""
PARENT = "PROBITY_WORKER_PARENT"
"""Tells a worker our process id; it ends when we do."""

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 10.0


class Runner(Protocol):
    """Runs a worker's command to its end; tests give another one that starts no process."""

    def __call__(
        self, command: Sequence[str], *, log: Path, deadline_seconds: float, watch: Callable[[], None]
    ) -> int | None:
        """Returns the exit code, or ``None`` if the deadline passed and the worker was ended."""
        ...


def run_worker(
    command: Sequence[str], *, log: Path, deadline_seconds: float, watch: Callable[[], None]
) -> int | None:  # fmt: skip
    """Runs a worker in a session of its own and waits for it.

    Guarantees: when this returns or raises, whatever the reason, no process of the worker's session is left. If this
    process is killed instead, the worker's harness ends the session.

    Args:
        command: Program and arguments.
        log: Where stdout and stderr go.
        deadline_seconds: After this time the worker is asked to end, and ten seconds later made to.
        watch: Called several times a second while the worker runs, and once after it.

    Returns:
        The exit code, negative for a signal; ``None`` if the deadline passed.
    """
    until = time.monotonic() + deadline_seconds
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - the command is made of our own paths
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**child_environment(), PARENT: str(os.getpid())},
            start_new_session=True,
        )
    try:
        while process.poll() is None and time.monotonic() < until:
            watch()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_SECONDS)
        ended = process.poll()
        watch()
        return ended
    finally:
        _end(process)


def run_tool(command: Sequence[str]) -> tuple[int, str]:
    """Runs a tool that prepares an environment; returns its exit code and the last lines that it printed."""
    done = subprocess.run(  # noqa: S603 - the command is made of our own paths
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=child_environment(),
        text=True,
        errors="replace",
        check=False,
    )
    return done.returncode, "\n".join(done.stdout.strip().splitlines()[-5:])


def become(command: Sequence[str]) -> NoReturn:
    """Replaces this process by another program, so that signals and the terminal are its own."""
    os.execve(command[0], list(command), child_environment())  # noqa: S606 - no shell is wanted


def child_environment() -> dict[str, str]:
    """Returns our environment variables without those that mislead another Python."""
    return {name: text for name, text in os.environ.items() if name not in MISLEADING_VARIABLES}


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
    # The session outlives its leader as long as a child of it runs, and its number is not given away meanwhile.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
