"""The noise of an asked epsilon: within one percent below it, and refused where there is none."""

from __future__ import annotations

import math
from functools import partial

import pytest

from probity.audits.accounting import epsilon_of
from probity.audits.noise_calibration import calibrate
from probity.errors import ConfigError
from tests.audits.mechanisms import analytic_gaussian, dp_fedavg, dp_ftrl, dp_sgd, statistics

DELTA = 1e-5


@pytest.mark.parametrize("target", [0.1, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("beside", [(), (statistics(0.05),)])
def test_calibration_stays_within_one_percent_below_the_target(target, beside):
    found = calibrate(partial(dp_sgd, sampling_prob=0.07, steps=286), target_epsilon=target, delta=DELTA, beside=beside)
    assert 0.99 * target <= epsilon_of([found, *beside], delta=DELTA) <= target
    assert float(f"{found.noise_multiplier:.5g}") == found.noise_multiplier


def test_calibration_of_a_full_batch_agrees_with_the_closed_form():
    found = calibrate(dp_sgd, target_epsilon=1.0, delta=DELTA)
    assert analytic_gaussian(found.noise_multiplier, DELTA) == pytest.approx(1.0, rel=0.011)


@pytest.mark.parametrize("target", [0.0, -1.0, math.inf, math.nan])
def test_no_noise_is_calibrated_to_a_target_that_is_no_epsilon(target):
    with pytest.raises(ConfigError, match="greater than 0"):
        calibrate(dp_sgd, target_epsilon=target, delta=DELTA)


def test_a_target_that_preprocessing_alone_spends_is_refused():
    with pytest.raises(ConfigError, match="preprocessing alone spends"):
        calibrate(dp_sgd, target_epsilon=0.5, delta=DELTA, beside=(statistics(0.5),))


@pytest.mark.parametrize("make", [pytest.param(dp_fedavg, marks=pytest.mark.heavy), dp_ftrl])
def test_calibration_finds_the_noise_of_a_target(make):
    found = calibrate(make, target_epsilon=4.0, delta=1e-4)
    assert 3.96 <= epsilon_of([found], delta=1e-4) <= 4.0


def test_an_epsilon_that_nothing_reaches_is_refused():
    with pytest.raises(ConfigError, match="target_epsilon"):
        calibrate(dp_fedavg, target_epsilon=1e-9, delta=1e-4)
