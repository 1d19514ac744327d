"""``probity serve``: options to what a server is told, and which server is started."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from probity.errors import ConfigError
from probity.platform.cli import app
from probity.platform.monitoring.prediction_log import ParquetLog
from probity.platform.serving import launcher, real_server
from probity.platform.serving.options import Batching, Limits, ServerOptions

MODEL = ["--model-name", "m", "--model-base-path", "serving/m"]


@pytest.fixture
def started(tmp_path, monkeypatch):
    """What was started, as pairs of engine and options; no real server is installed."""
    calls: list[tuple[str, ServerOptions]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(real_server, "find_binary", lambda: None)

    def serve(options, *, ready):
        calls.append(("embedded", options))
        ready(options)

    monkeypatch.setattr(launcher, "serve", serve)
    monkeypatch.setattr(launcher, "serve_real", lambda options, *, binary: calls.append((binary, options)) or 7)
    return calls


def call(*arguments):
    return CliRunner().invoke(app, ["serve", *arguments])


def test_without_options_it_listens_where_tensorflow_serving_does_and_loads_only_what_verifies(started, tmp_path):
    answer = call(*MODEL)
    assert answer.exit_code == 0, answer.exception
    ((engine, options),) = started
    assert engine == "embedded"
    assert (options.host, options.port, options.rest_api_port, options.processes) == ("127.0.0.1", 8500, 8501, 1)
    assert (options.require_verified, options.trusted_keys) == (True, (Path("keys"),))
    assert (options.batching, options.tls, options.prediction_log) == (Batching(), None, None)
    ((model,),) = (options.models,)
    assert (model.name, model.base_path) == ("m", tmp_path / "serving/m")
    assert "REST on 127.0.0.1:8501, gRPC on 127.0.0.1:8500" in answer.stdout


def test_options_reach_the_server(started, tmp_path):
    (tmp_path / "batching").write_text("max_batch_size { value: 32 }\nbatch_timeout_micros { value: 5000 }\n")
    (tmp_path / "monitoring").write_text('prometheus_config { enable: true path: "/metrics" }\n')
    (tmp_path / "agreed").write_text("p1\n")
    answer = call(
        *MODEL, "--port", "1", "--rest-api-port", "2", "--processes", "3", "--key", "a.pub", "--key", "b",
        "--file-system-poll-wait-seconds", "0.5", "--batching-parameters-file", "batching",
        "--monitoring-config-file", "monitoring", "--prediction-log", "log", "--log-inputs", "consented",
        "--consented", "agreed", "--no-require-verified", "--max-request-bytes", "5000", "--host", "::1",
    )  # fmt: skip
    assert answer.exit_code == 0, answer.exception
    ((_, options),) = started
    assert (options.host, options.port, options.rest_api_port, options.processes) == ("::1", 1, 2, 3)
    assert (options.require_verified, options.trusted_keys) == (False, (Path("a.pub"), Path("b")))
    assert options.limits == Limits(max_request_bytes=5000)
    assert (options.poll_seconds, options.monitoring_path) == (0.5, "/metrics")
    assert (options.batching.max_batch_size, options.batching.batch_timeout_micros) == (32, 5000)
    log = options.prediction_log()
    assert isinstance(log, ParquetLog)
    log.close()


def test_batching_can_be_switched_off(started):
    assert call(*MODEL, "--no-enable-batching").exit_code == 0
    assert started[0][1].batching is None


def test_several_models_come_from_tensorflow_servings_file(started, tmp_path):
    (tmp_path / "models").write_text(
        'model_config_list { config { name: "a" base_path: "/x/a" } config { name: "b" base_path: "/x/b"\n'
        '  model_version_policy { specific { versions: 3 } } version_labels { key: "stable" value: 3 } } }\n'
    )
    assert call("--model-config-file", "models").exit_code == 0
    models = started[0][1].models
    assert [(model.name, str(model.base_path)) for model in models] == [("a", "/x/a"), ("b", "/x/b")]
    assert (models[1].policy.versions, models[1].labels) == ((3,), {"stable": 3})


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--model-name", "m"],
        [*MODEL, "--model-config-file", "models"],
        [*MODEL, "--prediction-log", "log", "--log-inputs", "some"],
        [*MODEL, "--prediction-log", "log", "--log-inputs", "consented"],
        [*MODEL, "--prediction-log", "log", "--log-inputs", "all", "--consented", "agreed"],
        [*MODEL, "--ssl-config-file", "absent"],
        [*MODEL, "--batching-parameters-file", "absent"],
        [*MODEL, "--engine", "real"],
    ],
    ids=lambda arguments: " ".join(arguments[-2:]),
)
def test_what_cannot_be_meant_is_refused_before_anything_starts(started, arguments):
    assert isinstance(call(*arguments).exception, ConfigError)
    assert started == []


def test_the_real_server_is_preferred_where_there_is_one_and_its_exit_code_is_ours(started, monkeypatch):
    monkeypatch.setattr(real_server, "find_binary", lambda: "/usr/bin/tensorflow_model_server")
    answer = call(*MODEL)
    assert answer.exit_code == 7
    assert started[0][0] == "/usr/bin/tensorflow_model_server"
    assert "all interfaces" in answer.stderr
    assert call(*MODEL, "--engine", "embedded").exit_code == 0
    assert started[1][0] == "embedded"


def test_docker_is_a_command_that_mounts_the_model_and_starts_nothing(started, tmp_path):
    answer = call(*MODEL, "--engine", "docker")
    assert answer.exit_code == 0
    words = shlex.split(answer.stdout)
    assert words[:2] == ["docker", "run"]
    assert any(str(tmp_path / "serving/m") in word for word in words)
    assert "probity verify" in answer.stderr
    assert started == []


def test_docker_is_for_one_model(started, tmp_path):
    listed = [f'config {{ name: "{name}" base_path: "/x/{name}" }}' for name in "ab"]
    (tmp_path / "models").write_text(f"model_config_list {{ {' '.join(listed)} }}\n")
    answer = call("--model-config-file", "models", "--engine", "docker")
    assert isinstance(answer.exception, ConfigError)
    assert "2 models" in str(answer.exception)


def test_the_description_of_the_api_is_printed():
    answer = CliRunner().invoke(app, ["schema", "serving"])
    assert "/v1/models/{model}:predict" in json.loads(answer.stdout)["paths"]


def test_the_binary_is_found_by_its_variable_first(monkeypatch, tmp_path):
    binary = tmp_path / "server"
    binary.write_text("")
    binary.chmod(0o755)
    monkeypatch.setenv("TENSORFLOW_MODEL_SERVER", str(binary))
    assert os.fspath(real_server.find_binary()) == str(binary)
