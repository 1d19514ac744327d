"""Fairness: how far groups lie apart, whether the evidence suffices, and what that means under which rule."""

from __future__ import annotations

from collections.abc import Sequence

from probity.card import CardNumber
from probity.dashboards.drawing import Series, heat, intervals, lines
from probity.dashboards.evidence import Audited, pick
from probity.dashboards.exhibit import exhibit, heading, not_assessed, notes, table
from probity.dashboards.numbers_shown import group_rows, groupings, number_rows, point, table_choice, tables_of
from probity.dashboards.report import Report
from probity.dashboards.words import OUTCOMES, number_cells, number_title
from probity.model_cards.wording import group_label, metric_title, value_text

__all__ = ["render"]


def render(report: Report) -> None:
    """Shows the fairness report and everything beside it that speaks of groups."""
    audited, at = report.audited("fairness"), report.decision_threshold()
    if not not_assessed(audited):
        _gaps(report, audited, at)
        _by_threshold(report, audited)
    _intersections(report, at)
    _too_small(audited)
    _changes(report)
    _regulatory(report)
    notes(audited)


def _gaps(report: Report, audited: Audited, at: float | None) -> None:
    import streamlit as st

    heading(
        "Differences between groups",
        about="A gap is the largest value of a group minus the smallest, a ratio the smallest over the largest.",
    )
    left, right = st.columns(2)
    kind = left.radio("As", ["gap", "ratio"], horizontal=True, key="gaps as")
    attributes = right.selectbox("Between", groupings(audited.numbers), format_func=table_choice, key="gaps between")
    shown = [
        n
        for n in audited.numbers
        if n.comparison == kind and n.across == attributes and n.threshold in (None, at) and n.label_class is None
    ]
    verdicts = _verdicts(report)
    exhibit(
        report,
        lambda dark: intervals(
            [(metric_title(number.metric), point(number)) for number in shown],
            title=f"{kind} between groups of {table_choice(attributes or ())}, with intervals",
            x=f"{kind}; dotted: no difference",
            dark=dark,
            reference=0.0 if kind == "gap" else 1.0,
        ),
        [row | {"rule of the gate": verdicts.get(n.finding, "none")} for row, n in _with(shown)],
        title=f"{kind.capitalize()}s between groups of {table_choice(attributes or ())}",
        name="gaps",
    )


def _with(numbers: Sequence[CardNumber]) -> list[tuple[dict[str, str], CardNumber]]:
    return list(zip(number_rows(numbers, of="between"), numbers, strict=True))


def _verdicts(report: Report) -> dict[str, str]:
    """Returns what the gate said about single findings."""
    decision = report.decision()
    checks = decision.checks if decision else ()
    return {entry: f"{check.rule}: {OUTCOMES[check.outcome]}" for check in checks for entry in check.evidence}


def _by_threshold(report: Report, audited: Audited) -> None:
    import streamlit as st

    single = [n for n in audited.numbers if n.comparison == "gap" and n.threshold is not None and len(n.across) == 1]
    metrics = list(dict.fromkeys(number.metric for number in single))
    if not metrics:
        return
    heading("Gaps at other thresholds", about="At the thresholds that were audited, with their intervals.")
    metric = st.selectbox("Rate", metrics, format_func=metric_title, key="gap by threshold")
    mine = [number for number in single if number.metric == metric]
    series = [
        Series(
            label=table_choice(attributes),
            points=tuple(
                found
                for number in mine
                if number.across == attributes and (found := point(number, x=number.threshold or 0.0)) is not None
            ),
        )
        for attributes in groupings(mine)
    ]
    exhibit(
        report,
        lambda dark: lines(series, title=f"gap in {metric_title(metric)}", x="threshold", y="gap", dark=dark),
        number_rows(mine, of="between"),
        title=f"Gap in {metric_title(metric)} by threshold",
        name="gap_by_threshold",
    )


def _intersections(report: Report, at: float | None) -> None:
    """Draws a metric over two attributes at once."""
    import streamlit as st

    performance = report.audited("performance")
    crossed = [n for n in performance.numbers if len(n.slice) == 2 and n.threshold in (None, at) and not n.label_class]
    if not crossed:
        table([], name="intersections", title="Intersections", empty="not assessed: no intersection was declared")
        return
    heading("Intersections", about="Hatched: too small to say. The numbers of rows are in the table.")
    left, right = st.columns(2)
    attributes = left.selectbox("Of", groupings(crossed), format_func=table_choice, key="intersections of")
    metrics = list(dict.fromkeys(n.metric for n in crossed if n.metric != "example_count"))
    start = metrics.index("selection_rate") if "selection_rate" in metrics else 0
    metric = right.selectbox("Rate of", metrics, index=start, format_func=metric_title, key="intersections rate")
    mine = [n for n in tables_of(crossed, attributes or ()) if n.metric == metric]
    first, second = (list(dict.fromkeys(n.slice[name] for n in mine)) for name in attributes or ("", ""))
    grid = [[pick(mine, dict(zip(attributes, (a, b), strict=True))) for a in first] for b in second]
    exhibit(
        report,
        lambda dark: heat(
            [[n.value if n is not None and n.status == "measured" else None for n in line] for line in grid],
            rows=second,
            columns=first,
            title=f"{metric_title(metric)} by {table_choice(attributes)}",
            texts=[[_in_words(number) for number in line] for line in grid],
            dark=dark,
        ),
        number_rows(mine),
        title=f"{metric_title(metric)} by {table_choice(attributes)}",
        name="intersections",
    )


def _in_words(number: CardNumber | None) -> str:
    if number is None or number.status != "measured":
        return "too small" if number is None or number.status == "insufficient" else "withheld"
    return value_text(number.value, number.metric)


def _too_small(audited: Audited) -> None:
    silent = [number for number in audited.numbers if number.status != "measured"]
    table(
        [
            {"number": number_title(number), "between": table_choice(number.across), **number_cells(number)}
            for number in silent
        ],
        name="too_small",
        title="Too small to say",
        about="No verdict may rest on these; a rule about one of them is held.",
        empty="every difference between groups rests on enough rows",
    )


def _changes(report: Report) -> None:
    """Shows what changed for each group: against the released model, and by the mitigation."""
    titles = {
        "baseline": "Cost by group, against the released model",
        "mitigation": "What the mitigation changed, by group",
    }
    for audit, title in titles.items():
        found = report.audited(audit)
        heading(title, about="Candidate minus the other model, on the same rows. Below zero: the candidate has less.")
        if not_assessed(found):
            continue
        changed = [n for n in found.numbers if n.slice and n.comparison == "change" and len(n.slice) == 1]
        rates = [n for n in changed if n.metric == "accuracy"][:24]
        exhibit(
            report,
            lambda dark, rates=rates: intervals(  # type: ignore[misc]
                [(group_label(n.slice), point(n)) for n in rates],
                title="change in accuracy by group",
                x="change; dotted: none",
                dark=dark,
                reference=0.0,
            ),
            number_rows(changed),
            title=f"{title}: accuracy",
            name=f"change_{audit}",
        )


def _regulatory(report: Report) -> None:
    found = report.audited("regulatory")
    heading("Tables that rules ask for", about="Computed as the named rules define their numbers; no legal conclusion.")
    if not_assessed(found):
        return
    for attributes in found.attributes:
        mine = [n for n in tables_of(found.numbers, attributes) if n.metric != "adverse_action_reason_share"]
        heads = [(name, metric_title(name)) for name in dict.fromkeys(number.metric for number in mine)]
        table(
            group_rows(mine, heads),
            name=f"regulatory_{'_'.join(attributes)}",
            title=f"Selection by {table_choice(attributes)}",
        )
    notes(found)
