"""Raw cells to typed columns: whole numbers, numbers or text, with one kind per column.

CSV has no types, so they are inferred from all rows. Where the cells disagree the reader says so instead of guessing,
because a guess would change with the next row. Other formats have types, which are kept.

==================================================  ==========================================================
cells of a CSV column (missing ones aside)          kind
==================================================  ==========================================================
all whole numbers within 64 bits                    int64
all numbers                                         float (stored as float32)
a number with a leading zero, such as a postcode    text
at most half are numbers                            text
more than half are numbers, but not all             error with counts
declared as text by the curated schema              text
==================================================  ==========================================================

White space around a CSV cell does not count, as it does not in most writers' intention (``a, b``). "nan" and "inf" are
not numbers; if they mean "missing", ``data.missing_values`` says so. NaN in other formats is missing.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from probity.data import Column, ColumnKind
from probity.errors import DataError

__all__ = ["as_float32", "as_trained", "from_text", "from_typed", "is_text", "whole_numbers"]

_NUMBER = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_WHOLE = r"^[+-]?[0-9]+$"
_LEADING_ZERO = r"^[+-]?0[0-9]"
_INT64 = np.iinfo(np.int64)
_FLOAT32_MAX = float(np.finfo(np.float32).max)


def from_text(
    name: str, column: pa.ChunkedArray, *, missing: Collection[str], as_text: bool = False, strict: bool = True
) -> pa.Array:
    """Types a CSV column.

    Args:
        name: The column's name, for messages.
        column: Its cells, text.
        missing: Cells that mean "missing", beside empty ones.
        as_text: Keep it as text without looking, because a curated schema declares it so.
        strict: Whether cells that disagree are an error; otherwise they are text (for columns that are dropped).

    Returns:
        int64, float64 or string.

    Raises:
        DataError: If more than half of the cells, but not all, are numbers.
    """
    encoded = _one(column).dictionary_encode()
    texts = pc.utf8_trim_whitespace(encoded.dictionary)
    absent = pc.is_in(texts, value_set=pa.array(sorted({"", *missing}), pa.string()))
    indices = encoded.indices.to_numpy(zero_copy_only=False)
    counts = np.bincount(indices, minlength=len(texts))
    keep = ~np.asarray(absent, bool)
    values = texts.filter(pa.array(keep))
    number = np.asarray(pc.match_substring_regex(values, _NUMBER), bool)
    num_cells, num_numbers = int(counts[keep].sum()), int(counts[keep][number].sum())
    zero_led = bool(np.asarray(pc.match_substring_regex(values, _LEADING_ZERO), bool).any())
    typed: pa.Array
    if as_text or zero_led or num_numbers == 0:
        typed = values
    elif num_numbers == num_cells:
        typed = _numbers(values)
    elif num_numbers * 2 > num_cells and strict:
        raise DataError(
            f"column {name}",
            seen=f"{num_numbers} of {num_cells} values are numbers and {num_cells - num_numbers} are not",
            allowed="numbers only, or text",
            remedy="clean it, add the texts that mean missing to data.missing_values, declare the column as BYTES in a "
            "curated schema, or add it to data.exclude",
        )
    else:
        typed = values
    place = pa.array(np.cumsum(keep) - 1, pa.int64(), mask=~keep)
    return typed.take(place.take(encoded.indices))


def from_typed(name: str, column: pa.ChunkedArray, *, as_text: bool = False, strict: bool = True) -> pa.Array:
    """Brings a column of Parquet or ``tf.Example`` to one of the three kinds. NaN becomes null.

    Args:
        name: The column's name, for messages.
        column: Its values.
        as_text: Turn numbers into text, because a curated schema declares the column so.
        strict: Whether an unsupported type is an error; otherwise it becomes text (for columns that are dropped).

    Returns:
        int64, float64 or string.

    Raises:
        DataError: If the type is not supported, a row holds several values, or bytes are not UTF-8 text.
    """
    array = _plain(name, _one(column), strict=strict)
    if as_text and not is_text(array):
        from probity.groups import value_texts

        return pa.array(value_texts(array), pa.string())
    return array


def as_trained(column: Column, cells: pa.ChunkedArray, *, missing: Collection[str] | None) -> pa.Array:
    """Brings a column of new rows to the kind that it had in training, whatever these rows alone would look like.

    Args:
        column: What it was in training.
        cells: The new rows.
        missing: Cells of a CSV file that mean "missing", beside empty ones; ``None`` for formats with types.

    Returns:
        string, float32, or int64; float64 where a column that was whole in training has fractions now.

    Raises:
        DataError: If a value is no number where numbers were trained on, or as :func:`from_typed`.
    """
    name, text = column.name, column.kind is ColumnKind.TEXT
    if missing is None:
        array = from_typed(name, cells, as_text=text)
    else:
        array = from_text(name, cells, missing=missing, as_text=True)
    if text:
        return array
    if is_text(array):
        array = _numbers_only(name, array)
    if column.kind is ColumnKind.FLOAT:
        return as_float32(name, array.cast(pa.float64(), safe=False))
    whole = array if pa.types.is_integer(array.type) else whole_numbers(array)
    return array if whole is None else whole


def _numbers_only(name: str, texts: pa.Array) -> pa.Array:
    encoded = texts.dictionary_encode()
    number = np.asarray(pc.match_substring_regex(encoded.dictionary, _NUMBER), bool)
    if not number.all():
        places = encoded.indices.drop_null().to_numpy()
        raise DataError(
            f"column {name}",
            seen=f"{int((~number[places]).sum())} of {len(places)} values are not numbers",
            allowed="numbers, as in the rows that the model was trained on",
            remedy="clean the column, or leave the cells empty whose value is missing",
        )
    return pa.array([float(word) for word in encoded.dictionary.to_pylist()], pa.float64()).take(encoded.indices)


def as_float32(name: str, array: pa.Array) -> pa.Array:
    """Returns float64 values as float32, the precision of ``tf.Example``.

    Raises:
        DataError: If a value is infinite or beyond the range of float32.
    """
    outside = int(np.sum(np.abs(array.drop_null().to_numpy()) > _FLOAT32_MAX))
    if outside:
        raise DataError(
            f"column {name}",
            seen=f"{outside} of {len(array)} values are infinite or beyond the range of float32",
            allowed=f"numbers up to {_FLOAT32_MAX:.1e} in size",
            remedy="rescale or clean the column, or add it to data.exclude",
        )
    return array.cast(pa.float32(), safe=False)


def whole_numbers(array: pa.Array) -> pa.Array | None:
    """Returns float64 values as int64, or ``None`` if one has a fraction. Writers store whole numbers with gaps so."""
    values = array.drop_null().to_numpy()
    if not np.isfinite(values).all() or (np.abs(values) > 2**53).any() or (values != np.floor(values)).any():
        return None
    return array.cast(pa.int64())


def is_text(array: pa.Array | pa.ChunkedArray) -> bool:
    """Whether a typed column holds text."""
    return bool(pa.types.is_string(array.type))


def _numbers(values: pa.Array) -> pa.Array:
    texts = values.to_pylist()
    if bool(pc.all(pc.match_substring_regex(values, _WHOLE)).as_py()):
        whole = [int(text) for text in texts]
        if _INT64.min <= min(whole) and max(whole) <= _INT64.max:
            return pa.array(whole, pa.int64())
    return pa.array([float(text) for text in texts], pa.float64())


def _plain(name: str, array: pa.Array, *, strict: bool) -> pa.Array:
    kind = array.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        several = int((lengths > 1).sum())
        if not several:
            place = pa.array(np.cumsum(lengths) - 1, pa.int64(), mask=lengths == 0)
            return _plain(name, array.flatten().take(place), strict=strict)
        return _unsupported(name, array, f"{several} of {len(array)} rows hold several values", strict=strict)
    if pa.types.is_null(kind):
        return pa.nulls(len(array), pa.string())
    if pa.types.is_dictionary(kind):
        return _plain(name, array.dictionary_decode(), strict=strict)
    if pa.types.is_boolean(kind):
        return array.cast(pa.int64())
    if pa.types.is_integer(kind):
        return _integers(array)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        values = array.cast(pa.float64())
        return pc.if_else(pc.fill_null(pc.is_nan(values), False), pa.scalar(None, pa.float64()), values)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return array.cast(pa.string())
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        try:
            return array.cast(pa.string())
        except pa.ArrowInvalid:
            return _unsupported(name, array, "bytes that are not UTF-8 text", strict=strict)
    return _unsupported(name, array, f"type {kind}", strict=strict)


def _integers(array: pa.Array) -> pa.Array:
    try:
        return array.cast(pa.int64())
    except pa.ArrowInvalid:  # unsigned and beyond int64
        return array.cast(pa.float64(), safe=False)


def _unsupported(name: str, array: pa.Array, seen: str, *, strict: bool) -> pa.Array:
    if strict:
        raise DataError(
            f"column {name}",
            seen=seen,
            allowed="one number, boolean or UTF-8 text per row, or none",
            remedy="convert the column, or add it to data.exclude",
        ) from None
    return pa.array(
        [None if value is None else json.dumps(value, default=str) for value in array.to_pylist()], pa.string()
    )


def _one(column: pa.ChunkedArray) -> Any:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
