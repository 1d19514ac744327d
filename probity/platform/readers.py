"""One data file to columns: CSV(.gz), Parquet and TFRecord of ``tf.Example``.

A third-party reader's error text can quote a row, so none of them is shown: messages here name the file, counts and
positions.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import pyarrow as pa

from probity.errors import DataError

__all__ = [
    "BATCH_ROWS",
    "BLOCK_BYTES",
    "FORMATS",
    "Format",
    "concatenated",
    "corrupt",
    "csv_header",
    "format_of",
    "listed",
    "read_file",
    "refuse_repeated",
    "tfrecord_batches",
    "unreadable",
]

Format = Literal["csv", "parquet", "tfrecord"]

FORMATS = "CSV (.csv, .csv.gz), Parquet (.parquet) or TFRecord (.tfrecord, .tfrecord.gz)"
BLOCK_BYTES = 1 << 24
"""Of CSV that is decoded at a time."""
BATCH_ROWS = 16_384
"""Of other formats, likewise."""


def format_of(path: Path) -> Format | None:
    """Returns the format that a file's name announces, or ``None`` if it is no data file."""
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(".csv"):
        return "csv"
    if name.endswith((".parquet", ".pq")) and not path.name.lower().endswith(".gz"):
        return "parquet"
    # TFX names its files data_tfrecord-00000-of-00001.gz.
    return "tfrecord" if "tfrecord" in name else None


def read_file(path: Path) -> pa.Table:
    """Reads one file, as :func:`probity.platform.sources.read` reads all.

    Raises:
        DataError: If it is unreadable, truncated, ragged, not UTF-8 or empty, or repeats a column.
    """
    try:
        kind = format_of(path)
        table = _read_csv(path) if kind == "csv" else _read_parquet(path) if kind == "parquet" else _read_tfrecord(path)
    except OSError as error:
        raise unreadable(path.name, error) from error
    if not table.num_rows:
        raise DataError(
            path.name,
            seen=f"0 rows and {table.num_columns} columns",
            allowed="at least one row",
            remedy="check how the file was written, or leave it out",
        )
    return table


def _read_csv(path: Path) -> pa.Table:
    from pyarrow import csv as arrow_csv

    data = _bytes_of(path)
    header, body = csv_header(path, data)
    names = [f"c{i}" for i in range(len(header))]
    ragged: list[int] = []

    def note(row: arrow_csv.InvalidRow) -> str:
        ragged.append(row.number or 0)
        return "skip"

    if not body.strip():
        return pa.table({name: pa.array([], pa.string()) for name in header})
    try:
        table = arrow_csv.read_csv(
            io.BytesIO(body),
            # One thread, because only then are the rows numbered; decoding to text is fast anyway.
            read_options=arrow_csv.ReadOptions(column_names=names, use_threads=False, block_size=BLOCK_BYTES),
            parse_options=arrow_csv.ParseOptions(invalid_row_handler=note, newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                column_types={name: pa.string() for name in names}, strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        raise _not_utf8(path, data) or corrupt(path, "CSV") from error
    if ragged:
        raise DataError(
            path.name,
            seen=f"{len(ragged)} rows with more or fewer cells than the {len(header)} columns of the header, the first "
            f"of them row {ragged[0]} after it",
            allowed="as many cells in every row as columns in the header",
            remedy="mend these rows; a separator inside a cell needs quotes",
        )
    return table.rename_columns(header)


def csv_header(path: Path, data: bytes) -> tuple[list[str], bytes]:
    """Returns the column names and the bytes after the header line.

    Raises:
        DataError: If there is none, its cells are not separated by commas, or a name is repeated.
    """
    data = data.removeprefix(b"\xef\xbb\xbf")  # a byte order mark, which spreadsheets write, belongs to no name
    consumed = 0

    def lines() -> Iterator[str]:
        nonlocal consumed
        for line in io.BytesIO(data):
            consumed += len(line)
            yield line.decode("utf-8")

    try:
        names = [name.strip() for name in next(csv.reader(lines(), strict=True), [])]
    except UnicodeDecodeError as error:
        raise _not_utf8(path, data) or corrupt(path, "CSV") from error
    except csv.Error as error:
        raise corrupt(path, "CSV") from error
    if not names:
        raise DataError(
            path.name,
            seen="an empty file" if not data else "an empty first line",
            allowed="a header line with column names, and rows",
            remedy="check how the file was written",
        )
    if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
        raise DataError(
            path.name,
            seen="one column whose name holds another separator",
            allowed="cells separated by commas",
            remedy="write the file with commas, or as Parquet",
        )
    refuse_repeated(path, names)
    return names, data[consumed:]


def _read_parquet(path: Path) -> pa.Table:
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        refuse_repeated(path, file.schema_arrow.names)
        return file.read()
    except pa.ArrowException as error:
        raise corrupt(path, "Parquet") from error


def _read_tfrecord(path: Path) -> pa.Table:
    batches = list(tfrecord_batches(path))
    if not batches:
        return pa.table({})
    table = concatenated(batches)
    return table.select(sorted(table.column_names))  # a tf.Example is a map: its features have no order


def tfrecord_batches(path: Path) -> Iterator[pa.Table]:
    """Yields the rows of a TFRecord piece by piece; a feature that no row of a piece has is no column of it.

    Raises:
        DataError: If it is truncated, or no TFRecord of ``tf.Example``.
    """
    import tensorflow as tf
    from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

    decoder = ExamplesToRecordBatchDecoder()
    compression = "GZIP" if path.name.lower().endswith(".gz") else ""
    try:
        for batch in tf.data.TFRecordDataset(str(path), compression_type=compression).batch(BATCH_ROWS):
            yield pa.Table.from_batches([decoder.DecodeBatch(batch.numpy().tolist())])
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise corrupt(path, "TFRecord of tf.Example") from error


def _bytes_of(path: Path) -> bytes:
    data = path.read_bytes()
    if not path.name.lower().endswith(".gz"):
        return data
    try:
        return gzip.decompress(data)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise corrupt(path, "gzip") from error


def concatenated(tables: Sequence[pa.Table]) -> pa.Table:
    """Returns the rows of all tables. A column absent from one is null there; numbers of several types become float."""
    kinds: dict[str, set[pa.DataType]] = {}
    for table in tables:
        for field in table.schema:
            kinds.setdefault(field.name, set()).add(field.type)
    target = {name: _common_type(name, found) for name, found in kinds.items()}
    schema = pa.schema([(name, target[name]) for name in target])
    parts = []
    for table in tables:
        columns = [
            table.column(name).cast(target[name])
            if name in table.column_names
            else pa.nulls(table.num_rows, target[name])
            for name in target
        ]
        parts.append(pa.Table.from_arrays(columns, schema=schema))
    return pa.concat_tables(parts)


def _common_type(name: str, kinds: set[pa.DataType]) -> pa.DataType:
    known = {kind for kind in kinds if not pa.types.is_null(kind)}
    if len(known) <= 1:
        return next(iter(known or kinds))
    if all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in known):
        return pa.int64() if all(pa.types.is_signed_integer(kind) for kind in known) else pa.float64()
    raise DataError(
        f"column {name}",
        seen=f"different types in different files: {', '.join(sorted(str(kind) for kind in known))}",
        allowed="one type",
        remedy="write the files with one type for this column, or exclude it and write the files without it",
    )


def refuse_repeated(path: Path, names: Sequence[str]) -> None:
    """Raises unless every column has a name of its own.

    Raises:
        DataError: If names are repeated.
    """
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(
            path.name,
            seen=f"several columns with one name: {listed(repeated)}",
            allowed="a different name for every column",
            remedy="rename or remove the repeated columns",
        )


def _not_utf8(path: Path, data: bytes) -> DataError | None:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return DataError(
            path.name,
            seen=f"bytes that are not UTF-8, first in line {data.count(bytes([10]), 0, error.start) + 1}",
            allowed="UTF-8 text, with or without a byte order mark",
            remedy="convert the file, for example with: iconv -f LATIN1 -t UTF-8",
        )
    return None


def corrupt(path: Path, what: str) -> DataError:
    """Returns the error for a file whose bytes are not what its name announces."""
    return DataError(
        path.name,
        seen=f"a truncated or corrupt file, {path.stat().st_size} bytes that cannot be read as {what}",
        allowed=FORMATS,
        remedy="fetch or write the file again, and check that its name ends as its format demands",
    )


def unreadable(argument: str, error: OSError) -> DataError:
    """Returns the error for a file that the operating system does not give."""
    return DataError(
        argument,
        seen=f"a file that cannot be read ({type(error).__name__})",
        allowed="files that this user may read",
        remedy="check the permissions and the disk",
    )


def listed(names: Sequence[str]) -> str:
    """Returns the first five names and how many more there are."""
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
