"""Records on disk: whole or not at all, and read strictly."""

from __future__ import annotations

import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from probity.digest import digest_bytes
from probity.errors import DataError
from probity.findings import AuditReport, Subject
from probity.storage import read_record, reading_table, write_atomically, write_record


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


class TestReadingTables:
    def test_a_block_gets_the_rows(self, tmp_path):
        pq.write_table(pa.table({"a": [1, 2]}), tmp_path / "t.parquet")
        with reading_table(tmp_path / "t.parquet", what="rows", columns="a column a") as table:
            assert table.column("a").to_pylist() == [1, 2]

    @pytest.mark.parametrize("content", [None, b"", b"PAR1 and no more"])
    def test_what_is_no_parquet_is_a_data_error(self, tmp_path, content):
        path = tmp_path / "t.parquet"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(DataError) as caught, reading_table(path, what="rows", columns="a column a"):
            pass
        assert (caught.value.seen, caught.value.allowed) == ("no readable file of rows", "Parquet with a column a")

    def test_a_column_that_the_block_does_not_find_is_one_too(self, tmp_path):
        pq.write_table(pa.table({"a": [1]}), tmp_path / "t.parquet")
        with (
            pytest.raises(DataError, match="a column b"),
            reading_table(tmp_path / "t.parquet", what="rows", columns="a column b") as table,
        ):
            table.column("b")
