"""Coverage of the intervals of regression and multi-class metrics, with enough repeats to see two points."""

from __future__ import annotations

import numpy as np
import pytest

from probity.audits.auc import auc_interval
from probity.audits.multiclass import macro_auc
from probity.audits.regression import regression_groups, regression_measure
from probity.audits.task_rows import PredictedRows

pytestmark = pytest.mark.statistical

REPEATS = 1500


def draw(rng, n):
    """Predictions that explain a third of the labels, with Laplace errors of variance 2, a little too high."""
    signal = rng.normal(size=n)
    return signal + 0.5, signal + rng.laplace(size=n)


TRUE = {
    "mean_squared_error": 2.25,
    "root_mean_squared_error": 1.5,
    "mean_residual": 0.5,
    "r_squared": 1 - 2.25 / 3,
    # E|X - 1/2| of a standard Laplace X is 1/2 + exp(-1/2).
    "mean_absolute_error": 0.5 + np.exp(-0.5),
}


@pytest.mark.parametrize("metric", TRUE)
@pytest.mark.parametrize("rows", [100, 400])
def test_intervals_of_a_regression_hold(metric, rows):
    rng, covered = np.random.default_rng(17), 0
    for repeat in range(REPEATS if metric != "r_squared" else REPEATS // 3):
        predictions, labels = draw(rng, rows)
        scored = PredictedRows(predictions=predictions.astype(np.float32), labels=labels, groups={}, names={})
        (group,) = regression_groups(scored, (), seed=repeat)
        found = regression_measure(metric, group, confidence=0.95)
        covered += found.lower <= TRUE[metric] <= found.upper
    repeats = REPEATS if metric != "r_squared" else REPEATS // 3
    assert 0.925 <= covered / repeats <= 0.97


@pytest.mark.parametrize("rows", [150, 600])
def test_the_interval_of_the_macro_auc_holds(rows):
    rng = np.random.default_rng(18)

    def scored(n):
        labels = rng.choice(3, n, p=[0.5, 0.3, 0.2])
        logits = rng.normal(size=(n, 3))
        logits[np.arange(n), labels] += 1.2
        scores = np.exp(logits)
        return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32), labels.astype(np.int32)

    truth, covered = macro_auc(*scored(1_000_000)).values[0], 0
    for _ in range(REPEATS):
        lower, upper = auc_interval(macro_auc(*scored(rows)), confidence=0.95)
        covered += lower <= truth <= upper
    assert 0.925 <= covered / REPEATS <= 0.97
