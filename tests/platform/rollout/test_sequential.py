"""Always-valid bounds: limits, agreement with the formula written out, and reading as often as one likes."""

import math

import numpy as np
import pytest

from probity.platform.rollout import sequential
from probity.platform.rollout.sequential import bound, extended, log_evidence
from probity.rollout import RunningDifference


def after(differences):
    return extended(RunningDifference(), differences)


def test_before_the_first_request_nothing_is_known():
    nothing = RunningDifference()
    assert log_evidence(nothing, mean=0.0, side="below") == pytest.approx(0.0)
    assert bound(nothing, error=0.05, side="above") == -1.0
    assert bound(nothing, error=0.05, side="below") == 1.0
    assert nothing.mean is None
    assert extended(nothing, []) == nothing


@pytest.mark.parametrize("wrong", [[1.5], [-1.01], [math.nan], [math.inf]])
def test_what_is_no_difference_of_rates_is_refused(wrong):
    with pytest.raises(ValueError, match=r"\[-1, 1\]"):
        after(wrong)


def test_the_evidence_is_the_mixture_written_out():
    differences = np.array([0.0, 1.0, -1.0, -1.0, 0.5, -0.25])
    x, mixture = (1 + differences) / 2, []
    for bet in sequential._BETS:
        product = 1.0
        for i, now in enumerate(x):
            guess = (0.5 + x[:i].sum()) / (i + 1)
            product *= math.exp(bet * (0.48 - now) - (now - guess) ** 2 * (-math.log(1 - bet) - bet))
        mixture.append(product)
    assert log_evidence(after(differences), mean=-0.04, side="below") == pytest.approx(math.log(np.mean(mixture)))


def test_one_by_one_is_all_at_once():
    differences = np.random.default_rng(3).uniform(-1, 1, 200)
    running = RunningDifference()
    for difference in differences:
        running = extended(running, [difference])
    together = after(differences)
    assert (running.n, together.n) == (200, 200)
    assert running.total == pytest.approx(together.total)
    assert running.spread == pytest.approx(together.spread)


def test_the_sides_mirror_each_other():
    differences = np.random.default_rng(4).choice([-1.0, 0.0, 1.0], 300, p=[0.1, 0.8, 0.1])
    lower, upper = (bound(after(differences), error=0.01, side=side) for side in ("above", "below"))
    assert lower < differences.mean() < upper
    assert bound(after(-differences), error=0.01, side="below") == pytest.approx(-lower, abs=1e-9)


def test_the_bound_is_where_the_evidence_suffices():
    running = after(np.random.default_rng(5).choice([-1.0, 0.0, 1.0], 2000, p=[0.06, 0.93, 0.01]))
    upper = bound(running, error=0.001, side="below")
    assert log_evidence(running, mean=upper, side="below") == pytest.approx(math.log(1000), abs=1e-6)
    assert upper < 0.0


def test_certainty_needs_requests():
    assert bound(after([-1.0] * 5), error=0.01, side="below") > 0.5
    assert bound(after([-1.0] * 200), error=0.01, side="below") < -0.85


def test_an_always_valid_bound_is_wider_than_one_for_a_fixed_number():
    differences = np.random.default_rng(6).choice([-1.0, 0.0, 1.0], 5000, p=[0.03, 0.94, 0.03])
    fixed = 1.96 * differences.std() / math.sqrt(5000)
    width = bound(after(differences), error=0.025, side="below") - differences.mean()
    assert fixed < width < 3 * fixed
