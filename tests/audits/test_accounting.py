"""Epsilon from what was executed: closed forms, golden numbers of papers and libraries, limits."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probity.audits.accounting import (
    ADD_OR_REMOVE,
    ZERO_OUT,
    consistent,
    default_delta,
    epsilon_of,
    neighbouring_relation,
    renyi_epsilon_of,
    unaccountable,
)
from probity.model import NonPrivate
from tests.audits.mechanisms import analytic_gaussian, dp_sgd, statistics

DELTA = 1e-5


def shuffled(noise_multiplier, passes, **changes):
    return dp_sgd(noise_multiplier, 0.01, passes * 100, sampling="shuffled", max_participations=passes, **changes)


@pytest.mark.parametrize("sigma", [0.7, 1.0, 2.0, 4.0])
def test_one_gaussian_release_agrees_with_the_closed_form(sigma):
    assert epsilon_of([dp_sgd(sigma)], delta=DELTA) == pytest.approx(analytic_gaussian(sigma, DELTA), rel=1e-4)


@pytest.mark.parametrize(("sigma", "pld", "rdp"), [(1, 4.37718, 4.72851), (2, 1.99309, 2.16572), (4, 0.92634, 1.01255)])
def test_golden_gaussian(sigma, pld, rdp):
    assert epsilon_of([dp_sgd(sigma)], delta=DELTA) == pytest.approx(pld, rel=1e-4)
    assert renyi_epsilon_of([dp_sgd(sigma)], delta=DELTA) == pytest.approx(rdp, rel=1e-4)


def test_k_full_batch_steps_are_one_gaussian_with_less_noise():
    assert epsilon_of([dp_sgd(4.0, steps=16)], delta=DELTA) == pytest.approx(analytic_gaussian(1.0, DELTA), rel=1e-3)


def test_golden_poisson_on_60000_examples():
    mechanism = dp_sgd(1.1, 256 / 60_000, 3515)
    assert epsilon_of([mechanism], delta=DELTA) == pytest.approx(1.1337, abs=1e-4)
    assert renyi_epsilon_of([mechanism], delta=DELTA) == pytest.approx(1.2811, abs=1e-4)


def test_golden_shuffling_costs_many_times_what_sampling_does():
    # N = 48,842, batch 256, sigma 1.1, 20 epochs
    n, steps = 48_842, round(20 * 48_842 / 256)
    sampled, passes = dp_sgd(1.1, 256 / n, steps), shuffled(1.1, 20)
    assert epsilon_of([sampled], delta=DELTA) == pytest.approx(1.484, abs=1e-3)
    assert renyi_epsilon_of([sampled], delta=DELTA) == pytest.approx(1.637, abs=1e-3)
    assert epsilon_of([passes], delta=DELTA) == pytest.approx(24.92, abs=1e-2)
    assert renyi_epsilon_of([passes], delta=DELTA) == pytest.approx(26.50, abs=1e-2)


def test_shuffled_passes_are_gaussians_in_closed_form_whatever_the_batch_size():
    expected = analytic_gaussian(4.0 / math.sqrt(9), DELTA)
    assert epsilon_of([shuffled(4.0, 9)], delta=DELTA) == pytest.approx(expected, rel=1e-3)


def test_the_relation_is_that_of_the_weakest_part():
    assert neighbouring_relation([dp_sgd(1.0), statistics(0.1)]) == ADD_OR_REMOVE
    assert neighbouring_relation([dp_sgd(1.0), shuffled(1.0, 2)]) == ZERO_OUT


@pytest.mark.parametrize(
    ("spent", "epsilon"),
    [
        ([], 0.0),
        ([NonPrivate()], math.inf),
        ([dp_sgd(0.0, 0.1, 10)], math.inf),
        ([dp_sgd(1.0, 0.1, 10, l2_clip_norm=math.inf)], math.inf),
        ([dp_sgd(1.0, 0.1, 0)], 0.0),
        ([shuffled(1.0, 0)], 0.0),
        ([dp_sgd(1.0, 0.1, 10), NonPrivate()], math.inf),
    ],
)
def test_limits(spent, epsilon):
    assert epsilon_of(spent, delta=DELTA) == epsilon
    assert renyi_epsilon_of(spent, delta=DELTA) == epsilon


def test_private_statistics_are_composed_not_forgotten():
    alone = epsilon_of([dp_sgd(2.0)], delta=DELTA)
    both = epsilon_of([dp_sgd(2.0), statistics(0.5)], delta=DELTA)
    assert alone < both <= alone + 0.5 + 1e-6
    assert epsilon_of([statistics(0.5)], delta=DELTA) == pytest.approx(0.5, rel=1e-3)
    assert epsilon_of([statistics(0.5, delta=1e-4)], delta=DELTA) == math.inf


def test_the_order_of_what_was_spent_does_not_matter():
    a, b = dp_sgd(2.0, 0.1, 10), statistics(0.3)
    assert epsilon_of([a, b, a], delta=DELTA) == epsilon_of([b, a, a], delta=DELTA)


@pytest.mark.heavy
@settings(max_examples=2, deadline=None)  # an accountant takes seconds for unusual parameters
@given(st.floats(1.0, 3.0), st.floats(1.05, 2.0), st.integers(1, 30), st.floats(0.01, 0.4))
def test_epsilon_is_monotone_in_noise_steps_and_sampling(sigma, factor, steps, q):
    base = epsilon_of([dp_sgd(sigma, q, steps)], delta=DELTA)
    assert epsilon_of([dp_sgd(sigma * factor, q, steps)], delta=DELTA) <= base + 1e-6
    assert epsilon_of([dp_sgd(sigma, q, steps * 2)], delta=DELTA) >= base - 1e-6
    assert epsilon_of([dp_sgd(sigma, q / 2, steps)], delta=DELTA) <= base + 1e-6
    assert consistent(base, renyi_epsilon_of([dp_sgd(sigma, q, steps)], delta=DELTA))


def test_two_opinions_that_contradict_each_other_are_not_both_right():
    assert consistent(1.0, 1.2)
    assert consistent(0.0, 0.0)
    assert consistent(math.inf, math.inf)
    assert not consistent(1.2, 1.0)
    assert not consistent(math.inf, 1.0)
    assert not consistent(math.nan, 1.0)


@given(st.integers(1, 10**9))
def test_delta_is_a_power_of_ten_below_one_over_n(n):
    delta = default_delta(n)
    assert delta * n < 1
    assert delta * n >= 0.1 * (1 - 1e-12)
    assert math.log10(delta) == pytest.approx(round(math.log10(delta)), abs=1e-9)


@pytest.mark.parametrize(
    ("spent", "unit", "word"),
    [
        (dp_sgd(1.0), "person", "unit of privacy"),
        (statistics(0.1), "person", "unit of privacy"),
        (dp_sgd(1.0, noise_source="fixed_seed"), "row", "fixed seed"),
        (dp_sgd(1.0, normalization="actual_batch_size"), "row", "happened to be drawn"),
    ],
)
def test_what_no_epsilon_can_be_given_for(spent, unit, word):
    assert word in unaccountable(spent, unit=unit)


def test_what_an_epsilon_can_be_given_for():
    assert unaccountable(NonPrivate(), unit="row") is None
    assert unaccountable(dp_sgd(1.0), unit="row") is None
    assert unaccountable(shuffled(1.0, 2), unit="row") is None
