"""Performance: how good the predictions are, overall and for each group, and what another threshold would do."""

from __future__ import annotations

from collections.abc import Sequence

from probity.card import CardNumber
from probity.dashboards.curves import RATES, Counts, Curves, curves_of
from probity.dashboards.drawing import Point, Series, heat, intervals, lines
from probity.dashboards.evidence import Audited
from probity.dashboards.exhibit import exhibit, heading, not_assessed, notes, table
from probity.dashboards.numbers_shown import group_rows, groupings, number_rows, point, table_choice, tables_of
from probity.dashboards.report import Report
from probity.dashboards.words import short_number
from probity.model_cards.wording import ABSENT, group_label, metric_title

__all__ = ["render"]

_HEADLINES = ("auc", "accuracy", "true_positive_rate", "selection_rate", "mean_absolute_error", "r_squared")


def render(report: Report) -> None:
    """Shows the performance report, and the stored curves where the reader may see them."""
    audited, at = report.audited("performance"), report.decision_threshold()
    if not_assessed(audited):
        return
    overall = [n for n in audited.numbers if not n.slice and n.threshold in (None, at) and n.label_class is None]
    _headlines(overall)
    table(number_rows(overall), name="overall", title="All rows of the test split")
    curves = curves_of(report.kept("fairness", "curves.json"))
    _by_group(report, audited, at)
    if curves is None:
        _without_curves(report, audited)
    else:
        _threshold(report, curves)
        _shapes(report, curves)
    notes(audited)


def _headlines(overall: Sequence[CardNumber]) -> None:
    import streamlit as st

    found = [number for name in _HEADLINES for number in overall if number.metric == name][:4]
    for column, number in zip(st.columns(max(len(found), 1)), found, strict=False):
        ends = f"{short_number(number.lower)} to {short_number(number.upper)}" if number.lower is not None else None
        column.metric(metric_title(number.metric), short_number(number.value), border=True, help=ends)


def _by_group(report: Report, audited: Audited, at: float | None) -> None:
    import streamlit as st

    sliced = [n for n in audited.numbers if n.slice and n.threshold in (None, at) and n.label_class is None]
    choices = groupings(sliced)
    if not choices:
        table([], name="by_group", title="By group", empty="no sensitive attribute was declared")
        return
    heading("By group", about="A group that is too small to say anything about is named, and has no dot.")
    left, right = st.columns(2)
    attributes = left.selectbox("Groups of", choices, format_func=table_choice, key="performance by")
    metrics = list(dict.fromkeys(n.metric for n in sliced if n.metric != "example_count"))
    metric = right.selectbox("Metric", metrics, format_func=metric_title, key="performance metric")
    mine = tables_of(sliced, attributes)
    shown = [number for number in mine if number.metric == metric]
    whole = next((n for n in audited.numbers if not n.slice and n.metric == metric and n.threshold in (None, at)), None)
    exhibit(
        report,
        lambda dark: intervals(
            [(group_label(number.slice), point(number)) for number in shown],
            title=f"{metric_title(metric)} by {table_choice(attributes)}; dotted: all rows",
            x=metric_title(metric),
            dark=dark,
            reference=None if whole is None else whole.value,
        ),
        number_rows(shown),
        title=f"{metric_title(metric)} by {table_choice(attributes)}",
        name="performance_by_group",
    )
    heads = [(name, metric_title(name)) for name in ("example_count", *metrics)]
    table(group_rows(mine, heads), name="all_metrics_by_group", title="All metrics of these groups")


def _without_curves(report: Report, audited: Audited) -> None:
    """Shows the rates at the thresholds that were audited, where curves are not for this reader or not there."""
    rates = [n for n in audited.numbers if not n.slice and n.threshold is not None and n.label_class is None]
    why = "Curves at every threshold are internal: neighbouring thresholds can differ by one row."
    about = "" if report.internal else why
    table(number_rows(rates), name="thresholds", title="At the audited thresholds", about=about)


def _threshold(report: Report, curves: Curves) -> None:
    import streamlit as st

    heading(
        "What another threshold would do",
        about="Read off the stored counts of the test split. To have it audited, run again with "
        "--set audits.decision_threshold=...",
    )
    at = st.slider("Decision threshold", 0.0, 0.99, curves.decision_threshold, 0.01, key="threshold")
    attributes = _grouping(curves, key="threshold by")
    place = curves.place(at)
    groups = (*curves.by(()), *(curves.by(attributes) if attributes else ()))
    rows = [
        {
            "group": group.label,
            "rows": f"{group.rows:,}",
            **{metric_title(name): short_number(group.rate(name, place)) for name in RATES},
        }
        for group in groups
    ]
    table(rows, name="at_threshold")
    _too_small(curves.small(attributes))
    _confusion(report, curves.groups[0], place=place, at=at)
    metric = st.selectbox("Rate to draw", list(RATES), format_func=metric_title, key="rate drawn")
    _draw_lines(
        report,
        [Series(label=group.label, points=curves.rate_points(group, metric)) for group in groups],
        title=f"{metric_title(metric)} at every threshold",
        name="rate_by_threshold",
        x="decision threshold",
        y=metric_title(metric),
        reference=at,
    )


def _confusion(report: Report, group: Counts, *, place: int, at: float) -> None:
    counts = [[group.tp[place], group.fn[place]], [group.fp[place], group.tn[place]]]
    names = ("labelled positive", "labelled negative"), ("predicted positive", "predicted negative")
    exhibit(
        report,
        lambda dark: heat(
            [[float(count) for count in line] for line in counts],
            rows=names[0],
            columns=names[1],
            title=f"All rows at threshold {at:g}",
            texts=[[f"{count:,}" for count in line] for line in counts],
            dark=dark,
        ),
        [
            {"": label, **{head: f"{count:,}" for head, count in zip(names[1], line, strict=True)}}
            for label, line in zip(names[0], counts, strict=True)
        ],
        title="Confusion matrix",
        name="confusion",
    )


def _shapes(report: Report, curves: Curves) -> None:
    """Draws ROC and calibration curves by group."""
    attributes = _grouping(curves, key="curves by")
    groups = (*curves.by(()), *(curves.by(attributes) if attributes else ()))
    _draw_lines(
        report,
        [Series(label=group.label, points=curves.roc(group)) for group in groups],
        title=f"ROC curves by {table_choice(attributes)}",
        name="roc",
        x="false positive rate",
        y="true positive rate",
        square=True,
    )
    found = {group.label: curves.calibration(group) for group in groups}
    exhibit(
        report,
        lambda dark: lines(
            [Series(label=label, points=tuple(p for p, rows in bins if rows >= 10)) for label, bins in found.items()],
            title=f"Calibration by {table_choice(attributes)}",
            x="score (middle of its tenth)",
            y="share of positive labels",
            dark=dark,
            diagonal=True,
            unit_square=True,
        ),
        [
            {"group": label, "middle": f"{p.x:g}", "share of positive labels": short_number(p.y), "rows": f"{rows:,}"}
            for label, bins in found.items()
            for p, rows in bins
        ],
        title=f"Calibration by {table_choice(attributes)}",
        name="calibration",
        about="On the line, a score of 0.7 means that 7 in 10 are positive. Tenths of fewer than 10 rows are left out.",
    )
    _too_small(curves.small(attributes))


def _grouping(curves: Curves, *, key: str) -> tuple[str, ...]:
    import streamlit as st

    choices = sorted({tuple(group.slice) for group in curves.groups if group.slice}, key=len)
    return st.selectbox("Groups of", choices, format_func=table_choice, key=key) or () if choices else ()


def _too_small(names: Sequence[str]) -> None:
    import streamlit as st

    from probity.dashboards.words import plain

    if names:
        st.caption(plain(f"Too small to say: {', '.join(names)}"))


def _draw_lines(
    report: Report,
    series: Sequence[Series],
    *,
    title: str,
    name: str,
    x: str,
    y: str,
    reference: float | None = None,
    square: bool = False,
) -> None:
    exhibit(
        report,
        lambda dark: lines(
            series, title=title, x=x, y=y, dark=dark, reference=reference, diagonal=square, unit_square=square
        ),
        [{"group": s.label, x: short_number(p.x), y: _text(p)} for s in series for p in s.points],
        title=title,
        name=name,
    )


def _text(found: Point) -> str:
    return ABSENT if found.y is None else f"{found.y:.4f}"
