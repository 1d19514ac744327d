"""The file of edge cases to :class:`~probity.edge_cases.EdgeCases`: read, checked against the data, typed as they are.

Everything that is wrong with the file is said before anything is trained, by row and column and never by value. Values
that the training data never had - an unknown word, a number out of range, a gap - are what cases are for, and are
taken as they are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from probity.data import Column, ColumnKind, Dataset, Schema
from probity.digest import digest_file
from probity.edge_cases import EdgeCases
from probity.errors import ConfigError, DataError
from probity.groups import value_texts
from probity.platform.columns import as_float32, from_text, from_typed, is_text, whole_numbers
from probity.platform.readers import format_of, listed, read_file
from probity.suggestion import did_you_mean

__all__ = ["KEY", "read_edge_cases", "require_edge_cases"]

KEY = "audits.edge_cases"
WHY = "why"
"""Name of the column in which the file may say what makes a row a case."""

_FILES = "a CSV (.csv, .csv.gz) or Parquet (.parquet) file, relative to the config file"
_MOST_CASES = 100_000
_ARROW_TYPES = {ColumnKind.INT: pa.int64(), ColumnKind.FLOAT: pa.float32(), ColumnKind.TEXT: pa.string()}
_WORDS = {ColumnKind.INT: "whole numbers", ColumnKind.FLOAT: "numbers", ColumnKind.TEXT: "text"}


def require_edge_cases(path: Path) -> None:
    """Refuses a file that is not there, or whose name announces neither CSV nor Parquet.

    Raises:
        ConfigError: Says which.
    """
    if not path.is_file():
        raise _refused("no such file", allowed=_FILES, remedy="check the path in the config; it starts beside it")
    if format_of(path) not in ("csv", "parquet"):
        raise _refused("a file of another format", allowed=_FILES, remedy="write it as one of these")


def read_edge_cases(path: Path, *, dataset: Dataset, schema: Schema, missing_values: Collection[str]) -> EdgeCases:
    """Reads the user's file.

    Guarantees: every feature of the data set is a column of the cases, with its type; every case has an expected
    outcome that the label can have; no two cases of equal columns expect different outcomes.

    Args:
        path: CSV(.gz) or Parquet: the raw feature columns and the label column, which holds the outcome that must come
            out. Further columns of the data, and one named ``why``, may be there.
        dataset: Columns, roles and types. Its task is binary or multiclass.
        schema: Says which labels there are, where it has a domain for the label.
        missing_values: Texts that mean "missing" in CSV, beside the empty one.

    Raises:
        ConfigError: Says what is wrong with the file.
    """
    require_edge_cases(path)
    try:
        raw = read_file(path)
        _require_columns(raw.column_names, dataset)
        taken = [entry for entry in dataset.columns if entry.name in raw.column_names]
        csv = format_of(path) == "csv"
        columns = {entry.name: _typed(entry, raw, csv=csv, missing=missing_values) for entry in taken}
    except DataError as error:
        raise _refused(
            f"{error.argument}: {error.seen}", allowed=error.allowed, remedy="mend the file of edge cases"
        ) from error
    if raw.num_rows > _MOST_CASES:
        raise _refused(
            f"{raw.num_rows} rows",
            allowed=f"at most {_MOST_CASES} cases, each chosen by somebody",
            remedy="put data among the data; a list of edge cases is not a test split",
        )
    expected = _expected(columns.pop(dataset.label), dataset, schema)
    rows = pa.table(columns)
    _require_no_contradiction(rows, expected)
    return EdgeCases(rows=rows, expected=expected, why=_why(raw, dataset), digest=digest_file(path))


def _require_columns(names: Sequence[str], dataset: Dataset) -> None:
    needed = [*(column.name for column in dataset.features), dataset.label]
    absent = [name for name in needed if name not in names]
    known = [*(column.name for column in dataset.columns), *dataset.excluded, WHY]
    stray = [name for name in names if name not in known]
    if stray:
        raise _refused(
            f"a column {stray[0]} that the data does not have{did_you_mean(stray[0], known)}",
            allowed=f"the columns of the data, and {WHY}",
            remedy="rename or remove the column",
        )
    if absent:
        raise _refused(
            f"no column {listed(absent)}",
            allowed="every feature column of the data, and the label column with the outcome that must come out",
            remedy="add the columns; leave a cell empty where a value is missing",
        )


def _typed(column: Column, raw: pa.Table, *, csv: bool, missing: Collection[str]) -> pa.Array:
    """Returns a column with the type that it has in the data, whatever its few cells look like by themselves."""
    as_text, cells = column.kind is ColumnKind.TEXT, raw.column(column.name)
    if csv:
        found = from_text(column.name, cells, missing=missing, as_text=as_text)
    else:
        found = from_typed(column.name, cells, as_text=as_text)
    if found.null_count == len(found):
        return pa.nulls(len(found), _ARROW_TYPES[column.kind])
    if as_text:
        return found
    fitting: pa.Array | None = None
    if not is_text(found):
        whole = found if pa.types.is_int64(found.type) else whole_numbers(found)
        fitting = whole if column.kind is ColumnKind.INT else as_float32(column.name, found.cast(pa.float64()))
    if fitting is None:
        raise _refused(
            f"column {column.name} holds something else than {_WORDS[column.kind]}",
            allowed=f"{_WORDS[column.kind]}, as in the data",
            remedy="mend the column; leave a cell empty where a value is missing",
        )
    return fitting


def _expected(label: pa.Array, dataset: Dataset, schema: Schema) -> npt.NDArray[np.int32]:
    """Returns the expected outcomes: 1 for the positive label, or the position of the class."""
    texts = value_texts(label)
    spec = schema.feature(dataset.label)
    allowed = dataset.classes or (spec.domain if spec is not None and spec.domain is not None else None)
    wrong = [
        position
        for position, text in enumerate(texts, start=1)
        if text is None or (allowed is not None and text not in allowed and text != dataset.positive)
    ]
    if wrong:
        raise _refused(
            f"{len(wrong)} of {len(texts)} cases without an outcome that the label can have (cases {_places(wrong)})",
            allowed=f"a label of the data in column {dataset.label}, in every row",
            remedy="write the outcome that must come out, spelled as in the data",
        )
    codes = {name: code for code, name in enumerate(dataset.classes)}
    return np.array([codes[str(text)] if codes else int(text == dataset.positive) for text in texts], np.int32)


def _require_no_contradiction(rows: pa.Table, expected: npt.NDArray[np.int32]) -> None:
    outcomes: Mapping[tuple[object, ...], set[int]] = defaultdict(set)
    places: Mapping[tuple[object, ...], list[int]] = defaultdict(list)
    cells = zip(*(column.to_pylist() for column in rows.columns), strict=True)
    for position, (row, outcome) in enumerate(zip(cells, expected.tolist(), strict=True), start=1):
        outcomes[row].add(outcome)
        places[row].append(position)
    torn = next((row for row, found in outcomes.items() if len(found) > 1), None)
    if torn is not None:
        raise _refused(
            f"equal cases that expect different outcomes (cases {_places(places[torn])})",
            allowed="one outcome for one row: a model has one answer to it",
            remedy="remove one of them, or add the column in which they differ",
        )


def _why(raw: pa.Table, dataset: Dataset) -> tuple[str | None, ...]:
    taken = {column.name for column in dataset.columns} | set(dataset.excluded)
    if WHY not in raw.column_names or WHY in taken:
        return (None,) * int(raw.num_rows)
    words: list[object] = raw.column(WHY).to_pylist()
    return tuple(str(text) if text not in (None, "") else None for text in words)


def _places(positions: Sequence[int]) -> str:
    return listed([str(position) for position in positions])


def _refused(seen: str, *, allowed: str, remedy: str) -> ConfigError:
    return ConfigError(KEY, seen=seen, allowed=allowed, remedy=remedy)
