"""Which owner has which rows or columns, and which rows take part in which step: public facts, drawn from the seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probity.data import TransformedFeature
from probity.errors import DataError
from probity.trainers.encrypted.settings import DataOwners, EncryptedSettings, wrong_groups

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["LABEL", "ROWS_FILE", "Part", "Plan", "deal", "plan", "write_rows"]

ROWS_FILE = "rows.parquet"
"""In an owner's folder: its rows, one column for each number of a transformed feature."""
LABEL = "label"
"""Column of that file with 0 or 1; the names of features end in a bracket, so that none is called so."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """What one owner has of the joined training split.

    Attributes:
        name: The owner.
        rows: Positions of its rows in the training split, int64.
        columns: Positions of its columns among the joined inputs, int64.
        names: What these columns are called in its file: ``age[0]`` after the feature and the position in it.
        labelled: Whether it knows the labels.
    """

    name: str
    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    names: tuple[str, ...]
    labelled: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """The parts, and the batches.

    Attributes:
        parts: One for each owner, in the order in which they are joined.
        schedule: For each owner, the positions among its own rows, int32 of shape (epochs, steps, rows per step).
        by: ``rows`` or ``columns``.
    """

    parts: tuple[Part, ...]
    schedule: tuple[npt.NDArray[np.int32], ...]
    by: str

    @property
    def column_order(self) -> npt.NDArray[np.int64]:
        """The joined inputs' positions in the order in which the owners' columns are put side by side."""
        import numpy as np

        if self.by == "rows":
            return self.parts[0].columns
        order: npt.NDArray[np.int64] = np.concatenate([part.columns for part in self.parts])
        return order

    @property
    def rows_per_epoch(self) -> int:
        """Rows that take part in one pass."""
        steps = int(self.schedule[0].shape[1])
        widths = [int(array.shape[2]) for array in self.schedule]
        return steps * (widths[0] if self.by == "columns" else sum(widths))

    def batch(self, epoch: int, step: int) -> npt.NDArray[np.int64]:
        """Returns the positions in the training split of one step's rows, in the order of the batch."""
        import numpy as np

        pairs = zip(self.parts, self.schedule, strict=True)
        own = [part.rows[rows[epoch, step]] for part, rows in pairs]
        joined: npt.NDArray[np.int64] = own[0] if self.by == "columns" else np.concatenate(own)
        return joined


def plan(
    settings: EncryptedSettings, outputs: Sequence[TransformedFeature], inputs: Sequence[str], *, rows: int, seed: int
) -> Plan:
    """Plans a training.

    Args:
        settings: Who owns what.
        outputs: The transform's outputs.
        inputs: Names of those that the model joins, in order.
        rows: Number of training rows.
        seed: Decides owners of rows and the batches.

    Raises:
        ConfigError: If columns have no owner, or two.
        DataError: If an owner would have no row.
    """
    import numpy as np

    owners, rng = settings.data_owners, np.random.default_rng(seed)
    names = _names(outputs, inputs)
    everything, all_columns = np.arange(rows), np.arange(len(names))
    if owners.by == "columns":
        columns = _columns(owners, outputs, inputs)
        parts = tuple(
            Part(
                name=name,
                rows=everything,
                columns=columns[name],
                names=tuple(names[i] for i in columns[name]),
                labelled=name in owners.labelled,
            )
            for name in owners.names
        )
    else:
        slices = np.array_split(rng.permutation(rows), owners.count)
        parts = tuple(
            Part(name=name, rows=np.sort(own), columns=all_columns, names=names, labelled=True)
            for name, own in zip(owners.names, slices, strict=True)
        )
    _require_rows(parts)
    return Plan(parts=parts, schedule=_schedule(settings, parts, rng), by=owners.by)


def deal(plan_: Plan, joined: npt.NDArray[np.float32], labels: npt.NDArray[np.float32], *, folder: Path) -> None:
    """Writes each owner's part below a folder, as an owner would have it.

    Args:
        plan_: The parts.
        joined: The joined inputs, of shape (rows, columns).
        labels: Of shape (rows,).
        folder: Gets one folder for each owner.
    """
    import numpy as np

    for part in plan_.parts:
        own = folder / part.name
        own.mkdir(parents=True)
        features = joined[np.ix_(part.rows, part.columns)]
        write_rows(own / ROWS_FILE, features, part.names, labels=labels[part.rows] if part.labelled else None)


def write_rows(
    path: Path, features: npt.NDArray[np.float32], names: Sequence[str], *, labels: npt.NDArray[np.float32] | None
) -> None:
    """Writes what a data owner has, as its own process will read it.

    Args:
        path: The file.
        features: Of shape (rows, columns).
        names: Of the columns.
        labels: Of shape (rows,); ``None`` where the owner does not know them.
    """
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    columns = {name: np.ascontiguousarray(features[:, i], np.float32) for i, name in enumerate(names)}
    if labels is not None:
        columns[LABEL] = np.ascontiguousarray(labels, np.float32)
    parquet.write_table(pa.table(columns), path)


def _names(outputs: Sequence[TransformedFeature], inputs: Sequence[str]) -> tuple[str, ...]:
    width_of = {feature.name: feature.width for feature in outputs}
    return tuple(f"{name}[{i}]" for name in inputs for i in range(width_of[name]))


def _columns(
    owners: DataOwners, outputs: Sequence[TransformedFeature], inputs: Sequence[str]
) -> Mapping[str, npt.NDArray[np.int64]]:
    import numpy as np

    width_of = {feature.name: feature for feature in outputs}
    sources = {width_of[name].source for name in inputs}
    named = [column for group in owners.groups.values() for column in group]
    absent, unknown = sorted(sources - set(named)), sorted(set(named) - sources)
    twice = sorted({column for column in named if named.count(column) > 1})
    if absent or unknown or twice:
        said = [f"no owner of {', '.join(absent)}"] if absent else []
        said += [f"{', '.join(unknown)}, which no feature is made of"] if unknown else []
        said += [f"two owners of {', '.join(twice)}"] if twice else []
        raise wrong_groups("; ".join(said))
    owner_of = {column: name for name, group in owners.groups.items() for column in group}
    found: dict[str, list[Any]] = {name: [] for name in owners.names}
    start = 0
    for name in inputs:
        feature = width_of[name]
        found[owner_of[feature.source]] += range(start, start + feature.width)
        start += feature.width
    return {name: np.array(positions, np.int64) for name, positions in found.items()}


def _schedule(
    settings: EncryptedSettings, parts: Sequence[Part], rng: np.random.Generator
) -> tuple[npt.NDArray[np.int32], ...]:
    import numpy as np

    share = settings.batch_size if settings.data_owners.by == "columns" else settings.batch_size // len(parts)
    share = min(share, *(len(part.rows) for part in parts))
    steps = min(len(part.rows) for part in parts) // share

    def draw(count: int) -> npt.NDArray[np.int32]:
        passes = [rng.permutation(count)[: steps * share].reshape(steps, share) for _ in range(settings.epochs)]
        drawn: npt.NDArray[np.int32] = np.stack(passes).astype(np.int32)
        return drawn

    if settings.data_owners.by == "columns":
        return (draw(len(parts[0].rows)),) * len(parts)
    return tuple(draw(len(part.rows)) for part in parts)


def _require_rows(parts: Sequence[Part]) -> None:
    empty = [part.name for part in parts if not len(part.rows) or not len(part.columns)]
    if empty:
        raise DataError(
            "trainer.data_owners",
            seen=f"{', '.join(empty)} would have no rows or no columns",
            allowed="at least one of each for every owner",
            remedy="name fewer owners, or use more rows",
        )
