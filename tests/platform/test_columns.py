"""Cells to typed columns."""

import datetime
import decimal

import pyarrow as pa
import pytest

from probity.errors import DataError
from probity.platform.columns import as_float32, from_text, from_typed, whole_numbers


def typed(*cells, missing=("",), **options):
    return from_text("c", pa.chunked_array([pa.array(cells, pa.string())]), missing=missing, **options)


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["1", "-2", "+3"], pa.int64(), [1, -2, 3]),
        (["1", "", "3"], pa.int64(), [1, None, 3]),
        ([" 1", "2 "], pa.int64(), [1, 2]),
        (["1", "2.5", "1e3", ".5"], pa.float64(), [1.0, 2.5, 1000.0, 0.5]),
        (["9223372036854775807"], pa.int64(), [2**63 - 1]),
        (["9223372036854775808", "1"], pa.float64(), [2.0**63, 1.0]),
        (["02134", "10001"], pa.string(), ["02134", "10001"]),
        (["0", "0.5", "-0.1"], pa.float64(), [0.0, 0.5, -0.1]),
        ([" a", "b ", ""], pa.string(), ["a", "b", None]),
        (["1", "b"], pa.string(), ["1", "b"]),
        (["nan", "inf", "1_000"], pa.string(), ["nan", "inf", "1_000"]),
        (["", ""], pa.string(), [None, None]),
        ([], pa.string(), []),
    ],
)
def test_kinds_of_csv_cells(cells, kind, values):
    column = typed(*cells)
    assert column.type == kind
    assert column.to_pylist() == values


def test_declared_missing_texts_join_the_empty_one():
    assert typed("1", "?", " ? ", "", "4", missing=("?",)).to_pylist() == [1, None, None, None, 4]


def test_mostly_numbers_is_an_error_with_counts_and_without_values():
    with pytest.raises(DataError) as raised:
        typed("1", "2", "2", "secret", "")
    message = str(raised.value)
    assert "3 of 4 values are numbers and 1 are not" in message
    assert "secret" not in message
    assert "BYTES" in message
    assert typed("1", "2", "2", "secret", as_text=True).to_pylist() == ["1", "2", "2", "secret"]
    assert typed("1", "2", "2", "secret", strict=False).to_pylist() == ["1", "2", "2", "secret"]


@pytest.mark.parametrize(
    ("array", "kind", "values"),
    [
        (pa.array([1, None], pa.int8()), pa.int64(), [1, None]),
        (pa.array([2**64 - 1, 1], pa.uint64()), pa.float64(), [float(2**64 - 1), 1.0]),
        (pa.array([True, False, None]), pa.int64(), [1, 0, None]),
        (pa.array([0.5, float("nan"), None]), pa.float64(), [0.5, None, None]),
        (pa.array([0.5], pa.float32()), pa.float64(), [0.5]),
        (pa.array([decimal.Decimal("1.25")]), pa.float64(), [1.25]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), pa.string(), ["a", "b", "a"]),
        (pa.array([b"a", None]), pa.string(), ["a", None]),
        (pa.array(["a"], pa.large_string()), pa.string(), ["a"]),
        (pa.nulls(2), pa.string(), [None, None]),
        (pa.array([[1], [], None, [2]]), pa.int64(), [1, None, None, 2]),
        (pa.array([[b"x"], [None]]), pa.string(), ["x", None]),
    ],
)
def test_kinds_of_typed_columns(array, kind, values):
    column = from_typed("c", pa.chunked_array([array]))
    assert column.type == kind
    assert column.to_pylist() == values


def test_numbers_become_text_where_a_schema_says_so():
    assert from_typed("c", pa.chunked_array([[1, None]]), as_text=True).to_pylist() == ["1", None]


@pytest.mark.parametrize(
    ("array", "seen"),
    [
        (pa.array([[1, 2], [3]]), "1 of 2 rows hold several values"),
        (pa.array([b"\xff\xfe"]), "not UTF-8"),
        (pa.array([datetime.date(1987, 6, 5)]), "type date32"),
        (pa.array([{"a": 1987}]), "type struct"),
    ],
)
def test_unsupported_columns_are_refused_unless_they_are_dropped(array, seen):
    with pytest.raises(DataError, match=seen) as raised:
        from_typed("c", pa.chunked_array([array]))
    assert "1987" not in str(raised.value)
    assert len(from_typed("c", pa.chunked_array([array]), strict=False)) == len(array)


def test_float32_holds_everything_or_says_so():
    assert as_float32("c", pa.array([0.1, None])).type == pa.float32()
    for value in (1e39, float("inf"), float("-inf")):
        with pytest.raises(DataError, match="1 of 2 values"):
            as_float32("c", pa.array([value, 1.0]))


def test_whole_numbers_have_no_fraction():
    assert whole_numbers(pa.array([1.0, None])).to_pylist() == [1, None]
    assert whole_numbers(pa.array([1.5])) is None
    assert whole_numbers(pa.array([float("inf")])) is None
    assert whole_numbers(pa.array([2.0**60])) is None
