"""Does a decision change when only the protected attribute does, or only what stands in for it?

*The attribute alone*: every row is asked about again with the value of each other group in the attribute's column. A
model that does not see the column cannot change its answer, and that is reported as such.

*Its proxies alone*: the columns that tell the groups apart are replaced by those of a real row of another group, the
nearest one by all other columns. Borrowing values moves scores by itself, so the same is done with the nearest row of
the *same* group, and what counts is the difference (a paired placebo). Neither is a causal statement: it says what the
model answers, not what would happen if a person belonged to another group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from probity.audits.dependence import frequent_texts
from probity.audits.neighbours import distances, nearest
from probity.audits.proxies import categories, proxy_strength
from probity.data import Column, SensitiveAttribute

__all__ = ["PROXY_STRENGTH", "ProxyFlips", "attribute_flips", "proxies_of", "proxy_flips"]

PROXY_STRENGTH = 0.6
"""A column counts as a proxy if the interval of its proxy strength lies above this AUC."""

Flags = npt.NDArray[np.bool_]
Decide = Callable[[pa.Table], Flags]
"""Decisions of the model for raw rows, shape (rows,)."""


@dataclass(frozen=True, kw_only=True)
class ProxyFlips:
    """Which decisions changed with borrowed proxies; shape (rows,) each, over the rows that could be asked about."""

    rows: npt.NDArray[np.int64]
    """Positions of the rows for which both a row of another group and one of the same group exist."""
    other: Flags
    """Changed with the proxies of the nearest row of another group."""
    same: Flags
    """Changed with those of the nearest row of the same group."""


def attribute_flips(
    table: pa.Table, attribute: SensitiveAttribute, codes: npt.NDArray[np.int32], *, decide: Decide
) -> Flags:
    """Returns for each row whether its decision changes when its value becomes that of some other group.

    The value of a group is the one that most of its rows have (of a binned number: the middle one of its rows). Groups
    without rows have none and are not tried.

    Args:
        table: Raw rows.
        attribute: Its column is one that the model sees.
        codes: Group of each row.
        decide: The model.
    """
    before = decide(table)
    flipped = np.zeros(table.num_rows, np.bool_)
    place = table.column_names.index(attribute.column)
    kind = table.schema.field(attribute.column)
    for group in np.unique(codes):
        value = _typical(table.column(attribute.column), codes == group)
        filled = pa.chunked_array([pa.array([value] * table.num_rows, kind.type)])
        after = decide(table.set_column(place, kind, filled))
        flipped |= (after != before) & (codes != group)
    return flipped


def _typical(column: pa.ChunkedArray, members: Flags) -> object:
    """Returns the most frequent text of some rows, or the middle one of their numbers; ``None`` if all are missing."""
    present = column.filter(pa.array(members)).drop_null()
    if not len(present):
        return None
    if pa.types.is_string(column.type):
        return frequent_texts(present)[0]
    ordered = np.sort(present.to_numpy())
    return ordered[(len(ordered) - 1) // 2].item()


def proxies_of(
    table: pa.Table,
    attribute: SensitiveAttribute,
    codes: npt.NDArray[np.int32],
    features: Sequence[Column],
    *,
    seed: int,
) -> tuple[Column, ...]:
    """Returns the features that tell the groups of an attribute apart, other than its own column.

    Args:
        table: Raw rows, as many as there are: the more, the surer.
        attribute: The attribute.
        codes: Group of each row.
        features: Columns that the model sees.
        seed: Of the folds that proxy strength is measured in.
    """
    sizes = np.bincount(codes, minlength=len(attribute.groups))
    eligible = [group for group, size in enumerate(sizes) if 5 <= size <= len(codes) - 5]
    if len(eligible) < 2:
        return ()
    found = []
    for feature in features:
        if feature.name == attribute.column:
            continue
        strength = proxy_strength(
            categories(table.column(feature.name)), codes, eligible=eligible, confidence=0.95, seed=seed
        )
        if strength.lower > PROXY_STRENGTH:
            found.append(feature)
    return tuple(found)


def proxy_flips(
    table: pa.Table,
    codes: npt.NDArray[np.int32],
    features: Sequence[Column],
    *,
    proxies: Sequence[Column],
    decide: Decide,
) -> ProxyFlips:
    """Asks about every row with the proxies of its nearest row of another group, and of its own.

    Args:
        table: Raw rows.
        codes: Group of each row.
        features: Columns that the model sees.
        proxies: Those that are borrowed, at least one; the others decide who is nearest.
        decide: The model.
    """
    kept = [feature for feature in features if feature not in proxies]
    apart = distances(table, kept)
    same_group = codes[:, None] == codes[None, :]
    itself = np.eye(len(codes), dtype=bool)
    donors = {"other": nearest(apart, ~same_group), "same": nearest(apart, same_group & ~itself)}
    rows = np.flatnonzero((donors["other"] >= 0) & (donors["same"] >= 0))
    if not len(rows):
        return ProxyFlips(rows=rows, other=np.zeros(0, np.bool_), same=np.zeros(0, np.bool_))
    asked = table.take(pa.array(rows))
    before = decide(asked)
    changed = {}
    for name, donor in donors.items():
        borrowed, given = asked, table.take(pa.array(donor[rows]))
        for proxy in proxies:
            place = borrowed.column_names.index(proxy.name)
            borrowed = borrowed.set_column(place, table.schema.field(proxy.name), given.column(proxy.name))
        changed[name] = decide(borrowed) != before
    return ProxyFlips(rows=rows, other=changed["other"], same=changed["same"])
