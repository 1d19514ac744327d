"""How scored rows of any task lie on disk: one Parquet file, the sensitive groups as codes, their names beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from probity.storage import reading_table

__all__ = ["Codes", "numbers_of", "read_groups", "reading_rows", "write_rows"]

_NAMES, _GROUP = b"probity.groups", "group:"

Codes = npt.NDArray[np.int32]
"""Positions in a list of names, shape (rows,)."""


def write_rows(
    path: Path,
    columns: Mapping[str, Any],
    *,
    groups: Mapping[str, Codes],
    names: Mapping[str, tuple[str, ...]],
    extra: Mapping[bytes, bytes] | None = None,
) -> None:
    """Writes one file.

    Args:
        path: Where it goes.
        columns: Arrow arrays by column, without those of the groups.
        groups: Sensitive attribute to the group's position in ``names``, shape (rows,).
        names: Sensitive attribute to its groups.
        extra: What else the file says of itself.
    """
    coded = {f"{_GROUP}{name}": pa.array(codes, pa.int32()) for name, codes in groups.items()}
    texts = json.dumps({name: list(names[name]) for name in groups}).encode()
    table = pa.table({**columns, **coded})
    pq.write_table(table.replace_schema_metadata({_NAMES: texts, **(extra or {})}), path)


def reading_rows(path: Path, *, columns: str) -> AbstractContextManager[pa.Table]:
    """Reads what :func:`write_rows` wrote, for a block that takes it apart; ``columns`` says what else it holds.

    Raises:
        DataError: If the file is not readable Parquet of this layout.
    """
    return reading_table(path, what="scored rows", columns=f"columns {columns} and one code per sensitive attribute")


def read_groups(table: pa.Table) -> tuple[dict[str, Codes], dict[str, tuple[str, ...]]]:
    """Returns groups and names as :func:`write_rows` was given them."""
    names = json.loads(table.schema.metadata[_NAMES])
    groups = {name: numbers_of(table.column(_GROUP + name), np.int32) for name in names}
    return groups, {name: tuple(entries) for name, entries in names.items()}


def numbers_of(column: pa.ChunkedArray, kind: type[Any]) -> npt.NDArray[Any]:
    """Returns a column as an array of this type; without rows too."""
    if column.length() == 0:
        return np.zeros(0, kind)
    return np.asarray(column.to_numpy()).astype(kind)
