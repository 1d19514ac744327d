"""The program around a worker's work: request in, result out, and nothing left running.

Two processes of one session. The *supervisor* is small and waits; its child does the work, in which native code may
crash, hang or start processes of its own. Whatever ends the child - its return, a crash, a signal to the supervisor or
the death of whoever started it - the supervisor then ends every process of the session by its id.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from probity_worker_contract.messages import (
    ContractError,
    Outcome,
    Task,
    WorkerFailure,
    read_request,
    write_error,
    write_ok,
)

__all__ = ["PARENT", "main", "perform", "session_members"]

PARENT = "PROBITY_WORKER_PARENT"
"""Environment variable with the process id of whoever started the worker: if that process is gone, so is the worker."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_SWEEP_SECONDS = 5.0


def main(work: Callable[[Task], Outcome], *, worker: str, arguments: Sequence[str] | None = None) -> int:
    """Runs a worker on the folder that its only argument names; returns the exit code.

    Guarantees: 0 if and only if ``result.json`` says ``ok``, 1 if and only if it says ``error``; when this returns, no
    process that the work started is left.

    Args:
        work: Called in a child process; imports what is heavy by itself.
        worker: Its name.
        arguments: Command line; that of the process by default.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) != 1:
        print(f"usage: {worker} worker WORKER_FOLDER", file=sys.stderr)  # noqa: T201
        return 2
    folder = Path(given[0]).resolve()
    _own_session()
    _die_with_parent(signal.SIGTERM, expected=int(os.environ.get(PARENT) or os.getppid()))
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    supervisor = os.getpid()
    child = os.fork()
    if child == 0:
        _die_with_parent(signal.SIGKILL, expected=supervisor)
        # A background job of a shell ignores SIGINT, and so would all that the work starts; TensorFlow Federated ends
        # its executor by SIGINT, and then waits for its end.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        # os._exit: nothing that the work registered may hold up the end, and the supervisor's own exit stays its own.
        code = perform(work, folder, worker=worker)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    signal.signal(signal.SIGTERM, _ended_from_outside)
    signal.signal(signal.SIGINT, _ended_from_outside)
    code = _exit_code(child)
    _end_session()
    return code


def perform(work: Callable[[Task], Outcome], folder: Path, *, worker: str) -> int:
    """Reads the request, works and writes the result, in this process; returns the exit code.

    What a failure says is the worker's own words for :class:`WorkerFailure`, and the type alone for everything else,
    whose words may quote data; the traceback goes to stderr, which stays in the worker folder.
    """
    try:
        task = read_request(folder, worker=worker)
        write_ok(task, work(task))
    except ContractError as error:
        return _failed(folder, code="contract", message=str(error))
    except WorkerFailure as error:
        return _failed(folder, code=error.code, message=error.message)
    except Exception as error:
        return _failed(folder, code="unexpected", message=type(error).__name__)
    return 0


def session_members() -> list[int]:
    """Returns the ids of all processes of this session but this one (Linux; elsewhere none)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            # pid (name) state ppid pgrp session; the name may hold spaces and brackets
            fields = entry.read_text().rpartition(")")[2].split()
        except (OSError, UnicodeDecodeError):
            continue  # it ended meanwhile
        if fields[0] != "Z" and int(fields[3]) == os.getsid(0) and int(entry.parent.name) != os.getpid():
            found.append(int(entry.parent.name))
    return found


def _failed(folder: Path, *, code: str, message: str) -> int:
    traceback.print_exc()
    write_error(folder, code=code, message=message)
    return 1


def _own_session() -> None:
    if os.getsid(0) != os.getpid():
        try:
            os.setsid()
        except OSError:  # a group leader already: started by hand from a shell
            return


def _die_with_parent(how: signal.Signals, *, expected: int) -> None:
    _prctl(_PR_SET_PDEATHSIG, int(how))
    if os.getppid() != expected:  # it ended before the line above
        os._exit(1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _exit_code(child: int) -> int:
    """Waits for the child; children that its death left to us are reaped on the way."""
    while True:
        ended, status = os.wait()
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _ended_from_outside(number: int, frame: object) -> None:
    _end_session()
    os._exit(128 + number)


def _end_session() -> None:
    """Ends every other process of the session, by its id, until there is none."""
    if os.getsid(0) != os.getpid():
        return  # a shell's session is not ours to end
    until = time.monotonic() + _SWEEP_SECONDS
    while time.monotonic() < until:
        members = session_members()
        if not members:
            return
        for pid in members:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.02)
