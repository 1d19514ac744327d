"""The transform graph on disk, as a function from raw rows to model inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probity.data import TransformedFeature
from probity.tfexample import encode

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

__all__ = ["Arrays", "graph_function", "transform_rows"]

Arrays = dict[str, "npt.NDArray[np.float32]"]
"""Model inputs by name, float32 of shape (rows, width) each."""

_BATCH_ROWS = 4096


def graph_function(graph: Path, outputs: Sequence[TransformedFeature]) -> Callable[[Iterable[Sequence[bytes]]], Arrays]:
    """Loads a transform graph.

    Args:
        graph: Folder of the TFT output.
        outputs: Layout of what it puts out.

    Returns:
        A function of batches of serialized ``tf.Example``, which gives each output, float32 of shape (rows, width).
    """
    import numpy as np
    import tensorflow as tf
    import tensorflow_transform as tft

    output = tft.TFTransformOutput(str(graph))
    layer, specs = output.transform_features_layer(), output.raw_feature_spec()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])  # type: ignore[untyped-decorator]
    def apply(records: Any) -> Any:
        found = layer(tf.io.parse_example(records, specs))
        return {
            feature.name: tf.reshape(tf.cast(found[feature.name], tf.float32), [-1, feature.width])
            for feature in outputs
        }

    def arrays(batches: Iterable[Sequence[bytes]]) -> Arrays:
        done = [apply(tf.constant(list(records))) for records in batches]
        return {
            feature.name: np.concatenate(
                [np.zeros((0, feature.width), np.float32), *(batch[feature.name].numpy() for batch in done)]
            )
            for feature in outputs
        }

    return arrays


def transform_rows(table: pa.Table, *, graph: Path, outputs: Sequence[TransformedFeature]) -> Arrays:
    """Runs raw rows through a transform graph.

    Args:
        table: Raw feature columns, null where a value is missing.
        graph: Folder of the TFT output.
        outputs: Layout of what it puts out.
    """
    records = encode(table)
    batches = (records[begin : begin + _BATCH_ROWS] for begin in range(0, len(records), _BATCH_ROWS))
    return graph_function(graph, outputs)(batches)
