"""An asked epsilon becomes the noise that it needs.

Guessed by Rényi accounting, which is quick, and settled by privacy loss distributions, which are what is reported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from probity.audits.accounting import epsilon_of, renyi_epsilon_of
from probity.audits.privacy_events import Noisy, Spent
from probity.errors import ConfigError

__all__ = ["calibrate"]

_TOLERANCE = 0.01
"""How far below the target a calibrated epsilon may be, as a share of it."""
_DIGITS = 5
"""Significant digits of a calibrated noise multiplier, rounded up: what is printed is what was executed."""


def calibrate(
    with_noise_multiplier: Callable[[float], Noisy],
    *,
    target_epsilon: float,
    delta: float,
    beside: Sequence[Spent] = (),
) -> Noisy:
    """Returns the mechanism with the least noise whose epsilon stays at or below a target.

    Guarantees: ``0.99 * target_epsilon <= epsilon <= target_epsilon`` for the mechanism composed with ``beside``, by
    :func:`probity.audits.accounting.epsilon_of` at ``delta``; the noise multiplier has at most five significant
    digits.

    Args:
        with_noise_multiplier: Returns what would be executed with this noise multiplier.
        target_epsilon: Greater than 0 and finite.
        delta: In (0, 1).
        beside: What else is spent on the same units and covered by the target.

    Raises:
        ConfigError: If no amount of noise reaches the target.
    """
    if not (0.0 < target_epsilon < math.inf):
        raise ConfigError(
            "target_epsilon",
            seen=f"{target_epsilon:g}",
            allowed="a finite number greater than 0",
            remedy="give the epsilon that the model may have; 0 would mean a model that may not depend on the data",
        )
    base = epsilon_of(beside, delta=delta)
    if base >= target_epsilon * (1 - _TOLERANCE):
        raise ConfigError(
            "target_epsilon",
            seen=f"{target_epsilon:g}, of which preprocessing alone spends {base:.4g}",
            allowed="more than what preprocessing spends",
            remedy="raise target_epsilon, or lower transform.private_statistics.epsilon",
        )

    def epsilon(noise_multiplier: float) -> float:
        return epsilon_of((*beside, with_noise_multiplier(noise_multiplier)), delta=delta)

    def second_opinion(noise_multiplier: float) -> float:
        return renyi_epsilon_of((*beside, with_noise_multiplier(noise_multiplier)), delta=delta)

    start = _root(second_opinion, target_epsilon, start=1.0)
    found = with_noise_multiplier(_rounded_up(_root(epsilon, target_epsilon, start=start)))
    achieved = epsilon_of((*beside, found), delta=delta)
    if not target_epsilon * (1 - _TOLERANCE) <= achieved <= target_epsilon:
        raise ConfigError(
            "target_epsilon",
            seen=f"{target_epsilon:g}; the nearest that the accountant can show is {achieved:.4g}",
            allowed="an epsilon that some noise multiplier reaches within one percent",
            remedy="give noise_multiplier instead, or another target_epsilon",
        )
    return found


def _root(epsilon: Callable[[float], float], target: float, *, start: float) -> float:
    """Returns a noise multiplier whose epsilon is at most the target and within half of the tolerance of it.

    On logarithmic scales epsilon is nearly a straight line, so the secant method needs few of the costly evaluations;
    it is kept inside a bracket, because epsilon never rises with noise.
    """
    low, high = 0.0, math.inf
    noise, value = start, epsilon(start)
    slope = -1.0
    while not target * (1 - _TOLERANCE / 2) <= value <= target:
        low, high = (max(low, noise), high) if value > target else (low, min(high, noise))
        aim = target * (1 - _TOLERANCE / 4)
        # A value that is zero or infinite says on which side it is and no more: then doubling and halving do.
        guess = (
            noise * (aim / value) ** (1 / slope) if 0 < value < math.inf else noise * (2.0 if value > target else 0.5)
        )
        guess = min(max(guess, noise / 4), noise * 4)
        if not low < guess < high:
            guess = math.sqrt(low * high) if low > 0 and high < math.inf else noise * (2.0 if value > target else 0.5)
        if not 1e-3 <= guess <= 1e6 or high / max(low, 1e-9) < 1 + 10.0 ** (1 - _DIGITS):
            raise ConfigError(
                "target_epsilon",
                seen=f"{target:g}, which no noise multiplier between 0.001 and 1,000,000 comes within one percent of",
                allowed="an epsilon that the accountant can show for some noise",
                remedy="use another target_epsilon, fewer epochs or a smaller expected_batch_size",
            )
        before, noise, earlier = noise, guess, value
        value = epsilon(noise)
        if min(value, earlier) > 0 and max(value, earlier) < math.inf and value != earlier:
            slope = min(-0.2, math.log(value / earlier) / math.log(noise / before))
    return noise


def _rounded_up(value: float) -> float:
    scale = 10.0 ** (_DIGITS - 1 - math.floor(math.log10(value)))
    return math.ceil(value * scale) / scale
