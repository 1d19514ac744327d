"""The full pass over the training split: TensorFlow Transform's analyzers, run by Beam, give the transform's constants.

All numeric columns go through one stacked analyzer and all categorical ones through one keyed vocabulary. What a TFT
pipeline costs is its number of Beam stages rather than its rows, so this is several times faster than one analyzer per
column, with the same constants.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from probity.data import Column, ColumnKind

__all__ = [
    "FINE_QUANTILES",
    "Learnt",
    "Preprocess",
    "bucket_boundaries",
    "dense",
    "dense_number",
    "learn",
    "run_analysis",
    "sparse_specs",
]

FINE_QUANTILES = 4096
"""Number of equally filled intervals that the analyzer computes; bucket boundaries are chosen among their bounds."""

_SEPARATOR = "\x1f"
_VOCABULARY = "values_by_column"
_BATCH_ROWS = 16_384

Preprocess = Callable[[Mapping[str, Any]], Mapping[str, Any]]
Statistic = Literal["quantiles", "moments", "bounds"]


@dataclass(frozen=True, kw_only=True)
class Learnt:
    """Constants computed from the training split.

    Attributes:
        numbers: By numeric column, the statistic that was asked for.
        vocabularies: By text column, its values, the most frequent first.
    """

    numbers: dict[str, npt.NDArray[np.float32]]
    vocabularies: dict[str, tuple[str, ...]]


def sparse_specs(columns: Sequence[Column]) -> dict[str, Any]:
    """Returns the parsing specification of raw columns: sparse, so that a missing value is simply not there."""
    import tensorflow as tf

    return {column.name: tf.io.VarLenFeature(str(column.kind)) for column in columns}


def dense(column: Any, default: Any) -> Any:
    """Returns a sparse column as a dense tensor of shape (rows,): the row's first value, or the default."""
    import tensorflow as tf

    shape = [column.dense_shape[0], tf.maximum(column.dense_shape[1], 1)]
    return tf.sparse.to_dense(tf.sparse.SparseTensor(column.indices, column.values, shape), default)[:, 0]


def dense_number(column: Any, dtype: Any) -> Any:
    """Returns a sparse numeric column as a dense tensor of shape (rows,), NaN where the value is missing."""
    import tensorflow as tf

    cast = tf.sparse.SparseTensor(column.indices, tf.cast(column.values, dtype), column.dense_shape)
    return dense(cast, tf.constant(np.nan, dtype))


def run_analysis(preprocess: Preprocess, columns: Sequence[Column], *, train: Path, folder: Path) -> None:
    """Runs TFT's analyze phase on the training split and writes a TFT output folder.

    Args:
        preprocess: A ``preprocessing_fn``.
        columns: The columns it is given; no other column is decoded.
        train: The training split.
        folder: Where the output goes; its parent is used for temporary files.
    """
    import apache_beam as beam
    import tensorflow_transform.beam as tft_beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    kinds = {column.name: str(column.kind) for column in columns}
    # The runner is named because the default one looks for others first and serializes the pipeline for each. The rows
    # come in by file name for a like reason: whatever is part of the pipeline is pickled and compressed.
    options = PipelineOptions(flags=[], pipeline_type_check=False)
    with (
        tempfile.TemporaryDirectory(dir=folder.parent) as scratch,
        beam.Pipeline(runner=FnApiRunner(), options=options) as pipeline,
        tft_beam.Context(temp_dir=scratch, force_tf_compat_v1=False),
    ):
        batches = pipeline | beam.Create([str(train)], reshuffle=False) | beam.FlatMap(_read_batches, kinds)
        analysed = (batches, _adapter(kinds)) | tft_beam.AnalyzeDataset(preprocess)
        _ = analysed | tft_beam.WriteTransformFn(str(folder))


def learn(
    *,
    numeric: Sequence[Column],
    statistic: Statistic,
    text: Sequence[Column],
    max_vocabulary: int,
    train: Path,
    folder: Path,
) -> Learnt:
    """Computes constants of numeric and text columns in one pass; missing values (absent, NaN, "") do not count.

    Args:
        numeric: Columns to summarize; each must hold a number at least once.
        statistic: ``quantiles``: the inner bounds of :data:`FINE_QUANTILES` equally filled intervals, ascending;
            ``moments``: mean and (biased) variance; ``bounds``: smallest and largest value.
        text: Columns whose values to collect.
        max_vocabulary: Number of values to keep per text column.
        train: The training split.
        folder: A folder that does not exist yet, to work in.
    """
    import tensorflow_transform as tft

    if not numeric and not text:
        return Learnt(numbers={}, vocabularies={})

    def preprocess(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        outputs = _summaries([inputs[column.name] for column in numeric], statistic) if numeric else {}
        if text:
            outputs["unused"] = _collect([inputs[column.name] for column in text], max_vocabulary)
        return outputs

    columns = (*numeric, *text)
    run_analysis(preprocess, columns, train=train, folder=folder)
    output = tft.TFTransformOutput(str(folder))
    numbers: dict[str, npt.NDArray[np.float32]] = {}
    if numeric:
        found = output.transform_raw_features(_one_empty_row(columns))["summaries"].numpy()[0]
        numbers = {column.name: found[i] for i, column in enumerate(numeric)}
    vocabularies = _split_vocabulary(output, text, max_vocabulary) if text else {}
    return Learnt(numbers=numbers, vocabularies=vocabularies)


def bucket_boundaries(quantiles: npt.NDArray[np.float32], num_buckets: int) -> tuple[float, ...]:
    """Chooses bucket boundaries among fine quantiles; bucket ``i`` holds ``boundary[i - 1] <= x < boundary[i]``.

    Without ties these are the bounds of ``num_buckets`` equally filled buckets. A value so frequent that several bounds
    fall on it gets a bucket of its own, and the bounds it would have wasted divide the remaining rows in the same way.
    (With plain quantiles a column of 90 % zeros would be left with a tenth of its buckets.)

    Args:
        quantiles: Equally weighted quantiles, ascending; may repeat; may be empty.
        num_buckets: Largest number of buckets.

    Returns:
        At most ``num_buckets - 1`` different boundaries, ascending, none below or at the smallest quantile.
    """
    rest = np.sort(quantiles[np.isfinite(quantiles)])
    different = np.unique(rest)
    chosen = different[:0]
    while rest.size and (free := num_buckets - 1 - chosen.size) > 0:
        positions = np.arange(1, free + 1) * rest.size // (free + 1)
        bounds, repeats = np.unique(rest[positions], return_counts=True)
        frequent = bounds[repeats > 1]
        # A bucket of its own ends at the next value. Each repeated bound has freed a place for that one.
        after = np.searchsorted(different, frequent, side="right")
        chosen = np.union1d(np.union1d(chosen, bounds), different[after[after < different.size]])
        if not frequent.size:
            break
        rest = rest[~np.isin(rest, frequent)]
    return tuple(float(bound) for bound in chosen[chosen > different[0]]) if chosen.size else ()


def _summaries(columns: Sequence[Any], statistic: Statistic) -> dict[str, Any]:
    import tensorflow as tf
    import tensorflow_transform as tft

    stacked = tf.stack([dense_number(column, tf.float64) for column in columns], axis=1)
    missing = tf.math.is_nan(stacked)
    if statistic == "quantiles":  # of shape (columns, bounds); the analyzer ignores NaN
        found = tft.quantiles(stacked, FINE_QUANTILES, epsilon=0.5 / FINE_QUANTILES, reduce_instance_dims=False)
    elif statistic == "moments":  # these analyzers ignore NaN and infinities
        mean, variance = tft.mean(stacked, reduce_instance_dims=False), tft.var(stacked, reduce_instance_dims=False)
        found = tf.stack([mean, variance], axis=1)
    else:
        infinity = tf.constant(np.inf, tf.float64)
        low = tft.min(tf.where(missing, infinity, stacked), reduce_instance_dims=False)
        high = tft.max(tf.where(missing, -infinity, stacked), reduce_instance_dims=False)
        found = tf.stack([low, high], axis=1)
    return {"summaries": tf.tile(tf.cast(found, tf.float32)[None], [tf.shape(stacked)[0], 1, 1])}


def _collect(columns: Sequence[Any], max_vocabulary: int) -> Any:
    """Adds one vocabulary of all columns to the graph, each value behind its column's number."""
    import tensorflow as tf
    import tensorflow_transform as tft

    entries = []
    for i, column in enumerate(columns):
        given = tf.boolean_mask(column.values, column.values != "")
        entries.append(tf.strings.join([tf.constant(f"{i}{_SEPARATOR}"), given]))
    tft.vocabulary(
        tf.concat(entries, 0),
        top_k=1,  # and beside it, for each key:
        coverage_top_k=max_vocabulary,
        key_fn=_column_of,
        vocab_filename=_VOCABULARY,
        file_format="tfrecord_gzip",  # the text format drops values that hold a line break
    )
    return tf.zeros([columns[0].dense_shape[0]], tf.float32)


def _column_of(entry: bytes) -> bytes:
    return entry.partition(_SEPARATOR.encode())[0]


def _split_vocabulary(output: Any, text: Sequence[Column], max_vocabulary: int) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {column.name: [] for column in text}
    for entry in output.vocabulary_by_name(_VOCABULARY):
        number, separator, word = entry.partition(_SEPARATOR.encode())
        if separator and number.isdigit() and int(number) < len(text):  # TFT writes a filler into an empty vocabulary
            found[text[int(number)].name].append(word.decode("utf-8"))
    return {name: tuple(words[:max_vocabulary]) for name, words in found.items()}


def _one_empty_row(columns: Sequence[Column]) -> dict[str, Any]:
    import tensorflow as tf

    return {
        column.name: tf.sparse.SparseTensor(
            tf.zeros([0, 2], tf.int64), tf.zeros([0], str(column.kind)), tf.constant([1, 0], tf.int64)
        )
        for column in columns
    }


def _adapter(kinds: Mapping[str, str]) -> Any:
    from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder
    from tfx_bsl.tfxio.tensor_adapter import TensorAdapterConfig

    arrow = ExamplesToRecordBatchDecoder(_schema(kinds).SerializeToString()).ArrowSchema()
    return TensorAdapterConfig(arrow, dict(_schema(kinds).tensor_representation_group[""].tensor_representation))


def _read_batches(path: str, kinds: Mapping[str, str]) -> Iterator[Any]:
    """Yields Arrow record batches of the given columns; dict rows instead of batches would crash TFT at exit."""
    from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

    from probity.tfexample import read_records

    decoder = ExamplesToRecordBatchDecoder(_schema(kinds).SerializeToString())
    for records in read_records(Path(path), batch_rows=_BATCH_ROWS):
        yield decoder.DecodeBatch(records)


def _schema(kinds: Mapping[str, str]) -> Any:
    from tensorflow_metadata.proto.v0 import schema_pb2

    types = {
        ColumnKind.INT.value: schema_pb2.INT,
        ColumnKind.FLOAT.value: schema_pb2.FLOAT,
        ColumnKind.TEXT.value: schema_pb2.BYTES,
    }
    schema = schema_pb2.Schema(
        feature=[schema_pb2.Feature(name=name, type=types[kind]) for name, kind in sorted(kinds.items())]
    )
    group = schema.tensor_representation_group[""].tensor_representation
    for name in kinds:
        group[name].varlen_sparse_tensor.column_name = name
    return schema
