"""Groups of raw values."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probity.data import MISSING_GROUP, SensitiveAttribute
from probity.errors import DataError
from probity.groups import group_codes, group_names, value_texts


def attribute(groups, bins=None):
    return SensitiveAttribute(name="band", column="age", bins=bins, groups=tuple(groups))


def test_bins_are_closed_on_the_left():
    assert group_names([25, 40.0, 60]) == ("<25", "25-40", "40-60", ">=60")
    assert group_names([0.5]) == ("<0.5", ">=0.5")
    codes = group_codes(attribute(group_names([25, 40]), bins=(25, 40)), pa.array([24, 25, 39, 40]))
    assert codes.tolist() == [0, 1, 1, 2]
    assert codes.dtype == np.int32


def test_a_missing_value_is_a_group_of_its_own():
    by_bin = attribute((*group_names([25]), MISSING_GROUP), bins=(25,))
    assert group_codes(by_bin, pa.chunked_array([pa.array([None, 30]), pa.array([1])])).tolist() == [2, 1, 0]
    by_value = attribute(("F", "M", MISSING_GROUP))
    assert group_codes(by_value, pa.array(["M", None, "F"])).tolist() == [1, 2, 0]
    assert group_codes(by_value, pa.array([None, None], pa.string())).tolist() == [2, 2]


@pytest.mark.parametrize("column", [pa.array([], pa.string()), pa.chunked_array([], pa.string())])
def test_no_rows_have_no_groups(column):
    assert group_codes(attribute(("F", "M")), column).tolist() == []


def test_a_row_outside_the_recorded_groups_is_refused_without_naming_its_value():
    with pytest.raises(DataError) as raised:
        group_codes(attribute(("F", "M")), pa.array(["F", "secret", None]))
    assert "2 rows of 3" in str(raised.value)
    assert "secret" not in str(raised.value)
    with pytest.raises(DataError):
        group_codes(attribute(group_names([25]), bins=(25,)), pa.array([None, 3]))


def test_numbers_are_named_by_their_shortest_text():
    assert value_texts(pa.array([1, None, -3])) == ["1", None, "-3"]
    assert value_texts(pa.array([1.0, 0.1])) == ["1", "0.1"]
    assert value_texts(pa.array([1.0, 0.1], pa.float32())) == ["1", "0.1"]
    assert group_codes(attribute(("1", "2")), pa.array([2.0, 1.0], pa.float32())).tolist() == [1, 0]


def test_a_value_on_an_edge_stays_right_of_it_in_float32():
    # 0.7 in float32 is below 0.7 in float64; the edge must be rounded alike.
    codes = group_codes(attribute(group_names([0.7]), bins=(0.7,)), pa.array([0.7], pa.float32()))
    assert codes.tolist() == [1]


@given(
    st.lists(st.integers(-50, 50), min_size=1, max_size=6, unique=True).map(sorted),
    st.lists(st.integers(-60, 60), max_size=30),
)
def test_codes_agree_with_a_naive_loop(edges, values):
    codes = group_codes(attribute(group_names(edges), bins=tuple(edges)), pa.array(values, pa.int64()))
    assert codes.tolist() == [sum(value >= edge for edge in edges) for value in values]
