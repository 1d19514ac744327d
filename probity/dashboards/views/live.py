"""Live: what was released when, what serves now, and what is known of it since."""

from __future__ import annotations

from itertools import pairwise

from probity.dashboards.catalogue import Line
from probity.dashboards.drawing import Point, Series, lines
from probity.dashboards.exhibit import exhibit, table
from probity.dashboards.report import Report
from probity.dashboards.signed_history import history_rows, known_history
from probity.dashboards.words import digest_text, moment, plain, short_number
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
    _signed(report, chosen)


def _now(found: list[tuple[Line, Release]]) -> None:
    import streamlit as st

    line, release = found[-1]
    left, middle, right = st.columns(3)
    left.metric("Newest version", str(release.version), border=True)
    middle.metric("Released", release.released_at[:10], border=True)
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
        about="By the releases of this workspace: each version until the next one. The signed history has roll-backs.",
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


def _signed(report: Report, chosen: str) -> None:
    """Shows the signed history, the roll-out and what expired, as far as the history of this model tells."""
    import streamlit as st

    line = next(line for line in reversed(report.lines) if line.model_name == chosen)
    history = known_history(report.at(line.run))
    for problem in history.problems:
        st.error(plain(f"The signed history cannot be followed further: {problem}"))
    table(
        history_rows(history.entries, public=report.public),
        name="signed_history",
        title="Who moved what, and why",
        about="Every line was signed by whoever did it, and was verified with the keys beside the config.",
        empty="not assessed: there is no signed history of this model",
    )
    kinds = {"stage_entered": "Roll-out", "evidence_expired": "Evidence that no longer counts"}
    for kind, title in kinds.items():
        mine = tuple(entry for entry in history.entries if entry.event.kind == kind)
        empty = f"not assessed: the history says nothing about it ({title.lower()})"
        table(history_rows(mine, public=report.public), name=kind, title=title, empty=empty)
