"""Numbers of the audits as lines of tables and points of charts: the same few shapes on every page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from probity.card import CardNumber
from probity.dashboards.drawing import Point
from probity.dashboards.words import compared, number_cells, number_title
from probity.model_cards.wording import ABSENT, group_label, table_title

__all__ = ["group_rows", "groupings", "number_rows", "point", "table_choice", "tables_of"]


def point(number: CardNumber | None, *, x: float = 0.0) -> Point | None:
    """Returns a number as a point with its interval; ``None`` where it is too small to say, or withheld."""
    if number is None or number.status != "measured":
        return None
    return Point(x=x, y=number.value, lower=number.lower, upper=number.upper)


def number_rows(numbers: Iterable[CardNumber], *, of: str = "of") -> list[dict[str, str]]:
    """Returns one line per number: what it is, of which rows or groups, value, interval, rows, remark, finding."""
    return [
        {
            "number": number_title(number),
            of: number.feature or compared(number),
            **number_cells(number),
            "finding": number.finding,
        }
        for number in numbers
    ]


def group_rows(numbers: Sequence[CardNumber], metrics: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    """Returns one line per group with several metrics beside each other.

    Args:
        numbers: Of the groups of one table.
        metrics: Names of metrics, and their heads.
    """
    slices = {group_label(number.slice): number.slice for number in numbers}
    rows = []
    for label, slice_ in slices.items():
        of_group = [number for number in numbers if number.slice == slice_]
        cells = {head: _cell(next((n for n in of_group if n.metric == name), None)) for name, head in metrics}
        rows.append({"group": label, **cells})
    return rows


def groupings(numbers: Iterable[CardNumber]) -> list[tuple[str, ...]]:
    """Returns the combinations of attributes that numbers speak of or compare, single ones first."""
    found = dict.fromkeys(tuple(number.across) or tuple(number.slice) for number in numbers)
    return sorted((names for names in found if names), key=len)


def tables_of(numbers: Iterable[CardNumber], attributes: Sequence[str]) -> list[CardNumber]:
    """Returns the numbers of the groups of these attributes."""
    return [number for number in numbers if tuple(number.slice) == tuple(attributes)]


def table_choice(attributes: Sequence[str]) -> str:
    """Returns a combination of attributes as a choice in a list."""
    return table_title(attributes) or "all rows"


def _cell(number: CardNumber | None) -> str:
    if number is None:
        return ABSENT
    cells = number_cells(number)
    if number.status == "measured":
        return f"{cells['value']} ({cells['interval']})" if cells["interval"] else cells["value"]
    return cells["remark"].partition(":")[0]
