"""Every page by Streamlit's own harness: full, held, failed, early, unreadable, empty and many runs; three roles."""

import os
import re
from functools import partial

import pytest

os.environ.setdefault("STREAMLIT_BROWSER_GATHER_USAGE_STATS", "false")
from streamlit.testing.v1 import AppTest

from probity.access import Role
from probity.dashboards.pages import PAGES
from probity.decision import APPROVAL, Check, GateDecision
from probity.findings import AuditReport
from probity.history import Promoted, RolledBack
from probity.model_cards.dialects import DIALECTS
from probity.model_cards.wording import ABSENT
from probity.monitoring import Measure, MonitoringReport, reports_folder
from probity.platform.release.history import add_event
from probity.platform.release.keys import project_keys
from probity.release_policy import SigningConfig
from probity.rollout import (
    Comparison,
    RolloutPlan,
    RolloutState,
    RunningDifference,
    StageEvidence,
    Transition,
    state_path,
)
from probity.runs import RunFolder
from probity.storage import write_record
from probity.workspace import Workspace

EVERY = tuple(page.name for page in PAGES)
FULL, HELD, FAILED, EARLY, BROKEN = (
    f"20260{month}02T030405Z-adult-income-{month}a2b" for month in (5, 4, 3, 2, 1)
)  # fmt: skip

FAILING = ("performance", "fairness", "privacy", "explanations")


@pytest.fixture(scope="session")
def workspace(tmp_path_factory, write_run, reports):
    place = Workspace(tmp_path_factory.mktemp("workspace"))
    write = partial(write_run, place)
    write(FULL)
    write(HELD, verdict="hold", released=False)
    failed = {
        name: AuditReport(audit=name, status="failed", subject=report.subject, reasons=(f"{name} broke down",))
        for name, report in reports.items()
    }
    write(FAILED, reports=failed, verdict="hold", released=False)
    write(EARLY, until="config")
    broken = write(BROKEN, verdict="hold", released=False)
    for path in broken.path.rglob("*.json"):
        path.write_bytes(path.read_bytes()[:40])
    return place


def screens(names, root, role, run):
    """What Streamlit runs: pages one after the other, as a reader with this role sees them."""
    from pathlib import Path

    from probity.access import Role
    from probity.dashboards.catalogue import catalogue
    from probity.dashboards.pages import PAGES, render_page
    from probity.dashboards.report import Report
    from probity.runs import RunFolder
    from probity.workspace import Workspace

    place = Workspace(Path(root))
    lines = catalogue(place, Role(role))
    folder = RunFolder(place.root / "runs" / run) if run else None
    report = Report(workspace=place, role=Role(role), lines=lines, run=folder)
    for page in PAGES:
        if page.name in names:
            render_page(page, report)


def shown(workspace, run, names=EVERY, role=Role.INTERNAL):
    allowed = tuple(page.name for page in PAGES if page.name in names and role >= page.least)
    app = AppTest.from_function(screens, args=(allowed, str(workspace.root), int(role), run), default_timeout=60)
    app.run()
    assert [error.stack_trace for error in app.exception] == []
    return app


def texts(app):
    """Everything that a page gives to Markdown, and every cell of every table."""
    kinds = ("markdown", "caption", "subheader", "title", "error", "info", "success", "warning")
    found = [element.value for kind in kinds for element in getattr(app, kind)]
    for table in [*app.table, *app.dataframe]:
        found += [str(cell) for row in table.value.to_numpy().tolist() for cell in row]
    return found


@pytest.fixture(scope="session")
def full(workspace):
    return shown(workspace, FULL)


def test_a_full_run_fills_every_page(full):
    assert [title.value for title in full.title] == [page.title for page in PAGES]
    words = "\n".join(texts(full))
    assert not [name for name in FAILING if f"**{name}** - Not assessed" in words]
    for heading in ("From data to release", "Confusion matrix", "Differences between groups", "What may be claimed"):
        assert heading in words
    assert "Release" in full.success[0].value


def test_the_slider_reads_the_counts_at_its_threshold(workspace, rows):
    app = shown(workspace, FULL, names=("performance",))
    app.slider(key="threshold").set_value(0.3).run()
    table = next(entry.value for entry in app.table if "all rows" in list(entry.value.get("group", ())))
    positive = rows.scores > 0.3
    expected = (positive & rows.labels).sum() / rows.labels.sum()
    found = table[table["group"] == "all rows"].iloc[0]["true positive rate"]
    assert float(found.replace("\\", "")) == pytest.approx(expected, abs=5e-4)


def test_a_held_run_says_what_would_have_to_change_and_how_to_decide(workspace):
    app = shown(workspace, HELD, names=("overview", "gate", "live"))
    assert "Hold" in app.error[0].value
    assert any("rise by 0" in text for text in texts(app))
    assert f"probity gate {HELD}" in app.code[0].value
    assert "probity release" not in app.code[0].value


def test_failed_audits_are_errors_with_their_reasons_and_no_numbers(workspace):
    app = shown(workspace, FAILED)
    failures = [error.value for error in app.error]
    named = {name for name in FAILING if any(name in failure for failure in failures)}
    assert named == set(FAILING)
    assert all("broke down" in text for text in failures if "audit failed" in text)


@pytest.mark.parametrize("run", [EARLY, BROKEN])
def test_what_is_absent_or_unreadable_is_said_on_every_page(workspace, run):
    app = shown(workspace, run)
    said = "\n".join(element.value for element in app.info)
    for words in ("Not assessed", "did not decide", "no model card"):
        assert words in said


def test_an_empty_workspace_shows_how_to_start(tmp_path):
    app = shown(Workspace(tmp_path), None)
    assert len(app.title) == len(PAGES)
    assert all("probity" in element.value or "Nothing" in element.value for element in app.info)


def test_the_public_sees_what_the_card_publishes(workspace, rows):
    app = shown(workspace, FULL, role=Role.PUBLIC)
    words = texts(app)
    small = [int(chosen.sum()) for slice_, chosen in rows.slices() if slice_ and chosen.sum() < 100]
    assert small
    assert not {str(size) for size in small} & set(words)
    assert "withheld" in "\n".join(words)
    assert not any("0.618" in text or "0.082" in text for text in words)
    assert not app.slider
    assert HELD not in "\n".join(words)
    assert any("618" in text for text in texts(shown(workspace, FULL, names=("gate",))))


def test_the_card_is_offered_in_every_form_that_fits_with_what_is_missing(full):
    table = next(entry.value for entry in full.table if "does not say" in entry.value)
    states = dict(zip(table["file"].str.replace("\\", ""), table["state"], strict=True))
    assert states.pop("dp_registry.yaml") == ABSENT  # the run is not private
    assert len(states) == len(DIALECTS) - 1
    assert set(states.values()) == {"\N{CHECK MARK} valid"}


def test_no_form_is_given_out_of_a_card_that_nobody_decided_about(tmp_path, write_run):
    place = Workspace(tmp_path / "workspace")
    card = write_run(place, FULL).path / "09_card" / "card.json"
    card.write_text(card.read_text().replace("adult", "adverse"))
    app = shown(place, FULL, names=("card",))
    assert any("No form is given out" in entry.value for entry in app.error)
    assert not [entry for entry in app.table if "does not say" in entry.value]


def test_who_started_a_run_is_told_to_viewers_only(workspace):
    seen = shown(workspace, FULL, names=("overview",)).dataframe[0].value
    assert set(seen["who"]) == {"ines"}
    assert "who" not in shown(workspace, FULL, names=("overview",), role=Role.PUBLIC).dataframe[0].value


def test_a_run_that_lacks_only_approvals_is_listed_with_how_many_were_given(tmp_path, write_run):
    place = Workspace(tmp_path / "workspace")
    folder = write_run(place, HELD, released=False)
    decided = folder.decision()
    asked = Check(rule=APPROVAL, outcome="insufficient_evidence", required="approval by 1 reviewer", reason="None.")
    waiting = GateDecision.from_json(
        decided.to_json() | {"verdict": "hold", "checks": [check.to_json() for check in (*decided.checks, asked)]}
    )
    write_record(folder.path / "10_decision.json", waiting)
    app = shown(place, HELD, names=("overview",))
    words = "\n".join(texts(app)).replace("\\", "")
    assert "approval: 0 of 1 given" in words
    assert f"probity approve {HELD}" in words
    assert {metric.label: metric.value for metric in app.metric}["waiting for approval"] == "1"


HARM = "error_rate rose by 0.4"


@pytest.fixture
def watched(tmp_path, write_run):
    """A released run with a rollout that was rolled back, and a look that found something beyond its limit."""
    place = Workspace(tmp_path / "workspace")
    folder = write_run(place, FULL)
    plan = RolloutPlan(model_name="adult_income", incumbent=1, candidate=2)
    seen = Comparison(metric="error_rate", running=RunningDifference(n=10, total=7.0), lower=0.2, upper=0.6)
    state = RolloutState(
        plan=plan,
        status="rolled_back",
        evidence=(StageEvidence(stage="shadow", entered_at=AT, comparisons=(seen,)),),
        transitions=(Transition(at=AT, to="rolled_back", reason=HARM),),
    )
    write_record(state_path(tmp_path / folder.config().serving.base_path, "adult_income"), state)
    look = MonitoringReport(
        model_name="adult_income", version=1, run=FULL, at=AT, since=AT, rows=900, rows_with_inputs=0,
        rows_with_feedback=0, trigger="drift",
        measures=(Measure(kind="selection", of="sex=Female", status="beyond", observed=0.1234, n=321),),
    )  # fmt: skip
    write_record(reports_folder(place.root, "adult_income") / "20260601T000000Z.json", look)
    return place


AT = "2026-06-01T00:00:00+00:00"


def test_the_rollout_and_the_newest_look_are_shown_and_the_public_sees_the_stage_only(watched):
    words = "\n".join(texts(shown(watched, FULL, names=("live",)))).replace("\\", "")
    for said in ("rolled back", HARM, "+0.4000", "beyond", "0.1234", "drift"):
        assert said in words
    public = "\n".join(texts(shown(watched, FULL, names=("live",), role=Role.PUBLIC))).replace("\\", "")
    assert "rolled back" in public
    assert not any(said in public for said in (HARM, "+0.4000", "0.1234", "321"))


def test_what_is_live_after_a_rollback_is_what_the_signed_history_says(watched, tmp_path):
    keys = project_keys(SigningConfig(), root=tmp_path)
    base = tmp_path / RunFolder(watched.root / "runs" / FULL).config().serving.base_path
    digest = "sha256:" + "1" * 64
    released = Promoted(at=AT, by="sam", run=FULL, version=7, number="1.0.0", claims=digest)
    restored = RolledBack(
        at=AT, by="sam", run=FULL, version=9, restores=7, replaces=8, number="1.0.0", claims=digest, why="complaints"
    )
    for event in (released, restored):
        add_event(base, "adult_income", event, model=digest, keys=keys.trusted, signer=keys.signer)
    app = shown(watched, FULL, names=("live",))
    assert {metric.label: metric.value for metric in app.metric}["Live version"] == "9"
    words = "\n".join(texts(app)).replace("\\", "")
    assert "the bytes of version" in words
    assert "adult_income/9" in words


@pytest.mark.heavy
def test_viewers_see_reports_but_no_curves_and_no_statistics(workspace):
    app = shown(workspace, FULL, role=Role.VIEWER, names=("run", "performance", "explanations"))
    assert not app.slider
    assert any("internal readers only" in text.replace("\\", "") for text in texts(app))


HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "![p](http://127.0.0.1:9/p.png) [a](http://127.0.0.1:9) :red[x] $x^2$",
)


def test_names_from_data_are_never_markup(tmp_path, write_run):
    place = Workspace(tmp_path)
    write_run(place, FULL, called={"Female": HOSTILE[0], "occupation": HOSTILE[1]})
    app = shown(place, FULL)
    named = [text for text in texts(app) if "onerror" in text or "127" in text]
    assert len(named) > 5
    grids = {str(cell) for grid in app.dataframe for row in grid.value.to_numpy().tolist() for cell in row}
    for text in named:
        if text not in grids:  # a grid draws its cells and reads no Markdown
            assert not re.search(r"(?<!\\)[<\[$]|(?<!\\):red|(?<!\\)!\\?\[", text.replace("> ", "", 1)), text
    assert all(element.proto.body.startswith("<style>") for element in app.get("html"))


@pytest.mark.heavy
def test_five_hundred_runs_are_listed_page_by_page(tmp_path, write_run):
    place = Workspace(tmp_path)
    held = write_run(place, "20260101T000000Z-adult-income-0000", verdict="hold", released=False)
    for number in range(1, 500):
        linked = held.path.with_name(f"20260101T{number // 60:02d}{number % 60:02d}00Z-adult-income-{number:04x}")
        linked.symlink_to(held.path, target_is_directory=True)
    app = shown(place, held.id, names=("overview",))
    assert app.metric[0].value == "500"
    assert len(app.dataframe[0].value) == 25
    app.number_input(key="page of runs").set_value(20).run()
    assert list(app.dataframe[0].value["run"])[-1] == held.id
