"""A SavedModel as Shapley sampling sees it: a function of codes, one for each distinct value of each raw column.

For a model that was trained elsewhere there is nothing to take apart and no transform to look behind; it can only be
asked. Sampling mixes columns of two rows, and a column's values may be of any type, so the rows are held as codes.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from probity.audits.attribution import ExplainedModel, Inputs
from probity.data import TransformedFeature

__all__ = ["load_raw_model"]

_LOWEST = 1e-7
"""Scores are kept this far from 0 and 1, so that logits stay finite."""


def load_raw_model(
    path: Path, names: Sequence[str], tables: Sequence[pa.Table]
) -> tuple[ExplainedModel, tuple[Inputs, ...]]:
    """Returns a model of codes, in the space of logits, and each table as its inputs.

    Args:
        path: Folder of the SavedModel.
        names: The columns whose contributions are wanted.
        tables: Raw rows, all with these columns.
    """
    from probity.predictor import SavedModelPredictor

    values: dict[str, pa.Array] = {}
    codes: dict[str, np.ndarray[Any, Any]] = {}
    for name in names:
        column = pa.chunked_array([chunk for table in tables for chunk in table.column(name).chunks])
        encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
        values[name] = encoded.dictionary
        codes[name] = encoded.indices.to_numpy(zero_copy_only=False).astype(np.float32)[:, None]
    bounds = np.cumsum([0, *(table.num_rows for table in tables)])
    inputs = tuple(
        {name: array[begin:end] for name, array in codes.items()} for begin, end in itertools.pairwise(bounds)
    )
    model = ExplainedModel(
        outputs=tuple(TransformedFeature(name=name, source=name, width=1) for name in names),
        columns=tuple(names),
        space="logit",
        whole=_Coded(SavedModelPredictor(path), values),
        head=None,
        joined=(),
    )
    return model, inputs


class _Coded:
    """Answers for codes, with what :class:`~probity.audits.attribution.ExplainedModel` asks of a Keras model."""

    def __init__(self, predictor: Any, values: Mapping[str, pa.Array]) -> None:
        self._predictor = predictor
        self._values = values

    @property
    def input(self) -> Sequence[str]:
        """The columns."""
        return tuple(self._values)

    def __call__(self, inputs: Inputs, *, training: bool) -> np.ndarray[Any, Any]:
        rows = pa.table(
            {name: values.take(pa.array(inputs[name][:, 0].astype(np.int64))) for name, values in self._values.items()}
        )
        scores = np.clip(self._predictor.predict(rows).astype(np.float64), _LOWEST, 1.0 - _LOWEST)
        found: np.ndarray[Any, Any] = np.log(scores) - np.log1p(-scores)
        return found
