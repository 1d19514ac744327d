"""One party as a process of its own: a server, or a data owner.

It runs what the model owner's graph places on its device, and nothing starts until the port is fenced. It holds no
secret of its own beside its files and its shares; see docs/explanation for what that does and does not protect from.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path

from probity_encrypted_worker.cast import TASK_JOB, Cast
from probity_encrypted_worker.fence import fence, sent_bytes
from probity_encrypted_worker.native import loaded_operations, require_operations
from probity_encrypted_worker.partyfile import PartyFile
from probity_encrypted_worker.refusal import Refusal
from probity_encrypted_worker.rowsfile import offer

__all__ = ["TRAFFIC", "main", "serve"]

TRAFFIC = "traffic.json"
"""In the party's folder: the bytes that it sent so far, by connection. Numbers only."""

_EVERY_SECONDS = 0.25
_PR_SET_NAME = 15
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str] | None = None) -> int:
    """Reads the command line and serves until it is ended; returns 2 where it refuses to."""
    parser = argparse.ArgumentParser(prog="probity workers serve encrypted", description=__doc__)
    parser.add_argument("--party", required=True, metavar="NAME", help="which party of the file this process is")
    parser.add_argument("--config", required=True, type=Path, metavar="FILE", help="the parties file, as YAML")
    parser.add_argument("--with-parent", action="store_true", help="end when whoever started it ends")
    given = parser.parse_args(arguments)
    if given.with_parent:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    try:
        serve(given.party, PartyFile.read(given.config))
    except Refusal as refusal:
        print(f"error: {refusal}", file=sys.stderr)  # noqa: T201 - the program's one output
        return 2
    return 0


def serve(name: str, parties: PartyFile) -> None:
    """Serves as one party until the process is ended.

    Raises:
        Refusal: If the party, its address, the compiled operations or the fence are not as they must be.
    """
    cast = parties.cast()
    cast.require_sound()
    if name not in cast.remote:
        raise Refusal(
            "parties",
            "--party",
            seen=f"{name} is no server or data owner of the file",
            allowed=", ".join(cast.remote),
            remedy="name one of these; the model owner is the process of probity run",
        )
    require_operations(loaded_operations())
    # By this name the model owner's graph asks who answers at an address.
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)
    server = _server(name, cast)
    if fence() == 0:
        raise Refusal(
            "parties",
            f"party {name}",
            seen="TensorFlow listens on no port that could be fenced",
            allowed="a port of its own",
            remedy="report this",
        )
    if name in cast.data_owners:
        offer()
    server.start()
    print(f"{name} listens on {cast.address(name)}, reachable from this machine only", file=sys.stderr, flush=True)  # noqa: T201
    _count(Path(parties.folder(name)))


def _server(name: str, cast: Cast) -> object:
    """Returns TensorFlow's server with an open port that nothing answers yet."""
    import tensorflow as tf

    cluster = tf.train.ClusterSpec({TASK_JOB: [cast.address(party) for party in cast.remote]})
    try:
        return tf.distribute.Server(cluster, job_name=TASK_JOB, task_index=cast.remote.index(name), start=False)
    except tf.errors.OpError as error:
        raise Refusal(
            "parties",
            f"party {name}",
            seen="its port cannot be opened",
            allowed="a port that no other process has",
            remedy="end what listens there, or change the address",
        ) from error


def _count(folder: Path) -> None:
    """Writes now and then how much was sent; connections that end keep their last count."""
    folder.mkdir(parents=True, exist_ok=True)
    total: dict[str, int] = {}
    while True:
        for (here, there), sent in sent_bytes().items():
            total[f"{here} {there}"] = sent
        part = folder / f"{TRAFFIC}.part"
        part.write_text(json.dumps({"sent_bytes": sum(total.values())}))
        os.replace(part, folder / TRAFFIC)
        time.sleep(_EVERY_SECONDS)


if __name__ == "__main__":
    raise SystemExit(main())
