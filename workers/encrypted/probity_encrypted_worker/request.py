"""What the worker is asked, read from the body of its request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probity_encrypted_worker.cast import SERVERS, Cast
from probity_encrypted_worker.owners import Owner
from probity_encrypted_worker.partyfile import PartyFile
from probity_encrypted_worker.refusal import Refusal
from probity_encrypted_worker.training import Schedule

__all__ = ["Asked", "numbered", "owners_of", "schedule_of", "server_folders"]


@dataclass(frozen=True)
class Asked:
    """The part of a request that training, dealing shares and predicting have in common.

    Attributes:
        operation: ``train``, ``deal`` or ``predict``.
        protocol: Name of the protocol.
        precision: Bits of a share.
        architecture: The model as Keras JSON.
        mode: ``local``: this process simulates all parties; ``processes``: it starts them on this machine;
            ``remote``: they run already.
        party_file: The parties file of ``remote``.
        start_seconds: How long a party may take to answer.
        body: All of it.
    """

    operation: str
    protocol: str
    precision: int
    architecture: str
    mode: str
    party_file: Path | None
    start_seconds: float
    body: Mapping[str, Any]

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Asked:
        """Reads a request's body.

        Raises:
            Refusal: With the code ``settings``, if a key is missing or the mode or operation is unknown.
        """
        try:
            asked = cls(
                operation=body["operation"],
                protocol=body["protocol"],
                precision=int(body["precision"]),
                architecture=body["architecture"],
                mode=body["mode"],
                party_file=None if body["party_file"] is None else Path(body["party_file"]),
                start_seconds=float(body["start_seconds"]),
                body=body,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _unknown(f"a request without a proper {error}") from error
        if asked.operation not in ("train", "deal", "predict") or asked.mode not in ("local", "processes", "remote"):
            raise _unknown("another operation or mode")
        return asked

    def parties(self) -> PartyFile | None:
        """Returns the parties of ``remote``."""
        return None if self.party_file is None else PartyFile.read(self.party_file)


def owners_of(asked: Asked, cast: Cast, *, folder: Path) -> list[Owner]:
    """Returns the data owners in the order in which their rows or columns are joined.

    Raises:
        Refusal: With the code ``parties``, if the parties file has others.
    """
    described = asked.body["owners"]
    names = tuple(entry["name"] for entry in described)
    if sorted(names) != sorted(cast.data_owners):
        raise Refusal(
            "parties",
            "data owners",
            seen=f"the parties are {', '.join(cast.data_owners)}, the run was planned for {', '.join(names)}",
            allowed="the same names in both",
            remedy="mend data_owners or the parties file",
        )
    parties = asked.parties()
    return [
        Owner(
            name=entry["name"],
            folder=_folder_of(entry, parties, folder=folder),
            rows=int(entry["rows"]),
            columns=tuple(entry["columns"]),
            has_label=bool(entry["has_label"]),
        )
        for entry in described
    ]


def schedule_of(asked: Asked, *, folder: Path) -> Schedule:
    """Returns the batches that the run planned."""
    names = [entry["name"] for entry in asked.body["owners"]]
    with np.load(folder / asked.body["schedule"], allow_pickle=False) as stored:
        rows = [stored[f"owner{i}"].astype(np.int32) for i in range(len(names))]
    return Schedule(rows=rows, by=asked.body["by"])


def numbered(path: Path) -> list[npt.NDArray[np.float32]]:
    """Returns the arrays ``w0000``, ``w0001``, ... of a file, in this order."""
    with np.load(path, allow_pickle=False) as stored:
        return [stored[f"w{i:04d}"].astype(np.float32) for i in range(len(stored.files))]


def server_folders(folder: str) -> dict[str, str]:
    """Returns a folder for each server below a common one, for parties of one machine."""
    return {name: f"{folder}/{name}" for name in SERVERS}


def _folder_of(entry: Mapping[str, Any], parties: PartyFile | None, *, folder: Path) -> str:
    """Returns what the run wrote for an owner, or the owner's own folder, as its own machine names it."""
    if entry["folder"] or parties is None:
        return str(folder / entry["folder"])
    return parties.folder(entry["name"])


def _unknown(seen: str) -> Refusal:
    return Refusal(
        "settings",
        "request",
        seen=seen,
        allowed="what this version of the worker reads",
        remedy="probity workers sync encrypted",
    )
