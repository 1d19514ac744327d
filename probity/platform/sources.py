"""Where the data lies: a file, a folder or a pattern, and all its rows in one table.

Reading decides nothing about meaning. CSV cells stay text, other formats keep their types, and
:mod:`probity.platform.columns` makes typed columns of them.
"""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from probity.data_source import SPLITS, DataConfig
from probity.digest import digest_file, digest_json
from probity.errors import ConfigError, DataError
from probity.platform.readers import FORMATS, concatenated, format_of, listed, read_file, unreadable

__all__ = ["read", "source_digest", "source_files", "with_file_names"]


def source_files(config: DataConfig, *, root: Path) -> dict[str, tuple[Path, ...]]:
    """Returns the files of ``data.source``, sorted by path, without opening them.

    Args:
        config: The data section of the config.
        root: Folder that relative sources start from: that of the config file.

    Returns:
        The files under the key ``""`` for a single source, or under ``train``, ``eval`` and ``test``.

    Raises:
        DataError: If a source matches no file, or a file that is not data, or files of several formats.
    """
    sources = {"": config.source} if isinstance(config.source, str) else {str(k): v for k, v in config.source.items()}
    files = {key: _find(source, root=root, argument=_argument(key)) for key, source in sources.items()}
    found = sorted({str(format_of(path)) for paths in files.values() for path in paths})
    if len(found) > 1:
        raise DataError(
            "data.source",
            seen=f"files of different formats: {', '.join(found)}",
            allowed="one format",
            remedy="convert the files to one format, or name only those of one format",
        )
    return files


def source_digest(config: DataConfig, *, root: Path) -> str:
    """Returns a digest over the names and bytes of the source files, without decoding them.

    Raises:
        DataError: As :func:`source_files`, or if a file cannot be read.
    """
    files = source_files(config, root=root)
    try:
        return digest_json([[key, [[path.name, digest_file(path)] for path in files[key]]] for key in sorted(files)])
    except OSError as error:
        raise unreadable("data.source", error) from error


def read(files: Sequence[Path]) -> tuple[pa.Table, tuple[int, ...]]:
    """Reads files of one format that hold the same columns.

    Guarantees: no row is dropped, repaired or guessed at; columns come in the order of the first file.

    Returns:
        All rows in the order of the files - text columns for CSV (``""`` where a cell is empty), the stored types
        otherwise - and the number of rows of each file.

    Raises:
        DataError: If a file is unreadable, truncated, ragged, not UTF-8, empty, or its columns are repeated or differ.
    """
    tables = [read_file(path) for path in files]
    first = tables[0].column_names
    for path, table in zip(files, tables, strict=True):
        differing = sorted(set(first) ^ set(table.column_names))
        if differing and format_of(path) != "tfrecord":  # a tf.Example may leave out a feature that is missing
            raise DataError(
                path.name,
                seen=f"other columns than {files[0].name}; they differ in {listed(differing)}",
                allowed="the same columns in every file",
                remedy="bring the files to the same columns, or name only those that belong together",
            )
    return concatenated(tables), tuple(table.num_rows for table in tables)


def with_file_names(
    table: pa.Table, rows: Sequence[int], *, files: Mapping[str, Sequence[Path]], column: str
) -> pa.Table:
    """Returns the table with a column more: for each row the name of its file, without suffixes.

    Args:
        table: What :func:`read` returned for all these files, in this order.
        rows: The number of rows of each file.
        files: As :func:`source_files` returns them. Files of one name in several splits are one.
        column: The name of the new column.

    Raises:
        ConfigError: If the data has such a column.
        DataError: If two files of one source have one name, so that nobody can tell whose rows are whose.
    """
    if column in table.column_names:
        raise ConfigError(
            "data.file_column",
            seen=f"the data has a column {column!r}",
            allowed="a name that no column has",
            remedy="choose another name, or use the column that is there",
        )
    names = {key: [path.name.partition(".")[0] for path in paths] for key, paths in files.items()}
    if any(len(set(own)) < len(own) for own in names.values()):
        raise DataError(
            "data.source",
            seen="two files of one name in different folders, or with different suffixes",
            allowed="files of different names, where data.file_column tells rows by them",
            remedy="rename them, or leave out data.file_column",
        )
    in_order = [name for key in ("", *SPLITS) for name in names.get(key, ())]
    of_row = pa.array(in_order, pa.string()).take(pa.array(np.repeat(np.arange(len(in_order)), rows)))
    return table.append_column(column, of_row)


def _argument(key: str) -> str:
    return f"data.source.{key}" if key else "data.source"


def _find(source: str, *, root: Path, argument: str) -> tuple[Path, ...]:
    path = root / source
    if path.is_dir():
        files = sorted(entry for entry in path.iterdir() if entry.is_file())
    elif path.exists():
        files = [path]
    else:
        files = sorted(Path(entry) for entry in glob.glob(str(path), recursive=True) if Path(entry).is_file())
    if not files:
        what = "a folder without files at its top level" if path.is_dir() else "no file matches"
        raise DataError(
            argument,
            seen=f"{source!r}: {what}",
            allowed="a file, a folder of files at one level, or a glob pattern, relative to the config file",
            remedy="correct the path; name sub-folders by a pattern such as data/*/*.csv",
        )
    stray = [entry.name for entry in files if format_of(entry) is None]
    if stray:
        raise DataError(
            argument,
            seen=f"{listed(stray)} is no data file",
            allowed=FORMATS,
            remedy="move it elsewhere, or convert it",
        )
    return tuple(files)
