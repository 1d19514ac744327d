"""What training did: the mechanism that was executed, the model that came out, and how to ask it for scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol

from pydantic import Field

from probity.errors import DataError
from probity.record import Digest, Number, Record

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["DpSgd", "Mechanism", "NonPrivate", "Predictor", "SavedModelPredictor", "TrainedModel"]


class NonPrivate(Record):
    """Training read the examples without clipping or noise. Epsilon is infinite."""

    kind: Literal["non_private"] = "non_private"


class DpSgd(Record):
    """Clipped, noisy gradient steps as they were executed (Abadi et al. 2016, algorithm 1).

    No field is an epsilon: :mod:`probity.audits.privacy` computes it, so a trainer cannot claim one.
    """

    kind: Literal["dp_sgd"] = "dp_sgd"
    noise_multiplier: float = Field(ge=0.0)
    """Standard deviation of the noise over ``l2_clip_norm``."""
    sampling: Literal["poisson", "shuffled"]
    """How batches were drawn, as it was done."""
    sampling_prob: float = Field(gt=0.0, le=1.0)
    steps: int = Field(ge=0)
    """Steps that were executed, each counted once."""
    l2_clip_norm: Number = Field(gt=0.0)
    """Bound on each example's gradient norm; infinite: no clipping."""
    unit: str = "row"


Mechanism = Annotated[NonPrivate | DpSgd, Field(discriminator="kind")]
"""What happened to the data during training: a closed union, so that an unknown mechanism cannot be read at all."""


class TrainedModel(Record):
    """A model and everything about its making that later stages rely on (``07_model/model.json``)."""

    schema_version: Literal[1] = 1
    trainer: str
    """Name of the trainer. For the reader; no audit may look at it."""
    mechanism: Mechanism
    digest: Digest
    """Digest of the folder ``saved_model``: the identity of the model from here on."""
    weights: Digest
    """Digest of the trainable weights' bytes: equal for equal data, settings, seed and hardware."""
    train_examples: Digest
    """Digest of the transformed training examples."""
    transform: Digest
    """Digest of the transform graph inside the model."""
    settings: dict[str, Any]
    """The trainer's settings, fully resolved."""
    seed: int
    num_train_examples: int = Field(ge=1)
    num_parameters: int = Field(ge=1)
    steps: int = Field(ge=1)
    """Optimiser steps that were executed."""
    epochs: int = Field(ge=1)
    """Epochs that were executed; fewer than asked when training stopped early."""
    best_epoch: int = Field(ge=1)
    """The epoch whose weights were kept."""
    history: dict[str, tuple[Number, ...]]
    """Per executed epoch: ``loss``, ``auc`` on train; ``val_loss``, ``val_auc`` on eval."""
    environment: dict[str, str]
    """Versions of Python and of the libraries that decide the numbers."""
    warnings: tuple[str, ...] = ()


class Predictor(Protocol):
    """Scores of a model for raw rows, whatever stands behind it."""

    def predict(self, rows: pa.Table) -> np.ndarray[Any, Any]:
        """Returns the score of each row, shape (rows,), float32 in [0, 1].

        Args:
            rows: Raw feature columns; further columns are ignored.
        """
        ...


class SavedModelPredictor:
    """Scores of an exported SavedModel, through its own signatures: what a server of it would answer.

    Args:
        path: Folder of the SavedModel.

    Raises:
        DataError: If there is no SavedModel with both signatures.
    """

    BATCH_ROWS: ClassVar[int] = 4096

    def __init__(self, path: Path) -> None:
        import tensorflow as tf
        from tensorflow.core.protobuf import saved_model_pb2

        try:
            self._loaded = tf.saved_model.load(str(path))
            graph = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes()).meta_graphs[0]
            self._serve_examples = self._loaded.signatures["serving_default"]
            self._serve_columns = self._loaded.signatures["predict_columns"]
        except Exception as error:  # TensorFlow and protobuf raise many types
            raise DataError(
                f"model {path.name}",
                seen=f"it cannot be loaded with the signatures serving_default and predict_columns "
                f"({type(error).__name__})",
                allowed="a SavedModel that a trainer exported",
                remedy="run the pipeline again; the model is made anew",
            ) from error
        signature = graph.signature_def["predict_columns"]
        self._types = {name: tf.dtypes.as_dtype(info.dtype) for name, info in signature.inputs.items()}

    @property
    def columns(self) -> tuple[str, ...]:
        """The raw feature columns that the model needs, sorted."""
        return tuple(sorted(self._types))

    def predict(self, rows: pa.Table) -> np.ndarray[Any, Any]:
        """Returns the score of each row through ``predict_columns``, float32 of shape (rows,).

        Args:
            rows: Raw feature columns, null where a value is missing; further columns are ignored.

        Raises:
            DataError: If a feature column is absent or of the wrong type.
        """
        import tensorflow as tf

        arrays = {name: _raw_array(rows, name, text=kind == tf.string) for name, kind in self._types.items()}
        return self._score(
            rows.num_rows,
            lambda batch: self._serve_columns(
                **{name: tf.constant(array[batch], self._types[name]) for name, array in arrays.items()}
            ),
        )

    def predict_examples(self, records: Sequence[bytes]) -> np.ndarray[Any, Any]:
        """Returns the score of each serialized ``tf.Example`` through ``serving_default``, float32 of shape (rows,)."""
        import tensorflow as tf

        return self._score(len(records), lambda batch: self._serve_examples(tf.constant(records[batch], tf.string)))

    def _score(self, rows: int, call: Callable[[slice], Any]) -> np.ndarray[Any, Any]:
        import numpy as np

        starts = range(0, rows, self.BATCH_ROWS)
        parts = [call(slice(start, start + self.BATCH_ROWS))["scores"].numpy().reshape(-1) for start in starts]
        return np.concatenate([np.zeros(0, np.float32), *parts])


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
