"""The processes that a worker starts itself, ended by their ids."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence

__all__ = ["end_processes"]

_END_SECONDS = 5.0


def end_processes(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ends processes and reaps them: all are asked at once, and killed if they are there 5 seconds later.

    Guarantees: when this returns, none of them runs.
    """
    for process in processes:
        process.terminate()
    until = time.monotonic() + _END_SECONDS
    for process in processes:
        try:
            process.wait(timeout=max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
