"""How alike two rows are: the distance behind nearest counterfactuals and matched rows.

The L1 distance of the What-If Tool (Wexler et al. 2019, IEEE TVCG 26, section 4.3): numbers differ by their distance in
standard deviations; texts that differ are as far apart as two rows drawn at random are likely to share a text, so a
difference in a column where almost all rows agree counts for more. A missing value is a value of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

    from probity.data import Column

__all__ = ["canonical_order", "distances", "nearest"]

Distances = npt.NDArray[np.float32]


def distances(table: pa.Table, columns: Sequence[Column]) -> Distances:
    """Returns the distance of every row to every other one, shape (rows, rows).

    Args:
        table: Raw rows; memory grows with the square of their number.
        columns: What to compare them by; none: all rows are alike.
    """
    total = np.zeros((table.num_rows, table.num_rows), np.float32)
    for column in columns:
        total += _of_text(table, column.name) if column.kind == "string" else _of_numbers(table, column.name)
    return total


def nearest(found: Distances, allowed: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Returns for each row the position of the nearest allowed one; -1 where none is allowed.

    Args:
        found: Shape (rows, rows).
        allowed: Shape (rows, rows): whether the second row may be the neighbour of the first.
    """
    if not len(found):
        return np.zeros(0, np.int64)
    masked = np.where(allowed, found, np.inf)
    place = masked.argmin(axis=1).astype(np.int64)
    return np.where(np.isfinite(masked[np.arange(len(found)), place]), place, -1)


def canonical_order(table: pa.Table, columns: Sequence[str]) -> npt.NDArray[np.int64]:
    """Returns an order of the rows that depends on their content alone, so that a draw from it does too."""
    if not table.num_rows:
        return np.zeros(0, np.int64)
    keys = [_codes(table, name) for name in columns]
    return np.lexsort(keys).astype(np.int64) if keys else np.arange(table.num_rows)


def _codes(table: pa.Table, name: str) -> npt.NDArray[np.int64]:
    """Numbers the values of a column in ascending order, missing ones last."""
    import pyarrow as pa
    import pyarrow.compute as pc

    chunks = table.column(name).chunks  # pyarrow 10 cannot rank a chunked column
    if not chunks:
        return np.zeros(0, np.int64)
    ranks = pc.rank(pa.concat_arrays(chunks), sort_keys="ascending", null_placement="at_end", tiebreaker="dense")
    return np.asarray(ranks.to_numpy(), np.int64)


def _of_text(table: pa.Table, name: str) -> Distances:
    codes = _codes(table, name)
    shares = np.bincount(codes) / max(1, len(codes))
    apart: Distances = (codes[:, None] != codes[None, :]).astype(np.float32)
    return apart * np.float32((shares**2).sum())


def _of_numbers(table: pa.Table, name: str) -> Distances:
    values = np.asarray(table.column(name).to_numpy(), np.float64)
    missing = np.isnan(values)
    spread = values[~missing].std() if (~missing).any() else 0.0
    scaled = np.where(missing, 0.0, values / spread if spread > 0 else 0.0).astype(np.float32)
    apart: Distances = np.abs(scaled[:, None] - scaled[None, :])
    one_missing = missing[:, None] != missing[None, :]
    return np.where(one_missing, np.float32(1.0), np.where(missing[:, None] & missing[None, :], np.float32(0.0), apart))
