"""The identity of rows."""

import hashlib
import random

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from probity.platform.rows import buckets, content_digest, row_hashes, value_hashes

cells = st.one_of(st.none(), st.text(max_size=6))
tables = st.lists(st.tuples(cells, st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))), min_size=1, max_size=12)


def columns_of(rows):
    texts, numbers = zip(*rows, strict=True)
    return {"t": pa.array(texts, pa.string()), "n": pa.array(numbers, pa.int64())}


def digest_of(columns):
    return content_digest(tuple(columns), row_hashes(columns))


@given(tables, st.randoms())
@settings(max_examples=50)
def test_the_order_of_rows_and_columns_does_not_matter(rows, chance):
    shuffled = list(rows)
    chance.shuffle(shuffled)
    columns = columns_of(shuffled)
    assert digest_of(columns_of(rows)) == digest_of({name: columns[name] for name in reversed(columns)})


@given(tables, tables)
@settings(max_examples=100)
def test_other_rows_have_another_digest(first, second):
    same = sorted(first, key=repr) == sorted(second, key=repr)
    assert (digest_of(columns_of(first)) == digest_of(columns_of(second))) == same


def test_repeated_rows_count():
    once = columns_of([("a", 1), ("b", 2)])
    twice = columns_of([("a", 1), ("b", 2), ("b", 2), ("a", 1)])
    assert digest_of(once) != digest_of(twice)


def test_values_cannot_run_into_one_another():
    def one_row(**values):
        return row_hashes({name: pa.array([value], pa.string()) for name, value in values.items()})

    assert one_row(a="xy", b="z") != one_row(a="x", b="yz")
    assert one_row(a="x", b=None) != one_row(a=None, b="x")
    assert one_row(a="", b="") != one_row(a=None, b=None)
    assert one_row(a="m", b="") != one_row(a=None, b="")


def test_a_number_is_itself_in_every_type_and_never_its_text():
    whole, real = value_hashes(pa.array([39, -1, 0])), value_hashes(pa.array([39.0, -1.0, -0.0]))
    assert whole == real
    assert value_hashes(pa.array(["39"])) != value_hashes(pa.array([39]))
    assert value_hashes(pa.array([0.1])) != value_hashes(pa.array([0.1], pa.float32()).cast(pa.float64()))
    assert value_hashes(pa.array([0.5])) == value_hashes(pa.array([0.5], pa.float32()).cast(pa.float64()))
    assert value_hashes(pa.array([2.0**70])) != value_hashes(pa.array([2.0**71]))


def test_the_canonical_form_is_the_documented_one():
    expected = hashlib.sha256(
        b"n" + (2).to_bytes(8, "big") + b"39" + b"m" + b"t" + (2).to_bytes(8, "big") + "ü".encode()
    ).digest()
    row = {"c": pa.array(["ü"]), "a": pa.array([39]), "b": pa.array([None], pa.string())}
    assert row_hashes(row) == [expected]


def test_buckets_are_the_first_eight_bytes_modulo():
    hashes = [hashlib.sha256(bytes([i])).digest() for i in range(200)]
    random.Random(1).shuffle(hashes)  # noqa: S311
    assert buckets(hashes, 7).tolist() == [int.from_bytes(h[:8], "big") % 7 for h in hashes]
    assert buckets([], 7).tolist() == []
