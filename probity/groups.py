"""Sensitive groups: how a raw column becomes group names, and each row a group number.

The one place that does so. Ingestion, statistics and every audit use it, so the same row is in the same group
everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from probity.data import MISSING_GROUP, SensitiveAttribute
from probity.errors import DataError

__all__ = ["group_codes", "group_names", "value_texts"]


def group_names(bins: Sequence[float]) -> tuple[str, ...]:
    """Returns the names of the groups between bin edges, in ascending order.

    Bins are closed on the left: ``[25, 40]`` gives ``<25``, ``25-40`` (25 included, 40 not) and ``>=40``.

    Args:
        bins: Inner edges, ascending, at least one.
    """
    edges = [_number_text(edge) for edge in bins]
    inner = [f"{low}-{high}" for low, high in pairwise(edges)]
    return (f"<{edges[0]}", *inner, f">={edges[-1]}")


def value_texts(column: pa.ChunkedArray | pa.Array) -> list[str | None]:
    """Returns each value as the text that names its group; null stays ``None``.

    Text is taken as it is, a whole number without decimals (``1`` for 1.0 too), any other number by its shortest form.
    """
    values = column.to_pylist()
    if pa.types.is_float32(column.type):
        # The shortest text of the float32 itself: 0.1, not 0.10000000149011612.
        return [None if value is None else _number_text(float(str(np.float32(value)))) for value in values]
    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
        return [None if value is None else _number_text(value) for value in values]
    return [None if value is None else str(value) for value in values]


def group_codes(attribute: SensitiveAttribute, column: pa.ChunkedArray | pa.Array) -> np.ndarray[Any, Any]:
    """Returns the group of each row as a position in ``attribute.groups``.

    Guarantees: every row has a group; rows without a value are in :data:`~probity.data.MISSING_GROUP`.

    Args:
        attribute: The sensitive attribute.
        column: The values of the raw column ``attribute.column``, one scalar or null per row.

    Returns:
        int32 of shape (rows,).

    Raises:
        DataError: If a row belongs to a group that the attribute does not list.
    """
    array = _one_array(column)
    position = {name: code for code, name in enumerate(attribute.groups)}
    if attribute.bins is not None:
        codes = _bin_codes(attribute.bins, array, position)
    else:
        encoded = array.dictionary_encode()
        of_value = np.array([position.get(str(text), -1) for text in value_texts(encoded.dictionary)] or [-1], np.int32)
        codes = of_value[pc.fill_null(encoded.indices, 0).to_numpy(zero_copy_only=False)]
    missing = np.asarray(array.is_null())
    codes = np.where(missing, position.get(MISSING_GROUP, -1), codes).astype(np.int32)
    unlisted = int((codes < 0).sum())
    if unlisted:
        raise DataError(
            f"sensitive attribute {attribute.name}",
            seen=f"{unlisted} rows of {len(array)} belong to none of its {len(attribute.groups)} recorded groups",
            allowed="the groups recorded when the data was read",
            remedy="run the pipeline again, so that the groups are read from these rows too",
        )
    return codes


def _bin_codes(bins: Sequence[float], array: pa.Array, position: dict[str, int]) -> np.ndarray[Any, Any]:
    # Edges are rounded like the values: rounding is monotone, so a value at an edge stays on its right side.
    kind = np.float32 if pa.types.is_float32(array.type) else np.float64
    values = pc.fill_null(array, 0).to_numpy(zero_copy_only=False)
    places = np.searchsorted(np.array(bins, kind), values.astype(kind), side="right")
    of_bin = np.array([position.get(name, -1) for name in group_names(bins)], np.int32)
    codes: np.ndarray[Any, Any] = of_bin[places]
    return codes


def _one_array(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    return column


def _number_text(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
