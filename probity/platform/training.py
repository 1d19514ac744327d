"""What precedes training: who the protected units are, in which groups, and how much noise the asked epsilon needs.

A trainer proposes a mechanism and executes the one it is given; it has no accountant and knows no budget. Between the
two, this module counts the units and lets the accountant find the noise. Nothing here looks at a trainer's name.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from probity.data import Dataset, Examples, PrivateStatistics
from probity.errors import ConfigError, DataError
from probity.groups import group_codes
from probity.model import CLIENT, Mechanism, adds_noise
from probity.suggestion import did_you_mean
from probity.trainers.base import (
    Groups,
    Population,
    TrainerSettings,
    Uncalibrated,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa


__all__ = [
    "clients_of",
    "combined_codes",
    "groups_of",
    "is_private",
    "planted_units",
    "population_of",
    "settle",
    "target_delta",
    "units_of",
]

ROW = "row"


def units_of(dataset: Dataset, examples: Examples) -> npt.NDArray[np.int64] | None:
    """Returns the number of the protected unit of each training row, in file order; ``None`` where a row is a unit.

    Raises:
        DataError: If a training row names no unit: nothing could be said about the person it belongs to.
    """
    import numpy as np

    if dataset.privacy_unit == ROW:
        return None
    column = examples.table("train").column(dataset.privacy_unit)
    if column.null_count:
        raise DataError(
            f"privacy unit {dataset.privacy_unit}",
            seen=f"missing in {column.null_count} training rows",
            allowed="a value in every row, so that all rows of one unit are known to be its own",
            remedy="fill the column, or remove these rows from the source",
        )
    numbers: npt.NDArray[np.int64] = column.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    return numbers


def clients_of(dataset: Dataset, examples: Examples, settings: TrainerSettings) -> npt.NDArray[np.int64] | None:
    """Returns the number of the client of each training row, in file order; ``None`` where no column names the clients.

    Clients are numbered in order of their first row. Rows without a value form one client of their own.

    Raises:
        ConfigError: If the data has no such column.
        DataError: If clients are the unit of privacy and a row names none.
    """
    import numpy as np

    name = settings.client_column
    if name is None:
        return None
    known = [column.name for column in dataset.columns]
    if name not in known:
        raise ConfigError(
            "trainer: clients.by",
            seen=f"the data has no column {name!r}{did_you_mean(name, known)}",
            allowed=f"one of its {len(known)} columns: {', '.join(known)}",
            remedy="correct the name, or keep the column: an excluded one cannot name clients",
        )
    column = examples.table("train").column(name)
    if column.null_count and settings.protects_clients:
        raise DataError(
            f"clients by {name}",
            seen=f"missing in {column.null_count} training rows",
            allowed="a value in every row, so that all rows of one client are known to be its own",
            remedy="fill the column, or remove these rows from the source",
        )
    coded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    numbers: npt.NDArray[np.int64] = coded.indices.to_numpy().astype(np.int64)
    return numbers


def population_of(
    dataset: Dataset,
    examples: Examples,
    units: npt.NDArray[np.int64] | None,
    *,
    planted: int = 0,
    settings: TrainerSettings | None = None,
    clients: npt.NDArray[np.int64] | None = None,
) -> Population:
    """Returns the training rows as a mechanism sees them, with so many canaries, each of which is a unit.

    Where the settings protect clients, the units are these; they keep the name of the privacy-unit column if they are
    its values.
    """
    rows = examples.files["train"].num_rows
    own = rows if units is None else int(units.max()) + 1
    counted = None if clients is None else int(clients.max()) + 1
    if settings is not None and settings.protects_clients:
        number = settings.num_clients or counted or 1
        unit = CLIENT if dataset.privacy_unit == ROW else dataset.privacy_unit
        return Population(num_rows=rows + planted, num_units=number, unit=unit, num_clients=number)
    return Population(
        num_rows=rows + planted, num_units=own + planted, unit=dataset.privacy_unit, num_clients=counted
    )  # fmt: skip


def planted_units(units: npt.NDArray[np.int64] | None, *, planted: int) -> npt.NDArray[np.int64] | None:
    """Returns the units of the training rows with one of its own for each planted row after them."""
    import numpy as np

    return None if units is None else np.concatenate([units, int(units.max()) + 1 + np.arange(planted)])


def groups_of(dataset: Dataset, examples: Examples, across: tuple[str, ...], *, planted: int = 0) -> Groups | None:
    """Returns the sensitive groups of the training and eval rows, in file order; ``None`` where no attribute is named.

    Args:
        dataset: The attributes and their groups.
        examples: The raw rows.
        across: The attributes that form the groups.
        planted: Number of planted rows after the training rows; they belong to no group.
    """
    import numpy as np

    if not across:
        return None
    codes = {split: combined_codes(dataset, examples.table(split), across) for split in ("train", "eval")}
    codes["train"] = np.concatenate([codes["train"], np.full(planted, -1, np.int64)])
    declared = {attribute.name: attribute.groups for attribute in dataset.sensitive}
    names = tuple(itertools.product(*(declared[name] for name in across)))
    return Groups(across=across, names=names, codes=codes)


def combined_codes(dataset: Dataset, table: pa.Table, across: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """Returns the group of each row in an intersection, the last attribute varying fastest, of shape (rows,)."""
    import numpy as np

    declared = {attribute.name: attribute for attribute in dataset.sensitive}
    codes = np.zeros(table.num_rows, np.int64)
    for attribute in (declared[name] for name in across):
        codes = codes * len(attribute.groups) + group_codes(attribute, table.column(attribute.column))
    return codes


def is_private(proposal: Mechanism | Uncalibrated) -> bool:
    """Whether a trainer means to add noise at all, so that preprocessing should not undo it."""
    return isinstance(proposal, Uncalibrated) or adds_noise(proposal)


def target_delta(proposal: Mechanism | Uncalibrated) -> float | None:
    """Returns the delta that was asked for, or ``None`` where the accountant's rule decides."""
    return proposal.target_delta if isinstance(proposal, Uncalibrated) else None


def settle(
    proposal: Mechanism | Uncalibrated, *, delta: float, statistics: PrivateStatistics | None = None
) -> Mechanism:
    """Returns the mechanism to execute: as proposed, or with the least noise that keeps the asked epsilon.

    Args:
        proposal: What the trainer answered.
        delta: The delta at which the asked epsilon is meant.
        statistics: What preprocessing spent on the same rows; the asked epsilon covers both.

    Raises:
        ConfigError: If no amount of noise reaches the asked epsilon.
    """
    if not isinstance(proposal, Uncalibrated):
        return proposal
    from probity.audits.noise_calibration import calibrate

    return calibrate(
        proposal.with_noise_multiplier,
        target_epsilon=proposal.target_epsilon,
        delta=delta,
        beside=() if statistics is None else (statistics,),
    )
