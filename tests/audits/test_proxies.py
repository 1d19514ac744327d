"""Proxy strength."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from probity.audits.proxies import _auc_of_counts, categories, folds, proxy_strength


def strength(column, groups, *, eligible, seed=0, confidence=0.95):
    groups = np.asarray(groups, np.int32)
    codes = categories(pa.chunked_array([column]))
    return proxy_strength(codes, groups, eligible=eligible, confidence=confidence, seed=seed)


def test_the_auc_of_counts_agrees_with_scikit_learn_and_delong():
    from probity.audits.auc import delong

    rng = np.random.default_rng(0)
    scores = rng.choice([0.1, 0.2, 0.2, 0.7], 12)
    positives, negatives = rng.integers(1, 9, 12), rng.integers(1, 9, 12)
    per_row = np.repeat(np.concatenate([scores, scores]), np.concatenate([positives, negatives]))
    labels = np.arange(len(per_row)) < positives.sum()
    value, variance = _auc_of_counts(scores, positives, negatives)
    assert value == pytest.approx(roc_auc_score(labels, per_row))
    assert variance == pytest.approx(delong(per_row, labels).covariance[0, 0])


def test_a_copy_is_a_perfect_proxy_and_a_constant_is_none():
    groups = np.arange(600) % 3
    copy = strength(pa.array([f"g{code}" for code in groups]), groups, eligible=[0, 1, 2])
    assert copy.value == 1.0
    assert copy.lower < 1.0 <= copy.upper
    constant = strength(pa.array(["same"] * 600), groups, eligible=[0, 1, 2])
    assert constant.value == pytest.approx(0.5)


def test_gaps_alone_can_tell_a_group():
    groups = np.arange(400) % 2
    column = pa.array([None if code else float(i) for i, code in enumerate(groups)])
    assert strength(column, groups, eligible=[0]).value == 1.0


def test_a_bent_relation_is_found():
    rng = np.random.default_rng(1)
    values = rng.normal(size=4000)
    groups = (np.abs(values) > 1).astype(np.int32)
    assert abs(roc_auc_score(groups, values) - 0.5) < 0.05  # the plain AUC sees nothing
    assert strength(pa.array(values), groups, eligible=[1]).value > 0.95


def test_a_known_strength_is_inside_the_interval():
    # Two normals a distance d apart have AUC Phi(d / sqrt 2): 0.7602 for d = 1.
    rng = np.random.default_rng(2)
    groups = rng.integers(0, 2, 8000)
    found = strength(pa.array(rng.normal(size=8000) + groups), groups, eligible=[1])
    assert found.lower < 0.7602 < found.upper
    assert found.upper - found.lower < 0.03
    assert found.group == 1


@pytest.mark.parametrize("distinct", [2, 50, 5000])
def test_noise_is_no_proxy_whatever_its_cardinality(distinct):
    # Without cross-fitting a column of 5,000 values would tell groups of 3,000 rows almost perfectly.
    inside = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        groups = rng.integers(0, 3, 3000)
        column = pa.array([f"v{value}" for value in rng.integers(0, distinct, 3000)])
        found = strength(column, groups, eligible=[0, 1, 2], seed=seed)
        assert abs(found.value - 0.5) < 0.06
        inside += found.lower <= 0.5 <= found.upper
    assert inside >= 17  # joint level 95 %: fewer than 17 of 20 has probability 0.02


def test_folds_are_even_within_every_group_and_reproducible():
    groups = np.array([0] * 50 + [1] * 7 + [2] * 500, np.int32)
    feature = np.arange(len(groups)) % 11
    fold = folds(feature, groups, seed=3)
    for group in range(3):
        sizes = np.bincount(fold[groups == group], minlength=5)
        assert sizes.max() - sizes.min() <= 1
    assert (fold == folds(feature, groups, seed=3)).all()
    assert (fold != folds(feature, groups, seed=4)).any()


def test_the_order_of_rows_changes_nothing():
    rng = np.random.default_rng(4)
    groups = rng.integers(0, 3, 700)
    columns = (
        pa.array([f"v{value}" for value in rng.integers(0, 90, 700)]),
        pa.array(rng.integers(0, 9, 700)),
        pa.array(rng.normal(size=700), mask=rng.random(700) < 0.1),
    )
    order = rng.permutation(700)
    for column in columns:
        before = strength(column, groups, eligible=[0, 1, 2])
        assert strength(column.take(pa.array(order)), groups[order], eligible=[0, 1, 2]) == before


def test_categories():
    assert categories(pa.chunked_array([], pa.string())).tolist() == []
    codes = categories(pa.chunked_array([["a", None, "b", "a"]]))
    assert codes[0] == codes[3]
    assert len(set(codes.tolist())) == 3
    numbers = categories(pa.chunked_array([pa.array([*range(1000), None])]))
    assert len(set(numbers.tolist())) == 33  # 32 bins and "missing"
    assert sorted(numbers[:-1]) == numbers[:-1].tolist()
    few = categories(pa.chunked_array([pa.array([5, 7, 5, None])]))
    assert len(set(few.tolist())) == 3
    many = categories(pa.chunked_array([pa.array([f"v{i}" for i in range(5000)] + ["v0"])]))
    assert len(set(many.tolist())) == 1001
