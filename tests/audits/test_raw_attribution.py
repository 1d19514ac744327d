"""Codes stand for values: rows come back as they were, whatever their type and whatever is missing."""

from __future__ import annotations

import pyarrow as pa

from probity.audits.raw_attribution import Codebook

FIRST = pa.table({"text": ["a", None, "b", "a"], "number": pa.array([1.5, 2.5, None, 1.5], pa.float32())})
SECOND = pa.table({"number": pa.array([9.0, 1.5], pa.float32()), "text": pa.array([None, "c"], pa.string())})


def test_rows_come_back_as_they_were():
    book = Codebook(["text", "number"])
    tables = [FIRST, SECOND, FIRST]
    encoded = [book.encode(table) for table in tables]
    for table, codes in zip(tables, encoded, strict=True):
        assert book.decode(codes).to_pydict() == table.select(["text", "number"]).to_pydict()
        assert {name: array.shape for name, array in codes.items()} == dict.fromkeys(book.names, (table.num_rows, 1))


def test_columns_of_two_rows_can_be_mixed():
    book = Codebook(["text", "number"])
    one, other = book.encode(FIRST), book.encode(SECOND)
    mixed = {"text": one["text"][:2], "number": other["number"]}
    assert book.decode(mixed).to_pydict() == {"text": ["a", None], "number": [9.0, 1.5]}


def test_no_rows_are_no_codes():
    book = Codebook(["text", "number"])
    book.encode(FIRST)
    nothing = book.encode(FIRST.slice(0, 0))
    assert {name: array.shape for name, array in nothing.items()} == {"text": (0, 1), "number": (0, 1)}
    assert book.decode(nothing).num_rows == 0
