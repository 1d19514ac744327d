"""A running server under clients that behave badly, and versions that change under its feet."""

import http.client
import json
import math
import shutil
import socket
import threading
from dataclasses import dataclass, field

import pytest

from probity.errors import ConfigError
from probity.platform.serving import Client
from probity.platform.serving.options import Limits, ModelSource, ServerOptions
from probity.platform.serving.server import EmbeddedServer
from probity.platform.serving.status import Code, ServingError
from tests.platform.serving.toy_models import half_plus

LIMITS = Limits(
    max_request_bytes=10_000, max_pending_bytes=15_000, max_connections=8, request_seconds=0.5, idle_seconds=0.5,
    drain_seconds=5.0,
)  # fmt: skip


@dataclass
class Log:
    """Keeps predictions in memory; fails for the tracking id ``fail``."""

    kept: list = field(default_factory=list)
    closed: bool = False

    def record(self, prediction):
        if prediction.tracking_id == "fail":
            raise OSError("no space")
        self.kept.append(prediction)

    def close(self):
        self.closed = True


LOG = Log()


@pytest.fixture(scope="module")
def strict(toy_models):
    """A server with small limits and a prediction log."""
    options = ServerOptions(
        models=(ModelSource(name="m", base_path=toy_models / "half_plus_three"),),
        port=0, rest_api_port=0, require_verified=False, limits=LIMITS, prediction_log=lambda: LOG,
    )  # fmt: skip
    with EmbeddedServer(options) as server:
        yield server
    assert LOG.closed


def raw(server):
    connection = socket.create_connection(("127.0.0.1", server.rest_api_port), timeout=20)
    return connection


def everything(connection):
    received = b""
    while chunk := connection.recv(4096):
        received += chunk
    return received


def head(length, *, extra=""):
    return f"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{extra}\r\n".encode()


def still_answers(server):
    with Client(rest_api_port=server.rest_api_port) as client:
        client.wait_until_available("m")
        return client.predict("m", {"x": [1.0]}).output.tolist() == [3.5]


def test_a_body_beyond_the_limit_is_refused_without_being_read(strict):
    with raw(strict) as connection:
        connection.sendall(head(11_000) + b"x" * 11_000)
        assert everything(connection).startswith(b"HTTP/1.1 413 ")
    assert still_answers(strict)


def test_an_announced_flood_is_refused_at_once(strict):
    with raw(strict) as connection:
        connection.sendall(head(10**12))
        assert everything(connection).startswith(b"HTTP/1.1 429 ")


def test_a_body_that_grows_when_decompressed_is_refused(strict):
    import gzip

    bomb = gzip.compress(b" " * 1_000_000)
    with raw(strict) as connection:
        connection.sendall(head(len(bomb), extra="Content-Encoding: gzip\r\n") + bomb)
        assert everything(connection).startswith(b"HTTP/1.1 413 ")


def test_a_client_that_sends_its_body_too_slowly_is_sent_away(strict):
    with raw(strict) as connection:
        connection.sendall(head(100) + b"{")
        assert everything(connection).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("sent", [b"", b"POST /v1/models/m:pre"], ids=["nothing", "half a line"])
def test_a_client_that_sends_no_request_is_sent_away(strict, sent):
    with raw(strict) as connection:
        connection.sendall(sent)
        assert everything(connection) == b""


def test_too_many_connections_are_turned_away_and_the_others_go_on(strict):
    held = [raw(strict) for _ in range(8)]
    try:
        with raw(strict) as one_more:
            assert everything(one_more).startswith(b"HTTP/1.1 503 ")
    finally:
        for connection in held:
            connection.close()
    assert still_answers(strict)


@pytest.mark.parametrize(
    "sent",
    [b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n"],
    ids=["no HTTP", "another HTTP", "a long address"],
)
def test_what_is_no_http_is_a_bad_request(strict, sent):
    with raw(strict) as connection:
        connection.sendall(sent)
        assert everything(connection).startswith(b"HTTP/1.1 400 ") or everything(connection) == b""
    assert still_answers(strict)


def test_a_busy_port_is_an_error_of_the_arguments(strict, toy_models):
    options = ServerOptions(
        models=(), host="127.0.0.1", port=None, rest_api_port=strict.rest_api_port, require_verified=False
    )
    with pytest.raises(ConfigError, match="--rest-api-port"), EmbeddedServer(options):
        pass


def test_the_prediction_log_hears_of_every_answer(strict):
    LOG.kept.clear()
    with Client(rest_api_port=strict.rest_api_port) as rest, Client(port=strict.port) as grpc:
        assert rest.predict("m", {"x": [1.0, 2.0]}, tracking_id="a").tracking_id == "a"
        assert grpc.predict("m", {"x": [1.0]}, tracking_id="b").tracking_id == "b"
        invented = rest.predict("m", {"x": [4.0]}).tracking_id
        with pytest.raises(ServingError):
            rest.predict("m", {"z": [4.0]}, tracking_id="c")
    assert [(entry.tracking_id, entry.version) for entry in LOG.kept] == [("a", 123), ("b", 123), (invented, 123)]
    assert LOG.kept[0].inputs["x"].tolist() == [1.0, 2.0]
    assert LOG.kept[0].outputs["y"].tolist() == [3.5, 4.0]
    assert len(invented) == 32


def test_a_log_that_fails_fails_no_request_and_is_counted(strict):
    with Client(rest_api_port=strict.rest_api_port) as client:
        assert client.predict("m", {"x": [1.0]}, tracking_id="fail").output.tolist() == [3.5]
    connection = http.client.HTTPConnection("127.0.0.1", strict.rest_api_port)
    connection.request("GET", "/monitoring/prometheus/metrics")
    assert b"probity_prediction_log_failures_total 1.0" in connection.getresponse().read()
    connection.close()


def test_no_request_fails_while_versions_come_and_go(toy_models, tmp_path):
    base = tmp_path / "m"
    shutil.copytree(toy_models / "half_plus" / "1", base / "1")
    options = ServerOptions(
        models=(ModelSource(name="m", base_path=base),), port=0, rest_api_port=0, require_verified=False,
        poll_seconds=60.0,
    )  # fmt: skip
    answers, failures, stop = {"rest": set(), "grpc": set()}, [], threading.Event()

    def ask(wire, **where):
        with Client(**where) as client:
            while not stop.is_set():
                try:
                    answers[wire].update(client.predict("m", {"x": [0.0]}).output.tolist())
                except ServingError as error:
                    failures.append(error)

    with EmbeddedServer(options) as server:
        askers = [
            threading.Thread(target=ask, args=("rest",), kwargs={"rest_api_port": server.rest_api_port}),
            threading.Thread(target=ask, args=("grpc",), kwargs={"port": server.port}),
        ]
        for asker in askers:
            asker.start()
        for number in range(2, 5):
            half_plus(tmp_path / "new", plus=float(number))
            (tmp_path / "new").rename(base / str(number))
            server.look()
        shutil.rmtree(base / "4")
        server.look()
        seen_last = Client(rest_api_port=server.rest_api_port).predict("m", {"x": [0.0]}).output.tolist()
        stop.set()
        for asker in askers:
            asker.join()
    assert failures == []
    assert seen_last == [3.0]
    assert answers["rest"] <= {1.0, 2.0, 3.0, 4.0}
    assert len(answers["rest"] | answers["grpc"]) > 1


def test_requests_that_are_there_are_answered_before_the_end(toy_models):
    options = ServerOptions(
        models=(ModelSource(name="m", base_path=toy_models / "half_plus_three"),), port=None, rest_api_port=0,
        require_verified=False,
    )  # fmt: skip
    body = json.dumps({"instances": [1.0]}).encode()
    with EmbeddedServer(options) as server:
        connection = raw(server)
        connection.sendall(head(len(body)) + body[:5])
        assert still_answers(server)  # so the server has seen the first request's beginning as well
        ending = threading.Timer(0.2, connection.sendall, [body[5:]])
        ending.start()
    answer = everything(connection)
    connection.close()
    ending.join()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"Connection: close" in answer
    assert b"3.5" in answer


def test_reload_changes_the_models_of_a_running_server(toy_models):
    options = ServerOptions(
        models=(ModelSource(name="m", base_path=toy_models / "half_plus_three"),), port=0, rest_api_port=None,
        require_verified=False,
    )  # fmt: skip
    with EmbeddedServer(options) as server, Client(port=server.port) as client:
        client.reload([ModelSource(name="n", base_path=toy_models / "half_plus", labels={"stable": 2})])
        assert client.predict("n", {"x": [0.0]}, label="stable").output.tolist() == [2.0]
        with pytest.raises(ServingError) as caught:
            client.predict("m", {"x": [0.0]})
        assert caught.value.code is Code.NOT_FOUND
        with pytest.raises(ServingError) as caught:
            client.reload([])
        assert caught.value.code is Code.INVALID_ARGUMENT


def test_not_a_number_is_a_number_like_any_other(strict):
    with Client(rest_api_port=strict.rest_api_port) as client:
        assert math.isnan(client.predict("m", {"x": [math.nan]}).output[0])
