"""Records on disk: whole or not at all, and read strictly."""

from __future__ import annotations

import os

import pytest

from probity.digest import digest_bytes
from probity.errors import DataError
from probity.findings import AuditReport, Subject
from probity.storage import read_record, write_atomically, write_record


def report() -> AuditReport:
    subject = Subject(model=None, examples=digest_bytes(b"rows"))
    return AuditReport(audit="data", status="not_applicable", subject=subject, reasons=("nothing to say",))


class TestAtomicWrites:
    def test_a_failing_write_leaves_the_old_file_and_no_temporary_one(self, tmp_path, monkeypatch):
        path = tmp_path / "file"
        write_atomically(path, b"old")
        monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            write_atomically(path, b"new")
        assert path.read_bytes() == b"old"
        assert [entry.name for entry in tmp_path.iterdir()] == ["file"]

    def test_a_record_reads_back_equal(self, tmp_path):
        write_record(tmp_path / "r.json", report())
        assert read_record(tmp_path / "r.json", AuditReport) == report()

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 2}', "\x00"])
    def test_an_unreadable_record_is_a_data_error_without_its_content(self, tmp_path, text):
        (tmp_path / "r.json").write_text(text)
        with pytest.raises(DataError, match="no readable AuditReport"):
            read_record(tmp_path / "r.json", AuditReport)
