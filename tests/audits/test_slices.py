"""The slice engine against a naive loop, fairlearn and scikit-learn; limits and invariants."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from fairlearn import metrics as fairlearn
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from probity.audits import slices
from probity.audits.scoring import ScoredRows
from probity.audits.slices import (
    RATES,
    calibration_bins,
    confusion,
    exact_threshold,
    members_of,
    rate_counts,
    score_metrics,
    undefined_reason,
)

NAMES = {"sex": ("F", "M", "Unseen"), "race": ("A", "B"), "age": ("<30", ">=30")}
GROUPINGS = ((), ("sex",), ("race",), ("age",), ("race", "sex"), ("sex", "race", "age"))


def rows_of(scores, labels, sex, race, age):
    codes = {"sex": sex, "race": race, "age": age}
    return ScoredRows(
        scores=np.asarray(scores, np.float32),
        labels=np.asarray(labels, bool),
        groups={name: np.asarray(values, np.int32) for name, values in codes.items()},
        names=NAMES,
    )


def drawn(n, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.random(n).round(2)  # ties, and scores at the thresholds
    codes = rng.integers(0, 2, (3, n))
    return rows_of(scores, rng.random(n) < scores, *codes)


def naive(rows, slice_, threshold):
    """Counts tp, fp, tn, fn row by row, comparing in float64."""
    counts = [0, 0, 0, 0]
    for i in range(len(rows)):
        if all(rows.names[name][rows.groups[name][i]] == group for name, group in slice_.items()):
            predicted, label = float(rows.scores[i]) > threshold, bool(rows.labels[i])
            counts[(0 if label else 1) if predicted else (3 if label else 2)] += 1
    return counts


@pytest.mark.parametrize("n", [0, 1, 7, 400])
def test_counts_are_those_of_a_naive_loop(n):
    rows, thresholds = drawn(n), (0.0, 0.1, 0.5, 0.7)
    tables = confusion(rows, groupings=GROUPINGS, thresholds=thresholds)
    assert list(tables) == list(GROUPINGS)
    for grouping, table in tables.items():
        assert [tuple(slice_) for slice_ in table.slices] == [grouping] * len(table.slices)
        for group, slice_ in enumerate(table.slices):
            for place, threshold in enumerate(thresholds):
                found = [int(part[group, place]) for part in (table.tp, table.fp, table.tn, table.fn)]
                assert found == naive(rows, slice_, threshold)


def test_wide_combinations_take_the_same_counts_another_way(monkeypatch):
    rows = drawn(500)
    at_once = confusion(rows, groupings=GROUPINGS, thresholds=(0.3, 0.6))
    monkeypatch.setattr(slices, "_MAX_CELLS", 4)
    monkeypatch.setattr(slices, "_BLOCK_ROWS", 64)
    one_by_one = confusion(rows, groupings=GROUPINGS, thresholds=(0.6, 0.3, 0.3))
    for grouping in GROUPINGS:
        assert at_once[grouping].slices == one_by_one[grouping].slices
        for name in ("tp", "fp", "tn", "fn"):
            assert np.array_equal(getattr(at_once[grouping], name), getattr(one_by_one[grouping], name))


@given(st.integers(0, 2**31 - 1), st.integers(0, 60))
@settings(max_examples=40, deadline=None)
def test_groups_add_up_to_all_rows_and_order_does_not_matter(seed, n):
    rows = drawn(n, seed=seed)
    order = np.random.default_rng(seed).permutation(n)
    other = ScoredRows(
        scores=rows.scores[order],
        labels=rows.labels[order],
        groups={name: codes[order] for name, codes in rows.groups.items()},
        names=rows.names,
    )
    tables = confusion(rows, groupings=GROUPINGS, thresholds=(0.2, 0.8))
    again = confusion(other, groupings=GROUPINGS, thresholds=(0.2, 0.8))
    for grouping in GROUPINGS:
        for name in ("tp", "fp", "tn", "fn"):
            counts = getattr(tables[grouping], name)
            assert np.array_equal(counts.sum(axis=0), getattr(tables[()], name)[0])
            assert np.array_equal(counts, getattr(again[grouping], name))
        assert tables[grouping].rows.sum() == n


@given(st.floats(0, 1, exclude_max=True), st.integers(-2, 2))
def test_threshold_compares_as_float64_does(threshold, steps):
    score = np.float32(threshold)
    for _ in range(abs(steps)):
        score = np.nextafter(score, np.float32(np.inf if steps > 0 else -np.inf))
    assert (score > exact_threshold(threshold)) == (float(score) > threshold)


def test_score_of_the_nearest_float32_to_a_threshold():
    # float32(0.1) is above 0.1 and float32(0.7) below 0.7: TFMA predicts the first positive, the second not.
    rows = rows_of([0.1, 0.7], [True, True], [0, 0], [0, 0], [0, 0])
    table = confusion(rows, groupings=[()], thresholds=(0.1, 0.7))[()]
    assert table.tp.tolist() == [[2, 0]]


@pytest.mark.parametrize("metric", RATES)
def test_rates_are_fairlearns(metric):
    rows = drawn(2000, seed=1)
    table = confusion(rows, groupings=[("race", "sex")], thresholds=(0.4,))[("race", "sex")]
    successes, trials = rate_counts(metric, table)
    function = {
        "accuracy": lambda y_true, y_pred: np.mean(y_true == y_pred),
        "precision": lambda y_true, y_pred: np.mean(y_true[y_pred]),
    }.get(metric, getattr(fairlearn, metric, None))
    names = [np.array(rows.names[name])[rows.groups[name]] for name in ("race", "sex")]
    frame = fairlearn.MetricFrame(
        metrics=function,
        y_true=rows.labels,
        y_pred=rows.scores.astype(float) > 0.4,
        sensitive_features={"race": names[0], "sex": names[1]},
    )
    for group, slice_ in enumerate(table.slices):
        if trials[group, 0]:
            expected = frame.by_group[slice_["race"], slice_["sex"]]
            assert successes[group, 0] / trials[group, 0] == pytest.approx(expected, abs=1e-15)
        else:
            assert slice_["sex"] == "Unseen"


def test_reasons_of_undefined_rates():
    assert undefined_reason("precision", rows=0) == "no rows"
    assert undefined_reason("precision", rows=3) == "no row is predicted positive"
    assert undefined_reason("true_positive_rate", rows=3) == "no row has a positive label"
    assert undefined_reason("false_positive_rate", rows=3) == "no row has a negative label"


def test_score_metrics_are_scikit_learns():
    rows = drawn(1500, seed=2)
    measured = score_metrics(rows, groupings=[(), ("sex",), ("sex", "race")])
    for grouping, groups in measured.items():
        for group, (slice_, members) in zip(groups, members_of(rows, grouping), strict=True):
            assert group.slice_ == slice_
            assert group.rows == len(members)
            if not len(members):
                assert (group.auc, group.log_loss, group.calibration_error) == (None, None, None)
                continue
            labels, scores = rows.labels[members], rows.scores[members].astype(float)
            assert group.auc.values[0] == pytest.approx(roc_auc_score(labels, scores))
            assert group.log_loss == pytest.approx(log_loss(labels, np.clip(scores, 1e-7, 1 - 1e-7)), rel=1e-9)
            assert group.calibration_error == pytest.approx(naive_calibration(scores, labels))


def naive_calibration(scores, labels):
    total = 0.0
    for m in range(10):
        inside = (scores > m / 10) & (scores <= (m + 1) / 10) | ((scores == 0) & (m == 0))
        if inside.any():
            total += inside.mean() * abs(labels[inside].mean() - scores[inside].mean())
    return total


def test_calibration_bins_hold_their_upper_edge():
    scores = [0.0, 0.05, 0.25, 0.5, 1.0]
    rows = rows_of(scores, [True] * 5, *[[0] * 5] * 3)
    assert calibration_bins(rows).tolist() == [0, 0, 2, 4, 9]


def test_one_row_and_one_label():
    rows = rows_of([0.9], [True], [0], [0], [0])
    only = score_metrics(rows, groupings=[()])[()][0]
    assert only.auc is None
    assert only.log_loss == pytest.approx(-np.log(np.float32(0.9)))
    assert only.log_loss_variance == 0.0
    assert only.calibration_error == pytest.approx(0.1)


def test_memory_beyond_the_rows_does_not_grow_with_them():
    peaks = []
    for n in (400_000, 1_600_000):
        rows = drawn(n)
        tracemalloc.start()
        confusion(rows, groupings=GROUPINGS, thresholds=(0.5,))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
