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
    expected = exposure.null_mean(len(found))
    assert expected == pytest.approx(1 / np.log(2), abs=1e-3)
    assert found.mean() == pytest.approx(expected, abs=6 * found.std() / np.sqrt(len(found)))
    assert ranks.min() >= 1


def test_equal_scores_expose_nothing():
    included = np.arange(4000) % 2 == 0
    found, _ = exposure.exposures(np.zeros(4000), included, seed=1)
    assert found.mean() == pytest.approx(exposure.null_mean(2000), abs=0.15)


def test_the_mean_of_all_ranks_by_hand():
    assert exposure.null_mean(3) == pytest.approx(np.mean([2 - np.log2(rank) for rank in (1, 2, 3, 4)]))


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_interval_of_the_mean_counts_the_references_as_well(shift):
    """All planted rows are ranked among the same others; taken for independent, the interval misses three times as
    often as it may."""
    means, deviations = [], []
    for seed in range(400):
        draw = np.random.default_rng(seed)
        included = draw.random(400) < 0.5
        scores = draw.normal(size=400) + shift * included
        means.append(exposure.exposures(scores, included, seed=seed)[0].mean())
        deviations.append(np.sqrt(exposure.mean_variance(scores, included, seed=seed)))
    assert np.mean(deviations) == pytest.approx(np.std(means), rel=0.15)
    truth = exposure.null_mean(200) if shift == 0 else np.mean(means)
    held = np.mean(np.abs(np.array(means) - truth) <= 1.96 * np.array(deviations))
    assert 0.91 <= held <= 0.985
