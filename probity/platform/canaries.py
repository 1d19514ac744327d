"""Plants row canaries: draws rows from the schema and puts those whose coin says so among the training rows.

Only the training gets them. Statistics, the schema, the transform's constants and every other audit read the data as it
is; the planted rows are not part of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from probity.canaries import LABELS, ROWS, TRAIN, Canaries, Coins, write_arrays
from probity.config import CanariesConfig
from probity.data import Column, ColumnKind, Dataset, FeatureSpec, Schema, Transform, TransformedExamples
from probity.errors import DataError
from probity.platform.transform import graph_function
from probity.storage import write_record
from probity.tfexample import encode, write_table
from probity.tfexample import write_arrays as write_examples

__all__ = ["coins_for", "draw_rows", "plant"]

_STREAM = 0x524F5753  # tells these draws from the coins', which come from the same seed
_ARROW = {ColumnKind.INT: pa.int64(), ColumnKind.FLOAT: pa.float32(), ColumnKind.TEXT: pa.string()}


def coins_for(config: CanariesConfig | None, *, plants_gradients: bool, seed: int) -> Coins:
    """Flips the coins of a run: none for gradient canaries that the trainer cannot plant.

    Args:
        config: What was asked for.
        plants_gradients: Whether the trainer can plant gradient canaries.
        seed: The run's.
    """
    asked = config or CanariesConfig()
    return Coins.flip(rows=asked.count, gradients=asked.gradients if plants_gradients else 0, seed=seed)


def plant(
    coins: Coins,
    *,
    schema: Schema,
    dataset: Dataset,
    transform: Transform,
    transform_folder: Path,
    transformed: TransformedExamples,
    seed: int,
    out: Path,
) -> Canaries:
    """Draws the row canaries and writes the training split with those among them whose coin says so.

    Args:
        coins: Which canaries are planted.
        schema: States the domains and bounds that rows are drawn from.
        dataset: The columns' roles.
        transform: Layout of the transform graph.
        transform_folder: Holds the graph.
        transformed: The rows without canaries.
        seed: The run's.
        out: An existing empty folder.

    Returns:
        What was planted.

    Raises:
        DataError: If the transform gives a canary inputs that are not finite.
    """
    coins.write(out)
    record = Canaries(
        rows=len(coins.rows),
        rows_planted=int(coins.rows.sum()),
        gradients=len(coins.gradients),
        gradients_planted=int(coins.gradients.sum()),
        empty_columns=tuple(column.name for column in dataset.features if not _is_drawn(column, schema)),
    )
    if len(coins.rows):
        table, labels = draw_rows(len(coins.rows), dataset=dataset, schema=schema, seed=seed)
        write_table(out / ROWS, table)
        write_arrays(out / LABELS, labels=labels)
        inputs = graph_function(transform_folder / transform.graph, transform.outputs)(_batches(encode(table)))
        broken = sum(int((~np.isfinite(array)).any(axis=1).sum()) for array in inputs.values())
        if broken:
            raise DataError(
                "audits.canaries",
                seen=f"{broken} transformed values of row canaries that are not finite",
                allowed="a transform that is finite for all rows that the schema allows",
                remedy="narrow the bounds of the schema, or mend the preprocessing_fn",
            )
        rows, targets = transformed.arrays("train")
        joined = {name: np.concatenate([rows[name], inputs[name][coins.rows]]) for name in rows}
        path = out / TRAIN
        write_examples(path, joined, np.concatenate([targets, labels[coins.rows].astype(np.float32)]))
    write_record(out / "canaries.json", record)
    return record


def draw_rows(number: int, *, dataset: Dataset, schema: Schema, seed: int) -> tuple[pa.Table, npt.NDArray[np.bool_]]:
    """Draws rows that the schema allows, each value by itself, and fair coins for their labels.

    Values are uniform over the domain of a column or between its bounds; a column for which the schema states neither
    is missing. No row of the data is looked at.

    Returns:
        The feature columns, and the labels, of shape (number,).
    """
    draw = np.random.default_rng([_STREAM, seed])
    specs = {spec.name: spec for spec in schema.features}
    columns: dict[str, pa.Array] = {}
    for column in dataset.features:
        values = _values(column, specs.get(column.name), number, draw)
        columns[column.name] = (
            pa.nulls(number, _ARROW[column.kind]) if values is None else pa.array(values, _ARROW[column.kind])
        )
    return pa.table(columns), draw.random(number) < 0.5


def _values(column: Column, spec: FeatureSpec | None, number: int, draw: np.random.Generator) -> Any:
    if spec is None:
        return None
    if column.kind is ColumnKind.TEXT:
        return draw.choice(np.array(spec.domain, object), number) if spec.domain else None
    if spec.domain and column.kind is ColumnKind.INT:
        return draw.choice(np.array([int(value) for value in spec.domain]), number)
    if spec.minimum is None or spec.maximum is None:
        return None
    if column.kind is ColumnKind.INT:
        return draw.integers(int(spec.minimum), int(spec.maximum), number, endpoint=True)
    return draw.uniform(spec.minimum, spec.maximum, number).astype(np.float32)


def _is_drawn(column: Column, schema: Schema) -> bool:
    spec = next((entry for entry in schema.features if entry.name == column.name), None)
    return _values(column, spec, 1, np.random.default_rng(0)) is not None


def _batches(records: list[bytes], size: int = 4096) -> Iterator[list[bytes]]:
    for begin in range(0, len(records), size):
        yield records[begin : begin + size]
