"""Data owners: each one's rows are read in its own process, checked there, and leave it as shares only.

What the model owner learns before training is whether the file has the planned rows and columns, which of them
it lacks, and whether the values are in range, one bit per owner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from probity_encrypted_worker.refusal import Refusal
from probity_encrypted_worker.rowsfile import FILE, LABEL, MISSING_FILE, NOT_PARQUET, described, read

__all__ = ["Owner", "Shard", "load"]

_NAMED = 3
"""At most so many missing columns are named."""


@dataclass(frozen=True)
class Owner:
    """A data owner as the model owner expects it.

    Attributes:
        name: Its party.
        folder: Its folder, as its own machine names it.
        rows: Number of rows it has.
        columns: Names of its feature columns, in the order in which the model takes them.
        has_label: Whether it knows the labels.
    """

    name: str
    folder: str
    rows: int
    columns: tuple[str, ...]
    has_label: bool


@dataclass(frozen=True)
class Shard:
    """A data owner's rows, on its device.

    Attributes:
        player: TF Encrypted's name for the owner.
        features: On the owner's device, float32 of shape (rows, columns).
        label: The same of shape (rows, 1); ``None`` where it has none.
    """

    player: Any
    features: Any
    label: Any | None


def load(owner: Owner, player: Any, *, bound: float) -> Shard:
    """Reads an owner's file into tensors on its device.

    Args:
        owner: What is expected.
        player: Its device.
        bound: Largest absolute value that a feature may have.

    Raises:
        Refusal: With the code ``data_owner``, if the file is missing or has other rows or columns; ``range``, if a
            value is not finite or too large for the fixed-point numbers.
    """
    import tensorflow as tf

    with tf.device(player.device_name):
        _require_planned(owner)
        features = read(owner.folder, owner.columns)
        label = read(owner.folder, [LABEL]) if owner.has_label else None
        _require_range(owner, features, bound=bound, what="features")
        if label is not None:
            _require_range(owner, label, bound=1.0, what="labels")
    return Shard(player=player, features=features, label=label)


def _require_planned(owner: Owner) -> None:
    columns = [*owner.columns, *([LABEL] if owner.has_label else [])]
    state, rows, lacking = described(owner.folder, columns)
    if state == MISSING_FILE:
        raise _refused(owner, seen=f"there is no {FILE} in its folder", allowed=f"{owner.rows} rows in {FILE}")
    if state == NOT_PARQUET:
        raise _refused(owner, seen=f"{FILE} cannot be read as Parquet", allowed="a Parquet file")
    if lacking:
        more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
        raise _refused(
            owner,
            seen=f"{FILE} has no numbers in the columns {', '.join(lacking[:_NAMED])}{more}",
            allowed=f"the {len(columns)} columns that the run was planned for",
        )
    if rows != owner.rows:
        raise _refused(
            owner, seen=f"{FILE} has {rows} rows", allowed=f"{owner.rows} rows, which the run was planned for"
        )


def _require_range(owner: Owner, numbers: Any, *, bound: float, what: str) -> None:
    """Asks the owner's device, which is the current one, for one bit."""
    import tensorflow as tf

    # A comparison with NaN is false, so that NaN is out of range.
    if not bool(tf.reduce_all(tf.abs(numbers) <= bound)):
        raise Refusal(
            "range",
            f"data owner {owner.name}",
            seen=f"some of its {what} are not finite, or beyond the range of the shares",
            allowed=f"finite numbers of absolute value at most {bound:g}",
            remedy="scale the column (transform.numeric), or use precision: 128",
        )


def _refused(owner: Owner, *, seen: str, allowed: str) -> Refusal:
    return Refusal(
        "data_owner", f"data owner {owner.name}", seen=seen, allowed=allowed, remedy="give that owner the right file"
    )
