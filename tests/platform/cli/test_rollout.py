"""``probity rollout``: options to a plan, the state to words, the end to an exit code."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
import yaml
from typer.testing import CliRunner

from probity.errors import ConfigError
from probity.platform.cli import app
from probity.platform.rollout import preparation, routing
from probity.platform.rollout.stages import ended, started
from probity.platform.serving.options import Tls
from probity.platform.serving.tls import ClientTls
from probity.rollout import RolloutPlan
from probity.storage import write_record
from tests.platform.certificates import Authority

PLAN = RolloutPlan(model_name="m", incumbent=1, candidate=2, stages=(50, 100))
STATE = started(PLAN, now=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A config, and what would have been asked of the rollout."""
    (tmp_path / "a.yaml").write_text(
        "name: a\ndata: {source: a.csv, label: {column: y}}\nmodel: {kind: logistic}\n"
        "serving: {model_name: m, base_path: serving}\n"
    )
    (tmp_path / "groups.csv").write_text("tracking_id,sex\np1,Female\np2,Male\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def asked(place, monkeypatch):
    told = []

    def prepare(project, *, candidate, incumbent, settings):
        told.append((candidate, incumbent, settings))
        return PLAN

    monkeypatch.setattr(preparation, "prepare", prepare)
    monkeypatch.setattr("probity.platform.rollout.telling.telling", lambda project, *, workspace: lambda *_: None)
    return told


def call(*arguments):
    return CliRunner().invoke(app, ["rollout", "m", "--config", "a.yaml", *arguments])


def routes_to(monkeypatch, end):
    monkeypatch.setattr(routing, "route", lambda router, rollout, **_: rollout.close() or end)


@pytest.mark.parametrize(("status", "code"), [("completed", 0), ("running", 0), ("rolled_back", 3), ("stopped", 3)])
def test_the_exit_code_says_whether_the_candidate_arrived(asked, monkeypatch, status, code):
    end = STATE if status == "running" else ended(STATE, status, reason="so", now=datetime(2026, 1, 2, tzinfo=UTC))
    routes_to(monkeypatch, end)
    answer = call("--to", "2", "--json")
    assert answer.exit_code == code
    assert json.loads(answer.stdout)["status"] == status


def test_options_become_the_plan(asked, monkeypatch):
    routes_to(monkeypatch, STATE)
    options = ["--stages", "50,100", "--groups", "groups.csv", "--selection-drop", "0.03", "--latency-limit", "20"]
    assert call("--to", "2", "--from", "1", *options).exit_code == 0
    ((candidate, incumbent, settings),) = asked
    assert (candidate, incumbent, settings["stages"]) == (2, 1, (50, 100))
    assert settings["groups"] == ("sex=Female", "sex=Male")
    assert settings["tolerance"] == {"error_rise": 0.01, "slow_rise": 0.05, "selection_drop": 0.03}
    assert settings["latency_limit_milliseconds"] == 20.0


@pytest.mark.parametrize(("options", "expected"), [([], None), (["--grpc-port", "0", "--grpc-server", "h:1"], 0)])
def test_grpc_is_routed_where_it_has_a_port(asked, monkeypatch, options, expected):
    told = []

    def route(router, rollout, *, grpc, **_):
        rollout.close()
        told.append(None if grpc is None else (grpc[0]._division is router.division, grpc[0]._servers, grpc[1]))
        return STATE

    monkeypatch.setattr(routing, "route", route)
    assert call("--to", "2", *options).exit_code == 0
    assert told == [None if expected is None else (True, dict.fromkeys((True, False), ("h:1", None)), expected)]


@pytest.fixture
def pem(place):
    """The files of an authority and of a pair, and TensorFlow Serving's file of the same pair."""
    authority = Authority("ours")
    key, cert = authority.issue("router")
    texts = {"ca": authority.cert, "key": key, "cert": cert}
    for name, text in texts.items():
        (place / f"{name}.pem").write_text(text)
    lines = {"server_key": key, "server_cert": cert}
    (place / "ssl.config").write_text("".join(f"{name}: {json.dumps(text)}\n" for name, text in lines.items()))
    return texts


TO_SERVER = ["--server-ca", "ca.pem", "--server-cert", "cert.pem", "--server-key", "key.pem"]


def test_keys_and_certificates_reach_both_sides_of_the_router(asked, pem, monkeypatch):
    told = []

    def route(router, rollout, *, grpc, tls, **_):
        rollout.close()
        told.append((router._tls, grpc[0]._servers[False][0], tls))
        return STATE

    monkeypatch.setattr(routing, "route", route)
    addresses = ["--server", "https://h:1", "--grpc-port", "0", "--grpc-server", "https://h:2"]
    assert call("--to", "2", "--ssl-config-file", "ssl.config", *addresses, *TO_SERVER).exit_code == 0
    listening = Tls(server_key=pem["key"], server_cert=pem["cert"])
    assert told == [(ClientTls(ca=pem["ca"], key=pem["key"], cert=pem["cert"]), "h:2", listening)]


@pytest.mark.parametrize(
    "options",
    [
        ["--server", "http://h:1", *TO_SERVER],
        ["--server", "https://h:1", "--candidate-server", "http://h:1", *TO_SERVER],
        ["--server", "https://h:1", "--grpc-port", "0", "--grpc-server", "h:2", *TO_SERVER],
        ["--server", "https://h:1", *TO_SERVER[:4]],
        ["--ssl-config-file", "ca.pem"],
    ],
)
def test_tls_that_cannot_be_meant_is_refused_before_anything_is_written(asked, pem, place, options):
    assert isinstance(call("--to", "2", *options).exception, ConfigError)
    assert not (place / "serving").exists()


@pytest.mark.parametrize("options", [[], ["--to", "2", "--stages", "half"], ["--to", "2", "--manifests", "nomad"]])
def test_what_cannot_be_meant_is_refused(asked, options):
    assert isinstance(call(*options).exception, ConfigError)


def test_the_state_in_words_and_as_json(place):
    write_record(place / "serving" / "m.rollout.json", STATE)
    words = call("--show").stdout
    assert "m: version 1 to 2, running, stage shadow, 0% of the requests answered by version 2" in words
    assert "waits for: " in words
    assert "error_rate" in words
    assert json.loads(call("--show", "--json").stdout) == STATE.to_json()


def test_word_is_left_for_the_router_that_runs(place):
    (place / "serving").mkdir()
    assert call("--stop", "complaints").exit_code == 0
    assert (place / "serving" / "m.rollout.stop").read_text() == "complaints"


@pytest.mark.parametrize("kind", ["kserve", "istio"])
def test_manifests_are_printed_stage_by_stage_and_nothing_is_routed(asked, place, kind):
    text = call("--to", "2", "--manifests", kind).stdout
    assert [line for line in text.splitlines() if line.startswith("# stage")] == [
        "# stage shadow", "# stage 50%", "# stage 100%",
    ]  # fmt: skip
    assert all(entry is None or "apiVersion" in entry for entry in yaml.safe_load_all(text))
    assert not (place / "serving").exists()
