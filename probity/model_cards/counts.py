"""What the reports count: sizes of groups, rows behind a number, people with a label; and which counts are found.

:mod:`probity.model_cards.disclosure` withholds and rounds by what is said here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from probity.findings import AuditReport, Finding
from probity.model_cards.differencing import Slice, gives_away

__all__ = [
    "COUNTS",
    "FEWEST_ROWS",
    "Measure",
    "cells_of",
    "counts_give_away",
    "findings_of",
    "is_of_a_class",
    "measure_of",
    "rare",
    "rows_behind",
    "sizes_of",
]

FEWEST_ROWS = 10
"""Fewer rows than this behind a number are too few persons to speak of."""

Measure = tuple[str, float | None, str | None, frozenset[str]]
"""Metric, threshold, class and the attributes of a table."""
COUNTS = frozenset({"example_count", "group_share", "representation_ratio"})
"""Metrics whose value is the size of the group, or gives it together with a total."""
_OF_ALL_ROWS = frozenset({"group_share", "representation_ratio"})
"""Metrics of a group whose ``n`` is that of all groups together."""
_LABELLED = frozenset({"true_positive_rate", "false_positive_rate"})
"""Rates whose ``n`` counts the rows of a group with one label; of a class, where there is one."""


def sizes_of(reports: Mapping[str, AuditReport]) -> dict[Slice, int]:
    """Returns the size of every slice: its counted rows, else the largest number of rows any finding on it rests on.

    Reports on the data count rows of other splits too, so they are asked only about slices that no other report knows.
    """
    counted: dict[Slice, int] = {}
    largest: dict[Slice, int] = {}
    from_data: dict[Slice, int] = {}
    for report in reports.values():
        for finding in report.findings:
            key = frozenset(finding.slice.items())
            if not key or finding.comparison is not None or finding.metric in _OF_ALL_ROWS:
                continue
            known = from_data if report.audit == "data" else largest
            known[key] = max(known.get(key, 0), finding.estimate.n)
            if finding.metric == "example_count" and report.audit != "data" and finding.estimate.value is not None:
                counted[key] = int(finding.estimate.value)
    return from_data | largest | counted


def measure_of(finding: Finding) -> Measure:
    """Returns what a finding measures: metric, threshold, class, and the attributes of its table."""
    return finding.metric, finding.threshold, finding.label_class, frozenset(finding.slice)


def cells_of(sizes: Mapping[Slice, int], table: frozenset[str]) -> dict[Slice, int]:
    """Returns the sizes of the groups of one table."""
    return {key: size for key, size in sizes.items() if {name for name, _ in key} == table}


def rows_behind(reports: Mapping[str, AuditReport]) -> dict[Measure, dict[Slice, int]]:
    """Returns, for every measure of a table, the rows behind it in each group."""
    rows: dict[Measure, dict[Slice, int]] = {}
    for finding in findings_of(reports):
        if finding.slice and finding.comparison is None and finding.metric not in COUNTS:
            mine, cell = rows.setdefault(measure_of(finding), {}), frozenset(finding.slice.items())
            mine[cell] = max(mine.get(cell, 0), finding.estimate.n)
    return rows


def findings_of(reports: Mapping[str, AuditReport]) -> Iterator[Finding]:
    """Yields the findings of all reports."""
    return (finding for report in reports.values() for finding in report.findings)


def is_of_a_class(finding: Finding) -> bool:
    """Whether a finding is a rate of one class over all rows."""
    return finding.label_class is not None and not finding.slice and not finding.across


def counts_give_away(
    rows: Mapping[Measure, dict[Slice, int]], table: frozenset[str], small: frozenset[Slice], *, label: bool
) -> Iterator[Measure]:
    """Yields the measures of a table whose printed rows give away fewer than ten rows of a withheld number.

    Args:
        rows: The rows behind every measure, by group.
        table: The attributes of the table.
        small: Groups that are withheld altogether.
        label: Whether to look at the measures whose rows are those with a label, or at the others.
    """
    for measure, cells in rows.items():
        metric, _, _, of = measure
        if of != table or (metric in _LABELLED) != label:
            continue
        hidden = {cell for cell, n in cells.items() if cell in small or n < FEWEST_ROWS}
        # A label that few rows of a printed group have is found from its size, whatever else is hidden.
        if gives_away(cells, hidden, floor=FEWEST_ROWS) or (label and hidden - small):
            yield measure


def rare(reports: Mapping[str, AuditReport]) -> Iterator[str]:
    """Yields the rates of labels that count fewer than ten rows, and the shares that would give such a count away."""
    shares: dict[Slice, list[tuple[int, str]]] = {}
    for finding in findings_of(reports):
        value, n = finding.estimate.value, finding.estimate.n
        if value is None or finding.comparison is not None:
            continue
        if finding.metric == "positive_label_rate" and round(min(value, 1.0 - value) * n) < FEWEST_ROWS:
            yield finding.id
        elif finding.metric == "label_share":
            shares.setdefault(frozenset(finding.slice.items()), []).append((round(value * n), finding.id))
    for counts in shares.values():
        hidden = 0
        for place, (count, name) in enumerate(sorted(counts)):
            if count >= FEWEST_ROWS and (place == 0 or (place > 1 and hidden >= FEWEST_ROWS)):
                break
            hidden += count
            yield name
