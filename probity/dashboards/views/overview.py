"""Overview: which runs there are, what holds them, and how the numbers went from one to the next."""

from __future__ import annotations

from collections.abc import Sequence

from probity.dashboards.catalogue import (
    GAP_METRICS,
    ON_A_PAGE,
    Line,
    Measures,
    held_first,
    measures,
    started_by,
)
from probity.dashboards.drawing import Point, Series, lines
from probity.dashboards.exhibit import exhibit, heading, table
from probity.dashboards.report import Report
from probity.dashboards.words import STATUSES, moment, short_number
from probity.errors import ProbityError
from probity.findings import PrivacyStatement
from probity.model_cards.wording import ABSENT, metric_title
from probity.run_reviews import waiting_for

__all__ = ["render"]

_IN_A_TREND = 30
_TRENDS = {"AUC": "auc", "epsilon": "epsilon", "largest gap between groups": "gap"}


def render(report: Report) -> None:
    """Shows the runs, those that are held first, and the trend of a project."""
    import streamlit as st

    if not report.lines:
        none = "No model has been released, so nothing is published." if report.public else "There are no runs yet."
        st.info(none if report.public else f"{none} Start one with: probity run CONFIG")
        return
    _counts(report.lines)
    if not report.public:
        _waiting(report)
    chosen = _filtered(report)
    _listing(report, chosen)
    _trend(report, chosen)


def _counts(found: Sequence[Line]) -> None:
    import streamlit as st

    shown = {
        "runs": len(found),
        "held": sum(line.status == "held" for line in found),
        "waiting for approval": sum(line.waits for line in found),
        "waiting for release": sum(line.status == "approved" for line in found),
        "released": sum(line.status == "released" for line in found),
    }
    for column, (label, number) in zip(st.columns(len(shown)), shown.items(), strict=True):
        column.metric(label, number, border=True)


def _waiting(report: Report) -> None:
    """Lists the runs that somebody has to decide about."""
    rows = [_approvals(report.at(line.run), line) for line in report.lines if line.waits]
    rows += [
        _to_do(line, "its release: the gate says so, and nothing was pushed yet", f"probity release {line.run}")
        for line in report.lines
        if line.status == "approved"
    ]
    table(
        [row for row in rows if row is not None][:ON_A_PAGE],
        name="waiting",
        title="Waiting for a person",
        about="For approval, as the rules of releases count approvals: signed by a reviewer, of exactly this evidence.",
        empty="no run waits",
    )


def _approvals(report: Report, line: Line) -> dict[str, str] | None:
    """Returns the line of a run that waits for reviewers; ``None`` where one has rejected it since."""
    command = f"probity approve {line.run} --key FILE"
    try:
        found = waiting_for(report.folder)
    except ProbityError as error:
        return _to_do(line, f"approval; {error.argument} cannot be used: {error.seen}", command)
    if found is None:
        return None
    by = f", by {', '.join(found.approved_by)}" if found.approved_by else ""
    given = f"{len(found.approved_by)} of {found.quorum} given{by}"
    if found.of == "data":
        return _to_do(line, f"approval of its data: {given}", f"probity approve {line.run} --data --key FILE")
    return _to_do(line, f"approval: {given}", command)


def _to_do(line: Line, what: str, command: str) -> dict[str, str]:
    return {
        "since (UTC)": moment(line.created_at),
        "trainer": line.trainer or ABSENT,
        "waits for": what,
        "to do": command,
    }


def _filtered(report: Report) -> list[Line]:
    """Asks for projects, trainers and statuses, and returns the fitting lines, those that are held first."""
    import streamlit as st

    heading("Runs", about="Held and failed runs first, then the newest. Choose a line to open that run on every page.")
    left, middle, right = st.columns(3)
    projects = left.multiselect("Project", sorted({line.project for line in report.lines}), key="projects")
    trainers = middle.multiselect("Trainer", sorted({line.trainer or ABSENT for line in report.lines}), key="trainers")
    present = {line.status for line in report.lines}
    statuses = right.multiselect("Status", [name for name in STATUSES if name in present], key="statuses")
    return [
        line
        for line in held_first(report.lines)
        if (not projects or line.project in projects)
        and (not trainers or (line.trainer or ABSENT) in trainers)
        and (not statuses or line.status in statuses)
    ]


def _listing(report: Report, chosen: Sequence[Line]) -> None:
    import pandas as pd
    import streamlit as st

    if not chosen:
        st.caption("No run fits these filters.")
        return
    pages = -(-len(chosen) // ON_A_PAGE)
    page = st.number_input("Page", 1, pages, key="page of runs", help=f"of {pages}") if pages > 1 else 1
    visible = chosen[(int(page) - 1) * ON_A_PAGE : int(page) * ON_A_PAGE]
    rows = [_words(line, _numbers(report, line)) | _who(report, line) for line in visible]
    if report.printing:
        table(rows, name="runs")
        return

    def open_chosen() -> None:
        marked = st.session_state["table of runs"]["selection"]["rows"]
        if marked:
            st.session_state["run"] = visible[marked[0]].run

    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        width="stretch",
        key="table of runs",
        on_select=open_chosen,
        selection_mode="single-row",
    )
    st.caption(f"{len(chosen):,} runs fit; {len(visible)} are on this page of the list.")


def _trend(report: Report, chosen: Sequence[Line]) -> None:
    import streamlit as st

    projects = list(dict.fromkeys(line.project for line in chosen))
    if not projects:
        return
    heading("Trend", about="From run to run of one project, oldest first. Runs that were not assessed are left out.")
    left, right = st.columns(2)
    project = left.selectbox("Project of the trend", projects, key="trend of")
    what = right.selectbox("What", list(_TRENDS), key="trend in")
    newest = sorted((line for line in chosen if line.project == project), key=lambda line: line.run)[-_IN_A_TREND:]
    found = [(line, getattr(_numbers(report, line), _TRENDS[what])) for line in newest]
    trainers = list(dict.fromkeys(line.trainer or ABSENT for line, _ in found))
    series = [
        Series(
            label=trainer,
            points=tuple(
                Point(x=place, y=value)
                for place, (line, value) in enumerate(found)
                if (line.trainer or ABSENT) == trainer
            ),
        )
        for trainer in trainers
    ]
    steps = max(len(newest) // 6, 1)
    one_day = len({line.created_at[:10] for line in newest}) == 1
    part = slice(11, 16) if one_day else slice(5, 10)
    ticks = [(place, line.created_at[part]) for place, (line, _) in enumerate(found) if place % steps == 0]
    exhibit(
        report,
        lambda dark: lines(
            series, title=f"{what}, {project}", x="when the run was made", y=what, dark=dark, ticks=ticks
        ),
        [
            {"run": line.run, "trainer": line.trainer or ABSENT, "when": moment(line.created_at), what: short_number(y)}
            for line, y in found
        ],
        title=f"{what} of {project}",
        name="trend",
    )


def _numbers(report: Report, line: Line) -> Measures:
    """Returns a run's main numbers; for the public, those that its card publishes."""
    of_run = report.at(line.run)
    return _published(of_run) if report.public else measures(of_run.folder)


def _published(report: Report) -> Measures:
    card, at = report.card(), report.decision_threshold()
    statement = card.privacy.statement if card else None
    auc = report.audited("performance").one("auc")
    gaps = [
        (number.value, f"{metric_title(number.metric)} by {number.across[0]}")
        for number in report.audited("fairness").of(comparison="gap", threshold=at, status="measured")
        if number.metric in GAP_METRICS and len(number.across) == 1 and number.value is not None
    ]
    gap, gap_of = max(gaps, default=(None, ""))
    return Measures(
        epsilon=statement.epsilon if isinstance(statement, PrivacyStatement) else None,
        auc=auc.value if auc is not None and auc.status == "measured" else None,
        gap=gap,
        gap_of=gap_of,
    )


def _who(report: Report, line: Line) -> dict[str, str]:
    return {} if report.public else {"who": started_by(report.at(line.run).folder) or ABSENT}


def _words(line: Line, found: Measures) -> dict[str, str]:
    return {
        "status": STATUSES.get(line.status, line.status),
        "run": line.run,
        "trainer": line.trainer or ABSENT,
        "epsilon": short_number(found.epsilon),
        "AUC": short_number(found.auc),
        "largest gap": short_number(found.gap),
        "of": found.gap_of,
        "when (UTC)": moment(line.created_at),
        "project": line.project,
        "version": ABSENT if line.version is None else str(line.version),
    }
