"""Errors and latency from a server's page for Prometheus, judged by limits."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from probity.errors import ConfigError
from probity.monitoring import MonitoringConfig
from probity.platform.monitoring.server_metrics import ServerCounts, parse_page, read_page, server_measures
from probity.platform.serving.metrics import Metrics

CONFIG = MonitoringConfig(min_rows=100, error_rate=0.05, latency_p95_ms=20.0)

# As tensorflow_model_server writes it: counters without _total, empty braces, another model's series.
TENSORFLOW_SERVING = """# TYPE :tensorflow:core:graph_runs counter
:tensorflow:core:graph_runs{} 26
# TYPE :tensorflow:serving:request_count counter
:tensorflow:serving:request_count{model_name="m",status="OK"} 190
:tensorflow:serving:request_count{model_name="m",status="INVALID_ARGUMENT"} 10
:tensorflow:serving:request_count{model_name="other",status="INTERNAL"} 900
# TYPE :tensorflow:serving:request_latency histogram
:tensorflow:serving:request_latency_bucket{model_name="m",API="predict",entrypoint="GRPC",le="10000"} 100
:tensorflow:serving:request_latency_bucket{model_name="m",API="predict",entrypoint="GRPC",le="18000"} 190
:tensorflow:serving:request_latency_bucket{model_name="m",API="predict",entrypoint="GRPC",le="+Inf"} 200
:tensorflow:serving:request_latency_sum{model_name="m",API="predict",entrypoint="GRPC"} 4
:tensorflow:serving:request_latency_count{model_name="m",API="predict",entrypoint="GRPC"} 200
:tensorflow:serving:request_latency_bucket{model_name="m",API="GetModelStatus",entrypoint="REST",le="10000"} 50
:tensorflow:serving:request_latency_bucket{model_name="m",API="GetModelStatus",entrypoint="REST",le="+Inf"} 50
"""


def counts(*, answered=1000, failed=0, latency=((10.0, 900.0), (18.0, 1000.0), (float("inf"), 1000.0))) -> ServerCounts:
    return ServerCounts(answered=answered, failed=failed, latency=latency)


def test_the_page_of_tensorflow_serving_is_read():
    assert parse_page(TENSORFLOW_SERVING, model_name="m") == ServerCounts(
        answered=190, failed=10, latency=((10.0, 100.0), (18.0, 190.0), (float("inf"), 200.0))
    )


def test_the_page_of_the_embedded_server_is_read(monkeypatch):
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    metrics = Metrics()
    for status, seconds in (("OK", 0.004), ("OK", 0.004), ("INTERNAL", 5.0)):
        metrics.answered("m", status=status, api="Predict", entrypoint="REST", seconds=seconds)
    metrics.answered("m", status="OK", api="GetModelStatus", entrypoint="REST", seconds=9.0)
    found = parse_page(metrics.page().decode(), model_name="m")
    assert (found.answered, found.failed) == (3, 1)
    assert found.latency[-1] == (float("inf"), 3.0)
    assert dict(found.latency)[min(edge for edge, upto in found.latency if upto >= 2)] == 2.0


def test_a_model_that_nobody_asked_has_too_few_requests_for_a_verdict():
    errors, latency = server_measures(parse_page(TENSORFLOW_SERVING, model_name="absent"), CONFIG)
    assert (errors.status, latency.status) == ("insufficient", "insufficient")
    assert (errors.n, latency.n) == (0, 0)


@pytest.mark.parametrize(
    ("failed", "status"), [(0, "within"), (50, "within"), (60, "within"), (90, "beyond")]
)  # 6 % of 1,060 may be 5 % and bad luck
def test_errors_are_beyond_only_with_their_whole_interval(failed, status):
    errors, _ = server_measures(counts(failed=failed), CONFIG)
    assert (errors.status, errors.n, errors.observed) == (status, 1000 + failed, failed / (1000 + failed))
    assert errors.lower <= errors.observed <= errors.upper


@pytest.mark.parametrize(
    ("latency", "status", "interval"),
    [
        (((10.0, 900.0), (18.0, 1000.0), (float("inf"), 1000.0)), "within", (10.0, 18.0)),
        (((15.0, 900.0), (27.0, 1000.0), (float("inf"), 1000.0)), "within", (15.0, 27.0)),  # 20 lies in its bucket
        (((20.0, 900.0), (36.0, 1000.0), (float("inf"), 1000.0)), "beyond", (20.0, 36.0)),
        (((20.0, 900.0), (36.0, 900.0), (float("inf"), 1000.0)), "beyond", (36.0, None)),
        (((10.0, 1000.0), (float("inf"), 1000.0)), "within", (0.0, 10.0)),
    ],
)
def test_the_percentile_is_known_up_to_its_bucket(latency, status, interval):
    _, found = server_measures(counts(latency=latency), CONFIG)
    assert (found.status, (found.lower, found.upper)) == (status, interval)


def test_inside_a_bucket_it_is_interpolated_as_prometheus_does_it():
    _, found = server_measures(counts(), CONFIG)
    assert found.observed == pytest.approx(10.0 + (18.0 - 10.0) * (950 - 900) / (1000 - 900))


def test_without_a_limit_latency_is_not_judged():
    (errors,) = server_measures(counts(), MonitoringConfig())
    assert errors.kind == "error_rate"


@pytest.fixture
def page():
    """Address of a server with one page, and what the page says."""
    said = [TENSORFLOW_SERVING]

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(said[0].encode())

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Answering)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/metrics", said
    server.shutdown()
    server.server_close()


def test_a_page_is_asked_for_over_http(page):
    assert read_page(page[0], model_name="m").failed == 10


@pytest.mark.parametrize(
    ("said", "seen"), [("<html>", "could not read"), ("# TYPE up gauge\nup 1\n", "without :tensorflow:serving")]
)
def test_another_page_is_no_answer(page, said, seen):
    page[1][0] = said
    with pytest.raises(ConfigError, match=seen):
        read_page(page[0], model_name="m")


@pytest.mark.parametrize(
    ("address", "seen"),
    [
        ("file:///etc/hostname", "no web address"),
        ("127.0.0.1:8501", "no web address"),
        ("http://127.0.0.1:1/metrics", "nobody answers"),
    ],
)
def test_an_address_where_nobody_answers_is_refused(address, seen):
    with pytest.raises(ConfigError, match=f"--metrics: {seen}"):
        read_page(address, model_name="m")
