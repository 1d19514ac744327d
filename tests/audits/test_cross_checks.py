"""Permutation importance against scikit-learn's AUC, LIME against the closed form."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from probity.audits.cross_checks import PERMUTATIONS, lime_weights, permutation_importances, rank_agreement
from tests.audits.networks import draw, outputs

FEATURES = outputs(a=2, b=1, unused=1)
GROUPS = [["a_xf"], ["b_xf"], ["unused_xf"]]


def linear(inputs):
    return 2.0 * inputs["a_xf"][:, 0] - inputs["a_xf"][:, 1] + 0.5 * inputs["b_xf"][:, 0]


@pytest.fixture(scope="module")
def rows():
    return draw(FEATURES, 400, seed=1)


@pytest.fixture(scope="module")
def labels(rows):
    return linear(rows) + np.random.default_rng(2).normal(size=400) > 0


def test_a_drop_is_the_mean_over_permutations_of_the_aucs_difference(rows, labels):
    found = permutation_importances(linear, rows, labels, groups=GROUPS, confidence=0.95, seed=5)
    rng, own = np.random.default_rng(5), roc_auc_score(labels, linear(rows))
    for names, drop in zip(GROUPS, found, strict=True):
        aucs = []
        for _ in range(PERMUTATIONS):
            order = rng.permutation(400)
            aucs.append(roc_auc_score(labels, linear({**rows, **{name: rows[name][order] for name in names}})))
        assert drop.value == pytest.approx(own - np.mean(aucs), abs=1e-12)
        assert drop.lower <= drop.value <= drop.upper
    assert found[0].lower > found[1].upper  # a matters more than b, beyond doubt


def test_a_column_that_the_model_ignores_has_exactly_zero(rows, labels):
    drop = permutation_importances(linear, rows, labels, groups=GROUPS, confidence=0.95, seed=5)[2]
    assert drop.value == 0.0
    assert (drop.lower, drop.upper) == pytest.approx((0.0, 0.0), abs=1e-12)


@pytest.mark.parametrize("only", [True, False])
def test_one_label_has_no_auc(only, rows):
    assert permutation_importances(linear, rows, np.full(400, only), groups=GROUPS, confidence=0.95, seed=5) is None


def test_the_interval_covers_the_draw_of_the_rows():
    """The drop is known from very many rows; intervals of 300 rows hold it about as often as they say."""
    big = draw(FEATURES, 40_000, seed=3)
    noise = np.random.default_rng(4)
    truth = permutation_importances(
        linear, big, linear(big) + 2 * noise.normal(size=40_000) > 0, groups=GROUPS[1:2], confidence=0.95, seed=1
    )[0].value
    held = 0
    for seed in range(100):
        some = draw(FEATURES, 300, seed=100 + seed)
        labels = linear(some) + 2 * noise.normal(size=300) > 0
        drop = permutation_importances(linear, some, labels, groups=GROUPS[1:2], confidence=0.9, seed=seed)[0]
        held += drop.lower <= truth <= drop.upper
    assert 80 <= held <= 99


def test_lime_of_a_linear_model_is_its_closed_form(rows):
    """With columns switched to a background, a linear model's local weights are its Shapley values."""
    background = draw(FEATURES, 200, seed=6)
    far = int(np.argmax(linear(rows)))
    row = {name: values[[far]] for name, values in rows.items()}
    found = lime_weights(linear, row, background=background, groups=GROUPS, rng=np.random.default_rng(7))
    moved = {name: row[name][0] - background[name].mean(axis=0) for name in row}
    exact = [2.0 * moved["a_xf"][0] - moved["a_xf"][1], 0.5 * moved["b_xf"][0], 0.0]
    assert found == pytest.approx(exact, abs=0.35)
    assert abs(found[0]) > 1.0


def test_lime_of_a_constant_is_nothing(rows):
    row = {name: values[:1] for name, values in rows.items()}
    found = lime_weights(
        lambda x: np.full(len(x["a_xf"]), 3.0), row, background=rows, groups=GROUPS, rng=np.random.default_rng(7)
    )
    assert found == pytest.approx(np.zeros(3), abs=1e-9)


def test_rank_agreement_needs_two_different_values():
    assert rank_agreement(np.array([1.0, 2.0, 3.0]), np.array([10.0, 30.0, 20.0])) == pytest.approx(0.5)
    assert rank_agreement(np.array([1.0]), np.array([1.0])) is None
    assert rank_agreement(np.array([1.0, 1.0]), np.array([1.0, 2.0])) is None
    assert rank_agreement(np.zeros(0), np.zeros(0)) is None
