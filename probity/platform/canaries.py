"""Plants row canaries: draws rows from the schema and puts those whose coin says so among the training rows.

Only the training gets them. Statistics, the schema, the transform's constants and every other audit read the data as it
is; the planted rows are not part of it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from probity.audit_plan import CanariesConfig
from probity.canaries import LABELS, ROWS, TRAIN, Canaries, Coins, write_arrays
from probity.data import Dataset, Schema, Transform, TransformedExamples
from probity.errors import DataError
from probity.schema_rows import draw_rows, undrawn_columns
from probity.storage import write_record
from probity.tfexample import write_arrays as write_examples
from probity.tfexample import write_table
from probity.transform_graph import transform_rows

__all__ = ["coins_for", "plant"]

_STREAM = 0x524F5753  # tells these draws from the coins', which come from the same seed


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
        empty_columns=undrawn_columns(dataset.features, schema),
    )
    if len(coins.rows):
        rng = np.random.default_rng([_STREAM, seed])
        table = draw_rows(len(coins.rows), columns=dataset.features, schema=schema, rng=rng)
        labels = rng.random(len(coins.rows)) < 0.5
        write_table(out / ROWS, table)
        write_arrays(out / LABELS, labels=labels)
        inputs = transform_rows(table, graph=transform_folder / transform.graph, outputs=transform.outputs)
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
