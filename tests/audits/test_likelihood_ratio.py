"""The likelihood-ratio attack: against SciPy's densities, and on models that remember what they saw."""

import numpy as np
import pytest
from scipy.stats import norm

from probity.audits.likelihood_ratio import confidence_logits, likelihood_ratio
from probity.audits.membership import strength


def test_logits_are_of_the_rows_own_label():
    found = confidence_logits(np.array([0.9, 0.9, 0.0]), np.array([True, False, True]))
    np.testing.assert_allclose(found[:2], [np.log(9), -np.log(9)])
    assert np.isfinite(found).all()


def test_the_ratio_is_that_of_two_normal_densities():
    trained_on = np.array([[True], [True], [False], [False], [False]])
    shadows = np.array([[2.0], [4.0], [0.0], [1.0], [2.0]])
    found = likelihood_ratio(np.array([2.5]), shadows, trained_on)
    expected = norm.logpdf(2.5, 3.0, np.sqrt(2.0)) - norm.logpdf(2.5, 1.0, 1.0)
    assert found[0] == pytest.approx(expected)


def test_nothing_is_said_of_rows_that_no_shadow_left_out():
    trained_on = np.ones((8, 3), bool)
    assert likelihood_ratio(np.zeros(3), np.zeros((8, 3)), trained_on).tolist() == [0.0, 0.0, 0.0]


def test_it_finds_what_a_common_threshold_cannot():
    """Rows differ far more from each other than training on one moves its own score."""
    draw = np.random.default_rng(1)
    rows, models = 2000, 16
    own = draw.normal(0, 5, rows)
    trained_on = draw.random((models, rows)) < 0.5
    shadows = own + 1.0 * trained_on + draw.normal(0, 0.5, (models, rows))
    members = draw.random(rows) < 0.5
    target = own + 1.0 * members + draw.normal(0, 0.5, rows)
    by_ratio = strength(likelihood_ratio(target, shadows, trained_on), members, confidence=0.95)
    by_threshold = strength(target, members, confidence=0.95)
    assert by_ratio.auc[1] > 0.85
    assert by_threshold.auc[2] < 0.65
