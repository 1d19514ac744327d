"""Weights of reweighing: the paper's own example, what they promise for any counts, and the limits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probity.trainers.mitigation.reweighing import group_weights

FEMALE, MALE = 0, 1


def repeated(counts):
    """Rows with the given counts by group and label."""
    cells = [(group, label) for group, pair in enumerate(counts) for label, n in enumerate(pair) for _ in range(n)]
    array = np.array(cells, np.int64).reshape(-1, 2)
    return array[:, 0], array[:, 1].astype(np.float32)


def test_the_example_of_the_paper():
    """Kamiran and Calders (2012), section 5.3: ten applicants, half of them women, six of them accepted.

    W(female, +) = 0.5 x 0.6 / 0.2 = 1.5, W(female, -) = 0.67, W(male, +) = 0.75, W(male, -) = 2.
    """
    codes, labels = repeated([(3, 2), (1, 4)])
    weights = group_weights(codes, labels, groups=2)
    np.testing.assert_allclose(weights.table, [[2 / 3, 1.5], [2.0, 0.75]])
    np.testing.assert_allclose(weights.of(codes, labels), [2 / 3] * 3 + [1.5] * 2 + [2.0] + [0.75] * 4, rtol=1e-6)


counts_of_groups = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=5)


@given(counts_of_groups)
@settings(max_examples=60, deadline=None)
def test_weighted_rows_have_equal_base_rates_and_every_group_its_size(counts):
    codes, labels = repeated(counts)
    weights = group_weights(codes, labels, groups=len(counts)).of(codes, labels).astype(np.float64)
    assert weights.mean() == pytest.approx(1.0, rel=1e-5)
    for group in range(len(counts)):
        rows = codes == group
        assert weights[rows].sum() == pytest.approx(rows.sum(), rel=1e-5)
        weighted_rate = weights[rows & (labels > 0.5)].sum() / weights[rows].sum()
        assert weighted_rate == pytest.approx(labels.mean(), rel=1e-5)


def test_planted_rows_are_not_counted_and_weigh_one():
    codes, labels = repeated([(3, 2), (1, 4)])
    planted = np.concatenate([codes, [-1, -1, -1]]), np.concatenate([labels, [1.0, 1.0, 0.0]]).astype(np.float32)
    weights = group_weights(*planted, groups=2)
    np.testing.assert_array_equal(weights.table, group_weights(codes, labels, groups=2).table)
    assert weights.of(*planted)[-3:].tolist() == [1.0, 1.0, 1.0]


def test_a_cell_without_training_rows_is_neutral_elsewhere():
    codes, labels = repeated([(3, 2), (4, 0)])
    table = group_weights(codes, labels, groups=3).table
    assert table[1, 1] == 1.0
    assert table[2].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("counts", [[(5, 0)], [(0, 5)], [(4, 4), (7, 7)], []])
def test_where_nothing_depends_on_the_group_nothing_is_weighed(counts):
    codes, labels = repeated(counts)
    weights = group_weights(codes, labels, groups=max(1, len(counts))).of(codes, labels)
    assert weights.dtype == np.float32
    assert (weights == 1.0).all()
