"""Card numbers -> tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from probity.card import CardNumber
from probity.model_cards.blocks import Cell, Row, Table
from probity.model_cards.wording import (
    ABSENT,
    comparison_title,
    group_label,
    interval_text,
    metric_title,
    table_title,
    value_text,
)

__all__ = [
    "GROUP_METRICS",
    "attack_table",
    "attribute_tables",
    "cell",
    "data_tables",
    "disparity_tables",
    "evidence_table",
    "explanation_tables",
    "group_table",
    "plain_table",
    "proxy_table",
    "threshold_table",
]

GROUP_METRICS = (
    "example_count",
    "selection_rate",
    "true_positive_rate",
    "false_positive_rate",
    "precision",
    "accuracy",
    "auc",
)
"""Columns of a table of groups, in this order; the other metrics are in the index of all numbers."""

_LONGEST_REASON = 48
_ABSENT = Cell(text=ABSENT, muted=True)


def cell(number: CardNumber | None, *, with_id: bool = False, with_n: bool = False, in_full: bool = False) -> Cell:
    """Returns a number as a table cell; a withheld or insufficient one says why, at length if ``in_full``."""
    if number is None:
        return _ABSENT
    code = number.finding if with_id else ""
    if number.status == "withheld":
        reason = _short(number.reason or "", in_full=in_full)
        return Cell(text="withheld", detail=reason, code=code, finding=number.finding, muted=True)
    parts = [interval_text(number)]
    if with_n and number.n is not None:
        parts.append(f"n = {number.n:,}")
    if number.status == "insufficient":
        parts.append(f"insufficient evidence: {_short(number.reason or '', in_full=in_full)}")
    text = value_text(number.value, number.metric)
    return Cell(
        text=text,
        detail="; ".join(part for part in parts if part),
        code=code,
        finding=number.finding,
        muted=number.status == "insufficient",
    )


def plain_table(numbers: Iterable[CardNumber], *, caption: str, collapsed: bool = False) -> Table:
    """Returns one row per number, each with its id."""
    rows = []
    for number in numbers:
        what = comparison_title(number)
        if number.comparison == "change" and number.across:
            what = "gap, change"
        words = [metric_title(number.metric), what, number.feature or ""]
        words.append("" if number.label_class is None else f"of class {number.label_class}")
        words.append("" if number.predicted_class is None else f"as {number.predicted_class}")
        words.append("" if number.threshold is None else f"at {number.threshold:g}")
        words.append("" if number.attack is None else f"({number.attack.replace('_', ' ')})")
        where = table_title(number.across) or ", ".join(f"{name} = {group}" for name, group in number.slice.items())
        header = " ".join(word for word in words if word) + (f", {where}" if where else "")
        rows.append(Row(header=header, cells=(cell(number, with_id=True, with_n=True),)))
    return Table(caption=caption, heads=("Metric", "Value"), rows=tuple(rows), collapsed=collapsed)


def attack_table(numbers: Sequence[CardNumber], *, caption: str, overall: str = "strongest") -> Table:
    """Returns one row per attack, one column per metric; ``overall`` names what stands for the model."""
    names = list(dict.fromkeys(number.attack for number in numbers))
    columns = list(dict.fromkeys((number.metric, number.threshold) for number in numbers))
    found = {(number.attack, number.metric, number.threshold): number for number in numbers}
    return Table(
        caption=caption,
        heads=("Attack", *(_measured_title(*column) for column in columns)),
        rows=tuple(
            Row(
                header=overall if name is None else name.replace("_", " "),
                cells=tuple(cell(found.get((name, *column)), with_id=True, with_n=True) for column in columns),
            )
            for name in names
        ),
    )


def _measured_title(metric: str, threshold: float | None) -> str:
    return metric_title(metric) + ("" if threshold is None else f" at {threshold:g}")


def threshold_table(numbers: Sequence[CardNumber], *, caption: str) -> Table:
    """Returns the rates over all rows by decision threshold."""
    rates = {(n.metric, n.threshold): n for n in numbers if n.threshold is not None and n.comparison is None}
    thresholds = sorted({n.threshold for n in rates.values() if n.threshold is not None})
    rows = tuple(
        Row(
            header=metric_title(name),
            cells=tuple(cell(rates.get((name, at)), with_id=True, with_n=True) for at in thresholds),
        )
        for name in dict.fromkeys(name for name, _ in rates)
    )
    return Table(caption=caption, heads=("Metric", *(f"threshold {at:g}" for at in thresholds)), rows=rows)


def attribute_tables(numbers: Iterable[CardNumber]) -> dict[tuple[str, ...], list[CardNumber]]:
    """Returns the numbers of groups by the attributes that form the groups, in order of appearance."""
    tables: dict[tuple[str, ...], list[CardNumber]] = {}
    for number in numbers:
        if number.slice:
            tables.setdefault(tuple(number.slice), []).append(number)
    return tables


def group_table(
    attributes: tuple[str, ...],
    numbers: Sequence[CardNumber],
    *,
    caption: str,
    columns: Sequence[tuple[str, float | None]],
    collapsed: bool = False,
) -> Table:
    """Returns one row per group, one column per metric and threshold; columns without any number are left out."""
    found = {(group_label(n.slice), n.metric, n.threshold): n for n in numbers if n.comparison is None}
    shown = [column for column in columns if any((n.metric, n.threshold) == column for n in numbers)]
    slices = {group_label(n.slice): n.slice for n in numbers}
    rows = []
    for label in slices:
        mine = [found.get((label, *column)) for column in shown]
        rows.append(_row(label, mine))
    heads = [metric_title(name) + ("" if at is None or not collapsed else f" at {at:g}") for name, at in shown]
    pattern = "/".join([_report(numbers), "⟨metric⟩", ",".join(f"{name}=⟨group⟩" for name in attributes)])
    at = next((f", with @{at:g} for rates" for _, at in shown if at is not None and not collapsed), "")
    return Table(
        caption=caption,
        heads=(table_title(attributes), *heads),
        rows=tuple(rows),
        ids=pattern + (at or (", with @⟨threshold⟩ for rates" if collapsed else "")),
        collapsed=collapsed,
    )


def disparity_tables(numbers: Sequence[CardNumber], *, threshold: float) -> Iterator[tuple[tuple[str, ...], Table]]:
    """Yields one table per compared attributes: metrics by gap and ratio, at the decision threshold."""
    compared = [
        n for n in numbers if n.across and n.comparison in ("gap", "ratio") and n.threshold in (None, threshold)
    ]
    for attributes in dict.fromkeys(n.across for n in compared):
        mine = [n for n in compared if n.across == attributes]
        found = {(n.metric, str(n.comparison)): n for n in mine}
        rows = tuple(
            Row(
                header=metric_title(name),
                cells=tuple(cell(found.get((name, kind)), with_id=True) for kind in ("gap", "ratio")),
            )
            for name in dict.fromkeys(n.metric for n in mine)
        )
        caption = f"Differences between the groups of {table_title(attributes)}"
        heads = ("Metric", "gap: largest minus smallest group", "ratio: smallest over largest group")
        yield attributes, Table(caption=caption, heads=heads, rows=rows)


_COLUMN_METRICS = ("mean_abs_shap", "mean_shap", "permutation_importance")
_GROUP_TABLES = (
    ("mean_abs_shap", "Mean |Shapley value| by", False),
    ("mean_shap_difference", "Mean Shapley value of a group minus that of all other rows, by", False),
    ("mean_shap", "Mean Shapley value by", True),
)


def explanation_tables(numbers: Sequence[CardNumber]) -> Iterator[Table]:
    """Yields importances: overall, largest first, then by the groups of each attribute in the same order."""
    of_columns = [n for n in numbers if n.feature is not None]
    overall = {(n.metric, n.feature): n for n in of_columns if not n.slice}
    importances = [n for n in of_columns if n.metric == "mean_abs_shap"]
    ranked = sorted((n for n in importances if not n.slice), key=lambda n: -(n.value or 0.0))
    order = list(dict.fromkeys(n.feature or "" for n in [*ranked, *of_columns]))
    shown = [name for name in _COLUMN_METRICS if any(metric == name for metric, _ in overall)]
    rows = tuple(
        Row(
            header=name,
            cells=tuple(cell(overall.get((metric, name)), with_id=True, with_n=True) for metric in shown),
        )
        for name in order
    )
    if shown:
        heads = ("Column", *(metric_title(name) for name in shown))
        yield Table(caption="Importances by column, all explained rows", heads=heads, rows=rows)
    for metric, caption, collapsed in _GROUP_TABLES:
        for attributes, mine in attribute_tables([n for n in of_columns if n.metric == metric]).items():
            found = {(n.feature, group_label(n.slice)): n for n in mine}
            yield replace(_by_feature(order, attributes, mine, found, caption=caption), collapsed=collapsed)


def data_tables(numbers: Sequence[CardNumber]) -> Iterator[Table]:
    """Yields composition, missing values and differences by group; columns complete in every group are not listed."""
    for attributes, mine in attribute_tables(numbers).items():
        title = table_title(attributes)
        names = ("example_count", "group_share", "representation_ratio", "positive_label_rate")
        columns = [(name, None) for name in names]
        composition = [n for n in mine if n.feature is None]
        if composition:
            yield group_table(attributes, composition, caption=f"Composition by {title}", columns=columns)
        rates = [n for n in mine if n.metric == "missing_rate"]
        features = dict.fromkeys(n.feature or "" for n in rates if n.status != "withheld" and n.value != 0.0)
        if features:
            found = {(n.feature, group_label(n.slice)): n for n in rates}
            yield _by_feature(list(features), attributes, rates, found, caption="Missing rate by")
    compared = [n for n in numbers if n.across and n.metric != "proxy_strength" and n.value != 0.0]
    if compared:
        yield plain_table(compared, caption="Differences between groups in the data", collapsed=True)


def proxy_table(numbers: Sequence[CardNumber]) -> Table:
    """Returns how well each column predicts each attribute."""
    attributes = list(dict.fromkeys(n.across or tuple(n.slice) for n in numbers))
    found = {(n.feature, n.across or tuple(n.slice)): n for n in numbers}
    features = dict.fromkeys(n.feature or "" for n in numbers)
    rows = tuple(
        Row(header=name, cells=tuple(cell(found.get((name, attribute))) for attribute in attributes))
        for name in features
    )
    return Table(
        caption="Proxy strength: how well one column alone predicts an attribute (AUC, 0.5 is chance)",
        heads=("Column", *(table_title(attribute) for attribute in attributes)),
        rows=rows,
        ids=f"{_report(numbers)}/proxy_strength/⟨column⟩/⟨attribute⟩",
    )


def evidence_table(numbers: Sequence[CardNumber]) -> Table:
    """Returns every number of the card with its finding's id."""
    rows = []
    for number in numbers:
        n = ABSENT if number.n is None else f"{number.n:,}"
        shown = cell(number, in_full=True)
        how = number.method or ""
        rows.append(
            Row(header="", code=number.finding, cells=(shown, Cell(text=n), Cell(text=how, muted=True))),
        )
    return Table(
        caption=f"All {len(numbers)} numbers of this card and the findings they repeat",
        heads=("Finding", "Value and interval", "n", "Interval by"),
        rows=tuple(rows),
        collapsed=True,
    )


def _by_feature(
    features: Sequence[str],
    attributes: tuple[str, ...],
    numbers: Sequence[CardNumber],
    found: dict[tuple[str | None, str], CardNumber],
    *,
    caption: str,
) -> Table:
    labels = list(dict.fromkeys(group_label(n.slice) for n in numbers))
    rows = tuple(Row(header=name, cells=tuple(cell(found.get((name, label))) for label in labels)) for name in features)
    slice_ = ",".join(f"{name}=⟨group⟩" for name in attributes)
    return Table(
        caption=f"{caption} {table_title(attributes)}",
        heads=("Column", *labels),
        rows=rows,
        ids=f"{_report(numbers)}/{numbers[0].metric}/⟨column⟩/{slice_}",
    )


def _row(header: str, numbers: Sequence[CardNumber | None]) -> Row:
    """Returns a row of cells, or one note where all its numbers are withheld for the same reason."""
    reasons = {number.reason for number in numbers if number is not None and number.status == "withheld"}
    present = [number for number in numbers if number is not None]
    if present and len(reasons) == 1 and all(number.status == "withheld" for number in present):
        return Row(header=header, note=f"withheld: {reasons.pop()}")
    return Row(header=header, cells=tuple(cell(number) for number in numbers))


def _short(reason: str, *, in_full: bool) -> str:
    return reason if in_full or len(reason) <= _LONGEST_REASON else "see Evidence"


def _report(numbers: Sequence[CardNumber]) -> str:
    return numbers[0].finding.split("/", 1)[0]
