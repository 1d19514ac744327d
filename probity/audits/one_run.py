"""A lower bound on epsilon from one training run, by guessing which canaries were in it.

Each of ``m`` canaries was put into the training by a fair coin of its own. An attacker sees what came out and guesses
some of the coins, abstaining from the others. Differential privacy bounds how many guesses can be right: if more are,
then epsilon is larger than that, with the stated confidence. Nothing is assumed about the model or the attack; a weak
attack gives a weak bound and never a false one.

References:
    Steinke, Nasr and Jagielski (2023), Privacy Auditing with One (1) Training Run, theorem 5.2 and appendix D.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["MIN_CANARIES", "SHARES", "Guesses", "OneRunBound", "contradicts", "guess", "lower_bound", "p_value"]

MIN_CANARIES = 100
"""With fewer, not even a model that hides nothing would be caught."""
SHARES = (0.02, 0.1, 0.3, 1.0)
"""Shares of the canaries that are guessed: few sure guesses show a strong leak best, many weak ones a small leak.
Which one to believe must not be chosen by looking, so each is tested at a quarter of the error."""
LARGEST = 50.0
"""Where the search for a bound ends: no number of guesses that fits into memory shows more."""


@dataclass(frozen=True, kw_only=True)
class Guesses:
    """How an attack did.

    Attributes:
        canaries: Number of canaries, guessed or not.
        made: Number of guesses.
        correct: Number of right ones among them.
    """

    canaries: int
    made: int
    correct: int


@dataclass(frozen=True, kw_only=True)
class OneRunBound:
    """What an attack on one training shows.

    Attributes:
        epsilon: With the stated confidence the training's epsilon is at least this, at the delta that was asked for;
            0 shows nothing.
        confidence: Of the bound, all numbers of guesses that were tried counted.
        guesses: The guesses behind the bound.
    """

    epsilon: float
    confidence: float
    guesses: Guesses


def guess(
    scores: npt.NDArray[np.float64], included: npt.NDArray[np.bool_], *, made: Sequence[int], seed: int
) -> list[Guesses]:
    """Guesses that the highest scores were included and the lowest were not, half of the guesses each.

    Args:
        scores: Higher where a canary looks more like one that was included, of shape (canaries,). Equal scores are put
            in random order.
        included: Whether it was, of shape (canaries,).
        made: Numbers of guesses to try, each from 2 to the number of canaries.
        seed: Decides the order of equal scores.

    Returns:
        One entry for each number of guesses.
    """
    shuffled = np.random.default_rng(seed).permutation(len(scores))
    order = shuffled[np.argsort(scores[shuffled], kind="stable")]
    out = np.concatenate([[0], np.cumsum(~included[order])])  # those that were not included among the lowest
    found = []
    for number in made:
        half = number // 2
        highest = number - half
        correct = int(out[half]) + highest - int(out[-1] - out[len(order) - highest])
        found.append(Guesses(canaries=len(scores), made=number, correct=correct))
    return found


def p_value(guesses: Guesses, *, epsilon: float, delta: float) -> float:
    """Returns the largest probability of at least so many right guesses under (epsilon, delta)-differential privacy.

    Args:
        guesses: How the attack did.
        epsilon: At least 0.
        delta: In [0, 1).

    References:
        Steinke et al. (2023), theorem 5.2: with W binomial of ``made`` trials at ``e^eps / (1 + e^eps)``,
        P[W >= v] + 2 m delta max_i P[v > W >= v - i] / i.
    """
    from scipy.stats import binom

    accuracy = 1.0 / (1.0 + math.exp(-epsilon))
    made, correct = guesses.made, guesses.correct
    tail = float(binom.sf(correct - 1, made, accuracy))
    if delta == 0.0 or correct == 0:
        return min(tail, 1.0)
    below = np.cumsum(binom.pmf(np.arange(correct - 1, -1, -1), made, accuracy))
    steepest = float((below / np.arange(1, correct + 1)).max())
    return min(tail + 2.0 * guesses.canaries * delta * steepest, 1.0)


def lower_bound(
    scores: npt.NDArray[np.float64],
    included: npt.NDArray[np.bool_],
    *,
    delta: float,
    confidence: float,
    seed: int,
    shares: Sequence[float] = SHARES,
) -> OneRunBound:
    """Returns the largest epsilon that the guesses exclude.

    Guarantees: if the training was (epsilon, delta)-differentially private for each canary, the bound is larger than
    epsilon with probability at most ``1 - confidence``, over the coins and the training.

    Args:
        scores: See :func:`guess`.
        included: The coins: independent, fair, and kept from the scores but for what the training reveals.
        delta: At which the bound is meant.
        confidence: In (0, 1).
        seed: Decides the order of equal scores.
        shares: Shares of the canaries to guess; the error is split among them.

    Raises:
        ValueError: If there are fewer than :data:`MIN_CANARIES`.
    """
    error = (1.0 - confidence) / len(shares)
    bounds = [
        OneRunBound(epsilon=_largest_excluded(found, delta=delta, error=error), confidence=confidence, guesses=found)
        for found in _attempts(scores, included, shares=shares, seed=seed)
    ]
    return max(bounds, key=lambda bound: (bound.epsilon, bound.guesses.made))


def contradicts(
    scores: npt.NDArray[np.float64],
    included: npt.NDArray[np.bool_],
    *,
    epsilon: float,
    delta: float,
    confidence: float,
    seed: int,
    shares: Sequence[float] = SHARES,
) -> bool:
    """Whether :func:`lower_bound` with the same arguments is above ``epsilon``: quicker than searching for it."""
    error = (1.0 - confidence) / len(shares)
    return any(
        p_value(found, epsilon=epsilon, delta=delta) < error
        for found in _attempts(scores, included, shares=shares, seed=seed)
    )


def _attempts(
    scores: npt.NDArray[np.float64], included: npt.NDArray[np.bool_], *, shares: Sequence[float], seed: int
) -> list[Guesses]:
    if len(scores) < MIN_CANARIES:
        raise ValueError(f"{len(scores)} canaries, of which at least {MIN_CANARIES} are needed")
    return guess(scores, included, made=[max(2, round(share * len(scores))) for share in shares], seed=seed)


def _largest_excluded(guesses: Guesses, *, delta: float, error: float) -> float:
    """Returns the largest epsilon whose p-value is below the error, from below, to four digits; 0 if there is none."""
    if p_value(guesses, epsilon=0.0, delta=delta) >= error:
        return 0.0
    low, high = 0.0, LARGEST
    while high - low > 1e-4 * high:
        middle = (low + high) / 2.0
        if p_value(guesses, epsilon=middle, delta=delta) < error:
            low = middle
        else:
            high = middle
    return low
