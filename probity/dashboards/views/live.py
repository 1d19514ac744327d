"""Live: what was released when, what serves now, and what is known of it since."""

from __future__ import annotations

from itertools import pairwise

from probity.dashboards.catalogue import Line
from probity.dashboards.drawing import Point, Series, lines
from probity.dashboards.exhibit import exhibit, heading, table
from probity.dashboards.report import Report
from probity.dashboards.words import digest_text, moment, short_number
from probity.decision import Release
from probity.model_cards.wording import ABSENT

__all__ = ["render"]


def render(report: Report) -> None:
    """Shows the releases of one model and its history."""
    import streamlit as st

    models = sorted({line.model_name for line in report.lines if line.model_name})
    if not models:
        st.info("Nothing was released yet: the gate has to say release first, then probity release RUN.")
        return
    own = report.line.model_name if report.line else None
    chosen = st.selectbox("Model", models, index=models.index(own) if own in models else 0, key="live model")
    released = [line for line in report.lines if line.model_name == chosen]
    found = [(line, release) for line in released if (release := report.at(line.run).release()) is not None]
    found.sort(key=lambda pair: pair[1].released_at)
    _now(found)
    _history(report, found)
    _absent(report)


def _now(found: list[tuple[Line, Release]]) -> None:
    import streamlit as st

    line, release = found[-1]
    left, middle, right = st.columns(3)
    left.metric("Newest version", str(release.version), border=True)
    middle.metric("Released (UTC)", moment(release.released_at), border=True)
    right.metric("Releases so far", len(found), border=True)
    table(
        [
            {"what": "run", "is": line.run},
            {"what": "model", "is": release.model},
            {"what": "card", "is": release.card},
            {"what": "decision", "is": release.decision},
            {"what": "data", "is": release.dataset},
            {"what": "folder", "is": release.path},
        ],
        name="newest",
        title="What the newest version is",
    )


def _history(report: Report, found: list[tuple[Line, Release]]) -> None:
    ends = [later.released_at for _, later in (pair[1] for pair in pairwise(found))]
    rows = [
        {
            "version": str(release.version),
            "from (UTC)": moment(release.released_at),
            "until (UTC)": moment(end) if end else "now",
            "run": line.run,
            "trainer": line.trainer or ABSENT,
            "model": digest_text(release.model),
        }
        for (line, release), end in zip(found, [*ends, None], strict=True)
    ]
    table(
        rows,
        name="history",
        title="What was live when",
        about="By the releases of this workspace: each version until the next one. Who is recorded where the workspace "
        "keeps a signed history.",
    )
    _numbers(report, found)


def _numbers(report: Report, found: list[tuple[Line, Release]]) -> None:
    """Draws the audited AUC from version to version."""
    points = []
    for place, (line, _) in enumerate(found):
        number = report.at(line.run).audited("performance").one("auc")
        if number is not None and number.status == "measured":
            points.append(Point(x=float(place), y=number.value, lower=number.lower, upper=number.upper))
    if len(points) < 2:
        return
    names = [(float(place), str(release.version)) for place, (_, release) in enumerate(found)]
    exhibit(
        report,
        lambda dark: lines(
            [Series(label="AUC", points=tuple(points))], title="AUC of every version, as audited before its release",
            x="version", y="AUC", dark=dark, ticks=names,
        ),
        [{"version": names[int(p.x)][1], "AUC": short_number(p.y)} for p in points],
        title="From version to version",
        name="versions",
    )  # fmt: skip


def _absent(report: Report) -> None:
    import streamlit as st

    if report.public:
        return
    heading("Rollout, monitoring, attestations")
    st.info(
        "Not assessed: nothing is recorded in this workspace about a rollout, about monitoring, or about signatures."
    )
