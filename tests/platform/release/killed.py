"""Processes that die at the n-th step they take on the disk, and the sweep over all such steps.

A step is whatever changes the file system: opening a file to write, rename, mkdir, remove, rmdir, chmod, truncate and
link, as Python's audit events tell it, and fsync. A process is killed before a step, and, in another sweep, in
the middle of the first write after a file was opened, by the kernel (``RLIMIT_FSIZE``).

Sweeps fork, so they run in a process of their own that has no threads: see :func:`sweep_in_child`.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
_CHANGES = {
    "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.truncate", "os.link", "os.symlink", "os.fsync",
}  # fmt: skip
_TORN_BYTES = 25


@dataclass(frozen=True)
class Scenario:
    """What is swept over.

    Attributes:
        prepare: Makes the folder as it is before.
        act: What is killed.
        check: Asserts what has to hold of the folder afterwards, in a process that lives, and says what it found.
    """

    prepare: Callable[[Path], None]
    act: Callable[[Path], None]
    check: Callable[[Path], str]


class _Steps:
    """Counts the steps of this process, and ends it at one of them."""

    def __init__(self, last: int, *, torn: bool) -> None:
        self.last, self.torn, self.seen = last, torn, []
        fsync = os.fsync
        sys.addaudithook(self._hook)

        def counted(descriptor):
            self._hook("os.fsync", (descriptor,))
            fsync(descriptor)

        os.fsync = counted

    def _hook(self, event, arguments):
        if event == "open":
            if not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
                return
        elif event not in _CHANGES:
            return
        self.seen.append(event)
        if len(self.seen) != self.last:
            return
        if not self.torn:
            os.kill(os.getpid(), signal.SIGKILL)
        if event == "open":
            path = arguments[0]
            size = os.stat(path).st_size if isinstance(path, str | bytes | os.PathLike) and os.path.exists(path) else 0
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it by default
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + _TORN_BYTES, resource.RLIM_INFINITY))


def _in_child(act: Callable[[], None], *, last: int = 0, torn: bool = False, log: Path | None = None) -> int:
    """Returns how a forked process ended that did something and died, or not, at a step."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            steps = _Steps(last, torn=torn)
            act()
            seen = list(steps.seen)
            if log is not None:
                log.write_text(json.dumps(seen))
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def sweep(scenario: Scenario, root: Path, *, every: int = 1) -> dict[str, dict[str, int]]:
    """Kills the act at every step, or every n-th, checks each time, and returns how often each finding was made."""
    before = root / "before"
    before.mkdir()
    scenario.prepare(before)
    whole = Path(shutil.copytree(before, root / "whole"))
    assert _in_child(lambda: scenario.act(whole), log=root / "steps") == 0
    events = json.loads((root / "steps").read_text())
    found = {"killed": Counter(), "torn": Counter()}
    for step, event in list(enumerate(events, 1))[::every]:
        for way in ("killed", "torn"):
            if way == "torn" and event != "open":
                continue
            place = Path(shutil.copytree(before, root / f"{way}-{step}"))
            code = _in_child(lambda place=place: scenario.act(place), last=step, torn=way == "torn")
            if way == "killed":
                assert code == -signal.SIGKILL, (step, event, code)
            elif code != -signal.SIGXFSZ:  # the file was given no more than a few bytes
                assert code == 0, (step, event, code)
                found[way]["not torn"] += 1
                continue
            try:
                found[way][scenario.check(place)] += 1
            except BaseException as error:
                error.add_note(f"{way} at step {step} of {len(events)}, {event}")
                raise
            shutil.rmtree(place)
    return {way: dict(counts) for way, counts in found.items()}


def sweep_in_child(scenario: str, root: Path, *, every: int = 1) -> dict[str, dict[str, int]]:
    """Runs :func:`sweep` in a fresh process.

    Args:
        scenario: ``module:NAME`` of a :class:`Scenario`.
        root: A folder for it.
        every: As :func:`sweep` has it.
    """
    module, _, name = scenario.partition(":")
    code = (
        f"import sys, json, pathlib; from {module} import {name} as it; from tests.platform.release.killed import sweep"
    )
    code += "; print(json.dumps(sweep(it, pathlib.Path(sys.argv[1]), every=int(sys.argv[2]))))"
    child = subprocess.run(
        [sys.executable, "-c", code, str(root), str(every)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr[-4000:]
    return json.loads(child.stdout.splitlines()[-1])
