"""Whether every party is there, is who it says, and is still there when something broke."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from probity_worker_contract.children import end_processes

from probity_encrypted_worker.cast import Cast, split_address
from probity_encrypted_worker.refusal import Refusal

__all__ = ["await_parties", "own_parties", "require_identities", "sent_by", "who_is_gone"]

_POLL_SECONDS = 0.1


@contextmanager
def own_parties(cast: Cast, *, folder: Path, file: Path) -> Iterator[Mapping[str, subprocess.Popen[bytes]]]:
    """Starts a process for every server and data owner, and ends each of them by its id, whatever happens.

    Args:
        cast: Who.
        folder: For the processes' output.
        file: The parties file that they read.

    Yields:
        The process of each party.
    """
    folder.mkdir(parents=True, exist_ok=True)
    started: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name in cast.remote:
            command = [sys.executable, "-I", "-m", "probity_encrypted_worker.party", "--with-parent"]
            with (folder / f"{name}.log").open("wb") as log:
                started[name] = subprocess.Popen(  # noqa: S603 - our own program, with arguments of our own
                    [*command, "--party", name, "--config", str(file)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
        yield started
    finally:
        end_processes(list(started.values()))


def await_parties(cast: Cast, *, seconds: float, started: Mapping[str, subprocess.Popen[bytes]] | None = None) -> None:
    """Waits until every party's port answers.

    Args:
        cast: Who.
        seconds: How long.
        started: Processes of parties that this one started; one that has ended is not waited for.

    Raises:
        Refusal: With the code ``party_silent``, naming those that do not.
    """
    until = time.monotonic() + seconds
    while silent := who_is_gone(cast):
        ended = [name for name, process in (started or {}).items() if process.poll() is not None]
        if ended:
            raise Refusal(
                "party_lost",
                f"party {', '.join(ended)}",
                seen="its process ended before it answered; its log is in the worker folder, under parties",
                allowed="a process until the end",
                remedy="see its log",
            )
        if time.monotonic() > until:
            raise Refusal(
                "party_silent",
                f"party {', '.join(silent)}",
                seen=f"nothing answers at its address after {seconds:g} seconds",
                allowed="all servers and data owners running",
                remedy="start it with probity workers serve encrypted --party NAME --config FILE, or mend its address",
            )
        time.sleep(_POLL_SECONDS)


def who_is_gone(cast: Cast) -> list[str]:
    """Returns the parties whose port does not answer."""
    gone = []
    for name in cast.remote:
        try:
            socket.create_connection(split_address(name, cast.address(name)), timeout=1.0).close()
        except OSError:
            gone.append(name)
    return gone


def require_identities(cast: Cast, config: Any) -> None:
    """Asks the process at each address who it is.

    Raises:
        Refusal: With the code ``parties``, if it is another party, or the same process as another party or this one.
    """
    import tensorflow as tf

    processes = {f"{os.getpid()}": "the model owner"}
    for name in cast.remote:
        with tf.device(config.get_player(name).device_name):
            found = tf.io.read_file("/proc/self/comm").numpy().decode(errors="replace").strip()
            process = tf.io.read_file("/proc/self/stat").numpy().split(b" ", 1)[0].decode()
            machine = tf.io.read_file("/proc/sys/kernel/random/boot_id").numpy().decode().strip()
        if found != name[:15]:
            raise _other(name, "the process at its address is another party or none", "the party itself")
        key = process if machine == _machine() else f"{machine} {process}"
        if key in processes:
            raise _other(name, f"it is the same process as {processes[key]}", "a process of its own for each party")
        processes[key] = name


def sent_by(cast: Cast, config: Any, folders: Mapping[str, str]) -> dict[str, int]:
    """Returns the bytes that each party has sent to others so far, as it counts them itself."""
    import tensorflow as tf

    sent = {}
    for name in cast.remote:
        with tf.device(config.get_player(name).device_name):
            try:
                sent[name] = int(json.loads(tf.io.read_file(f"{folders[name]}/traffic.json").numpy())["sent_bytes"])
            except (tf.errors.OpError, ValueError, KeyError):
                continue  # it has not counted yet
    return sent


def _machine() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _other(name: str, seen: str, allowed: str) -> Refusal:
    return Refusal("parties", f"party {name}", seen=seen, allowed=allowed, remedy="mend the addresses")
