"""Data files to ``Dataset`` and ``Examples`` (ExampleGen): read, type, assign roles, split, write.

What a row is and where it goes depends on its content alone. The same rows in another order, or in another file format,
give byte-identical split files; repeated rows fall into one split together.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from probity.data import Dataset, Examples, SplitFile
from probity.data_source import SPLITS, DataConfig
from probity.digest import digest_file
from probity.errors import DataError
from probity.platform.columns import as_float32, from_text, from_typed, whole_numbers
from probity.platform.labels import label_classes, require_labels
from probity.platform.readers import format_of
from probity.platform.roles import column_roles, positive_text, require_columns, sensitive_attribute, unit_column
from probity.platform.rows import buckets, content_digest, row_hashes, value_hashes
from probity.platform.sources import read, source_digest, source_files, with_file_names
from probity.tfexample import write_table

__all__ = ["ingest", "source_digest", "source_files"]

_Columns = dict[str, pa.Array]


def ingest(
    config: DataConfig,
    *,
    name: str,
    root: Path,
    out: Path,
    text_columns: Collection[str] = frozenset(),
    label_domain: tuple[str, ...] | None = None,
) -> tuple[Dataset, Examples]:
    """Reads the source and writes ``train``, ``eval`` and ``test`` as gzipped TFRecord of ``tf.Example``.

    Guarantees: the content digest and the split files depend on the multiset of rows only. Excluded columns take part
    in a row's identity (so that excluding a column moves no row to another split) and are then dropped. With a privacy
    unit, all rows of one unit are in one split.

    Args:
        config: The data section of the config.
        name: Name of the data set, for the record.
        root: Folder that relative sources start from.
        out: An existing folder for the split files.
        text_columns: Columns that a curated schema declares as text, whatever their cells look like.
        label_domain: The values of the label that a curated schema allows.

    Raises:
        ConfigError: If the config names columns that are not there, or asks of a column what its type cannot give.
        DataError: If the data cannot be read, or its label cannot carry the task in three splits.
    """
    files = source_files(config, root=root)
    raw, given_split = _read_all(files, file_column=config.file_column)
    require_columns(config, raw.column_names)
    csv = _format(files) == "csv"
    columns = {
        column: _typed(column, raw, csv=csv, config=config, text_columns=text_columns) for column in raw.column_names
    }
    del raw
    columns = _whole_identities(config, columns)
    hashes = row_hashes(columns)
    digest = content_digest(tuple(columns), hashes)
    _require_usable(config, columns)
    split = _split(config, hashes, columns, given=given_split)
    table = _stored_table({column: array for column, array in columns.items() if column not in config.exclude})
    label = table.column(config.label.column)
    positive = positive_text(config, label) if config.task == "binary" else None
    classes = label_classes(config, label, domain=label_domain)
    require_labels(config, label, split, positive=positive, classes=classes)
    dataset = Dataset(
        name=name,
        source=_written_source(config),
        source_format=_format(files),
        source_digest=source_digest(config, root=root),
        content_digest=digest,
        num_rows=table.num_rows,
        columns=column_roles(config, table),
        excluded=config.exclude,
        task=config.task,
        label=config.label.column,
        positive=positive,
        classes=classes,
        favourable=config.label.favourable,
        sensitive=tuple(sensitive_attribute(entry, table.column(entry.column)) for entry in config.sensitive),
        intersections=config.intersections,
        privacy_unit=unit_column(config) or "row",
        favourable_outcome=config.favourable_outcome,
        split_rule=_split_rule(config),
        split_shares=None if isinstance(config.source, dict) else {str(k): v for k, v in config.split.items()},
        split_at_random=config.split_at_random or not isinstance(config.source, dict),
        licence=config.licence,
        citation=config.citation,
        caveats=config.caveats,
    )
    return dataset, _write_splits(table, dataset, hashes, split=split, out=out)


def _read_all(
    files: dict[str, tuple[Path, ...]], *, file_column: str | None
) -> tuple[pa.Table, np.ndarray[Any, Any] | None]:
    """Returns all rows and, if the source is split already, the position in ``SPLITS`` of each."""
    paths = files.get("") or tuple(path for split in SPLITS for path in files.get(split, ()))
    table, rows = read(paths)
    if file_column is not None:
        table = with_file_names(table, rows, files=files, column=file_column)
    if "" in files:
        return table, None
    of_file = [position for position, split in enumerate(SPLITS) for _ in files.get(split, ())]
    return table, np.repeat(of_file, rows)


def _format(files: dict[str, tuple[Path, ...]]) -> Any:
    return format_of(next(iter(files.values()))[0])


def _written_source(config: DataConfig) -> str:
    def shown(source: str) -> str:
        return Path(source).name if Path(source).is_absolute() else source

    if isinstance(config.source, str):
        return shown(config.source)
    return ", ".join(f"{split}: {shown(config.source[split])}" for split in SPLITS if split in config.source)


def _typed(name: str, raw: pa.Table, *, csv: bool, config: DataConfig, text_columns: Collection[str]) -> pa.Array:
    strict = name not in config.exclude
    as_text = name in text_columns or name == config.file_column  # 7.csv and 07.csv are two files
    if csv:
        return from_text(name, raw.column(name), missing=config.missing_values, as_text=as_text, strict=strict)
    return from_typed(name, raw.column(name), as_text=as_text, strict=strict)


def _whole_identities(config: DataConfig, columns: _Columns) -> _Columns:
    """Returns the columns with label and privacy unit as whole numbers or text: fractions cannot name a class.

    The label of a regression names no class.
    """
    found = dict(columns)
    for name in (None if config.task == "regression" else config.label.column, unit_column(config)):
        if name is not None and pa.types.is_float64(found[name].type):
            whole = whole_numbers(found[name])
            if whole is None:
                raise DataError(
                    f"column {name}",
                    seen="numbers with a fraction, or too large to be told apart",
                    allowed="text or whole numbers, since its values are compared for equality",
                    remedy="name another column, or store its values as text",
                )
            found[name] = whole
    return found


def _require_usable(config: DataConfig, columns: _Columns) -> None:
    rows = len(columns[config.label.column])
    if rows < len(SPLITS):
        raise DataError(
            "data.source",
            seen=f"{rows} row{'s' if rows > 1 else ''} in all",
            allowed=f"at least one row for each of {', '.join(SPLITS)}, and enough to measure anything",
            remedy="give more data",
        )
    for role, name in (("label", config.label.column), ("privacy-unit", unit_column(config))):
        if name is not None and columns[name].null_count:
            raise DataError(
                f"{role} column {name}",
                seen=f"{columns[name].null_count} of {rows} values are missing",
                allowed="a value in every row",
                remedy="remove or complete these rows",
            )
    empty = [name for name in columns if columns[name].null_count == rows and name not in config.exclude]
    sensitive = {entry.column for entry in config.sensitive}
    if empty:
        what = "sensitive column" if empty[0] in sensitive else "column"
        raise DataError(
            f"{what} {empty[0]}",
            seen=f"all {rows} values are missing" + (f"; so are {len(empty) - 1} other columns" if empty[1:] else ""),
            allowed="at least one value",
            remedy="fill the column, or remove it from data.sensitive and add it to data.exclude"
            if empty[0] in sensitive
            else f"add {', '.join(empty)} to data.exclude",
        )


def _split(
    config: DataConfig, hashes: list[bytes], columns: _Columns, *, given: np.ndarray[Any, Any] | None
) -> np.ndarray[Any, Any]:
    """Returns each row's position in ``SPLITS``."""
    unit = unit_column(config)
    if given is not None:
        if unit is not None:
            _require_whole_units(unit, columns[unit], given)
        return given
    shares = [config.split[split] for split in SPLITS]
    places = buckets(value_hashes(columns[unit]) if unit else hashes, sum(shares))
    split: np.ndarray[Any, Any] = np.searchsorted(np.cumsum(shares), places, side="right")
    return split


def _require_whole_units(unit: str, column: pa.Array, split: np.ndarray[Any, Any]) -> None:
    codes = column.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    pairs = np.unique(np.stack([codes, split]), axis=1)
    straddling = int((np.bincount(pairs[0]) > 1).sum())
    if straddling:
        raise DataError(
            f"privacy-unit column {unit}",
            seen=f"{straddling} of {int(codes.max()) + 1} units have rows in several splits",
            allowed="all rows of one unit in one split",
            remedy="give one source and let data.split divide it, or divide the files by unit",
        )


def _split_rule(config: DataConfig) -> str:
    if not isinstance(config.source, str):
        return "kept as given: one source for each split"
    shares = [config.split[split] for split in SPLITS]
    ends = np.cumsum(shares)
    parts = [
        f"{split} {end - share}" + (f"-{end - 1}" if share > 1 else "")
        for split, share, end in zip(SPLITS, shares, ends, strict=True)
    ]
    unit = unit_column(config)
    of = f"the value of {unit}" if unit else "the row's content"
    return (
        f"SHA-256 of {of}, first eight bytes modulo {ends[-1]} buckets: {', '.join(parts)}; the order of the rows does "
        "not matter"
    )


def _stored_table(columns: _Columns) -> pa.Table:
    return pa.table(
        {name: as_float32(name, array) if pa.types.is_float64(array.type) else array for name, array in columns.items()}
    )


def _write_splits(
    table: pa.Table, dataset: Dataset, hashes: list[bytes], *, split: np.ndarray[Any, Any], out: Path
) -> Examples:
    files: dict[str, SplitFile] = {}
    # Rows are written in the order of their hashes: an order that the source's own order cannot influence.
    ordered = np.array(sorted(range(len(hashes)), key=hashes.__getitem__))
    for position, name in enumerate(SPLITS):
        rows = ordered[split[ordered] == position]
        path = out / f"{name}.tfrecord.gz"
        write_table(path, table.take(pa.array(rows)))
        files[name] = SplitFile(path=path.name, digest=digest_file(path), num_rows=len(rows))
    return Examples(folder=out, files=files, columns=dataset.columns)
