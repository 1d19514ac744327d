"""How a model is asked for scores: the protocol, and the exported SavedModel behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from probity.errors import DataError
from probity.tfexample import encode

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from probity.data import Column, Dataset

__all__ = ["Predictor", "SavedModelPredictor", "load_predictor", "seen_columns"]


class Predictor(Protocol):
    """Scores of a model for raw rows, whatever stands behind it."""

    def predict(self, rows: pa.Table) -> np.ndarray[Any, Any]:
        """Returns the score of each row, shape (rows,), float32: in [0, 1], or in the label's units for a regression.

        Args:
            rows: Raw feature columns; further columns are ignored.
        """
        ...


def load_predictor(path: Path) -> SavedModelPredictor:
    """Returns the predictor of an exported SavedModel, loaded once per process for equal files.

    Raises:
        DataError: If there is no SavedModel with the signature ``serving_default``.
    """
    try:
        changed = (path / "saved_model.pb").stat().st_mtime_ns
    except OSError:
        changed = 0
    return _loaded(path.resolve(), changed)


@lru_cache(maxsize=2)
def _loaded(path: Path, changed: int) -> SavedModelPredictor:
    return SavedModelPredictor(path)


def seen_columns(path: Path, dataset: Dataset) -> tuple[Column, ...]:
    """Returns the columns that an exported SavedModel asks for; the features, where it does not say.

    Raises:
        DataError: As :func:`load_predictor`.
    """
    wanted = load_predictor(path).columns
    return tuple(column for column in dataset.columns if column.name in wanted) if wanted else dataset.features


class SavedModelPredictor:
    """Scores of an exported SavedModel, through its own signatures: what a server of it would answer.

    A model that was trained elsewhere may have no ``predict_columns``; rows then go through ``serving_default``.

    Args:
        path: Folder of the SavedModel.

    Raises:
        DataError: If there is no SavedModel with the signature ``serving_default``.
    """

    BATCH_ROWS: ClassVar[int] = 4096

    def __init__(self, path: Path) -> None:
        import tensorflow as tf
        from tensorflow.core.protobuf import saved_model_pb2

        try:
            self._loaded = tf.saved_model.load(str(path))
            graph = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes()).meta_graphs[0]
            self._serve_examples = self._loaded.signatures["serving_default"]
            self._serve_columns = self._loaded.signatures.get("predict_columns")
        except Exception as error:  # TensorFlow and protobuf raise many types
            raise DataError(
                f"model {path.name}",
                seen=f"it cannot be loaded with the signature serving_default ({type(error).__name__})",
                allowed="a SavedModel that a trainer exported",
                remedy="run the pipeline again; the model is made anew",
            ) from error
        signature = graph.signature_def["predict_columns"]  # empty if there is none
        self._types = {name: tf.dtypes.as_dtype(info.dtype) for name, info in signature.inputs.items()}
        shape = self._serve_examples.structured_outputs["scores"].shape
        self._num_scores = shape[1] if shape.rank == 2 and shape[1] else 1

    @property
    def columns(self) -> tuple[str, ...]:
        """The raw feature columns that the model needs, sorted; empty where it does not say."""
        return tuple(sorted(self._types))

    @property
    def num_scores(self) -> int:
        """How many scores the model gives for a row: one for each class of a multi-class label, else one."""
        return self._num_scores

    def predict(self, rows: pa.Table) -> np.ndarray[Any, Any]:
        """Returns the score of each row through ``predict_columns``, float32 of shape (rows,).

        Args:
            rows: Raw feature columns, null where a value is missing; further columns are ignored.

        Raises:
            DataError: If a feature column is absent or of the wrong type, or the model gives several scores for a row.
        """
        return self._single(self.scores(rows))

    def predict_examples(self, records: Sequence[bytes]) -> np.ndarray[Any, Any]:
        """Returns the score of each serialized ``tf.Example`` through ``serving_default``, float32 of shape (rows,).

        Raises:
            DataError: If the model gives several scores for a row.
        """
        return self._single(self.scores_of_examples(records))

    def scores(self, rows: pa.Table) -> np.ndarray[Any, Any]:
        """Returns all scores of each row through ``predict_columns``, float32 of shape (rows, ``num_scores``).

        Args:
            rows: As for :meth:`predict`.

        Raises:
            DataError: If a feature column is absent or of the wrong type.
        """
        import tensorflow as tf

        serve_columns = self._serve_columns
        if serve_columns is None:
            return self.scores_of_examples(encode(rows))
        arrays = {name: _raw_array(rows, name, text=kind == tf.string) for name, kind in self._types.items()}
        return self._score(
            rows.num_rows,
            lambda batch: serve_columns(
                **{name: tf.constant(array[batch], self._types[name]) for name, array in arrays.items()}
            ),
        )

    def scores_of_examples(self, records: Sequence[bytes]) -> np.ndarray[Any, Any]:
        """Returns all scores of each serialized ``tf.Example`` through ``serving_default``, of shape (rows, scores)."""
        import tensorflow as tf

        return self._score(len(records), lambda batch: self._serve_examples(tf.constant(records[batch], tf.string)))

    def _score(self, rows: int, call: Callable[[slice], Any]) -> np.ndarray[Any, Any]:
        import numpy as np

        starts = range(0, rows, self.BATCH_ROWS)
        batches = [call(slice(start, start + self.BATCH_ROWS))["scores"].numpy() for start in starts]
        empty = np.zeros((0, self._num_scores), np.float32)
        return np.concatenate([empty, *(batch.reshape(-1, self._num_scores) for batch in batches)])

    def _single(self, scores: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if self._num_scores != 1:
            raise DataError(
                "model",
                seen=f"{self._num_scores} scores for a row",
                allowed="one score for a row",
                remedy="ask it for all of them, as the audits of a multi-class label do",
            )
        return scores.reshape(-1)


def _raw_array(rows: pa.Table, name: str, *, text: bool) -> np.ndarray[Any, Any]:
    """Returns a column as ``predict_columns`` takes it: missing text is empty, a missing number is NaN."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        column = rows.column(name)
        if text:
            filled = pc.fill_null(column.cast(pa.string()), "")
            return np.array([word.encode() for word in filled.to_pylist()], object)
        return np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)
    except (KeyError, pa.ArrowException) as error:
        raise DataError(
            f"column {name}",
            seen="absent" if isinstance(error, KeyError) else f"of type {rows.schema.field(name).type}",
            allowed="text" if text else "numbers",
            remedy="give every feature column of the model, with the type it was trained on",
        ) from error
