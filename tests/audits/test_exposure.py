"""Exposure: ranks counted by hand, and what ignorance looks like."""

import numpy as np
import pytest

from probity.audits import exposure


def test_ranks_and_exposures_by_hand():
    scores = np.array([5.0, 1.0, 4.0, 3.0, 2.0, 0.0, 6.0, -1.0])
    included = np.array([True, True, False, False, False, False, False, False])
    found, ranks = exposure.exposures(scores, included, seed=0)
    # 5.0 is below 6.0 only; 1.0 is below 4, 3, 2 and 6. Each is one of seven: itself and six that were not planted.
    assert ranks.tolist() == [2, 5]
    np.testing.assert_allclose(found, np.log2(7) - np.log2([2, 5]))
    assert exposure.largest_exposure(6) == pytest.approx(np.log2(7))


def test_a_model_that_knows_nothing_gives_the_mean_of_an_exponential():
    draw = np.random.default_rng(2)
    found, ranks = exposure.exposures(draw.normal(size=40_000), draw.random(40_000) < 0.5, seed=0)
    assert found.mean() == pytest.approx(exposure.NULL_MEAN, abs=4 * found.std() / np.sqrt(len(found)))
    assert ranks.min() >= 1


def test_equal_scores_expose_nothing():
    included = np.arange(4000) % 2 == 0
    found, _ = exposure.exposures(np.zeros(4000), included, seed=1)
    assert found.mean() == pytest.approx(exposure.NULL_MEAN, abs=0.15)
