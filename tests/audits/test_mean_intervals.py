"""The interval of a mean of skewed numbers: its limits, Student's t without skewness, and its coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from probity.audits.intervals import normal_mean
from probity.audits.mean_intervals import MeanStatistics, mean_interval, mean_statistics


def test_no_number_one_number_and_equal_numbers():
    assert mean_statistics(np.zeros(0)) is None
    one = mean_statistics(np.array([3.0]))
    assert (one.n, one.mean, one.variance) == (1, 3.0, 0.0)
    assert mean_interval(one, confidence=0.95) is None
    assert mean_interval(mean_statistics(np.full(50, 0.1)), confidence=0.95) == pytest.approx((0.1, 0.1))


def test_statistics_are_those_of_scipy():
    values = np.random.default_rng(1).exponential(size=200)
    found = mean_statistics(values)
    assert found.mean == pytest.approx(values.mean())
    assert found.variance == pytest.approx(values.var(ddof=1))
    assert found.skewness == pytest.approx(stats.skew(values))


def test_without_skewness_it_is_students_interval():
    values = np.array([-2.0, -1.0, 0.0, 1.0, 2.0]) + 7
    found = mean_interval(mean_statistics(values), confidence=0.9)
    assert found == pytest.approx(stats.t.interval(0.9, 4, loc=7, scale=stats.sem(values)))


def test_the_transformation_is_undone():
    """Hall's g of the bound's t statistic is the quantile that was asked for."""
    statistics = MeanStatistics(n=40, mean=2.0, variance=9.0, skewness=1.7)
    lower, upper = mean_interval(statistics, confidence=0.95)
    quantile = stats.t.ppf(0.975, 39)
    for bound, wanted in ((lower, quantile), (upper, -quantile)):
        t = (2.0 - bound) / (3.0 / np.sqrt(40))
        g = 1.7 / np.sqrt(40)
        assert t + g * t**2 / 3 + g**2 * t**3 / 27 + g / 6 == pytest.approx(wanted)


def test_the_mean_is_inside_however_skewed():
    values = np.array([0.0] * 4 + [1000.0])
    lower, upper = mean_interval(mean_statistics(values), confidence=0.95)
    assert lower <= values.mean() <= upper


@pytest.mark.parametrize(
    ("draw", "mean"),
    [(lambda rng, n: rng.normal(size=n) ** 2, 1.0), (lambda rng, n: rng.laplace(size=n) ** 2, 2.0)],
    ids=["squared normal errors", "squared Laplace errors"],
)
def test_coverage_of_squared_errors(draw, mean):
    """With 60 rows the interval holds the mean nearly as often as it says; the normal one clearly does not."""
    rng, covered, normal = np.random.default_rng(3), 0, 0
    repeats = 1500
    for _ in range(repeats):
        found = mean_statistics(draw(rng, 60))
        lower, upper = mean_interval(found, confidence=0.95)
        covered += lower <= mean <= upper
        lower, upper = normal_mean(found.mean, variance=found.variance, n=60, confidence=0.95)
        normal += lower <= mean <= upper
    assert covered / repeats > 0.92
    assert covered / repeats < 0.97
    assert covered - normal > 0.01 * repeats
