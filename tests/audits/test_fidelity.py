"""Stability and agreement: by hand, and when an explanation may not be printed."""

from __future__ import annotations

import numpy as np
import pytest

from probity.audits.fidelity import Stability, _compare, approximation_difference


def rows(*importances):
    """Shapley values of two rows whose mean magnitudes are these."""
    values = np.array(importances, float)
    return np.stack([0.5 * values, -1.5 * values])


def test_the_same_twice_is_stable():
    found = _compare(rows(3, 2, 1), rows(3, 2, 1))
    assert found == Stability(rank_correlation=pytest.approx(1.0), change=0.0, rows=2)
    assert found.problem is None


def test_change_is_over_the_largest_importance():
    found = _compare(rows(4, 2, 1), rows(4, 2.5, 1))
    assert found.change == pytest.approx(0.5 / 4)
    assert found.rank_correlation == pytest.approx(1.0)
    assert found.problem is None


def test_an_importance_that_moves_by_more_than_a_quarter_is_a_problem():
    found = _compare(rows(4, 2, 1), rows(4, 2, 2.1))
    assert found.change == pytest.approx(1.1 / 4)
    assert "moved by 28%" in str(found.problem)


def test_a_changed_order_is_a_problem_and_a_tie_is_none():
    changed = _compare(rows(10, 8, 6.4), rows(10, 6.4, 8))
    assert changed.rank_correlation == pytest.approx(0.5)
    assert changed.change == pytest.approx(0.16)
    assert "order" in str(changed.problem)
    tied = _compare(rows(10, 8, 7.8), rows(10, 7.8, 8))
    assert tied.rank_correlation == pytest.approx(0.5)
    assert tied.problem is None


def test_columns_that_do_not_matter_do_not_count():
    """Below a twentieth of the largest importance the order is noise."""
    found = _compare(rows(10, 8, 0.1, 0.2, 0.3), rows(10, 8, 0.3, 0.1, 0.2))
    assert found.rank_correlation == pytest.approx(1.0)


@pytest.mark.parametrize("importances", [(1.0,), (0.0, 0.0), (1.0, 0.0)])
def test_without_two_columns_that_matter_there_is_no_order(importances):
    found = _compare(rows(*importances), rows(*importances))
    assert found.rank_correlation is None
    assert found.change == 0.0
    assert found.problem is None


def test_importances_out_of_nothing_are_a_problem():
    assert _compare(rows(0.0, 0.0), rows(0.0, 0.1)).problem is not None


def test_what_is_not_a_number_is_a_problem():
    assert _compare(rows(1.0, 0.5), rows(1.0, np.nan)).problem is not None


def test_the_difference_of_an_approximation_is_over_the_reference():
    assert approximation_difference(rows(2, 1), rows(4, 1)) == pytest.approx(0.5)
    assert approximation_difference(-rows(2, 1), rows(2, 1)) == 0.0  # importances have no sign
