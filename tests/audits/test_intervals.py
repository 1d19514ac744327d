"""Intervals against tables in the literature, SciPy, naive computations and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from probity.audits.intervals import (
    absolute_sum,
    bonferroni,
    clopper_pearson,
    compare_rates,
    difference,
    largest_gap,
    normal_mean,
    normal_quantile,
    paired_difference,
    ratio,
    smallest_ratio,
    wilson,
)


def test_normal_quantile_is_scipys():
    for confidence in (0.5, 0.9, 0.95, 0.999):
        assert normal_quantile(confidence) == pytest.approx(stats.norm.ppf(0.5 + confidence / 2), rel=1e-12)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (1, 1), (0, 30), (30, 30), (15, 148), (81, 263), (1, 29)])
def test_wilson_is_scipys(successes, trials, confidence):
    expected = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    lower, upper = wilson(successes, trials, confidence=confidence)
    assert (float(lower), float(upper)) == (pytest.approx(expected.low, abs=1e-12), pytest.approx(expected.high))


@pytest.mark.parametrize(("successes", "trials"), [(0, 5), (5, 5), (1, 7), (300, 1000), (0, 1), (1, 1)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.999])
def test_clopper_pearson_is_scipys(successes, trials, confidence):
    expected = stats.binomtest(successes, trials).proportion_ci(confidence, method="exact")
    found = clopper_pearson(successes, trials, confidence=confidence)
    assert found == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_clopper_pearson_takes_arrays_and_knows_nothing_without_trials():
    lower, upper = clopper_pearson([0, 3], [0, 4], confidence=0.95)
    assert (lower[0], upper[0]) == (0.0, 1.0)
    assert 0 < lower[1] < 0.75 < upper[1] < 1


def test_wilson_without_trials_knows_nothing():
    lower, upper = wilson([0, 1], [0, 2], confidence=0.95)
    assert (lower[0], upper[0]) == (0.0, 1.0)
    assert 0 < lower[1] < 0.5 < upper[1] < 1


@given(st.integers(0, 500), st.integers(0, 500), st.floats(0.51, 0.999))
def test_wilson_holds_the_rate_and_stays_inside(successes, failures, confidence):
    lower, upper = wilson(successes, successes + failures, confidence=confidence)
    assert 0 <= lower <= upper <= 1
    if successes + failures:
        assert lower <= successes / (successes + failures) <= upper


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [  # Newcombe 1998a, table II, method 10, cases (a) to (h)
        ((56, 70), (48, 80), (0.0524, 0.3339)),
        ((9, 10), (3, 10), (0.1705, 0.8090)),
        ((6, 7), (2, 7), (0.0582, 0.8062)),
        ((5, 56), (0, 29), (-0.0381, 0.1926)),
        ((0, 10), (0, 20), (-0.1611, 0.2775)),
        ((0, 10), (0, 10), (-0.2775, 0.2775)),
        ((10, 10), (0, 20), (0.6791, 1.0000)),
        ((10, 10), (0, 10), (0.6075, 1.0000)),
    ],
)
def test_difference_of_wilson_intervals_is_newcombes_method_10(first, second, expected):
    bounds = [(x / n, *map(float, wilson(x, n, confidence=0.95))) for x, n in (first, second)]
    low, high = difference(*bounds)
    assert (round(float(low), 4), round(float(high), 4)) == expected


def test_ratio_inverts_into_itself_and_meets_its_limits():
    a, b = ((x / 100, *map(float, wilson(x, 100, confidence=0.95))) for x in (20, 50))
    low, high = ratio(a, b)
    back_low, back_high = ratio(b, a)
    assert 0 < low < 0.4 < high < 1
    assert float(low) == pytest.approx(1 / float(back_high))
    assert float(high) == pytest.approx(1 / float(back_low))
    zero = (0.0, *map(float, wilson(0, 100, confidence=0.95)))
    assert ratio(zero, a)[0] == 0
    assert ratio(a, zero) == (0, np.inf)
    assert ratio(zero, zero) == (0, np.inf)


def test_ratio_where_the_upper_bound_is_twice_the_value():
    low, high = ratio((0.3, 0.2, 0.4), (0.4, 0.3, 0.8))
    near_low, near_high = ratio((0.3, 0.2, 0.4), (0.4, 0.3, 0.8 + 1e-6))
    assert float(low) == pytest.approx(float(near_low), rel=1e-3)
    assert float(high) == pytest.approx(float(near_high), rel=1e-3)


def test_ratio_covers_the_truth():
    rng = np.random.default_rng(0)
    x, y = rng.binomial(200, 0.2, 2000), rng.binomial(150, 0.5, 2000)
    low, high = ratio((x / 200, *wilson(x, 200, confidence=0.95)), (y / 150, *wilson(y, 150, confidence=0.95)))
    covered = np.mean((low <= 0.4) & (high >= 0.4))
    assert 0.935 <= covered <= 0.965  # three standard errors of 2,000 repeats


@pytest.mark.parametrize(("rate", "trials"), [(0.02, 100), (0.3, 60), (0.5, 25), (0.95, 200)])
def test_wilson_covers_the_truth_on_average(rate, trials):
    counts = np.arange(trials + 1)
    lower, upper = wilson(counts, trials, confidence=0.95)
    held = (lower <= rate) & (rate <= upper)
    assert 0.92 <= float(stats.binom.pmf(counts, trials, rate)[held].sum()) <= 0.99


def test_normal_mean_is_scipys_and_needs_two_rows():
    values = np.array([0.1, 0.4, 0.7, 0.2])
    found = normal_mean(values.mean(), variance=values.var(ddof=1), n=4, confidence=0.9)
    assert found == pytest.approx(stats.norm.interval(0.9, values.mean(), stats.sem(values)))
    assert normal_mean(0.5, variance=0.0, n=1, confidence=0.9) is None


@pytest.mark.parametrize(
    ("cells", "expected"),
    [  # Newcombe 1998b, table II, method 10
        ((36, 12, 2, 0), (0.0569, 0.3404)),
        ((54, 0, 0, 0), (-0.0664, 0.0664)),
        ((0, 0, 0, 54), (-0.0664, 0.0664)),
        ((0, 54, 0, 0), (0.9061, 1.0000)),
    ],
)
def test_paired_difference_is_newcombes_method_10(cells, expected):
    change, lower, upper = paired_difference(*cells, confidence=0.95)
    assert float(change) == pytest.approx((cells[1] - cells[2]) / sum(cells))
    assert (round(float(lower), 4), round(float(upper), 4)) == expected


def test_rates_over_the_same_trials_are_counted_by_what_both_did():
    first, second = np.array([1, 1, 1, 0, 0], bool), np.array([1, 0, 0, 1, 0], bool)
    assert compare_rates(first, second, confidence=0.95) == paired_difference(1, 2, 1, 1, confidence=0.95)


def test_paired_difference_covers_the_truth():
    rng = np.random.default_rng(2)
    cells = rng.multinomial(150, [0.55, 0.15, 0.05, 0.25], 3000).T
    _, lower, upper = paired_difference(*cells, confidence=0.95)
    assert 0.935 <= np.mean((lower <= 0.1) & (upper >= 0.1)) <= 0.98  # it is somewhat conservative


def test_paired_difference_without_trials_knows_nothing():
    assert tuple(map(float, paired_difference(0, 0, 0, 0, confidence=0.95))) == (0.0, -1.0, 1.0)


@pytest.mark.parametrize("means", [(0.0,) * 10, (1.0, -1.0, 0.5, 0, 0), (8.0, 9.0, -7.0)])
def test_absolute_sum_covers_the_truth(means):
    rng = np.random.default_rng(6)
    variances = np.linspace(0.5, 2, len(means))
    held = 0
    for _ in range(300):
        sums = np.array(means) + rng.normal(size=len(means)) * np.sqrt(variances)
        lower, upper = absolute_sum(sums, variances, confidence=0.9, seed=1)
        assert 0 <= lower <= np.abs(sums).sum() <= upper
        held += lower <= np.abs(means).sum() <= upper
    assert held / 300 >= 0.85  # 90 % less three standard errors


@given(*[st.integers(0, 60)] * 4)
def test_paired_difference_is_antisymmetric_and_holds_its_value(both, first, second, neither):
    change, lower, upper = (float(x) for x in paired_difference(both, first, second, neither, confidence=0.95))
    assert -1 <= lower <= change <= upper <= 1
    swapped = paired_difference(both, second, first, neither, confidence=0.95)
    if both + first + second + neither:
        assert [-float(x) for x in swapped] == pytest.approx([change, upper, lower])


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), min_size=2, max_size=6))
def test_extremes_hold_their_values(groups):
    hits, trials = np.array([min(x, n) for x, n in groups]), np.array([n for _, n in groups])
    level = bonferroni(0.95, len(groups) * (len(groups) - 1) // 2)
    lower, upper = wilson(hits, trials, confidence=level)
    rates = hits / trials
    gap = largest_gap(rates, lower, upper)
    assert gap.value == pytest.approx(rates.max() - rates.min())
    assert 0 <= gap.lower <= gap.value + 1e-12
    assert gap.value <= gap.upper + 1e-12
    small = smallest_ratio(rates, lower, upper)
    if rates.max() == 0:
        assert small is None
    else:
        assert small.value == pytest.approx(rates.min() / rates.max())
        assert small.lower - 1e-12 <= small.value <= small.upper + 1e-12
        assert small.upper <= 1
