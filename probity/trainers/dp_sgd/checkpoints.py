"""Checkpoints: an interrupted training goes on where its last checkpoint was, and no step is counted twice.

A checkpoint holds the model after some number of steps of the mechanism. Steps after it died with their process: nobody
saw their results, which are told only once they are in a checkpoint, so executing them again with fresh noise is the
same mechanism, and the model that comes out has gone through exactly the steps that are counted. All that a checkpoint
holds was made from noisy sums, which the guarantee of DP-SGD covers step by step, but for the numbers on the eval
split. Keys and noise are never written.
"""

from __future__ import annotations

import io
import json
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from probity.digest import digest_bytes
from probity.storage import write_atomically

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Arrays = tuple[npt.NDArray[np.generic], ...]

__all__ = ["CHECKPOINT_SECONDS", "Checkpoints", "Snapshot"]

CHECKPOINT_SECONDS = 20.0
"""Time between two checkpoints: what an interruption costs at most, beside the start."""

_WORTH = 20
"""Writing a large model takes seconds; one part in so many of the time is spent on it at most."""
_FILE = "dp_sgd.checkpoint"
_FORMAT = 2
_GROUPS = ("weights", "optimizer", "average", "best_weights", "watched", "batches")


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The state of a training between two steps.

    Attributes:
        steps: Steps executed so far.
        epochs: Epochs that are over.
        weights: Trainable weights after them.
        optimizer: The optimiser's variables.
        average: Running averages of the weights; empty without averaging.
        best_epoch: The epoch whose weights are the best so far; 0 before the first epoch is over.
        best_loss: Its loss on the eval split; infinite where nothing was compared.
        best_weights: Its weights; empty where the last epoch's are kept anyway.
        watched: The watched weight's noisy sums so far, added up; empty where none is watched.
        batches: The sampler's state.
        history: Per metric, one number for each epoch that is over.
    """

    steps: int
    epochs: int
    weights: Arrays
    optimizer: Arrays
    average: Arrays
    best_epoch: int
    best_loss: float
    best_weights: Arrays
    watched: Arrays
    batches: Arrays
    history: dict[str, tuple[float, ...]]


class Checkpoints:
    """Checkpoints of one training in a folder that outlives the process.

    Guarantees: a reader finds the last complete checkpoint or none, whenever the writer was killed; a checkpoint of
    another training, one that was changed or one that cannot be read counts as none.

    Args:
        folder: An existing folder for this training alone; ``None`` keeps nothing.
        identity: Digest of everything that the training depends on: mechanism, settings, data, model.
        every_seconds: Least time between two checkpoints.
    """

    def __init__(self, folder: Path | None, *, identity: str, every_seconds: float = CHECKPOINT_SECONDS) -> None:
        self._path = None if folder is None else folder / _FILE
        self._identity = identity
        self._every_seconds = every_seconds
        self._written, self._took = time.monotonic(), 0.0

    @property
    def kept(self) -> bool:
        """Whether there are any: without, an interrupted training is begun anew, as another one."""
        return self._path is not None

    @property
    def due(self) -> bool:
        """Whether it is time for the next one."""
        return self.kept and time.monotonic() - self._written >= self._every_seconds

    def worth(self, seconds: float) -> bool:
        """Whether one may be written before: after so many seconds, and twenty times those that the last one took."""
        return self.kept and time.monotonic() - self._written >= max(seconds, _WORTH * self._took)

    def write(self, snapshot: Snapshot) -> None:
        """Replaces the checkpoint."""
        import numpy as np

        if self._path is None:
            return
        began = time.monotonic()
        arrays = {f"{group}_{i}": array for group in _GROUPS for i, array in enumerate(getattr(snapshot, group))}
        facts = {
            "format": _FORMAT,
            "identity": self._identity,
            "steps": snapshot.steps,
            "epochs": snapshot.epochs,
            "best_epoch": snapshot.best_epoch,
            "best_loss": snapshot.best_loss.hex(),
            "history": {name: [number.hex() for number in numbers] for name, numbers in snapshot.history.items()},
            "lengths": {group: len(getattr(snapshot, group)) for group in _GROUPS},
        }
        content = io.BytesIO()
        np.savez(content, facts=np.frombuffer(json.dumps(facts).encode(), np.uint8), **arrays)
        body = content.getvalue()
        write_atomically(self._path, digest_bytes(body).encode() + b"\n" + body)
        self._written = time.monotonic()
        self._took = self._written - began

    def read(self) -> Snapshot | None:
        """Returns the last checkpoint of this very training, or ``None``."""
        if self._path is None:
            return None
        try:
            digest, body = self._path.read_bytes().split(b"\n", 1)
            return self._parsed(body) if digest == digest_bytes(body).encode() else None
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return None

    def remove(self) -> None:
        """Removes the checkpoint: the training is over."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _parsed(self, body: bytes) -> Snapshot | None:
        import numpy as np

        with np.load(io.BytesIO(body), allow_pickle=False) as stored:
            facts = json.loads(stored["facts"].tobytes())
            if (facts["format"], facts["identity"]) != (_FORMAT, self._identity):
                return None
            arrays = {group: tuple(stored[f"{group}_{i}"] for i in range(facts["lengths"][group])) for group in _GROUPS}
        return Snapshot(
            steps=facts["steps"],
            epochs=facts["epochs"],
            best_epoch=facts["best_epoch"],
            best_loss=float.fromhex(facts["best_loss"]),
            history={name: tuple(map(float.fromhex, numbers)) for name, numbers in facts["history"].items()},
            **arrays,
        )
