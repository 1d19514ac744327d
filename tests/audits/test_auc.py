"""The AUC against scikit-learn and the definition of DeLong's covariance, and its intervals against the truth."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from probity.audits.auc import Auc, auc_interval, compare_auc, delong
from probity.audits.intervals import wilson


def naive_delong(scores, labels):
    """O(m n): the structural components as DeLong et al. define them."""
    kernel = lambda x, y: (x > y) + 0.5 * (x == y)  # noqa: E731
    components = []
    for row in scores:
        matrix = np.array([[kernel(x, y) for y in row[~labels]] for x in row[labels]])
        components.append((matrix.mean(axis=1), matrix.mean(axis=0)))
    values = np.array([v10.mean() for v10, _ in components])
    covariance = sum(np.atleast_2d(np.cov(np.stack(part))) / len(part[0]) for part in zip(*components, strict=True))
    return values, covariance


@pytest.mark.parametrize("ties", [False, True])
def test_delong_is_the_definition_and_scikit_learns_auc(ties):
    rng = np.random.default_rng(3)
    labels = rng.random(70) < 0.4
    scores = rng.random((2, 70)) + 0.3 * labels
    if ties:
        scores = scores.round(1)
    found = delong(scores, labels)
    values, covariance = naive_delong(scores, labels)
    assert found.values == pytest.approx(values)
    assert found.covariance == pytest.approx(covariance)
    assert found.values[0] == pytest.approx(roc_auc_score(labels, scores[0]))


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=40), st.randoms())
@settings(max_examples=60, deadline=None)
def test_delong_counts_pairs_in_any_order(rows, random):
    scores, labels = np.array([r[0] for r in rows], np.float32), np.array([r[1] for r in rows])
    found = delong(scores, labels)
    positive, negative = scores[labels], scores[~labels]
    if not len(positive) or not len(negative):
        assert found is None
        return
    pairs = [(x > y) + 0.5 * (x == y) for x, y in itertools.product(positive, negative)]
    assert found.values[0] == pytest.approx(np.mean(pairs))
    order = random.sample(range(len(rows)), len(rows))
    again = delong(scores[order], labels[order])
    assert again.values == pytest.approx(found.values)
    assert again.covariance == pytest.approx(found.covariance, abs=1e-12)
    lower, upper = auc_interval(found, confidence=0.95)
    assert 0 <= lower <= found.values[0] <= upper <= 1


def test_auc_interval_at_the_limits_has_width():
    perfect = delong([0.1, 0.2, 0.8, 0.9], [False, False, True, True])
    lower, upper = auc_interval(perfect, confidence=0.95)
    assert lower == pytest.approx(float(wilson(2, 2, confidence=0.95)[0]))
    assert upper == 1.0
    worst = delong([0.9, 0.8, 0.2, 0.1], [False, False, True, True])
    assert auc_interval(worst, confidence=0.95) == (0.0, pytest.approx(1 - lower))
    one_each = Auc(values=np.array([0.5]), covariance=np.zeros((1, 1)), positives=1, negatives=1)
    lower, upper = auc_interval(one_each, confidence=0.95)
    assert lower < 0.5 < upper


def test_auc_intervals_cover_the_truth():
    rng = np.random.default_rng(5)
    truth = stats.norm.cdf(1 / np.sqrt(2))
    single = paired = 0
    for _ in range(600):
        labels = np.arange(120) < 40
        signal = rng.normal(size=120) + labels
        noisy = (signal + rng.normal(0, 1, 120), signal)
        both = delong(np.stack(noisy), labels)
        lower, upper = auc_interval(both, confidence=0.95, model=1)
        single += lower <= truth <= upper
        _, low, high = compare_auc(both, confidence=0.95)
        paired += low <= stats.norm.cdf(1 / np.sqrt(4)) - truth <= high
    assert 0.92 <= single / 600 <= 0.98
    assert 0.92 <= paired / 600 <= 0.98


@pytest.mark.parametrize("positives", [1, 2])
def test_a_change_of_auc_without_a_variance_is_not_certain(positives):
    """Two perfect models of a few rows, or a single positive row: nothing says that they are alike elsewhere."""
    labels = np.arange(40) < positives
    scores = np.where(labels, 0.9, np.linspace(0.1, 0.5, 40))
    both = delong(np.stack([scores, scores**2]), labels)
    value, lower, upper = compare_auc(both, confidence=0.95)
    assert value == 0.0
    assert lower < -0.3
    assert upper > 0.3


def test_a_single_positive_row_makes_the_change_of_auc_uncertain_enough():
    rng, held = np.random.default_rng(8), 0
    for _ in range(300):
        labels = np.arange(200) < 1
        scores = np.stack([rng.normal(size=200) + 1.0 * labels, rng.normal(size=200) + 1.5 * labels])
        _, lower, upper = compare_auc(delong(scores, labels), confidence=0.95)
        held += lower <= stats.norm.cdf(1.0 / 2**0.5) - stats.norm.cdf(1.5 / 2**0.5) <= upper
    assert held / 300 >= 0.95
