"""Rows that the schema allows, drawn without looking at any row of the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from probity.data import Column, ColumnKind, FeatureSpec, Schema

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["draw_rows", "undrawn_columns"]


def draw_rows(number: int, *, columns: Sequence[Column], schema: Schema, rng: np.random.Generator) -> pa.Table:
    """Draws rows that the schema allows, each value by itself.

    Values are uniform over the domain of a column or between its bounds; a column for which the schema states neither
    is missing in all rows. No row of the data is looked at; whether the schema itself is a public fact is for the
    caller to decide (:attr:`~probity.data.Schema.curated`, :attr:`~probity.data.FeatureSpec.reviewed`).

    Args:
        number: How many rows.
        columns: What to draw, in this order.
        schema: States domains and bounds.
        rng: Source of chance; equal generators give equal rows.

    Returns:
        These columns.
    """
    import pyarrow as pa

    kinds = {ColumnKind.INT: pa.int64(), ColumnKind.FLOAT: pa.float32(), ColumnKind.TEXT: pa.string()}
    drawn: dict[str, pa.Array] = {}
    for column in columns:
        values = _values(column, schema.feature(column.name), number, rng)
        kind = kinds[column.kind]
        drawn[column.name] = pa.nulls(number, kind) if values is None else pa.array(values, kind)
    return pa.table(drawn)


def undrawn_columns(columns: Sequence[Column], schema: Schema) -> tuple[str, ...]:
    """Returns the names of the columns for which the schema states neither a domain nor bounds."""
    import numpy as np

    rng = np.random.default_rng(0)
    return tuple(column.name for column in columns if _values(column, schema.feature(column.name), 1, rng) is None)


def _values(column: Column, spec: FeatureSpec | None, number: int, rng: np.random.Generator) -> Any:
    import numpy as np

    if spec is None:
        return None
    if column.kind is ColumnKind.TEXT:
        return rng.choice(np.array(spec.domain, object), number) if spec.domain else None
    if spec.domain and column.kind is ColumnKind.INT:
        return rng.choice(np.array([int(value) for value in spec.domain]), number)
    if spec.minimum is None or spec.maximum is None:
        return None
    if column.kind is ColumnKind.INT:
        return rng.integers(int(spec.minimum), int(spec.maximum), number, endpoint=True)
    return rng.uniform(spec.minimum, spec.maximum, number).astype(np.float32)
