"""Measures of single groups, above all the interval of the calibration error."""

from __future__ import annotations

import numpy as np
import pytest

from probity.audits.measures import NO_WIDTH, SCORES, finding_of, rate_measures, score_measures
from probity.audits.scoring import ScoredRows
from probity.audits.slices import confusion, score_metrics


def rows_of(scores, labels):
    return ScoredRows(scores=np.asarray(scores, np.float32), labels=np.asarray(labels, bool), groups={}, names={})


def measured(metric, rows, seed=1):
    return score_measures(metric, score_metrics(rows, groupings=[()])[()], confidence=0.95, seed=seed)[0]


@pytest.mark.parametrize("metric", SCORES)
def test_no_rows(metric):
    measure = measured(metric, rows_of([], []))
    assert (measure.value, measure.undefined) == (None, "no rows")


def test_one_label():
    assert measured("auc", rows_of([0.2, 0.4], [True, True])).undefined == "no row has a negative label"
    assert measured("auc", rows_of([0.2, 0.4], [False, False])).undefined == "no row has a positive label"


def test_one_row_has_a_log_loss_without_interval():
    measure = measured("log_loss", rows_of([0.2], [False]))
    assert measure.value == pytest.approx(-np.log(0.8))
    assert (measure.lower, measure.upper) == (None, None)
    finding = finding_of("performance", "log_loss", measure, threshold=None, confidence=0.95, min_group_size=2)
    assert (finding.evidence, finding.reason, finding.estimate.confidence) == (
        "insufficient",
        "fewer than 2 rows",
        None,
    )


def test_rate_without_trials_is_none_and_says_why():
    counts = confusion(rows_of([0.2, 0.3], [False, False]), groupings=[()], thresholds=[0.5])[()]
    (measure,) = rate_measures("true_positive_rate", counts, threshold=0.5, confidence=0.95)
    assert (measure.value, measure.n, measure.lower) == (None, 0, None)
    finding = finding_of("performance", "true_positive_rate", measure, threshold=0.5, confidence=0.95, min_group_size=2)
    assert finding.reason == "no row has a positive label"


def test_calibration_interval_is_seeded():
    rows = rows_of([0.1] * 100, [True, False, False, False, False] * 20)
    assert measured("calibration_error", rows).value == pytest.approx(0.1)
    assert measured("calibration_error", rows) == measured("calibration_error", rows)
    assert measured("calibration_error", rows).lower != measured("calibration_error", rows, seed=2).lower


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.3])
def test_calibration_interval_covers_the_truth(shift):
    rng = np.random.default_rng(9)
    repeats, held = 300, 0
    for _ in range(repeats):
        scores = (rng.integers(0, 10, 600) + 0.5) / 10
        labels = rng.random(600) < np.clip(scores - shift, 0, 1)
        truth = np.abs(scores_truth(shift)).mean()
        measure = measured("calibration_error", rows_of(scores, labels))
        assert measure.lower <= measure.value <= measure.upper
        held += measure.lower <= truth <= measure.upper
    assert held / repeats >= 0.92  # 95 % less two and a half standard errors; the bounds are conservative


def scores_truth(shift):
    """Score minus true probability in each of the ten bins."""
    middle = (np.arange(10) + 0.5) / 10
    return middle - np.clip(middle - shift, 0, 1)


def test_rows_that_all_contribute_the_same_say_nothing_about_uncertainty():
    """All right with full confidence: the loss of one wrong row is not drawn, which is not its absence."""
    rows = ScoredRows(scores=np.ones(30, np.float32), labels=np.ones(30, bool), groups={}, names={})
    measure = measured("log_loss", rows)
    assert measure.value == pytest.approx(1e-7)
    assert measure.insufficiency(10) == NO_WIDTH
    assert measure.insufficiency(100) == "fewer than 100 rows"
