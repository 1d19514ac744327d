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


@pytest.fixture
def installed(started, monkeypatch):
    """As ``started``, with a real server."""
    monkeypatch.setattr(real_server, "find_binary", lambda: BINARY)
    return started


BINARY = "/usr/bin/tensorflow_model_server"
NOT_BY_BINARY = [
    ["--prediction-log", "log"], ["--processes", "2"], ["--max-request-bytes", "5000"], ["--host", "127.0.0.1"],
    ["--port", "0"], ["--rest-api-port", "0"],
]  # fmt: skip


@pytest.mark.parametrize("arguments", NOT_BY_BINARY, ids=" ".join)
def test_what_the_real_server_cannot_do_is_done_by_the_embedded_one_and_said(installed, arguments):
    answer = call(*MODEL, *arguments)
    assert answer.exit_code == 0, answer.exception
    assert [engine for engine, _ in installed] == ["embedded"]
    assert f"the embedded server answers: {BINARY} has nothing for {arguments[0]}" in answer.stderr


@pytest.mark.parametrize("arguments", NOT_BY_BINARY, ids=" ".join)
def test_the_real_server_by_name_is_refused_what_it_cannot_do(installed, arguments):
    answer = call(*MODEL, *arguments, "--engine", "real")
    assert isinstance(answer.exception, ConfigError)
    assert arguments[0] in answer.exception.seen
    assert installed == []


@pytest.mark.parametrize(
    "arguments",
    [["--host", "0.0.0.0"], ["--intra-op-threads", "2"], ["--no-enable-batching"]],  # noqa: S104
    ids=" ".join,
)
def test_what_the_real_server_can_do_is_left_to_it(installed, arguments):
    assert call(*MODEL, *arguments).exit_code == 7
    assert [engine for engine, _ in installed] == [BINARY]


def test_the_real_server_has_tls_for_grpc_only(installed, tmp_path):
    (tmp_path / "ssl").write_text('server_key: "k" server_cert: "c"\n')
    assert "nothing for --ssl-config-file for REST" in call(*MODEL, "--ssl-config-file", "ssl").stderr
    assert "REST without TLS" in call(*MODEL, "--ssl-config-file", "ssl", "--engine", "real").stderr
    assert [engine for engine, _ in installed] == ["embedded", BINARY]


@pytest.mark.parametrize("names", [["--intra-op-threads", "--inter-op-threads"], ["--tensorflow-intra-op-parallelism",
    "--tensorflow-inter-op-parallelism"]])  # fmt: skip
def test_the_threads_of_a_session_have_tensorflow_servings_names_as_well(started, tmp_path, names):
    assert call(*MODEL, names[0], "3", names[1], "4").exit_code == 0
    ((_, options),) = started
    assert (options.intra_op_threads, options.inter_op_threads) == (3, 4)
    words = real_server.command(options, binary="server", folder=tmp_path)
    assert {"--tensorflow_intra_op_parallelism=3", "--tensorflow_inter_op_parallelism=4"} < set(words)
    assert set(real_server.docker_command(options)[-2:]) < set(words)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--prediction-log", "log"], ["--processes", "2"], ["--max-request-bytes", "5000"],
        ["--batching-parameters-file", "batching"], ["--ssl-config-file", "ssl"],
        ["--monitoring-config-file", "monitoring"],
    ],
    ids=lambda arguments: arguments[0],
)  # fmt: skip
def test_a_command_for_docker_leaves_nothing_out(started, tmp_path, arguments):
    (tmp_path / "batching").write_text("max_batch_size { value: 32 }\n")
    (tmp_path / "ssl").write_text('server_key: "k" server_cert: "c"\n')
    (tmp_path / "monitoring").write_text('prometheus_config { enable: true path: "/metrics" }\n')
    answer = call(*MODEL, *arguments, "--engine", "docker")
    assert isinstance(answer.exception, ConfigError)
    assert arguments[0] in answer.exception.seen


def test_docker_is_for_the_newest_version_of_one_model(started, tmp_path):
    listed = [f'config {{ name: "{name}" base_path: "/x/{name}" }}' for name in "ab"]
    labelled = 'config { name: "a" base_path: "/x/a" version_labels { key: "stable" value: 3 } }'
    for entries in (" ".join(listed), labelled):
        (tmp_path / "models").write_text(f"model_config_list {{ {entries} }}\n")
        answer = call("--model-config-file", "models", "--engine", "docker")
        assert isinstance(answer.exception, ConfigError)
        assert "--model-config-file" in answer.exception.seen


def test_the_description_of_the_api_is_printed():
    answer = CliRunner().invoke(app, ["schema", "serving"])
    assert "/v1/models/{model}:predict" in json.loads(answer.stdout)["paths"]


def test_the_binary_is_found_by_its_variable_first(monkeypatch, tmp_path):
    binary = tmp_path / "server"
    binary.write_text("")
    binary.chmod(0o755)
    monkeypatch.setenv("TENSORFLOW_MODEL_SERVER", str(binary))
    assert os.fspath(real_server.find_binary()) == str(binary)
