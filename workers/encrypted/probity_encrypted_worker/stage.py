"""Puts the parties on stage: starts or finds them, checks who they are, and takes them down again."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from probity_encrypted_worker.cast import SERVERS, Cast, join
from probity_encrypted_worker.fence import fence
from probity_encrypted_worker.presence import await_parties, own_parties, require_identities, sent_by, who_is_gone
from probity_encrypted_worker.refusal import Refusal
from probity_encrypted_worker.request import Asked, server_folders
from probity_encrypted_worker.rowsfile import offer
from probity_encrypted_worker.sharing import choose

__all__ = ["Stage", "set_up"]


@dataclass(frozen=True)
class Stage:
    """Parties that are ready to compute.

    Attributes:
        cast: Who.
        config: TF Encrypted's view of them.
        protocol: TF Encrypted's protocol between them.
        folders: Folder of each party that is a process of its own, as its machine names it.
        process_ids: Of the parties that this process started.
    """

    cast: Cast
    config: Any
    protocol: Any
    folders: Mapping[str, str]
    process_ids: Mapping[str, int] = field(default_factory=dict)

    def sent_bytes(self) -> dict[str, int]:
        """Returns the bytes that each party sent so far; empty where one process simulates them."""
        return sent_by(self.cast, self.config, self.folders)


@contextmanager
def set_up(asked: Asked, *, data_owners: tuple[str, ...], folder: Path) -> Iterator[Stage]:
    """Yields the parties, connected and checked; ends those that it started.

    Args:
        asked: Protocol and mode.
        data_owners: Their names, where this process starts or simulates them.
        folder: For the started parties' files.

    Raises:
        Refusal: If a party is missing, is another one, or is lost while it is needed.
    """
    import tensorflow as tf

    with ExitStack() as stack:
        cast, folders, started = _cast(asked, data_owners, folder, stack)
        if cast.addresses is not None:
            await_parties(cast, seconds=asked.start_seconds, started=started)
        try:
            config = join(cast)
            if cast.addresses is not None:
                fence()  # this process listens too, once it is connected
                require_identities(cast, config)
            protocol = choose(asked.protocol, precision=asked.precision)
            process_ids = {name: process.pid for name, process in started.items()}
            yield Stage(cast=cast, config=config, protocol=protocol, folders=folders, process_ids=process_ids)
        except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.InternalError,
                tf.errors.DeadlineExceededError) as error:  # fmt: skip
            raise _lost(cast) from error


def _cast(
    asked: Asked, data_owners: tuple[str, ...], folder: Path, stack: ExitStack
) -> tuple[Cast, Mapping[str, str], Mapping[str, subprocess.Popen[bytes]]]:
    if asked.mode == "local":
        offer()  # this process is the data owners, too
        return Cast(data_owners=data_owners), server_folders(str(folder)), {}
    parties = asked.parties()
    if asked.mode == "remote" and parties is not None:
        cast = parties.cast()
        return cast, {name: parties.folder(name) for name in cast.remote}, {}
    cast = Cast(data_owners=data_owners, addresses=_free_addresses((*SERVERS, *data_owners)))
    cast.require_sound()
    file = _written(cast, folder)
    started = stack.enter_context(own_parties(cast, folder=folder, file=file))
    return cast, {name: str(folder / name) for name in cast.remote}, started


def _free_addresses(names: tuple[str, ...]) -> dict[str, str]:
    """Returns ports that were free a moment ago; a party that finds its own taken says so."""
    held = []
    try:
        for _ in names:
            found = socket.socket()
            found.bind(("127.0.0.1", 0))
            held.append(found)
        return {name: f"127.0.0.1:{found.getsockname()[1]}" for name, found in zip(names, held, strict=True)}
    finally:
        for found in held:
            found.close()


def _written(cast: Cast, folder: Path) -> Path:
    import yaml

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "parties.yaml"
    path.write_text(yaml.safe_dump({"parties": {name: {"address": cast.address(name)} for name in cast.remote}}))
    return path


def _lost(cast: Cast) -> Refusal:
    gone = who_is_gone(cast)
    return Refusal(
        "party_lost",
        f"party {', '.join(gone) if gone else 'unknown'}",
        seen="its connection broke while it was needed",
        allowed="all parties until the end",
        remedy="start it again and run again: training goes on from the last epoch's shares",
    )
