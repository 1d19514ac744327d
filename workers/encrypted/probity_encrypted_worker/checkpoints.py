"""Checkpoints made of shares: each server keeps the shares that it holds, after every epoch.

``epoch.json`` is written last, by the model owner: without it the epoch does
not count.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probity_encrypted_worker.shares import read_shares, write_shares

__all__ = ["Checkpoints"]

_MARK = "epoch.json"


@dataclass(frozen=True)
class Checkpoints:
    """Where the shares of one training are kept.

    Attributes:
        folder: The model owner's folder; outlives attempts.
        servers: Folder of each server, as its own machine names it.
        key: Digest of everything the training depends on; a checkpoint of another training is not used.
    """

    folder: Path
    servers: Mapping[str, str]
    key: str

    def last_epoch(self) -> int:
        """Returns the number of epochs that the last checkpoint of this training holds; 0 if there is none."""
        mark = self.folder / _MARK
        if not mark.is_file():
            return 0
        found = json.loads(mark.read_text())
        return int(found["epochs"]) if found.get("key") == self.key else 0

    def save(self, variables: Sequence[tuple[str, Any, Any]], *, epochs: int) -> None:
        """Writes one epoch's shares, and then that they are there.

        Args:
            variables: Server, its device, and a variable that it holds, in a fixed order.
            epochs: Epochs that have been trained.
        """
        write_shares(variables, folders=self.servers, prefix=self._prefix(epochs))
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f"{_MARK}.part"
        part.write_text(json.dumps({"key": self.key, "epochs": epochs}))
        os.replace(part, self.folder / _MARK)

    def restore(self, variables: Sequence[tuple[str, Any, Any]], *, epochs: int) -> None:
        """Puts the shares of an epoch back where they were.

        Raises:
            Refusal: With the code ``checkpoint``, if a server no longer has its shares.
        """
        read_shares(variables, folders=self.servers, prefix=self._prefix(epochs))

    def _prefix(self, epochs: int) -> str:
        return f"{self.key[-12:]}_epoch{epochs:05d}"
