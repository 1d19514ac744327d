"""Metrics of numbers against scikit-learn, and their limits."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from probity.audits.regression import NUMBERS, regression_groups, regression_measure, regression_quantities
from probity.audits.task_rows import PredictedRows
from tests.audits.task_evidence import draw_table, rows_of

SKLEARN = {
    "mean_absolute_error": metrics.mean_absolute_error,
    "mean_squared_error": metrics.mean_squared_error,
    "root_mean_squared_error": metrics.root_mean_squared_error,
    "mean_absolute_percentage_error": lambda y, p: 100 * metrics.mean_absolute_percentage_error(y, p),
    "r_squared": metrics.r2_score,
    "mean_residual": lambda y, p: np.mean(p - y),
    "mean_prediction": lambda y, p: np.mean(p),
}


def one_group(predictions, labels):
    rows = PredictedRows(
        predictions=np.array(predictions, np.float32), labels=np.array(labels, np.float64), groups={}, names={}
    )
    (group,) = regression_groups(rows, (), seed=1)
    return group


def measure(metric, group, confidence=0.95):
    return regression_measure(metric, group, confidence=confidence)


@pytest.mark.parametrize("metric", NUMBERS)
def test_values_are_scikit_learns_in_every_group(metric):
    rows = rows_of("regression", draw_table("regression", 400))
    (quantity,) = [entry for entry in regression_quantities(rows, ("region",), seed=1) if entry.metric == metric]
    for code, found in enumerate(quantity.measure(0.95)):
        members = rows.groups["region"] == code
        expected = SKLEARN[metric](rows.labels[members], rows.predictions[members].astype(np.float64))
        assert found.value == pytest.approx(expected, rel=1e-9)
        assert found.lower <= found.value <= found.upper
        assert found.n == found.rows == members.sum()


@pytest.mark.parametrize("metric", NUMBERS)
def test_a_higher_level_gives_a_wider_interval(metric):
    group = one_group(np.linspace(0, 1, 50) ** 2 + 1, np.linspace(0, 1, 50) + 1)
    narrow, wide = measure(metric, group, 0.8), measure(metric, group, 0.99)
    assert wide.lower < narrow.lower <= narrow.value <= narrow.upper < wide.upper


@pytest.mark.parametrize("metric", NUMBERS)
def test_no_rows_give_no_value_and_the_reason(metric):
    found = measure(metric, one_group([], []))
    assert (found.value, found.lower, found.undefined) == (None, None, "no rows")


@pytest.mark.parametrize("metric", [name for name in NUMBERS if name != "r_squared"])
def test_one_row_gives_a_value_and_no_interval(metric):
    found = measure(metric, one_group([3.0], [2.0]))
    assert found.value is not None
    assert (found.lower, found.upper) == (None, None)


def test_a_label_of_zero_has_no_percentage():
    found = measure("mean_absolute_percentage_error", one_group([1.0, 2.0], [0.0, 2.0]))
    assert found.value is None
    assert "the label is 0 in 1 of 2 rows" in found.undefined


def test_equal_labels_have_no_r_squared():
    found = measure("r_squared", one_group([1.0, 2.0, 3.0], [2.0, 2.0, 2.0]))
    assert found.value is None
    assert "all labels are equal" in found.undefined


def test_errors_are_not_below_zero_and_residuals_may_be():
    group = one_group([0.0] * 9 + [1.0], [0.0] * 9 + [5.0])
    assert measure("mean_absolute_error", group).lower >= 0
    assert measure("root_mean_squared_error", group).lower >= 0
    assert measure("mean_residual", group).value < 0


def test_the_interval_of_the_root_is_the_root_of_the_interval():
    group = one_group(np.arange(40) % 7, np.arange(40) % 5)
    root, square = measure("root_mean_squared_error", group), measure("mean_squared_error", group)
    assert (root.lower**2, root.upper**2) == pytest.approx((square.lower, square.upper))
