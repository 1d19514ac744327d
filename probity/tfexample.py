"""``tf.Example`` files: the one place that encodes and decodes them.

Rows are held as Arrow tables in memory and as gzipped TFRecord on disk, the format that TFX's tools and TensorFlow
Serving's clients share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from probity.errors import DataError

__all__ = ["LABEL", "LabelKind", "encode", "read_arrays", "read_records", "read_table", "write_arrays", "write_table"]

LABEL = "label"
"""Name of the label in transformed examples; names of inputs end in ``_xf``, so none can collide with it."""

LabelKind = Literal["int64", "float32"]
"""How a label is stored."""

_BATCH_ROWS = 16_384
_ARROW_TYPES = {"int64": pa.int64(), "float32": pa.float32(), "string": pa.string()}


class _Column(Protocol):
    """What reading needs of :class:`probity.data.Column`, which is built on this module."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...


class _Feature(Protocol):
    """What reading needs of :class:`probity.data.TransformedFeature`."""

    @property
    def name(self) -> str: ...
    @property
    def width(self) -> int: ...


def encode(table: pa.Table) -> list[bytes]:
    """Serializes each row as a ``tf.Example``; null becomes a feature without value.

    Guarantees: equal rows have equal bytes, in every process. (Protobuf alone promises no order of map entries, and
    tfx_bsl's encoder varies it, so digests of files would differ from run to run: each column is encoded by itself and
    the map entries are joined in the order of the column names.)

    Args:
        table: Scalar columns of any of the three ``tf.Example`` types, or fixed-width lists of floats.
    """
    from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

    encoder = RecordBatchToExamplesEncoder()
    entries: list[list[bytes]] = []
    for name in sorted(table.column_names):
        column = table.column(name).combine_chunks()
        if isinstance(column, pa.ChunkedArray):  # zero chunks stay chunked in pyarrow 10
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
        lists = column if _is_list(column.type) else _singletons(column)
        batch = pa.RecordBatch.from_arrays([lists], [name])
        entries.append([_features_of(example) for example in encoder.encode(batch)])
    return [_message(1, b"".join(parts)) for parts in zip(*entries, strict=True)]


def write_table(path: Path, table: pa.Table) -> None:
    """Writes the rows of a table, in order, as gzipped TFRecord."""
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path), options="GZIP") as writer:
        for start in range(0, table.num_rows, _BATCH_ROWS):
            for record in encode(table.slice(start, _BATCH_ROWS)):
                writer.write(record)


def read_records(path: Path, *, batch_rows: int = _BATCH_ROWS) -> Iterator[list[bytes]]:
    """Yields the serialized examples of a gzipped TFRecord file in batches, in file order.

    Raises:
        DataError: If the file is truncated or corrupt.
    """
    import tensorflow as tf

    try:
        for batch in tf.data.TFRecordDataset(str(path), compression_type="GZIP").batch(batch_rows):
            yield batch.numpy().tolist()
    except (tf.errors.DataLossError, tf.errors.OutOfRangeError) as error:
        raise DataError(
            path.name,
            seen="a truncated or corrupt TFRecord file",
            allowed="gzipped TFRecord of tf.Example",
            remedy="delete the run folder and run again",
        ) from error


def read_table(path: Path, columns: Sequence[_Column]) -> pa.Table:
    """Reads a file into one scalar or null per row and column.

    Args:
        path: A file that :func:`write_table` wrote.
        columns: The columns to read, in this order; others in the file are ignored.

    Raises:
        DataError: If a row holds several values of one column or one of another type, or the file is corrupt.
    """
    decode = _decoder({column.name: str(column.kind) for column in columns})
    fields = pa.schema([(column.name, _ARROW_TYPES[column.kind]) for column in columns])
    batches = [
        pa.RecordBatch.from_arrays(
            [_scalars(decoded.column(i), fields.field(i)) for i in range(len(fields))], schema=fields
        )
        for decoded in map(decode, read_records(path))
    ]
    return pa.Table.from_batches(batches, schema=fields)


def write_arrays(
    path: Path,
    inputs: dict[str, np.ndarray[Any, Any]],
    labels: np.ndarray[Any, Any],
    *,
    label_kind: LabelKind = "int64",
) -> None:
    """Writes model inputs, float32 of shape (rows, width) each, and labels as gzipped TFRecord.

    Args:
        path: The file.
        inputs: Arrays by name.
        labels: Shape (rows,).
        label_kind: ``int64`` for 0/1 labels and numbers of classes, ``float32`` for what a regression predicts.
    """
    columns: dict[str, pa.Array] = {name: _lists(values) for name, values in inputs.items()}
    columns[LABEL] = pa.array(labels.astype(label_kind))
    write_table(path, pa.table(columns))


def read_arrays(
    path: Path, outputs: Sequence[_Feature], *, label_kind: LabelKind = "int64"
) -> tuple[dict[str, np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    """Reads what :func:`write_arrays` wrote.

    Returns:
        Inputs by name, float32 of shape (rows, width), and labels, float32 of shape (rows,).
    """
    decode = _decoder({**{feature.name: "float32" for feature in outputs}, LABEL: label_kind})
    inputs: dict[str, list[np.ndarray[Any, Any]]] = {feature.name: [] for feature in outputs}
    labels: list[np.ndarray[Any, Any]] = []
    for decoded in map(decode, read_records(path)):
        for i, feature in enumerate(outputs):
            inputs[feature.name].append(decoded.column(i).flatten().to_numpy().reshape(-1, feature.width))
        labels.append(decoded.column(len(outputs)).flatten().to_numpy().astype(np.float32))
    empty = np.zeros(0, np.float32)
    return (
        {
            feature.name: np.concatenate(inputs[feature.name] or [empty.reshape(0, feature.width)])
            for feature in outputs
        },
        np.concatenate(labels or [empty]),
    )


def _decoder(kinds: dict[str, str]) -> Callable[[list[bytes]], pa.RecordBatch]:
    from tensorflow_metadata.proto.v0 import schema_pb2
    from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

    types = {"int64": schema_pb2.INT, "float32": schema_pb2.FLOAT, "string": schema_pb2.BYTES}
    schema = schema_pb2.Schema(
        feature=[schema_pb2.Feature(name=name, type=types[kind]) for name, kind in kinds.items()]
    )
    decoder = ExamplesToRecordBatchDecoder(schema.SerializeToString())

    def decode(records: list[bytes]) -> pa.RecordBatch:
        try:
            return decoder.DecodeBatch(records)
        except RuntimeError as error:
            raise DataError(
                "tf.Example records",
                seen="a record that is no tf.Example or holds a column in another type",
                allowed=", ".join(f"{name}: {kind}" for name, kind in kinds.items()),
                remedy="store each column in one type throughout, or exclude the column that differs",
            ) from error

    return decode


def _scalars(column: pa.Array, field: pa.Field) -> pa.Array:
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    if lengths.size and lengths.max() > 1:
        raise DataError(
            f"column {field.name}",
            seen=f"{int((lengths > 1).sum())} rows with several values",
            allowed="one value per row, or none",
            remedy="store one value per row, or exclude the column",
        )
    present = lengths == 1
    positions = pa.array(np.cumsum(lengths) - 1, mask=~present)
    return column.flatten().take(positions).cast(field.type)


def _singletons(column: pa.Array) -> pa.Array:
    valid = np.asarray(column.is_valid())
    offsets = np.concatenate([[0], np.cumsum(valid)]).astype(np.int32)
    values = column.drop_null()
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        values = values.cast(pa.binary())
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def _lists(values: np.ndarray[Any, Any]) -> pa.Array:
    rows, width = values.shape
    offsets = np.arange(0, (rows + 1) * width, width, dtype=np.int64)
    flat = pa.array(np.ascontiguousarray(values, np.float32).ravel())
    return pa.LargeListArray.from_arrays(pa.array(offsets), flat)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _features_of(example: bytes) -> bytes:
    """Returns the content of field 1 (``features``) of a serialized Example that has no other field."""
    position = 1
    while example[position] & 0x80:  # the length, a varint, ends at the first byte without the high bit
        position += 1
    return example[position + 1 :]


def _message(field: int, content: bytes) -> bytes:
    """Returns the wire form of a length-delimited protobuf field."""
    length = len(content)
    varint = bytearray()
    while length > 0x7F:
        varint.append(length & 0x7F | 0x80)
        length >>= 7
    varint.append(length)
    return bytes([field << 3 | 2]) + bytes(varint) + content
