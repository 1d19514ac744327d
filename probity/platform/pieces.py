"""One data file piece by piece, so that it need not fit into memory: for rows that are only passed through a model."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path

import pyarrow as pa

from probity.errors import DataError
from probity.platform import readers
from probity.platform.readers import FORMATS, corrupt, csv_header, format_of, refuse_repeated, unreadable

__all__ = ["read_pieces"]

_HEADER_BYTES = 1 << 20
"""Within which the header line of a CSV file has to end."""


def read_pieces(path: Path) -> Iterator[pa.Table]:
    """Yields the rows of a file in order; columns are as :func:`probity.platform.readers.read_file` gives them.

    Raises:
        DataError: If it is no data file, or as soon as something unreadable is met. CSV rows of another length than
            the header are met at the end, so what was yielded counts only when there was no error.
    """
    kinds = {"csv": _csv, "parquet": _parquet, "tfrecord": readers.tfrecord_batches}
    kind = format_of(path)
    if kind is None:
        raise DataError(
            path.name, seen="no data file by its name", allowed=FORMATS, remedy="name it as its format demands"
        )
    try:
        yield from kinds[kind](path)
    except OSError as error:
        raise unreadable(path.name, error) from error


def _csv(path: Path) -> Iterator[pa.Table]:
    ragged: list[object] = []
    try:
        with _opened(path) as stream:
            head = stream.read(_HEADER_BYTES)
        header, rest = csv_header(path, head)
        if rest.strip() or len(head) == _HEADER_BYTES:
            with _opened(path) as stream:
                stream.seek(len(head) - len(rest))
                for batch in _decoded(stream, columns=len(header), ragged=ragged):
                    yield pa.Table.from_batches([batch]).rename_columns(header)
    except (pa.ArrowInvalid, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise corrupt(path, "CSV") from error
    if ragged:
        raise DataError(
            path.name,
            seen=f"{len(ragged)} rows with more or fewer cells than the {len(header)} columns of the header",
            allowed="as many cells in every row as columns in the header",
            remedy="mend these rows; a separator inside a cell needs quotes",
        )


def _opened(path: Path) -> BufferedIOBase:
    return gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb")


def _decoded(stream: BufferedIOBase, *, columns: int, ragged: list[object]) -> Iterator[pa.RecordBatch]:
    """Yields the cells after the header as text, and notes the rows that were left out."""
    from pyarrow import csv as arrow_csv

    def note(row: object) -> str:
        ragged.append(None)  # not the row: it holds data
        return "skip"

    names = [f"c{i}" for i in range(columns)]
    yield from arrow_csv.open_csv(
        stream,
        read_options=arrow_csv.ReadOptions(column_names=names, use_threads=False, block_size=readers.BLOCK_BYTES),
        parse_options=arrow_csv.ParseOptions(invalid_row_handler=note, newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(
            column_types={name: pa.string() for name in names}, strings_can_be_null=False
        ),
    )


def _parquet(path: Path) -> Iterator[pa.Table]:
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        refuse_repeated(path, file.schema_arrow.names)
        for batch in file.iter_batches(readers.BATCH_ROWS):
            yield pa.Table.from_batches([batch])
    except pa.ArrowException as error:
        raise corrupt(path, "Parquet") from error
