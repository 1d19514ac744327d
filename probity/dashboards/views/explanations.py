"""Explanations: which columns the model relies on, for whom more than for others; single rows for internal readers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from probity.card import CardNumber
from probity.dashboards.drawing import Point, Series, bars, lines
from probity.dashboards.evidence import Audited
from probity.dashboards.exhibit import exhibit, heading, not_assessed, notes, table
from probity.dashboards.numbers_shown import groupings, number_rows, point, table_choice, tables_of
from probity.dashboards.report import Report
from probity.dashboards.words import plain, short_number
from probity.model_cards.wording import group_label

__all__ = ["render"]


def render(report: Report) -> None:
    """Shows the explanations report, the audit of single decisions, and what is kept for internal readers."""
    import streamlit as st

    audited = report.audited("explanations")
    st.warning(
        "Explanations describe what this model does with its columns. They are not causal, and no verdict follows from "
        "them."
    )
    if not not_assessed(audited):
        _columns(report, audited)
        _groups(report, audited)
        trust = [n for n in audited.numbers if n.feature is None]
        table(number_rows(trust), name="how_good", title="How far the explanations can be relied on")
        notes(audited)
    _individuals(report)
    if report.internal:
        _dependence(report)
        _single_rows(report)


def _columns(report: Report, audited: Audited) -> None:
    found = [n for n in audited.of("mean_abs_shap", slice={}) if n.feature is not None]
    _importance(report, found, title="What the model relies on", name="columns")
    signed = [n for n in audited.of("mean_shap", slice={}) if n.feature is not None]
    others = [n for n in audited.of("permutation_importance", slice={}) if n.feature is not None]
    table(
        number_rows([*signed, *others], of="column"),
        name="columns_signed",
        title="In which direction, and by another method",
    )


def _importance(report: Report, found: Sequence[CardNumber], *, title: str, name: str) -> None:
    ordered = sorted(found, key=lambda number: -(number.value or 0.0))
    drawn = [(n.feature or "", shown) for n in ordered if (shown := point(n)) is not None]
    exhibit(
        report,
        lambda dark: bars(drawn, title="mean absolute Shapley value, with intervals", x="logit", dark=dark),
        number_rows(ordered, of="column"),
        title=title,
        name=name,
    )


def _groups(report: Report, audited: Audited) -> None:
    import streamlit as st

    sliced = audited.of("mean_shap_difference") or audited.of("mean_shap")
    choices = groupings(sliced)
    if not choices:
        return
    heading("For whom it relies on what", about="Mean Shapley value of the group minus that of all other rows.")
    left, right = st.columns(2)
    attributes = left.selectbox("Groups of", choices, format_func=table_choice, key="explained by")
    mine = tables_of(sliced, attributes or ())
    labels = list(dict.fromkeys(group_label(number.slice) for number in mine))
    label = right.selectbox("Group", labels, key="explained group")
    shown = sorted((n for n in mine if group_label(n.slice) == label), key=lambda n: -abs(n.value or 0.0))
    drawn = [(n.feature or "", found) for n in shown if (found := point(n)) is not None]
    exhibit(
        report,
        lambda dark: bars(drawn, title=f"{label}, against all others", x="difference of logits", dark=dark),
        number_rows(shown, of="column"),
        title=f"What is different for {label}",
        name="group_differences",
    )


def _individuals(report: Report) -> None:
    found = report.audited("individuals")
    heading("Single decisions, counted", about="Shares of rows; nothing here speaks of one person.")
    if not not_assessed(found):
        table(number_rows(found.numbers), name="individuals")
        notes(found)


def _dependence(report: Report) -> None:
    import streamlit as st

    kept = report.kept("individuals", "partial_dependence.json")
    entries = _entries(kept, "partial_dependence")
    if not entries:
        return
    heading("Dependence", about="Mean score when one column is set to one value after another. Internal.")
    left, right = st.columns(2)
    columns = {str(entry["column"]): entry for entry in entries}
    entry = columns[left.selectbox("Column", list(columns), key="dependence on") or next(iter(columns))]
    attribute = right.selectbox("Groups of", list(entry["by_group"]), key="dependence by")
    numeric = all(isinstance(found, int | float) for found in entry["values"])
    places = entry["values"] if numeric else range(len(entry["values"]))
    curves = {"all rows": entry["global"], **(entry["by_group"].get(attribute) or {})}
    series = [
        Series(label=str(label), points=tuple(Point(x=float(x), y=y) for x, y in zip(places, found, strict=True)))
        for label, found in curves.items()
    ]
    ticks = () if numeric else [(float(i), str(name)[:12]) for i, name in enumerate(entry["values"])]
    exhibit(
        report,
        lambda dark: lines(
            series, title=f"mean score by {entry['column']}", x=str(entry["column"]), y="score", dark=dark, ticks=ticks
        ),
        [
            {"group": str(label), "set to": str(at), "mean score": short_number(y)}
            for label, found in curves.items()
            for at, y in zip(entry["values"], found, strict=True)
        ],
        title=f"Dependence on {entry['column']}",
        name="dependence",
    )


def _single_rows(report: Report) -> None:
    import streamlit as st

    kept = report.kept("explanations", "local.json")
    entries = _entries(kept, "explanations")
    if not entries:
        return
    heading(
        "Single rows", about="For whoever debugs the model or examines one decision. They never leave this machine."
    )
    rows = {f"row {entry['row']} of the test split": entry for entry in entries}
    chosen = st.selectbox("Row", list(rows), key="single row")
    entry = rows[chosen or next(iter(rows))]
    parts = sorted(entry["contributions"].items(), key=lambda pair: -abs(pair[1]))
    exhibit(
        report,
        lambda dark: bars(
            [(str(column), Point(x=0, y=float(share))) for column, share in parts],
            title=f"from {kept['base_value']:.2f} to {entry['output']:.2f}, in logits",
            x="Shapley value",
            dark=dark,
        ),
        [{"column": str(column), "Shapley value": f"{share:.4f}"} for column, share in parts],
        title=f"What made the output of row {entry['row']}",
        name="single_row",
    )
    st.caption(plain(str(kept.get("statement", ""))))


def _entries(kept: Any, name: str) -> list[dict[str, Any]]:
    found = kept.get(name) if isinstance(kept, dict) else None
    return found if isinstance(found, list) else []
