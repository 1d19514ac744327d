"""R2: scikit-learn's value, its limits, and the coverage of its interval."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import r2_score

from probity.audits import r_squared as module
from probity.audits.r_squared import r_squared


def draw(rng, n):
    x = rng.normal(size=n)
    return x, x + rng.laplace(size=n)


TRUTH = 1 - 2 / 3  # variance 1 of the signal, 2 of the Laplace noise


def test_the_value_is_scikit_learns_in_any_units():
    predictions, labels = draw(np.random.default_rng(1), 300)
    for scale, shift in ((1.0, 0.0), (1e-3, 5.0), (1e6, -3e7)):
        p, y = predictions * scale + shift, labels * scale + shift
        assert r_squared(p - y, y, seed=1).value == pytest.approx(r2_score(y, p), rel=1e-9)


def test_worse_than_the_mean_is_below_zero():
    labels = np.arange(10.0)
    assert r_squared(-2 * labels, labels, seed=1).value < 0


def test_equal_labels_and_no_labels_have_none():
    assert r_squared(np.ones(5), np.full(5, 3.0), seed=1) is None
    assert r_squared(np.zeros(0), np.zeros(0), seed=1) is None


def test_exact_predictions():
    found = r_squared(np.zeros(5), np.arange(5.0), seed=1)
    assert (found.value, found.interval(confidence=0.95)) == (1.0, (1.0, 1.0))


def test_two_rows_have_no_interval():
    assert r_squared(np.array([0.5, -0.5]), np.array([0.0, 1.0]), seed=1).interval(confidence=0.95) is None


def test_rows_in_another_order_give_the_same_interval():
    rng = np.random.default_rng(2)
    predictions, labels = draw(rng, 120)
    order = rng.permutation(120)
    first = r_squared(predictions - labels, labels, seed=4).interval(confidence=0.9)
    second = r_squared((predictions - labels)[order], labels[order], seed=4).interval(confidence=0.9)
    assert first == pytest.approx(second, rel=1e-9)


def test_many_rows_take_the_normal_quantiles_and_agree_with_the_bootstrap(monkeypatch):
    predictions, labels = draw(np.random.default_rng(3), 4000)
    resampled = r_squared(predictions - labels, labels, seed=1)
    monkeypatch.setattr(module, "RESAMPLED_ROWS", 1000)
    direct = r_squared(predictions - labels, labels, seed=1)
    assert (resampled.method, direct.method) == ("bootstrap_t_log", "delta_log")
    assert direct.interval(confidence=0.95) == pytest.approx(resampled.interval(confidence=0.95), abs=0.005)


def test_coverage(monkeypatch):
    monkeypatch.setattr(module, "_REPLICATES", 300)  # tests/statistical has the full experiment
    rng, repeats, covered = np.random.default_rng(5), 120, 0
    for repeat in range(repeats):
        predictions, labels = draw(rng, 80)
        lower, upper = r_squared(predictions - labels, labels, seed=repeat).interval(confidence=0.95)
        covered += lower <= TRUTH <= upper
    assert 0.88 < covered / repeats < 0.99
