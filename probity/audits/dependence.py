"""Partial dependence: how the mean score moves when one column is set to one value after another.

Global (the mean over the rows), local (each row's own curve, an *individual conditional expectation*) and by group. A
partial dependence asks about combinations that may not occur: it takes columns as if they were independent of one
another.

References:
    Friedman (2001), Annals of Statistics 29, 1189-1232, section 8.2. Goldstein, Kapelner, Bleich, Pitkin (2015),
    Journal of Computational and Graphical Statistics 24, 44-65 (individual conditional expectations).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from probity.audits.intervals import bonferroni, normal_quantile
from probity.data import Column

__all__ = ["GRID", "Dependence", "dependence_of", "frequent_texts", "grid_of"]

GRID = 10
"""Largest number of values that a column is set to."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Dependence:
    """How the score depends on one column."""

    column: Column
    values: tuple[Any, ...]
    """What the column was set to, ascending: frequent texts, or quantiles of the numbers. Values of data: internal."""
    curves: Floats
    """Score of each row at each value, shape (rows, values)."""

    @property
    def mean(self) -> Floats:
        """The global curve, shape (values,)."""
        found: Floats = self.curves.mean(axis=0)
        return found

    def range_(self, *, confidence: float) -> tuple[float, float, float]:
        """Returns the largest minus the smallest point of the global curve, with its interval.

        The two points are found by looking, so the interval is the widest reach of all pairs' paired intervals at a
        level that they share; it speaks of the rows, with the values as given.
        """
        mean, rows = self.mean, len(self.curves)
        value = float(mean.max() - mean.min())
        pairs = len(mean) * (len(mean) - 1) // 2
        if rows < 2 or pairs == 0:
            return value, value, value
        quantile = normal_quantile(bonferroni(confidence, pairs))
        apart = self.curves[:, :, None] - self.curves[:, None, :]
        change, error = apart.mean(axis=0), apart.std(axis=0, ddof=1) / np.sqrt(rows)
        lower, upper = (change - quantile * error).max(), (change + quantile * error).max()
        return value, max(0.0, min(value, float(lower))), min(1.0, max(value, float(upper)))


def grid_of(table: pa.Table, column: Column) -> tuple[Any, ...]:
    """Returns the values to try: the most frequent texts, or quantiles of the numbers; none for an empty column."""
    present = table.column(column.name).drop_null()
    if not len(present):
        return ()
    if column.kind == "string":
        return tuple(sorted(frequent_texts(present)[:GRID]))
    ordered = np.sort(present.to_numpy())
    places = np.unique(np.round(np.linspace(0, len(ordered) - 1, GRID)).astype(int))
    return tuple(value.item() for value in np.unique(ordered[places]))


def frequent_texts(column: pa.ChunkedArray) -> tuple[str, ...]:
    """Returns the different texts of a column without missing values, the most frequent first, ties in their order."""
    import pyarrow.compute as pc

    counts = [(-entry["counts"].as_py(), entry["values"].as_py()) for entry in pc.value_counts(column)]
    return tuple(value for _, value in sorted(counts))


def dependence_of(
    table: pa.Table, column: Column, *, values: tuple[Any, ...], predict: Callable[..., Any]
) -> Dependence:
    """Asks about every row with the column set to every value.

    Args:
        table: Raw rows.
        column: The column to set.
        values: What to set it to, at least one.
        predict: Scores of raw rows.
    """
    place, field = table.column_names.index(column.name), table.schema.field(column.name)
    repeated = pa.concat_tables([table] * len(values))
    filled = [pa.array([value] * table.num_rows, field.type) for value in values]
    scores = np.asarray(predict(repeated.set_column(place, field, pa.chunked_array(filled))), np.float64)
    return Dependence(column=column, values=values, curves=scores.reshape(len(values), table.num_rows).T)
