"""What follows from a look: whoever minds the model is told, and a message that fails stops nothing."""

from __future__ import annotations

import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from probity.monitoring import Measure, MonitoringReport
from probity.platform.monitoring.service import alert

REPORT = MonitoringReport(
    model_name="m",
    version=5,
    run="r1",
    at="2026-01-08T00:00:00+00:00",
    since="2026-01-01T00:00:00+00:00",
    rows=900,
    rows_with_inputs=800,
    rows_with_feedback=0,
    measures=(Measure(kind="skew", of="age", status="beyond", observed=0.3, limit=0.1, n=800),),
    trigger="drift",
)
ASKED = Path("/home/kim/retrain-m-20260108.yaml")


@pytest.fixture
def listener():
    taken = []

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self):
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Taker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/secret", taken
    server.shutdown()
    server.server_close()


def test_the_webhook_is_told_what_moved_and_what_to_do(listener, monkeypatch):
    monkeypatch.setenv("TEST_WEBHOOK", listener[0])
    alert(REPORT, ASKED, variable="TEST_WEBHOOK")
    ((text, blocks),) = [(entry["text"], entry["blocks"]) for entry in listener[1]]
    assert text == (
        "Model m, version 5: another run is asked for (drift). skew of age: 0.3, limit 0.1. "
        "Start it with: probity run retrain-m-20260108.yaml"
    )
    assert blocks[0]["text"]["text"] == text


def test_the_webhook_is_told_of_a_server_that_needs_somebody(listener, monkeypatch):
    monkeypatch.setenv("TEST_WEBHOOK", listener[0])
    slow = Measure(kind="latency", of="95th percentile in ms", status="beyond", observed=31.0, limit=20.0, n=800)
    alert(REPORT.model_copy(update={"measures": (slow,), "trigger": "operation"}), None, variable="TEST_WEBHOOK")
    assert listener[1][0]["text"] == (
        "Model m, version 5: its server is beyond a limit. latency of 95th percentile in ms: 31, limit 20. "
        "Mend or scale it; no other run is asked for"
    )


def test_without_a_variable_nobody_is_told(listener):
    alert(REPORT, ASKED, variable=None)
    assert listener[1] == []


def test_a_message_that_does_not_arrive_is_logged_without_the_address(monkeypatch, caplog):
    monkeypatch.setenv("TEST_WEBHOOK", "http://127.0.0.1:1/secret")
    with caplog.at_level(logging.WARNING):
        alert(REPORT, ASKED, variable="TEST_WEBHOOK")
    assert "TEST_WEBHOOK" in caplog.text
    assert "secret" not in caplog.text
