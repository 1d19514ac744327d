"""Run: how data became this model, stage by stage, with digests, times, settings, anomalies and statistics."""

from __future__ import annotations

from probity.dashboards.catalogue import started_by
from probity.dashboards.drawing import Point, bars, flow
from probity.dashboards.exhibit import exhibit, facts, heading, not_assessed, notes, table
from probity.dashboards.lineage import boxes, on_the_same_data, things
from probity.dashboards.numbers_shown import number_rows
from probity.dashboards.report import Report
from probity.dashboards.statistics_rows import feature_rows, group_rows
from probity.dashboards.words import STATUSES, moment, plain, seconds_text
from probity.model_cards.wording import ABSENT

__all__ = ["render"]


def render(report: Report) -> None:
    """Shows the run's flow, stages, settings and data."""
    _state(report)
    _flow(report)
    _stages(report)
    _training(report)
    _data(report)
    _settings(report)


def _state(report: Report) -> None:
    import streamlit as st

    line, error = report.line, report.error()
    if error is not None:
        st.error(f"It ended in stage {plain(error.stage or '?')}: {plain(error.message)}")
    if line is not None:
        pairs = [
            ("run", line.run),
            ("status", STATUSES.get(line.status, line.status)),
            ("created (UTC)", moment(line.created_at)),
            ("trainer", line.trainer or ABSENT),
            ("verdict of the gate", line.verdict or "none yet"),
            ("started by", started_by(report.folder) or "not recorded"),
        ]
        facts(pairs, name="run")


def _flow(report: Report) -> None:
    import streamlit as st

    found = things(report)
    if not found:
        st.info("The run did not come as far as reading its data.")
        return
    same = on_the_same_data(report)
    exhibit(
        report,
        lambda dark: flow(boxes(found), title="Each arrow is a digest that the later record holds", dark=dark),
        [
            {
                "artifact": thing.name,
                "digest": thing.digest or ABSENT,
                "made from": ", ".join(thing.made_from) or ABSENT,
            }
            for thing in found
        ],
        title="From data to release",
        name="lineage",
        about="Read backwards it says where a number comes from; forwards, what came of the data.",
    )
    table(
        [{"run": run} for run in same],
        name="same_data",
        title="What else was made from these rows",
        empty="no other run read rows with this digest",
    )


def _stages(report: Report) -> None:
    receipts = report.receipts()
    rows = [
        {
            "stage": receipt.stage,
            "took": seconds_text(receipt.seconds),
            "taken over from": receipt.reused_from or ABSENT,
            "ended (UTC)": moment(receipt.finished_at),
            "files": str(len(receipt.outputs)),
            "key": receipt.key,
        }
        for receipt in receipts
    ]
    if not rows:
        return
    exhibit(
        report,
        lambda dark: bars(
            [(receipt.stage, Point(x=0, y=receipt.seconds)) for receipt in receipts],
            title="Seconds per stage",
            x="seconds; nothing for what was taken over",
            dark=dark,
        ),
        rows,
        title="Stages",
        name="stages",
    )


_SPECIAL = {
    "federation": "Training on many clients",
    "encryption": "Training on secret shares",
    "serving": "What the server answered before the release",
    "edge_cases": "Edge cases that were chosen by hand",
}
"""Reports that only some runs have, and what they are about."""


def _training(report: Report) -> None:
    """Shows the reports that only some kinds of training or release leave."""
    for audit in report.audits():
        found = report.audited(audit)
        if audit in _SPECIAL and found.status != "not_applicable":
            heading(_SPECIAL[audit])
            if not not_assessed(found):
                table(number_rows(found.numbers), name=audit)
                notes(found)


def _data(report: Report) -> None:
    anomalies = report.anomalies()
    table(
        [
            {"split": entry.split, "column": entry.feature, "how bad": entry.severity, "what": entry.description}
            for entry in (anomalies.anomalies if anomalies else ())
        ],
        name="anomalies",
        title="Departures from the schema",
        empty="none were found" if anomalies else "not assessed: the run did not come as far as validating its data",
    )
    statistics = report.statistics()
    if statistics is None:
        table([], name="statistics", title="Statistics", empty="exact statistics are shown to internal readers only")
        return
    table(group_rows(statistics), name="groups", title="Rows per group and split", about="Exact; they stay in here.")
    _features(report)


def _features(report: Report) -> None:
    import streamlit as st

    statistics = report.statistics()
    if statistics is None:
        return
    files = {**statistics.splits, **{f"train, {name}": file for name, file in statistics.groups.items()}}
    part = st.selectbox("Statistics of", list(files), key="statistics of")
    if part is not None:
        rows = feature_rows(report.folder, files[part])
        table(rows, name="features", title=f"Columns in {part}", empty="the statistics cannot be read")


def _settings(report: Report) -> None:
    import streamlit as st
    import yaml

    config = report.config()
    if config is None:
        st.info("The run's config cannot be read.")
        return
    table(
        [{"what": name, "version or digest": found} for name, found in report.environment().items()],
        name="environment",
        title="Environment",
    )
    st.subheader("Config, with every default filled in")
    text = yaml.safe_dump(config.to_json(), sort_keys=False, allow_unicode=True)
    with st.expander("Config", expanded=report.printing):
        st.code(text, language="yaml")
    st.download_button("Download config", text, file_name="config.yaml", mime="application/yaml", on_click="ignore")
