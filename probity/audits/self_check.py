"""The auditor audits itself before it speaks.

An estimator that finds leaks where there are none, or claims more than the truth, would hold good models or, worse,
be switched off. So before any number is reported each estimator is run on scores whose truth is known: on noise that
knows nothing of the coins (epsilon 0), and on a Gaussian mechanism, whose epsilon is a formula. Failing that, nothing
is reported.

References:
    Balle and Wang (2018), Improving the Gaussian Mechanism, theorem 8 (epsilon of a Gaussian mechanism).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probity.audits import exposure, membership, one_run

__all__ = [
    "RUNS",
    "SelfCheck",
    "check_exposure",
    "check_membership",
    "check_one_run",
    "detectable_epsilon",
    "gaussian_shift",
]

RUNS = 200
"""Experiments of each kind."""
_FALSE_ALARM = 1e-4
"""Probability with which a right estimator fails one of its checks."""
_TRUTH = 8.0
"""Epsilon of the mechanism that every estimator has to notice."""
_GRID = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0)
_PLAIN = 50.0
"""A distance, in standard deviations, at which every guess is right."""
_POWER, _POWER_RUNS = 0.9, 20

Scores = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class SelfCheck:
    """How an estimator did on scores whose truth is known.

    Attributes:
        estimator: Its name.
        false_alarms: Share of the null experiments in which it found something.
        nominal: The share it may have in the long run.
        above_truth: Share of the experiments with a known truth in which it claimed more than that.
        power: Share of these in which it found something.
        problems: What it did wrong; empty: it may speak.
    """

    estimator: str
    false_alarms: float
    nominal: float
    above_truth: float
    power: float
    problems: tuple[str, ...]


def check_one_run(*, canaries: int, delta: float, confidence: float, seed: int) -> SelfCheck:
    """Checks the lower bound on epsilon at the number of canaries that an audit has.

    Guarantees: a bound that holds with the given confidence fails with a probability below 0.0002.
    """

    def claims(shift: float, epsilon: float, run: int) -> bool:
        scores, included = _scores(canaries, shift, seed=seed, run=run)
        return one_run.contradicts(
            scores, included, epsilon=epsilon, delta=delta, confidence=confidence, seed=seed + run
        )

    shift = gaussian_shift(_TRUTH, delta=delta)
    # So few canaries at so large a delta that even right guesses alone prove nothing: no fault of the estimator.
    halves = np.arange(canaries) % 2 == 0
    all_right = one_run.guess(halves.astype(np.float64), halves, made=[canaries], seed=seed)[0]
    provable = one_run.p_value(all_right, epsilon=0.0, delta=delta) < (1.0 - confidence) / len(one_run.SHARES)
    return _judged(
        "audited_epsilon_lower_bound",
        false=[claims(0.0, 0.0, run) for run in range(RUNS)],
        above=[claims(shift, _TRUTH, RUNS + run) for run in range(RUNS)],
        found=[claims(_PLAIN, 0.0, 2 * RUNS + run) for run in range(RUNS)] if provable else [],
        nominal=1.0 - confidence,
    )


def check_membership(*, rows: int, confidence: float, seed: int) -> SelfCheck:
    """Checks the interval of the membership AUC: on noise it must not lie above 0.5, and it must hold a known AUC."""
    shift = 1.0
    truth = 0.5 * (1.0 + math.erf(shift / 2.0))  # AUC of two normal scores of distance d is Phi(d / sqrt 2)

    def lower(shift: float, run: int) -> float:
        scores, members = _scores(rows, shift, seed=seed, run=run)
        found = membership.strength(scores, members, confidence=confidence)
        return 0.0 if found is None else found.auc[1]

    bounds = [lower(shift, RUNS + run) for run in range(RUNS)]
    return _judged(
        "membership_auc",
        false=[lower(0.0, run) > 0.5 for run in range(RUNS)],
        above=[bound > truth for bound in bounds],
        found=[bound > 0.5 for bound in bounds],
        nominal=(1.0 - confidence) / 2.0,
    )


def check_exposure(*, canaries: int, seed: int) -> SelfCheck:
    """Checks exposures: on noise, each rank is equally likely, so exposures above the median are half of them."""
    upper, planted = 0, 0
    for run in range(RUNS):
        scores, included = _scores(canaries, 0.0, seed=seed, run=run)
        if not included.any():
            continue
        _, ranks = exposure.exposures(scores, included, seed=seed + run)
        # Ranks of one experiment depend on each other through the candidates, so one of them is looked at.
        upper += int(ranks[0] <= ((~included).sum() + 1) / 2.0)
        planted += 1
    scores, included = _scores(canaries, 20.0, seed=seed, run=RUNS)
    found, _ = exposure.exposures(scores, included, seed=seed)
    seen = np.allclose(found, exposure.largest_exposure(int((~included).sum())))
    checked = _judged("exposure", false=[i < upper for i in range(planted)], above=[], found=[bool(seen)], nominal=0.5)
    few = _limit(planted, 0.5)
    problems = ("it ranks canaries too low that the model knows nothing of",) if planted - upper > few else ()
    return SelfCheck(**{**checked.__dict__, "problems": (*checked.problems, *problems)})


def detectable_epsilon(claimed: float, *, canaries: int, delta: float, confidence: float, seed: int) -> float | None:
    """Returns from which true epsilon on a Gaussian mechanism would contradict a claim in nine of ten audits.

    Args:
        claimed: The epsilon that is claimed; 0: from which epsilon on anything at all is noticed.
        canaries: Number of canaries, planted or not.
        delta: At which both are meant.
        confidence: Of the bound.
        seed: Of the experiments.

    Returns:
        The smallest such epsilon of a grid; ``None``: with so few canaries no epsilon up to 32 would.
    """
    for epsilon in _GRID:
        if epsilon <= claimed:
            continue
        shift = gaussian_shift(epsilon, delta=delta)
        hits = 0
        for run in range(_POWER_RUNS):
            scores, included = _scores(canaries, shift, seed=seed, run=2 * RUNS + run)
            hits += one_run.contradicts(
                scores, included, epsilon=claimed, delta=delta, confidence=confidence, seed=seed + run
            )
        if hits >= _POWER * _POWER_RUNS:
            return epsilon
    return None


def gaussian_shift(epsilon: float, *, delta: float) -> float:
    """Returns the distance of two unit normal distributions between which the privacy loss is (epsilon, delta).

    Args:
        epsilon: Greater than 0.
        delta: In (0, 1).

    References:
        Balle and Wang (2018), theorem 8.
    """
    from scipy.optimize import brentq
    from scipy.stats import norm

    def excess(shift: float) -> float:
        ahead, behind = shift / 2.0 - epsilon / shift, -shift / 2.0 - epsilon / shift
        return float(norm.cdf(ahead) - math.exp(epsilon + norm.logcdf(behind)) - delta)

    return float(brentq(excess, 1e-6, 2.0 * epsilon + 10.0))


def _scores(number: int, shift: float, *, seed: int, run: int) -> tuple[Scores, Flags]:
    draw = np.random.default_rng([seed, run])
    included = draw.random(number) < 0.5
    return draw.standard_normal(number) + shift * included, included


def _judged(estimator: str, *, false: list[bool], above: list[bool], found: list[bool], nominal: float) -> SelfCheck:
    problems = []
    if sum(false) > _limit(len(false), nominal):
        problems.append(f"it finds something in {sum(false)} of {len(false)} experiments in which there is nothing")
    if sum(above) > _limit(len(above), nominal):
        problems.append(f"it claims more than the truth in {sum(above)} of {len(above)} experiments")
    if found and not any(found):
        problems.append(f"it finds nothing in {len(found)} experiments in which there is much")
    return SelfCheck(
        estimator=estimator,
        false_alarms=_share(false),
        nominal=nominal,
        above_truth=_share(above),
        power=_share(found),
        problems=tuple(problems),
    )


def _share(events: list[bool]) -> float:
    return sum(events) / len(events) if events else 0.0


def _limit(trials: int, rate: float) -> int:
    """Returns the largest number of events that is no proof of a higher rate."""
    from scipy.stats import binom

    return int(binom.ppf(1.0 - _FALSE_ALARM, trials, rate)) if trials else 0
