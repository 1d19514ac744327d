"""A file piece by piece gives the rows and the refusals that the whole file gives."""

from __future__ import annotations

import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from probity.errors import DataError
from probity.platform import readers
from probity.platform.pieces import read_pieces
from probity.platform.readers import read_file
from probity.tfexample import write_table

LINES = [f"{number},{word}" for number, word in enumerate(["NA", "", "null", *["word"] * 400])]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(readers, "BLOCK_BYTES", 1024)
    monkeypatch.setattr(readers, "BATCH_ROWS", 100)


def csv(path, lines=LINES, *, header="number, text", start=b""):
    content = start + "\n".join([header, *lines, ""]).encode()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return path


def files(folder):
    table = pa.table({"number": pa.array(range(400), pa.int64()), "text": [f"word {n}" for n in range(400)]})
    pq.write_table(table, folder / "a.parquet", row_group_size=150)
    write_table(folder / "a.tfrecord.gz", table)
    return [
        csv(folder / "a.csv"),
        csv(folder / "marked.csv", start=b"\xef\xbb\xbf"),
        csv(folder / "a.csv.gz"),
        csv(folder / "quoted.csv", ['1,"some\nlines\n, and a comma"'] * 200, header='number,"te\nxt"'),
        folder / "a.parquet",
        folder / "a.tfrecord.gz",
    ]


def test_the_pieces_together_are_the_file(tmp_path):
    for path in files(tmp_path):
        pieces = list(read_pieces(path))
        assert len(pieces) > 1, path.name
        assert pa.concat_tables(pieces).equals(read_file(path).select(pieces[0].column_names)), path.name


def test_no_rows_are_no_pieces(tmp_path):
    assert list(read_pieces(csv(tmp_path / "a.csv", []))) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"number,text\n1,2,3\n"),
        ("a.csv", b""),
        ("a.csv", b"text,text\n1,2\n"),
        ("a.csv", b"number;text\n1;2\n"),
        ("a.csv", b"number,text\n1,\xff\n"),
        ("a.csv.gz", gzip.compress(b"number,text\n1,2\n" * 500, mtime=0)[:-9]),
        ("a.csv.gz", b"no gzip"),
        ("a.parquet", b"PAR1"),
        ("a.tfrecord", b"no record, and long enough for the length of one"),
        ("a.xlsx", b""),
    ],
)
def test_what_cannot_be_read_is_refused_without_a_word_of_it(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(read_pieces(path))
    assert "1,2" not in str(caught.value)


def test_a_repeated_column_is_refused_in_every_format(tmp_path):
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="several columns with one name"):
        list(read_pieces(tmp_path / "a.parquet"))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        list(read_pieces(tmp_path / "a.csv"))
