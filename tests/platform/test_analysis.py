"""Bucket boundaries, against a plain sort."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probity.platform.analysis import bucket_boundaries


def test_without_ties_buckets_are_the_plain_quantiles():
    numbers = np.arange(4096, dtype=np.float32)
    np.testing.assert_array_equal(bucket_boundaries(numbers, 4), [1024, 2048, 3072])


def test_a_frequent_value_gets_one_bucket_and_wastes_none():
    numbers = np.concatenate([np.zeros(900), np.arange(1, 101)]).astype(np.float32)
    boundaries = bucket_boundaries(numbers, 5)
    assert len(boundaries) >= 3
    assert boundaries[0] == 1
    sizes = np.bincount(np.searchsorted(boundaries, numbers, side="right"))
    assert sizes[0] == 900
    assert sizes[1:].max() <= 34


def test_few_different_values_get_a_bucket_each():
    numbers = np.repeat(np.arange(5, dtype=np.float32), [1, 50, 3, 200, 2])
    assert bucket_boundaries(numbers, 32) == (1, 2, 3, 4)


@pytest.mark.parametrize("numbers", [[], [3.0], [3.0] * 100, [np.nan, np.inf]])
def test_no_boundary_where_there_is_nothing_to_divide(numbers):
    assert bucket_boundaries(np.array(numbers, np.float32), 8) == ()


@given(st.lists(st.floats(-1e6, 1e6, width=32) | st.just(0.0), max_size=200), st.integers(2, 40))
def test_boundaries_ascend_are_few_and_leave_no_bucket_empty(numbers, num_buckets):
    array = np.array(numbers, np.float32)
    boundaries = bucket_boundaries(array, num_buckets)
    assert len(boundaries) <= num_buckets - 1
    assert list(boundaries) == sorted(set(boundaries))
    if numbers:
        assert (np.bincount(np.searchsorted(boundaries, array, side="right"), minlength=len(boundaries) + 1) > 0).all()
