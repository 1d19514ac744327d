"""``probity monitor`` and ``feedback``: a look in words or JSON, and exit code 3 when it asks for another run."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from probity.errors import DataError
from probity.monitoring import Measure, MonitoringReport
from probity.platform.cli import app, monitor
from probity.platform.monitoring import service
from probity.platform.monitoring.feedback import read_feedback

REPORT = MonitoringReport(
    model_name="m",
    version=5,
    run="r1",
    at="2026-01-08T00:00:00+00:00",
    since="2026-01-01T00:00:00+00:00",
    rows=900,
    rows_with_inputs=800,
    rows_with_feedback=70,
    measures=(
        Measure(kind="skew", of="age", status="within", observed=0.01, limit=0.1, n=800),
        Measure(kind="selection", of="sex=Female", status="beyond", observed=0.2, lower=0.15, upper=0.25, n=300),
    ),
    conclusive=True,
)


@pytest.fixture
def look(monkeypatch, tmp_path):
    """What the look was asked for; what it finds is in ``found``."""
    seen = SimpleNamespace(found=(REPORT, None), asked=[])

    def look_and_act(folder, **options):
        seen.asked.append(options)
        return seen.found

    place = SimpleNamespace(root=tmp_path, find=lambda run: SimpleNamespace(id=run))
    monkeypatch.setattr(monitor, "workspace_at", lambda folder: place)
    monkeypatch.setattr(service, "look_and_act", look_and_act)
    return seen


def call(*arguments):
    return CliRunner().invoke(app, list(arguments))


def test_within_the_limits_it_ends_with_0_and_says_what_it_saw(look, tmp_path):
    answer = call("monitor", "r1", "--predictions", "log", "--days", "2")
    assert answer.exit_code == 0
    assert "m version 5 (run r1): 900 predictions since 2026-01-01T00:00:00, 800 with inputs, 70" in answer.stdout
    assert answer.stdout.index("sex=Female") < answer.stdout.index("age")  # what is beyond its limit comes first
    assert "[0.15, 0.25]" in answer.stdout.replace("0.150", "0.15").replace("0.250", "0.25")
    (asked,) = look.asked
    assert (asked["days"], asked["register"], asked["manual"]) == (2.0, tmp_path / "feedback", None)


def test_a_request_for_another_run_is_exit_code_3_and_no_part_of_the_json(look, tmp_path):
    look.found = (REPORT.model_copy(update={"trigger": "drift"}), tmp_path / "retrain-m.yaml")
    answer = call("monitor", "r1", "--predictions", "log", "--json")
    assert answer.exit_code == 3
    assert json.loads(answer.stdout)["trigger"] == "drift"
    assert f"asked for another run (drift): probity run {tmp_path / 'retrain-m.yaml'}" in answer.stderr


def test_a_server_beyond_a_limit_is_exit_code_3_without_a_request(look):
    look.found = (REPORT.model_copy(update={"trigger": "operation"}), None)
    answer = call("monitor", "r1", "--predictions", "log", "--metrics", "http://h/m")
    assert answer.exit_code == 3
    assert "no other run is asked for" in answer.stdout
    assert look.asked[0]["metrics"] == "http://h/m"


def test_a_look_that_could_compare_nothing_is_no_success(look, tmp_path):
    look.found = (REPORT.model_copy(update={"versions": (5, 7), "rows": 0, "conclusive": False}), None)
    answer = call("monitor", "r1", "--predictions", "log", "--json")
    assert json.loads(answer.stdout)["conclusive"] is False
    assert isinstance(answer.exception, DataError)
    assert answer.exception.exit_code == 2
    assert "no prediction of m version 5, 7 since 2026-01-01T00:00:00" in str(answer.exception)


def test_a_request_of_such_a_look_says_so_as_well(look, tmp_path):
    report = REPORT.model_copy(update={"rows": 3, "conclusive": False, "trigger": "schedule"})
    look.found = (report, tmp_path / "retrain-m.yaml")
    answer = call("monitor", "r1", "--predictions", "log")
    assert answer.exit_code == 3
    assert "warning: " in answer.stderr
    assert "3 predictions of m version 5" in answer.stderr


def test_feedback_goes_into_the_register(tmp_path):
    (tmp_path / "said.csv").write_text("tracking_id,verdict\np1,correct\np2,wrong\n")
    answer = call("feedback", str(tmp_path / "said.csv"), "--feedback", str(tmp_path / "register"))
    assert "added feedback on 2 predictions" in answer.stdout
    assert read_feedback(tmp_path / "register").num_rows == 2


def test_feedback_that_is_none_is_refused(tmp_path):
    (tmp_path / "said.csv").write_text("tracking_id,opinion\np1,good\n")
    answer = call("feedback", str(tmp_path / "said.csv"), "--feedback", str(tmp_path / "register"))
    assert isinstance(answer.exception, DataError)
    assert not (tmp_path / "register").exists()
