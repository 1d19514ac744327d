"""A person is told of runs that end badly: by names and counts, once, and whatever the webhook does."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from probity.config import RunConfig
from probity.config_file import load_config
from probity.errors import ConfigError, DataError, DataHeldError, SchemaViolationError
from probity.platform import pipeline
from probity.platform.alerts import alerted
from probity.platform.plan import make_plan
from probity.platform.stages import Stopped
from probity.runs import RunError
from probity.workspace import Workspace
from tests.platform.conftest import make_config
from tests.platform.observers import Quiet

RULES = [{"name": "four fifths", "metric": "selection_rate", "across": "sex", "ratio_at_least": 0.8}]


class Noting(Quiet):
    """Keeps what it is told."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.fixture
def webhook(listener, monkeypatch):
    """What is posted to the address of alerts."""
    address, taken = listener
    monkeypatch.setenv("TEST_ALERTS", f"{address}/services/secret")
    return SimpleNamespace(address=address, texts=lambda: [body["text"] for _, _, body in taken])


def config(**changes) -> RunConfig:
    return make_config(alerts={"webhook_variable": "TEST_ALERTS"}, **changes)


def test_a_held_run_is_told_with_the_names_of_the_rules(make_run, webhook):
    run = make_run(gate={"rules": RULES}).complete(until="gate")
    with alerted(config(), run.folder, Quiet()):
        pass
    assert webhook.texts() == [
        f"Model m: run {run.folder.id} is held by 1 rule(s): four fifths. See: probity gate {run.folder.id}"
    ]


def test_a_run_that_is_released_or_has_no_decision_is_nothing_to_be_told_of(make_run, webhook):
    for run in (make_run().complete(until="gate"), make_run(gate={"rules": RULES}).complete(until="train")):
        with alerted(config(), run.folder, Quiet()):
            pass
    assert webhook.texts() == []


def test_a_failure_is_told_by_stage_and_kind_and_never_by_its_text(make_run, webhook):
    folder = make_run().folder
    folder.write_error(RunError(stage="anomalies", kind="SchemaViolationError", message="secret column"))
    with pytest.raises(SchemaViolationError), alerted(config(), folder, Quiet()):
        raise SchemaViolationError("secret column", seen="secret", allowed="a", remedy="b")
    with pytest.raises(ZeroDivisionError), alerted(config(), make_run().folder, Quiet()):
        raise ZeroDivisionError("secret")
    first, second = webhook.texts()
    assert first.startswith(f"Model m: run {folder.id} failed at anomalies (SchemaViolationError).")
    assert "failed at the beginning (ZeroDivisionError)" in second
    assert "secret" not in first + second


def test_a_run_that_is_held_for_its_data_is_no_failure(make_run, webhook):
    with pytest.raises(DataHeldError), alerted(config(), make_run().folder, Quiet()):
        raise DataHeldError("data", seen="a", allowed="b", remedy="c")
    assert "is held before training" in webhook.texts()[0]


def test_a_run_that_was_stopped_on_purpose_is_nothing_to_be_told_of(make_run, webhook):
    with pytest.raises(Stopped), alerted(config(), make_run().folder, Quiet()):
        raise Stopped
    assert webhook.texts() == []


@pytest.mark.parametrize("address", [None, "no address", "http://127.0.0.1:1/secret", "broken"])
def test_a_webhook_that_does_not_answer_is_noted_and_changes_nothing(make_run, webhook, monkeypatch, address):
    monkeypatch.delenv("TEST_ALERTS")
    if address is not None:
        monkeypatch.setenv("TEST_ALERTS", f"{webhook.address}/broken/secret" if address == "broken" else address)
    observer = Noting()
    with pytest.raises(DataError, match="the cause"), alerted(config(), make_run().folder, observer):
        raise DataError("the cause", seen="a", allowed="b", remedy="c")
    [note] = observer.notes
    assert "nobody was alerted" in note
    assert "secret" not in note


def test_without_a_variable_nobody_is_told(make_run, webhook):
    with pytest.raises(DataError), alerted(make_config(), make_run().folder, Noting()):
        raise DataError("a", seen="a", allowed="b", remedy="c")
    assert webhook.texts() == []
    assert "alerts" not in make_config().to_json()  # configs of earlier runs keep their form and digest


@pytest.mark.parametrize("parent", [None, "run of a comparison"])
def test_the_pipeline_tells_of_a_run_that_fails_unless_it_is_part_of_a_comparison(
    tmp_path, monkeypatch, webhook, parent
):
    monkeypatch.setattr("probity.platform.tracking.track_run", lambda *_, **__: None)
    (tmp_path / "a.csv").write_text("x,sex\n1,F\n2,M\n")
    (tmp_path / "a.yaml").write_text(
        "name: a\ndata: {source: a.csv, label: {column: y, positive: '1'}, sensitive: [sex]}\n"
        "model: {kind: logistic}\nserving: {model_name: m}\nalerts: {webhook_variable: TEST_ALERTS}\n"
    )
    plan = make_plan(load_config(tmp_path / "a.yaml"), root=tmp_path)
    with pytest.raises(ConfigError):
        pipeline.run(plan, workspace=Workspace(tmp_path / ".probity"), observer=Quiet(), parent=parent)
    assert [text.partition(" failed ")[2] for text in webhook.texts()] == (
        []
        if parent
        else [f"at ingest (ConfigError). See: probity show {next((tmp_path / '.probity/runs').iterdir()).name}"]
    )
