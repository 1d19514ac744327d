"""The one-run bound: against the closed form, a plain loop, the paper's limits, and real trainings."""

import math

import numpy as np
import pytest
from scipy import stats

from probity.audits import one_run
from probity.audits.one_run import Guesses
from probity.trainers.testing_world import make_world
from tests.trainers.dp_sgd.broken import is_contradicted, planted_training


def p_value_in_words(guesses, *, epsilon, delta):
    """Theorem 5.2 of Steinke et al. (2023), term by term."""
    accuracy = math.exp(epsilon) / (1 + math.exp(epsilon))
    w = stats.binom(guesses.made, accuracy)
    tail = sum(w.pmf(k) for k in range(guesses.correct, guesses.made + 1))
    steepest = max(
        (sum(w.pmf(k) for k in range(guesses.correct - i, guesses.correct)) / i for i in range(1, guesses.correct + 1)),
        default=0.0,
    )
    return min(1.0, tail + 2 * guesses.canaries * delta * steepest)


@pytest.mark.parametrize("delta", [0.0, 1e-5, 1e-2])
@pytest.mark.parametrize(("made", "correct"), [(2, 0), (10, 10), (40, 31), (200, 120)])
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 3.0])
def test_the_p_value_is_the_theorems(made, correct, epsilon, delta):
    guesses = Guesses(canaries=300, made=made, correct=correct)
    expected = p_value_in_words(guesses, epsilon=epsilon, delta=delta)
    assert one_run.p_value(guesses, epsilon=epsilon, delta=delta) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_without_delta_and_with_all_guesses_right_the_bound_has_a_closed_form():
    """``(e^eps / (1 + e^eps))^r = error`` has the solution ``-log(error^(-1/r) - 1)``."""
    included = np.arange(1000) % 2 == 0
    found = one_run.lower_bound(included * 1.0, included, delta=0.0, confidence=0.95, seed=0, shares=(1.0,))
    assert found.guesses == Guesses(canaries=1000, made=1000, correct=1000)
    assert found.epsilon == pytest.approx(-math.log(0.05 ** (-1 / 1000) - 1), rel=2e-4)
    assert found.epsilon <= -math.log(0.05 ** (-1 / 1000) - 1)


def test_guesses_are_counted_as_a_plain_loop_counts_them():
    draw = np.random.default_rng(3)
    scores, included = draw.normal(size=301), draw.random(301) < 0.5
    for found in one_run.guess(scores, included, made=[2, 7, 100, 301], seed=0):
        order = sorted(range(301), key=lambda i: scores[i])
        half = found.made // 2
        low, high = order[:half], order[301 - (found.made - half) :]
        assert found.correct == sum(not included[i] for i in low) + sum(bool(included[i]) for i in high)


def test_equal_scores_show_nothing_whatever_their_order():
    included = np.arange(2000) < 1000  # in the order in which a stable sort would leave them
    found = one_run.lower_bound(np.zeros(2000), included, delta=1e-5, confidence=0.95, seed=4)
    assert found.epsilon == 0.0


def test_a_contradiction_is_a_bound_above_the_claim():
    draw = np.random.default_rng(5)
    included = draw.random(3000) < 0.5
    scores = draw.normal(size=3000) + 2.0 * included
    asked = {"delta": 1e-5, "confidence": 0.95, "seed": 0}
    bound = one_run.lower_bound(scores, included, **asked).epsilon
    assert bound > 1.0
    assert one_run.contradicts(scores, included, epsilon=bound * 0.999, **asked)
    assert not one_run.contradicts(scores, included, epsilon=bound * 1.001, **asked)


def test_more_confidence_and_a_larger_delta_show_less():
    draw = np.random.default_rng(6)
    included = draw.random(3000) < 0.5
    scores = draw.normal(size=3000) + 2.0 * included

    def bound(delta, confidence):
        return one_run.lower_bound(scores, included, delta=delta, confidence=confidence, seed=0).epsilon

    assert bound(1e-5, 0.99) < bound(1e-5, 0.9)
    assert bound(1e-3, 0.95) < bound(1e-6, 0.95)


def test_too_few_canaries_are_refused():
    with pytest.raises(ValueError, match="99 canaries"):
        one_run.lower_bound(np.zeros(99), np.zeros(99, bool), delta=1e-5, confidence=0.95, seed=0)


@pytest.mark.heavy
def test_a_training_without_noise_is_caught_and_the_right_one_is_not(tmp_path_factory):
    """A small version of the statistical test of all breaks, on the trainer itself."""
    world = make_world(tmp_path_factory.mktemp("world"), rows=600)
    assert is_contradicted(*planted_training(world, "noise forgotten", seed=1, canaries=4000))
    assert not is_contradicted(*planted_training(world, seed=1, canaries=4000))
