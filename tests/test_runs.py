"""The run folder: ids, receipts, reports, and what a run's status is read from."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from probity.digest import digest_bytes, digest_file
from probity.findings import AuditReport, Subject
from probity.runs import AUDITS, DECISION, Receipt, RunError, RunFolder
from probity.storage import write_record
from probity.workspace import Workspace

KEY = digest_bytes(b"key")
MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "workspace")


def receipt_of(run: RunFolder, *names: str, stage: str = "ingest") -> Receipt:
    outputs = {name: digest_file(run.path / name) for name in names}
    return Receipt(stage=stage, key=KEY, outputs=outputs, seconds=1.0, finished_at=MOMENT.isoformat())


def report() -> AuditReport:
    subject = Subject(model=None, examples=digest_bytes(b"rows"))
    return AuditReport(audit="data", status="not_applicable", subject=subject, reasons=("nothing to say",))


class TestIds:
    def test_created_at_is_read_from_the_id(self, workspace):
        assert workspace.new_run("a", now=MOMENT).created_at == "2026-01-02T03:04:05+00:00"


class TestReports:
    def test_an_intact_report_is_read(self, workspace):
        run = workspace.new_run("a")
        write_record(run.path / AUDITS / "data.json", report())
        run.write_receipt(receipt_of(run, f"{AUDITS}/data.json", stage="data"))
        assert run.reports() == {"data": report()}

    def test_an_edited_report_counts_as_missing(self, workspace):
        run = workspace.new_run("a")
        path = run.path / AUDITS / "data.json"
        write_record(path, report())
        run.write_receipt(receipt_of(run, f"{AUDITS}/data.json", stage="data"))
        value = json.loads(path.read_text())
        path.write_text(json.dumps({**value, "reasons": ["all is well"]}))
        assert run.reports() == {"data": None}

    def test_a_report_nobody_recorded_counts_as_missing(self, workspace):
        run = workspace.new_run("a")
        write_record(run.path / AUDITS / "data.json", report())
        assert run.reports() == {"data": None}


class TestStatus:
    def test_a_run_without_anything_was_interrupted(self, workspace):
        assert workspace.new_run("a").status() == "interrupted"

    def test_a_locked_run_is_running_and_ends_with_its_lock(self, workspace):
        run = workspace.new_run("a")
        with run.lock:
            assert RunFolder(run.path).status() == "running"
        assert run.status() == "interrupted"

    def test_a_failure_is_kept_with_its_stage(self, workspace):
        run = workspace.new_run("a")
        run.write_error(RunError(stage="ingest", kind="DataError", message="m"))
        assert run.status() == "failed"
        assert run.error is not None
        assert run.error.stage == "ingest"

    def test_held_and_approved_follow_the_decision(self, workspace):
        run = workspace.new_run("a")
        check = {"rule": "r", "outcome": "fail", "required": "x", "evidence": [], "reason": "no"}
        value = {"verdict": "hold", "model": None, "policy": KEY, "card": None, "checks": [check]}
        (run.path / DECISION).write_text(json.dumps(value))
        assert run.status() == "held"
        value = {**value, "verdict": "release", "model": KEY, "card": KEY}
        value["checks"] = [{**check, "outcome": "pass", "evidence": ["e"]}]
        (run.path / DECISION).write_text(json.dumps(value))
        assert run.status() == "approved"
