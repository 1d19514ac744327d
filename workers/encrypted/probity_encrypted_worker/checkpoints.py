"""Checkpoints made of shares: each server writes the shares it holds to a folder of its own, after every epoch.

No one file says anything about a weight. ``epoch.json`` is written last, by the model owner: without it the epoch does
not count.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probity_encrypted_worker.refusal import Refusal

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
        import tensorflow as tf

        for i, (server, device, variable) in enumerate(variables):
            with tf.device(device):
                tf.io.write_file(self._path(server, epochs, i), tf.io.serialize_tensor(variable.read_value()))
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f"{_MARK}.part"
        part.write_text(json.dumps({"key": self.key, "epochs": epochs}))
        os.replace(part, self.folder / _MARK)

    def restore(self, variables: Sequence[tuple[str, Any, Any]], *, epochs: int) -> None:
        """Puts the shares of an epoch back where they were.

        Raises:
            Refusal: With the code ``checkpoint``, if a server no longer has its shares.
        """
        import tensorflow as tf

        for i, (server, device, variable) in enumerate(variables):
            with tf.device(device):
                try:
                    share = tf.io.parse_tensor(tf.io.read_file(self._path(server, epochs, i)), variable.dtype)
                except tf.errors.OpError as error:
                    raise Refusal(
                        "checkpoint",
                        f"party {server}",
                        seen=f"its shares of epoch {epochs} are not there",
                        allowed="the shares that every server wrote after that epoch",
                        remedy="remove the checkpoints to start over",
                    ) from error
                variable.assign(tf.reshape(share, variable.shape))

    def _path(self, server: str, epochs: int, position: int) -> str:
        return f"{self.servers[server]}/{self.key[-12:]}_epoch{epochs:05d}_{position:04d}.share"
