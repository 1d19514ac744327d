"""Whether hidden cells of a table of counts can be computed from its totals and its printed cells.

Totals are known: of the whole, of every group of one attribute. The attacker subtracts what is printed, and knows then
exactly how many rows each line of hidden cells holds, and every sum and difference of such lines. For two attributes
the hidden cells are the edges of a bipartite graph between their groups; what is known of them is its cut space
(Gusfield, "A graph theoretic approach to statistical data security", SIAM J. Comput. 17(3), 1988). Cells are known
together where they are the cells of some rows without the columns that lie in these rows alone, or a whole column.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from itertools import combinations

__all__ = ["Slice", "gives_away"]

Slice = frozenset[tuple[str, str]]
"""A group: attribute and value, for every attribute of its table."""
_MOST_LINES = 12
"""Every set of lines is looked at; beyond this many, the answer is the careful one."""


def gives_away(cells: Mapping[Slice, int], hidden: Set[Slice], *, floor: int) -> bool:
    """Whether subtraction finds a single hidden cell, or hidden cells that hold fewer than ``floor`` rows together.

    Guarantees: never ``False`` where some sum or difference of totals and printed cells is such a count. Tables of
    three and more attributes, and those with too many lines to look at, give away whatever they hide.

    Args:
        cells: Every cell of one table with its true count; a cell is a group of each of the table's attributes.
        hidden: The cells that are not printed.
        floor: The smallest count that may be found for several cells together.
    """
    unprinted = {cell: cells[cell] for cell in cells if cell in hidden}
    if not unprinted:
        return False
    attributes = sorted({name for cell in unprinted for name, _ in cell})
    if len(attributes) > 2:
        return True
    if len(attributes) == 1:
        return _is_too_small(unprinted, floor=floor)
    fewer, more = sorted(attributes, key=lambda name: len({dict(cell)[name] for cell in unprinted}))
    rows = {dict(cell)[fewer] for cell in unprinted}
    if len(rows) > _MOST_LINES:
        return True
    return any(_is_too_small(known, floor=floor) for known in _known_together(unprinted, fewer, more, rows))


def _known_together(
    unprinted: Mapping[Slice, int], row: str, column: str, rows: Set[str]
) -> Iterator[dict[Slice, int]]:  # fmt: skip
    """Yields the smallest sets of hidden cells whose sum is known."""
    place = {cell: (dict(cell)[row], dict(cell)[column]) for cell in unprinted}
    columns = {at[1] for at in place.values()}
    lying = {name: {at[0] for at in place.values() if at[1] == name} for name in columns}
    for name in columns:
        yield {cell: n for cell, n in unprinted.items() if place[cell][1] == name}
    for size in range(1, len(rows) + 1):
        for chosen in combinations(sorted(rows), size):
            inside = set(chosen)
            reaching_out = {name for name in columns if not lying[name] <= inside}
            yield {
                cell: n
                for cell, n in unprinted.items()
                if place[cell][0] in inside and place[cell][1] in reaching_out
            }  # fmt: skip


def _is_too_small(known: Mapping[Slice, int], *, floor: int) -> bool:
    return bool(known) and (len(known) == 1 or sum(known.values()) < floor)
