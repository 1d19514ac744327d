"""The auditor's check of itself: right estimators pass, and each way of being wrong is told."""

import math

import numpy as np
import pytest
from dp_accounting import dp_event
from dp_accounting.pld import pld_privacy_accountant
from scipy import stats

from probity.audits import exposure, membership, one_run, self_check

ONE_RUN = {"canaries": 500, "delta": 1e-5, "confidence": 0.95, "seed": 1}


def test_right_estimators_may_speak():
    checks = [
        self_check.check_one_run(**ONE_RUN),
        self_check.check_membership(rows=500, confidence=0.95, seed=1),
        self_check.check_exposure(canaries=500, seed=1),
    ]
    assert [check.problems for check in checks] == [(), (), ()]
    assert checks[0].false_alarms <= 0.1
    assert checks[0].power == 1.0
    assert checks[1].false_alarms <= 0.075


def test_a_bound_that_forgets_how_often_it_looked_is_told(monkeypatch):
    """What a point estimate does, and a known auditor did: positive on noise, half of the time."""

    def claims(scores, included, *, epsilon, delta, confidence, seed):
        return bool(scores[included].mean() - scores[~included].mean() > epsilon)

    monkeypatch.setattr(one_run, "contradicts", claims)
    assert any("there is nothing" in problem for problem in self_check.check_one_run(**ONE_RUN).problems)


def test_a_bound_above_the_truth_is_told(monkeypatch):
    def claims(scores, included, *, epsilon, delta, confidence, seed):
        return bool(scores[included].mean() - scores[~included].mean() > 0.5)

    monkeypatch.setattr(one_run, "contradicts", claims)
    assert any("more than the truth" in problem for problem in self_check.check_one_run(**ONE_RUN).problems)


def test_a_bound_that_never_finds_anything_is_told(monkeypatch):
    monkeypatch.setattr(one_run, "contradicts", lambda *arguments, **named: False)
    assert any("finds nothing" in problem for problem in self_check.check_one_run(**ONE_RUN).problems)


def test_intervals_that_are_too_narrow_are_told(monkeypatch):
    right = membership.strength

    def narrow(scores, members, *, confidence):
        return right(scores, members, confidence=0.2)

    monkeypatch.setattr(membership, "strength", narrow)
    assert self_check.check_membership(rows=500, confidence=0.95, seed=1).problems


@pytest.mark.parametrize("wrong", [-1, 1])
def test_ranks_that_favour_one_side_are_told(monkeypatch, wrong):
    right = exposure.exposures

    def skewed(scores, included, *, seed):
        found, ranks = right(scores + wrong * included, included, seed=seed)
        return found, ranks

    monkeypatch.setattr(exposure, "exposures", skewed)
    assert self_check.check_exposure(canaries=500, seed=1).problems


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 4.0, 8.0])
def test_the_gaussian_mechanism_is_the_accountants(epsilon):
    shift = self_check.gaussian_shift(epsilon, delta=1e-5)
    accountant = pld_privacy_accountant.PLDAccountant()
    accountant.compose(dp_event.GaussianDpEvent(1.0 / shift))
    assert accountant.get_epsilon(1e-5) == pytest.approx(epsilon, rel=1e-3)


@pytest.mark.parametrize(
    ("canaries", "delta", "confidence"), [(100, 1e-3, 0.99), (2000, 1e-3, 0.99), (200, 1e-2, 0.95)]
)
def test_where_nothing_can_be_proven_the_estimator_is_not_to_blame(canaries, delta, confidence):
    check = self_check.check_one_run(canaries=canaries, delta=delta, confidence=confidence, seed=1)
    assert check.problems == ()


def test_power_grows_with_the_number_of_canaries():
    def from_which(canaries, claimed):
        found = self_check.detectable_epsilon(claimed, canaries=canaries, delta=1e-5, confidence=0.95, seed=0)
        return math.inf if found is None else found

    assert from_which(10_000, 0.0) < from_which(1000, 0.0) < from_which(100, 0.0)
    assert from_which(10_000, 3.0) < from_which(1000, 3.0)
    assert from_which(100, 8.0) == math.inf


def test_experiments_are_what_they_are_said_to_be():
    scores, included = self_check._scores(50_000, 1.5, seed=1, run=2)
    assert stats.kstest(scores[~included], "norm").pvalue > 1e-6
    assert stats.kstest(scores[included] - 1.5, "norm").pvalue > 1e-6
    assert included.mean() == pytest.approx(0.5, abs=0.02)
    assert not np.array_equal(scores, self_check._scores(50_000, 1.5, seed=1, run=3)[0])
