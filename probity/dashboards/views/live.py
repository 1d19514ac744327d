"""Live: what was released when, what serves now, and what is known of it since."""

from __future__ import annotations

from itertools import pairwise
from pathlib import PurePosixPath

from probity.dashboards.catalogue import Line, audited_auc
from probity.dashboards.drawing import Point, Series, intervals, lines
from probity.dashboards.exhibit import exhibit, facts, heading, table
from probity.dashboards.report import Report
from probity.dashboards.signed_history import History, history_rows, known_history, live_rows
from probity.dashboards.since_release import comparison_rows, looks_at, measure_rows, rollout_of
from probity.dashboards.words import digest_text, moment, plain, sentence, short_number
from probity.history import Moved, RolledBack, live_at, stage_at
from probity.model_cards.wording import ABSENT
from probity.rollout import RolloutState

__all__ = ["render"]

_DRAWN = 20
"""Versions in the plot: more could not be told apart, and each costs the reading of a report."""


def render(report: Report) -> None:
    """Shows the releases of one model and its history."""
    import streamlit as st

    models = sorted({line.model_name for line in report.lines if line.model_name})
    if not models:
        st.info("Nothing was released yet: the gate has to say release first, then probity release RUN.")
        return
    own = report.line.model_name if report.line else None
    chosen = st.selectbox("Model", models, index=models.index(own) if own in models else 0, key="live model")
    released = sorted(
        (line for line in report.lines if line.model_name == chosen), key=lambda line: line.released_at or ""
    )
    of_model = report.at(released[-1].run)
    history = known_history(of_model)
    _now(report, released, history)
    _history(report, released, history)
    _rollout(of_model, chosen)
    if not report.public:
        _monitoring(of_model, chosen)
    _signed(history, public=report.public)


def _now(report: Report, released: list[Line], history: History) -> None:
    """Shows what is live: by the signed history, which knows of roll-backs, else by the newest release."""
    import streamlit as st

    live = live_at(history.entries)
    moved = live.event if live is not None and isinstance(live.event, Moved) else None
    release = report.at(moved.run if moved else released[-1].run).release()
    if release is None:
        st.error("The record of the release cannot be read.")
        return
    version, since = (moved.version, moved.at) if moved else (release.version, release.released_at)
    left, middle, right = st.columns(3)
    left.metric("Live version" if moved else "Newest version", str(version), border=True)
    middle.metric("Since", since[:10], border=True)
    right.metric("Releases so far", len(released), border=True)
    facts_of_it = {
        "run": release.run,
        **({"release": moved.number} if moved and moved.number else {}),
        **({"the bytes of version": str(moved.restores)} if isinstance(moved, RolledBack) else {}),
        "model": release.model,
        "card": release.card,
        "decision": release.decision,
        "data": release.dataset,
        "folder": (PurePosixPath(release.path).parent / str(version)).as_posix(),
    }
    stage = stage_at(history.entries)
    if stage is not None:
        facts_of_it["rollout"] = f"stage {stage.stage}: {stage.version} takes over from {stage.incumbent}"
    title = "What the live version is" if moved else "What the newest version is"
    table([{"what": what, "is": found} for what, found in facts_of_it.items()], name="newest", title=title)


def _history(report: Report, released: list[Line], history: History) -> None:
    moves = live_rows(history.entries)
    if moves:
        table(
            moves,
            name="history",
            title="What was live when",
            about="By the signed history, roll-backs included: each version until the next move.",
        )
    else:
        _by_releases(released)
    _numbers(report, released[-_DRAWN:])


def _by_releases(released: list[Line]) -> None:
    ends = [later.released_at for _, later in pairwise(released)]
    rows = [
        {
            "version": str(line.version),
            "from (UTC)": moment(line.released_at or ""),
            "until (UTC)": moment(end) if end else "now",
            "run": line.run,
            "trainer": line.trainer or ABSENT,
            "model": digest_text(line.model or ""),
        }
        for line, end in zip(released, [*ends, None], strict=True)
    ]
    table(
        rows,
        name="history",
        title="What was live when",
        about="By the releases of this workspace, each version until the next one: there is no signed history.",
    )


def _numbers(report: Report, released: list[Line]) -> None:
    """Draws the audited AUC from version to version."""
    points = []
    for place, line in enumerate(released):
        found = _auc(report.at(line.run))
        if found is not None:
            points.append(Point(x=float(place), y=found[0], lower=found[1], upper=found[2]))
    if len(points) < 2:
        return
    names = [(float(place), str(line.version)) for place, line in enumerate(released)]
    exhibit(
        report,
        lambda dark: lines(
            [Series(label="AUC", points=tuple(points))], title="AUC of every version, as audited before its release",
            x="version", y="AUC", dark=dark, ticks=names,
        ),
        [{"version": names[int(p.x)][1], "AUC": short_number(p.y)} for p in points],
        title="From version to version",
        name="versions",
        about=f"The newest {_DRAWN} versions at most.",
    )  # fmt: skip


def _auc(report: Report) -> tuple[float, float | None, float | None] | None:
    if not report.public:
        return audited_auc(report.folder)
    number = report.audited("performance").one("auc")
    if number is None or number.status != "measured" or number.value is None:
        return None
    return number.value, number.lower, number.upper


def _rollout(report: Report, model_name: str) -> None:
    """Shows where the rollout stands; its comparisons count groups exactly, so the public sees the stage only."""
    import streamlit as st

    state = rollout_of(report, model_name)
    heading("Rollout", about="As the router left it, beside the released versions.")
    if state is None:
        st.caption("not assessed: no rollout of this model was begun, or its state cannot be read")
        return
    pairs = [
        ("status", state.status.replace("_", " ")),
        ("stage", f"{state.stage}, of {sentence(state.plan.steps)}"),
        ("candidate", str(state.plan.candidate)),
        ("incumbent", str(state.plan.incumbent)),
        ("answered by the candidate", f"{state.candidate_share:.0%} of requests"),
    ]
    facts(pairs, name="rollout")
    if report.public:
        return
    table(
        [{"when (UTC)": moment(step.at), "to": step.to, "why": step.reason} for step in state.transitions],
        name="rollout_steps",
        title="Steps of the rollout",
    )
    _compared(report, state)


def _compared(report: Report, state: RolloutState) -> None:
    if not state.evidence:
        return
    last = state.evidence[-1]
    drawn = [
        (entry.name, Point(x=0, y=entry.running.mean, lower=entry.lower, upper=entry.upper))
        for entry in last.comparisons
    ]
    exhibit(
        report,
        lambda dark: intervals(
            drawn, title=f"candidate minus incumbent, stage {last.stage}; dotted: no difference", x="difference",
            dark=dark, reference=0.0, missing="nothing seen yet",
        ),
        [row for stage in state.evidence for row in comparison_rows(stage.stage, stage.comparisons)],
        title="Candidate against incumbent",
        name="rollout_comparisons",
        about="The bounds hold at every moment, however often they are looked at. The table has every stage.",
    )  # fmt: skip


def _monitoring(report: Report, model_name: str) -> None:
    looks = looks_at(report, model_name)
    table(
        [
            {
                "when (UTC)": moment(look.at),
                "version": str(look.version),
                "rows": f"{look.rows:,}",
                "with feedback": f"{look.rows_with_feedback:,}",
                "beyond a limit": "nothing could be compared" if look.conclusive is False else str(len(look.beyond)),
                "asked for": {None: "nothing", "operation": "a look at the server"}.get(
                    look.trigger, f"another run ({look.trigger})"
                ),
            }
            for look in looks
        ],
        name="looks",
        title="Monitoring",
        about="One line per look at what the version answered, newest first.",
        empty="not assessed: probity monitor has not looked at this model yet",
    )
    if looks:
        table(measure_rows(looks[0]), name="measures", title=f"What the look of {moment(looks[0].at)} measured")


def _signed(history: History, *, public: bool) -> None:
    """Shows the signed history and what expired, as far as the history of this model tells."""
    import streamlit as st

    for problem in history.problems:
        st.error(plain(f"The signed history cannot be followed further: {problem}"))
    table(
        history_rows(history.entries, public=public),
        name="signed_history",
        title="Who moved what, and why",
        about="Every line was signed by whoever did it, and was verified with the keys beside the config.",
        empty="not assessed: there is no signed history of this model",
    )
    kinds = {"stage_entered": "Signed steps of rollouts", "evidence_expired": "Evidence that no longer counts"}
    for kind, title in kinds.items():
        mine = tuple(entry for entry in history.entries if entry.event.kind == kind)
        empty = f"not assessed: the history says nothing about it ({title.lower()})"
        table(history_rows(mine, public=public), name=kind, title=title, empty=empty)
