"""Canaries: rows and gradients that are planted in a training, each by a coin of its own, to be looked for afterwards.

A *row* canary is drawn from the schema and takes part in training like any other row. A *gradient* canary is a row
whose clipped gradient points in a known direction that no other row's does; the trainer has to plant it, and sees how
much of it the noisy sums hold. Who looks for them must not know the coins, and learns how much training reveals.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from probity.errors import DataError
from probity.record import Record
from probity.storage import write_atomically

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["GRADIENT_SCORES", "LABELS", "ROWS", "TRAIN", "Canaries", "Coins", "read_array", "write_arrays"]

ROWS = "rows.tfrecord.gz"
"""All row canaries as raw ``tf.Example``, planted or not."""
LABELS = "labels.npz"
"""``labels``: whether the label of each is the positive one."""
TRAIN = "train.tfrecord.gz"
"""The training split with the planted rows after its own."""

GRADIENT_SCORES = "gradient_canaries.npz"
"""File beside the model in which a trainer leaves ``scores``, float64 of shape (gradients,): for each gradient canary,
planted or not, how much of its direction the noisy sums of all steps held together."""

_COINS = "coins.npz"
_STREAM = 0x43414E41  # tells the coins from whatever else is drawn from the same seed


@dataclass(frozen=True, kw_only=True)
class Coins:
    """Which canaries are planted: independent fair coins, known to the auditor only.

    Attributes:
        rows: One coin for each row canary, of shape (rows,).
        gradients: One coin for each gradient canary, of shape (gradients,).
    """

    rows: npt.NDArray[np.bool_]
    gradients: npt.NDArray[np.bool_]

    @classmethod
    def flip(cls, *, rows: int, gradients: int, seed: int) -> Coins:
        """Flips the coins. Equal arguments give equal coins."""
        import numpy as np

        draw = np.random.default_rng([_STREAM, seed])
        return cls(rows=draw.random(rows) < 0.5, gradients=draw.random(gradients) < 0.5)

    @property
    def planted(self) -> int:
        """Number of canaries that take part in training, of both kinds."""
        return int(self.rows.sum() + self.gradients.sum())

    def write(self, folder: Path) -> None:
        """Writes them; :meth:`read` gives equal coins back."""
        write_arrays(folder / _COINS, rows=self.rows, gradients=self.gradients)

    @classmethod
    def read(cls, folder: Path) -> Coins:
        """Reads what :meth:`write` wrote.

        Raises:
            DataError: If it cannot be read.
        """
        path = folder / _COINS
        return cls(rows=read_array(path, "rows").astype(bool), gradients=read_array(path, "gradients").astype(bool))


class Canaries(Record):
    """What was planted (``06_canaries/canaries.json``)."""

    schema_version: Literal[1] = 1
    rows: int = Field(default=0, ge=0)
    """Number of row canaries, planted or not."""
    rows_planted: int = Field(default=0, ge=0)
    gradients: int = Field(default=0, ge=0)
    """Number of gradient canaries; 0 where the trainer cannot plant any."""
    gradients_planted: int = Field(default=0, ge=0)
    empty_columns: tuple[str, ...] = ()
    """Columns that are missing in all row canaries, because the schema states neither a domain nor bounds."""

    @model_validator(mode="after")
    def _planted_are_some_of_all(self) -> Canaries:
        if self.rows_planted > self.rows or self.gradients_planted > self.gradients:
            raise ValueError("more canaries were planted than there are")
        return self

    @property
    def planted(self) -> int:
        """Number of canaries among the training examples."""
        return self.rows_planted + self.gradients_planted


def write_arrays(path: Path, **arrays: npt.NDArray[np.generic]) -> None:
    """Writes named arrays into one file, by rename."""
    import numpy as np

    content = io.BytesIO()
    np.savez(content, **arrays)
    write_atomically(path, content.getvalue())


def read_array(path: Path, name: str) -> npt.NDArray[np.generic]:
    """Reads one array of a file that :func:`write_arrays` wrote.

    Raises:
        DataError: If it is not there or cannot be read.
    """
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as stored:
            array: npt.NDArray[np.generic] = stored[name]
            return array
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(
            path.name,
            seen=f"no readable array {name}",
            allowed="the file as the run wrote it",
            remedy="run again; the file is made anew",
        ) from error
