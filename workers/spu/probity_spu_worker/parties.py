"""Owners and servers as processes: started, watched and ended by their ids."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from probity_worker_contract.children import end_processes
from probity_worker_contract.messages import Task, WorkerFailure

from probity_spu_worker.engine import SERVERS
from probity_spu_worker.owner import LABEL
from probity_spu_worker.refusal import refused
from probity_spu_worker.server import PROGRESS

__all__ = ["deal_rows", "run_servers", "variables_of"]

_POLL_SECONDS = 0.05

Report = Callable[[int, float], None]
"""Called with the number of an epoch, from 1, and the seconds that the slowest server took for it."""


def variables_of(position: int, owner: Mapping[str, Any]) -> dict[str, list[str]]:
    """Returns the columns of each variable that an owner deals."""
    found = {f"features{position}": list(owner["columns"])}
    return {**found, f"label{position}": [LABEL]} if owner["has_label"] else found


def deal_rows(task: Task, folders: Mapping[str, Path], *, epochs_done: int) -> None:
    """Has every owner's process deal shares of its file to the servers' folders.

    Raises:
        WorkerFailure: What an owner refuses; ``party_lost``, naming the owner, if its process ended otherwise.
    """
    for position, owner in enumerate(task.body["owners"]):
        job = {
            "owner": owner["name"],
            "folder": str(task.folder / owner["folder"]),
            "rows": owner["rows"],
            "precision": task.body["precision"],
            "variables": variables_of(position, owner),
            "schedule": str(task.folder / task.body["schedule"]),
            "batches": f"owner{position}",
            "epochs_done": epochs_done,
            "servers": [str(folders[server]) for server in SERVERS],
        }
        path = task.folder / "parties" / f"{owner['name']}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(job))
        ran = subprocess.run(  # noqa: S603 - our own program, with arguments of our own
            _command("owner", path), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False
        )
        if ran.returncode == 2:
            found = json.loads(ran.stdout.splitlines()[-1])
            raise WorkerFailure(found["code"], found["message"])
        if ran.returncode != 0:
            raise _lost([owner["name"]])


def run_servers(
    job: Mapping[str, Any], folders: Mapping[str, Path], *, report: Report
) -> tuple[list[float], dict[str, int]]:
    """Runs the three servers to their end.

    Returns:
        Seconds of each epoch, by the slowest server; bytes that each server sent.

    Raises:
        WorkerFailure: With the code ``party_lost``, naming the servers that ended first.
    """
    addresses = _free_addresses()
    started: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for rank, (server, folder) in enumerate(folders.items()):
            path = folder / "job.json"
            own = {"rank": rank, "folder": str(folder), "addresses": addresses, "weights": str(job["weights"][server])}
            path.write_text(json.dumps({**job, **own}))
            with (folder / "log.txt").open("wb") as log:
                started[server] = subprocess.Popen(  # noqa: S603 - our own program, with arguments of our own
                    _command("server", path), stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
        return _watched(started, folders, report, done=int(job["epochs_done"]))
    finally:
        end_processes(list(started.values()))


def _watched(
    started: Mapping[str, subprocess.Popen[bytes]], folders: Mapping[str, Path], report: Report, *, done: int
) -> tuple[list[float], dict[str, int]]:
    reported = 0
    while True:
        codes = {server: process.poll() for server, process in started.items()}
        said = {server: _said(folder) for server, folder in folders.items()}
        for epoch in range(reported, min(len(found["seconds"]) for found in said.values())):
            reported = epoch + 1
            report(done + reported, max(found["seconds"][epoch] for found in said.values()))
        if any(code not in (None, 0) for code in codes.values()):
            raise _lost(_first_to_end(codes))
        if all(code == 0 for code in codes.values()):
            seconds = [max(found["seconds"][i] for found in said.values()) for i in range(reported)]
            return seconds, {server: int(found["sent_bytes"]) for server, found in said.items()}
        time.sleep(_POLL_SECONDS)


def _first_to_end(codes: Mapping[str, int | None]) -> list[str]:
    """Returns who was ended by a signal, else whoever gave up: the others fail because they lost that one."""
    killed = [server for server, code in codes.items() if code is not None and code < 0]
    return killed or [server for server, code in codes.items() if code not in (None, 0)]


def _said(folder: Path) -> dict[str, Any]:
    path = folder / PROGRESS
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"seconds": [], "sent_bytes": 0}
    return found


def _command(program: str, job: Path) -> list[str]:
    return [sys.executable, "-I", "-m", f"probity_spu_worker.{program}", str(job)]


def _free_addresses() -> list[str]:
    """Returns ports that were free a moment ago."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in SERVERS]
    try:
        return [f"127.0.0.1:{found.getsockname()[1]}" for found in held]
    finally:
        for found in held:
            found.close()


def _lost(names: list[str]) -> WorkerFailure:
    return refused(
        "party_lost",
        f"party {', '.join(names)}",
        seen="its process ended while it was needed",
        allowed="all parties until the end",
        remedy="run again: training goes on from the last epoch's shares",
    )
