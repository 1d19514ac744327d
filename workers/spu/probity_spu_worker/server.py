"""One server as a process of its own: it holds its shares, and executes the program that all servers were given.

Nobody else's program can ask it for anything: it links to the other two servers and answers no one else.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from probity_spu_worker.engine import SERVERS, configuration, read_share, rows_file, write_share
from probity_spu_worker.program import STEP, Program

__all__ = ["PROGRESS", "checkpoint", "main", "sent_bytes"]

PROGRESS = "progress.json"
"""In the server's folder: epochs that it has executed and written, their seconds, and the bytes that it sent."""

_PR_SET_PDEATHSIG = 1
_BYTES_ACKED = 120
"""Offset of ``tcpi_bytes_acked`` in Linux's ``struct tcp_info``: bytes sent that the other side has."""


def main(arguments: list[str] | None = None) -> int:
    """Links, trains and writes shares of the weights after every epoch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", type=Path)
    job = json.loads(parser.parse_args(arguments).job.read_text())
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    rank, folder = int(job["rank"]), Path(job["folder"])
    program = Program.read(Path(job["program"]))
    runtime = _runtime(job["addresses"], rank, precision=int(job["precision"]))
    for name in program.weights:
        runtime.set_var(name, read_share(checkpoint(job, int(job["epochs_done"]), name)))
    _train(runtime, program, job, rank=rank, folder=folder)
    return 0


def checkpoint(job: dict[str, Any], epochs: int, name: str) -> Path:
    """Returns where a server keeps its share of a weight after so many epochs; before the first, the initial one."""
    return Path(job["weights"]) / f"{job['prefix']}_epoch{epochs:05d}_{name}.share"


def sent_bytes() -> int:
    """Returns the bytes that this process sent over its open connections."""
    total = 0
    for entry in os.listdir("/proc/self/fd"):
        try:
            copy = os.dup(int(entry))
        except OSError:  # the handle of the listing itself
            continue
        try:
            found = socket.socket(fileno=copy)
        except OSError:  # no socket
            os.close(copy)
            continue
        with found, suppress(OSError, struct.error):
            information = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED + 8)
            total += struct.unpack_from("<Q", information, _BYTES_ACKED)[0]
    return total


def _runtime(addresses: list[str], rank: int, *, precision: int) -> Any:
    from spu import api, libspu

    description = libspu.link.Desc()
    for name, address in zip(SERVERS, addresses, strict=True):
        description.add_party(name, address)
    return api.Runtime(libspu.link.create_brpc(description, rank), configuration(precision))


def _train(runtime: Any, program: Program, job: dict[str, Any], *, rank: int, folder: Path) -> None:
    executable, precision = program.executable(), int(job["precision"])
    numbers = [_public(np.array([step], np.int32), rank, precision=precision) for step in range(int(job["steps"]))]
    seconds: list[float] = []
    for epoch in range(int(job["epochs_done"]), int(job["epochs"])):
        for name in program.data:
            path = folder / rows_file(name, epoch)
            runtime.set_var(name, read_share(path))
            path.unlink()
        started = time.monotonic()
        for number in numbers:
            runtime.set_var(STEP, number)
            runtime.run(executable)
        seconds.append(time.monotonic() - started)
        for name in program.weights:
            write_share(checkpoint(job, epoch + 1, name), runtime.get_var(name))
        _say(folder, {"seconds": seconds, "sent_bytes": sent_bytes()})


def _public(value: Any, rank: int, *, precision: int) -> Any:
    from spu import api, libspu

    return api.Io(len(SERVERS), configuration(precision)).make_shares(value, libspu.Visibility.VIS_PUBLIC)[rank]


def _say(folder: Path, found: dict[str, Any]) -> None:
    part = folder / f"{PROGRESS}.part"
    part.write_text(json.dumps(found))
    os.replace(part, folder / PROGRESS)


if __name__ == "__main__":
    sys.exit(main())
