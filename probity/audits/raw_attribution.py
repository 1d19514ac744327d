"""A SavedModel as Shapley sampling sees it: a function of codes, one for each distinct value of each raw column.

For a model that was trained elsewhere there is nothing to take apart and no transform to look behind; it can only be
asked. Sampling mixes columns of two rows, and a column's values may be of any type, so the rows are held as codes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from probity.audits.attribution import ExplainedModel
from probity.audits.shapley import Inputs
from probity.data import TransformedFeature

__all__ = ["Codebook", "load_raw_model"]

_LOWEST = 1e-7
"""Scores are kept this far from 0 and 1, so that logits stay finite."""


class Codebook:
    """Values by code, for each column; a table that is encoded brings the codes of its own values.

    Args:
        names: The columns.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._values: dict[str, pa.Array | None] = dict.fromkeys(names)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns."""
        return tuple(self._values)

    def encode(self, table: pa.Table) -> Inputs:
        """Returns the rows of a table as codes, float32 of shape (rows, 1) by column.

        Args:
            table: Raw rows with at least the columns, of the same types each time.
        """
        found = {}
        for name, known in self._values.items():
            column = pa.chunked_array(table.column(name).chunks, table.column(name).type)
            encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
            if isinstance(encoded, pa.ChunkedArray):  # without a chunk, pyarrow 10 keeps it chunked
                found[name] = np.zeros((0, 1), np.float32)
                continue
            first = 0 if known is None else len(known)
            self._values[name] = encoded.dictionary if known is None else pa.concat_arrays([known, encoded.dictionary])
            found[name] = (encoded.indices.to_numpy(zero_copy_only=False) + first).astype(np.float32)[:, None]
        return found

    def decode(self, inputs: Inputs) -> pa.Table:
        """Returns rows of codes as raw rows."""
        columns: Mapping[str, pa.Array] = {
            name: values.take(pa.array(inputs[name][:, 0].astype(np.int64)))
            for name, values in self._values.items()
            if values is not None
        }
        return pa.table(dict(columns))


def load_raw_model(path: Path, names: Sequence[str]) -> tuple[ExplainedModel, Codebook]:
    """Returns a model of codes, in the space of logits, and the codebook that turns rows into its inputs.

    Args:
        path: Folder of the SavedModel.
        names: The columns whose contributions are wanted.
    """
    from probity.predictor import load_predictor

    book = Codebook(names)
    model = ExplainedModel(
        outputs=tuple(TransformedFeature(name=name, source=name, width=1) for name in names),
        columns=tuple(names),
        space="logit",
        whole=_Coded(load_predictor(path), book),
        head=None,
        joined=(),
        coded=True,
    )
    return model, book


class _Coded:
    """Answers for codes, with what :class:`~probity.audits.attribution.ExplainedModel` asks of a Keras model."""

    def __init__(self, predictor: Any, book: Codebook) -> None:
        self._predictor = predictor
        self._book = book

    @property
    def input(self) -> Sequence[str]:
        """The columns."""
        return self._book.names

    def __call__(self, inputs: Inputs, *, training: bool) -> np.ndarray[Any, Any]:
        rows = self._book.decode(inputs)
        scores = np.clip(self._predictor.predict(rows).astype(np.float64), _LOWEST, 1.0 - _LOWEST)
        found: np.ndarray[Any, Any] = np.log(scores) - np.log1p(-scores)
        return found
