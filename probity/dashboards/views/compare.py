"""Compare: what privacy costs, by trainer and by group, with intervals over seeds. For researchers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from probity.dashboards.comparisons import Comparison, comparisons, pareto_front
from probity.dashboards.drawing import Point, Series, lines
from probity.dashboards.exhibit import exhibit, heading, table
from probity.dashboards.report import Report
from probity.dashboards.words import short_number
from probity.model_cards.wording import ABSENT, MINUS, metric_title

__all__ = ["render"]


def render(report: Report) -> None:
    """Shows the comparisons of the workspace."""
    import streamlit as st

    found = {comparison.id: comparison for comparison in comparisons(report.workspace)}
    if not found:
        st.info(
            "Nothing was compared yet. Start with: probity compare CONFIG --trainers plain,dp\\_sgd --epsilons 1,2,4"
        )
        return
    chosen = found[st.selectbox("Comparison", list(found), key="comparison") or next(iter(found))]
    _utility(report, chosen)
    _groups(report, chosen)
    _paper(chosen)
    _cells(chosen)


def _utility(report: Report, chosen: Comparison) -> None:
    import streamlit as st

    overall = [name for name in chosen.measured if ":" not in name and name not in ("train_seconds", "seconds")]
    metric = st.selectbox("Utility", overall, format_func=metric_title, key="utility")
    if metric is None:
        return
    _against_epsilon(report, chosen, [metric], title=f"{metric_title(metric)} against epsilon", name="utility")
    private = [
        point for row in chosen.rows if (point := chosen.point(row, metric)) is not None and point.x != float("inf")
    ]
    front = pareto_front(private)
    exhibit(
        report,
        lambda dark: lines(
            [Series(label="all", points=tuple(private), joined=False), Series(label="front", points=tuple(front))],
            title="No other one is more private and better",
            x="epsilon",
            y=metric_title(metric),
            dark=dark,
            log_x=True,
            ticks=[(x, f"{x:.2g}") for x in sorted({p.x for p in private})],
        ),
        [{"epsilon": short_number(p.x), metric_title(metric): short_number(p.y)} for p in front],
        title="Pareto front",
        name="pareto",
        about="By mean over seeds; points whose intervals overlap may change places with other seeds.",
    )


def _groups(report: Report, chosen: Comparison) -> None:
    import streamlit as st

    grouped = [name.split(":") for name in chosen.measured if name.startswith("group:") and "," not in name]
    kinds = list(dict.fromkeys((metric, of.partition("=")[0]) for _, metric, of in grouped))
    if not kinds:
        return
    kind = st.selectbox(
        "Cost of privacy by group", kinds, format_func=lambda k: f"{metric_title(k[0])} by {k[1]}", key="cost by group"
    )
    metric, attribute = kind or kinds[0]
    names = [f"group:{metric}:{of}" for _, m, of in grouped if m == metric and of.startswith(f"{attribute}=")]
    title = f"{metric_title(metric)} by {attribute} against epsilon"
    _against_epsilon(report, chosen, names, title=title, name="groups_by_epsilon")
    gaps = [name for name in chosen.measured if name.startswith("gap:")]
    compared = list(dict.fromkeys(name.split(":")[1] for name in gaps))
    rate = st.selectbox("Gap between groups in", compared, format_func=metric_title, key="gap by epsilon")
    mine = [name for name in gaps if name.split(":")[1] == rate]
    if mine:
        title = f"Gap between groups in {metric_title(rate or '')} against epsilon"
        _against_epsilon(report, chosen, mine, title=title, name="gaps_by_epsilon")


def _against_epsilon(report: Report, chosen: Comparison, names: Sequence[str], *, title: str, name: str) -> None:
    trainers = list(dict.fromkeys(str(row["trainer"]) for row in chosen.rows))
    several = len(names) > 1
    finite = [p.x for row in chosen.rows for n in names if (p := chosen.point(row, n)) and p.x != float("inf")]
    without = max(finite, default=1.0) * 2.5  # where a model without differential privacy is drawn: at the right end
    series = []
    for trainer in trainers:
        for entry in names:
            points = [p for row in chosen.rows if row["trainer"] == trainer and (p := chosen.point(row, entry))]
            placed = sorted((_placed(point, without) for point in points), key=lambda point: point.x)
            label = f"{_short(entry)}, {trainer}" if several else trainer
            series.append(Series(label=label, points=tuple(placed)))
    ticks = [(x, f"{x:.2g}") for x in sorted(set(finite))] + [(without, "∞")]
    exhibit(
        report,
        lambda dark: lines(series, title=title, x="epsilon as found", y="", dark=dark, log_x=True, ticks=ticks),
        [_row(chosen, row, names) for row in chosen.rows],
        title=title,
        name=name,
        about="Mean over seeds with Student's interval; ∞: without differential privacy.",
    )


def _placed(point: Point, without: float) -> Point:
    x = without if point.x == float("inf") else point.x
    return Point(x=x, y=point.y, lower=point.lower, upper=point.upper)


def _row(chosen: Comparison, row: dict[str, Any], names: Sequence[str]) -> dict[str, str]:
    cells = {
        "trainer": str(row["trainer"]),
        "epsilon": short_number(row.get("epsilon")),
        "seeds": str(row.get("seeds", ABSENT)),
    }
    return cells | {_short(name): _with_interval(chosen.point(row, name)) for name in names}


def _with_interval(point: Point | None) -> str:
    if point is None:
        return ABSENT
    if point.lower is None or point.upper is None:
        return short_number(point.y)
    return f"{short_number(point.y)} ({short_number(point.lower)} to {short_number(point.upper)})"


def _short(name: str) -> str:
    if name.startswith("gap:"):
        _, metric, attribute = name.split(":", 2)
        return f"{metric_title(metric)} by {attribute}"
    return name.split("=", 1)[-1] if name.startswith("group:") else metric_title(name)


def _paper(chosen: Comparison) -> None:
    import streamlit as st

    heading("Table for a paper", about="Utility and gaps, mean over seeds with intervals.")
    names = [name for name in chosen.measured if name in ("auc", "accuracy", "worst_auc") or name.startswith("gap:")]
    rows = [_row(chosen, row, names) for row in chosen.rows]
    table(rows, name="comparison")
    latex, markdown = st.columns(2)
    for column, label, text, suffix in (
        (latex, "Download LaTeX", to_latex(rows), "tex"),
        (markdown, "Download Markdown", to_markdown(rows), "md"),
    ):
        column.download_button(label, text, file_name=f"comparison.{suffix}", key=f"paper {suffix}", on_click="ignore")


def to_markdown(rows: Sequence[dict[str, str]]) -> str:
    """Returns a table in Markdown."""
    heads = list(rows[0]) if rows else []
    body = [[row[head].replace("|", "\\|") for head in heads] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *body)) + "\n"


def to_latex(rows: Sequence[dict[str, str]]) -> str:
    """Returns a table in LaTeX, for the package booktabs."""
    heads = list(rows[0]) if rows else []
    body = [r" & ".join(_latex(row[head]) for head in heads) + r" \\" for row in rows]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{l{'r' * max(len(heads) - 1, 0)}}}",
            r"\toprule",
            r" & ".join(map(_latex, heads)) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _latex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "∞": r"$\infty$"}
    special |= {sign: f"\\{sign}" for sign in "&%$#_{}"} | {ABSENT: "--", MINUS: "$-$", "<": "$<$", ">": "$>$"}
    return "".join(special.get(sign, sign) for sign in text)


def _cells(chosen: Comparison) -> None:
    table(
        [
            {
                "trainer": str(cell["trainer"]),
                "asked epsilon": short_number(_asked(cell)),
                "seed": str(cell["seed"]),
                "outcome": str(cell["status"]),
                "run": str(cell["run"] or ABSENT),
                "reason": str(cell["reason"] or ""),
            }
            for cell in chosen.cells
        ],
        name="cells",
        title="Runs behind it",
    )


def _asked(cell: dict[str, Any]) -> float | None:
    found = cell.get("target_epsilon")
    return None if found is None or math.isnan(found) else float(found)
