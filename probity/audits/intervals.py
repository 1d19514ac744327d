"""Confidence intervals for the kinds of number that audits report, vectorised over NumPy arrays.

========================  ==========================================================  ==========================
number                    interval                                                    at the limits
========================  ==========================================================  ==========================
a rate                    Wilson score (Wilson 1927; Brown, Cai, DasGupta 2001)       no trials: [0, 1]
a rate, exactly           Clopper-Pearson                                             no trials: [0, 1]
a mean                    normal                                                      one row: no interval
a sum of absolute values  bounds by the triangle inequality and convexity             never below 0
a difference              MOVER on the two intervals; Newcombe's method 10 for Wilson never outside its range
a ratio                   MOVER-R on the two intervals                                zero below: up to infinity
the largest gap, the      all pairs at a Bonferroni-corrected level, then the         holds for the largest gap,
smallest ratio            extremes of their bounds                                    not for a pair chosen first
a paired difference       Newcombe 1998b, method 10                                   no rows: [-1, 1]
========================  ==========================================================  ==========================

Every interval holds its own point estimate. Those of an AUC are in :mod:`probity.audits.auc`.

References:
    Wilson (1927), JASA 22, 209-212. Brown, Cai, DasGupta (2001), Statistical Science 16, 101-133.
    Clopper, Pearson (1934), Biometrika 26, 404-413.
    Newcombe (1998a), Statistics in Medicine 17, 873-890, method 10; (1998b) 17, 2635-2650, method 10.
    Zou, Donner (2008), Statistics in Medicine 27, 1693-1702, eq. 3 (MOVER).
    Donner, Zou (2012), Statistical Methods in Medical Research 21, 347-359, eq. 7-8 (MOVER-R).
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

__all__ = [
    "Extremes",
    "absolute_sum",
    "bonferroni",
    "clopper_pearson",
    "compare_rates",
    "difference",
    "largest_gap",
    "normal_mean",
    "normal_quantile",
    "paired_difference",
    "ratio",
    "smallest_ratio",
    "wilson",
]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_DRAWS = 4000


def normal_quantile(confidence: float) -> float:
    """Returns z with probability ``confidence`` between -z and z under the standard normal distribution."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def bonferroni(confidence: float, comparisons: int) -> float:
    """Returns the level at which each of several intervals is made so that all hold together at ``confidence``."""
    return 1.0 - (1.0 - confidence) / max(1, comparisons)


def wilson(successes: npt.ArrayLike, trials: npt.ArrayLike, *, confidence: float) -> tuple[Floats, Floats]:
    """Returns the Wilson score interval of a rate (Wilson 1927; Brown et al. 2001, eq. 4).

    Guarantees: ``0 <= lower <= successes / trials <= upper <= 1``; equal to [0, 1] where there are no trials.

    Args:
        successes: Counts, any shape.
        trials: Counts of the same shape, at least ``successes``.
        confidence: Level in (0, 1).
    """
    x, n = np.asarray(successes, np.float64), np.asarray(trials, np.float64)
    z = normal_quantile(confidence)
    safe = np.where(n > 0, n, 1.0)
    rate = x / safe
    centre = (x + z * z / 2) / (safe + z * z)
    half = z / (safe + z * z) * np.sqrt(x * (1 - rate) + z * z / 4)
    # At 0 and n successes one bound equals the rate exactly; rounding must not put it on the other side.
    lower = np.where(x == 0, 0.0, np.clip(np.minimum(centre - half, rate), 0.0, 1.0))
    upper = np.where(x == n, 1.0, np.clip(np.maximum(centre + half, rate), 0.0, 1.0))
    return np.where(n > 0, lower, 0.0), np.where(n > 0, upper, 1.0)


def clopper_pearson(successes: npt.ArrayLike, trials: npt.ArrayLike, *, confidence: float) -> tuple[Floats, Floats]:
    """Returns the exact interval of a rate (Clopper & Pearson 1934); [0, 1] without trials.

    Guarantees: holds the true rate with at least the given confidence, for every rate and number of trials.

    Args:
        successes: Counts, any shape, at most ``trials``.
        trials: Counts of the same shape, at least 0.
        confidence: Level in (0, 1).
    """
    from scipy.special import betaincinv

    x, n = np.broadcast_arrays(np.asarray(successes, np.float64), np.asarray(trials, np.float64))
    tail = (1.0 - confidence) / 2.0
    # The quantiles of the beta distribution; where one of its parameters would be 0, the bound is 0 or 1 itself.
    lower = np.where(x == 0, 0.0, betaincinv(np.maximum(x, 1.0), n - x + 1.0, tail))
    upper = np.where(x == n, 1.0, betaincinv(x + 1.0, np.maximum(n - x, 1.0), 1.0 - tail))
    return lower, upper


def normal_mean(mean: float, *, variance: float, n: int, confidence: float) -> tuple[float, float] | None:
    """Returns the large-sample interval of a mean, or ``None`` for fewer than two rows.

    Args:
        mean: Sample mean.
        variance: Sample variance (divisor n - 1).
        n: Number of rows.
        confidence: Level in (0, 1).
    """
    if n < 2:
        return None
    half = normal_quantile(confidence) * float(np.sqrt(variance / n))
    return mean - half, mean + half


def absolute_sum(sums: Floats, variances: Floats, *, confidence: float, seed: int) -> tuple[float, float]:
    """Returns an interval of ``sum(|m_b|)`` from independent normal estimates of the ``m_b``.

    The estimate ``sum(|s_b|)`` lies above the truth on average, all the more the smaller the ``m_b`` are, which breaks
    the percentile and the basic bootstrap. Both bounds here hold for every ``m``: with ``s = m + e``, the triangle
    inequality gives ``sum|m| >= sum|s| - sum|e|``, and convexity ``sum|m| <= sum|s| - sum(sign(m) e)``, where the last
    sum is normal with the total variance whatever the signs are.

    Args:
        sums: The ``s_b``, shape (terms,).
        variances: Their variances, shape (terms,).
        confidence: Level in (0, 1).
        seed: Of the draws that give the quantile of ``sum|e|``.
    """
    value = float(np.abs(sums).sum())
    draws = np.random.default_rng(seed).standard_normal((_DRAWS, len(sums)))
    noise = np.abs(draws * np.sqrt(variances)).sum(axis=1)
    below = float(np.quantile(noise, 0.5 + confidence / 2))
    above = normal_quantile(confidence) * float(np.sqrt(variances.sum()))
    return max(0.0, value - below), value + above


Bounds = tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]
"""Value, lower bound, upper bound."""


def difference(first: Bounds, second: Bounds) -> tuple[Floats, Floats]:
    """Returns the interval of first minus second, two independent estimates (MOVER, Zou & Donner 2008, eq. 3).

    With Wilson intervals this is method 10 of Newcombe (1998a) for two proportions.
    """
    v1, l1, u1 = (np.asarray(x, np.float64) for x in first)
    v2, l2, u2 = (np.asarray(x, np.float64) for x in second)
    change = v1 - v2
    return change - np.hypot(v1 - l1, u2 - v2), change + np.hypot(u1 - v1, v2 - l2)


def ratio(first: Bounds, second: Bounds) -> tuple[Floats, Floats]:
    """Returns the interval of first over second, two independent non-negative estimates (Donner & Zou 2012, eq. 7-8).

    The upper bound is infinite where the second may be zero; where both are zero nothing is known: [0, infinity].
    """
    v1, l1, u1 = (np.asarray(x, np.float64) for x in first)
    v2, l2, u2 = (np.asarray(x, np.float64) for x in second)
    product = v1 * v2
    with np.errstate(divide="ignore", invalid="ignore"):
        value = v1 / v2
        low = product - np.sqrt(np.maximum(0.0, product**2 - l1 * u2 * (2 * v1 - l1) * (2 * v2 - u2)))
        high = product + np.sqrt(np.maximum(0.0, product**2 - u1 * l2 * (2 * v1 - u1) * (2 * v2 - l2)))
        lower, upper = low / (u2 * (2 * v2 - u2)), high / (l2 * (2 * v2 - l2))
        # u2 = 2 v2 makes the first formula 0/0; its limit is l1 (2 v1 - l1) / (2 v1 v2).
        limit = l1 * (2 * v1 - l1) / (2 * product)
    lower = np.where(np.isclose(u2, 2 * v2), limit, lower)
    lower = np.where(l1 <= 0, 0.0, lower)
    upper = np.where(l2 <= 0, np.inf, upper)
    known = v2 > 0
    lower = np.where(known, np.clip(np.fmin(lower, value), 0.0, None), 0.0)
    upper = np.where(known, np.fmax(upper, value), np.inf)
    return lower, upper


@dataclass(frozen=True, kw_only=True)
class Extremes:
    """The comparison of the two extreme groups, with an interval that accounts for having looked for them."""

    value: float
    lower: float
    upper: float
    smallest: int
    """Position of the group with the smallest value."""
    largest: int
    """Position of the group with the largest value."""


def largest_gap(values: Floats, lower: Floats, upper: Floats) -> Extremes:
    """Returns the largest minus the smallest value, and its interval.

    The largest gap is the maximum over all ordered pairs, so if the intervals of all pairwise differences hold
    together, the largest gap lies between the largest lower bound (not below 0) and the largest upper bound. An
    interval made for the two groups that happened to be extreme would be too narrow: they were chosen by their noise.
    A percentile bootstrap of the gap would also fail, since the gap of equal groups is positive in every replicate.

    Args:
        values: One per group, at least two.
        lower: Bounds at level ``bonferroni(confidence, k * (k - 1) // 2)`` for k groups.
        upper: As ``lower``.
    """
    low, high = difference((values[:, None], lower[:, None], upper[:, None]), (values, lower, upper))
    apart = ~np.eye(len(values), dtype=bool)
    smallest, largest = int(np.argmin(values)), int(np.argmax(values))
    return Extremes(
        value=float(values[largest] - values[smallest]),
        lower=max(0.0, float(low[apart].max())),
        upper=float(high[apart].max()),
        smallest=smallest,
        largest=largest,
    )


def smallest_ratio(values: Floats, lower: Floats, upper: Floats) -> Extremes | None:
    """Returns the smallest over the largest value with its interval, by the argument of :func:`largest_gap`.

    Args:
        values: One non-negative value per group, at least two groups.
        lower: Bounds at level ``bonferroni(confidence, k * (k - 1) // 2)`` for k groups.
        upper: As ``lower``.

    Returns:
        ``None`` if the largest value is zero: 0/0 is not a ratio.
    """
    smallest, largest = int(np.argmin(values)), int(np.argmax(values))
    if values[largest] <= 0:
        return None
    low, high = ratio((values[:, None], lower[:, None], upper[:, None]), (values, lower, upper))
    apart = ~np.eye(len(values), dtype=bool)
    return Extremes(
        value=float(values[smallest] / values[largest]),
        lower=float(low[apart].min()),
        upper=min(1.0, float(high[apart].min())),
        smallest=smallest,
        largest=largest,
    )


def compare_rates(first: Bools, second: Bools, *, confidence: float) -> tuple[float, float, float]:
    """Returns the difference of two rates over the same trials with its interval, as :func:`paired_difference`.

    Args:
        first: Whether each trial succeeded in the first, shape (trials,).
        second: Likewise in the second.
        confidence: Level in (0, 1).
    """
    counts = [int(both.sum()) for both in (first & second, first & ~second, ~first & second, ~first & ~second)]
    value, lower, upper = paired_difference(*counts, confidence=confidence)
    return float(value), float(lower), float(upper)


def paired_difference(
    both: npt.ArrayLike, first: npt.ArrayLike, second: npt.ArrayLike, neither: npt.ArrayLike, *, confidence: float
) -> tuple[Floats, Floats, Floats]:
    """Returns the difference of two rates over the same trials, with its interval (Newcombe 1998b, method 10).

    Args:
        both: Trials in which both succeeded.
        first: Trials in which only the first succeeded.
        second: Trials in which only the second succeeded.
        neither: Trials in which neither did.
        confidence: Level in (0, 1).

    Returns:
        First minus second, lower, upper; 0, -1, 1 where there are no trials.
    """
    a, b, c, d = (np.asarray(x, np.float64) for x in (both, first, second, neither))
    n = a + b + c + d
    safe = np.where(n > 0, n, 1.0)
    p1, p2 = (a + b) / safe, (a + c) / safe
    l1, u1 = wilson(a + b, n, confidence=confidence)
    l2, u2 = wilson(a + c, n, confidence=confidence)
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    cross = a * d - b * c
    # The continuity correction for the correlation is his; without margins the correlation is taken as 0.
    corrected = np.where(cross > 0, np.maximum(cross - n / 2, 0.0), cross)
    phi = np.where(margins > 0, corrected / np.sqrt(np.where(margins > 0, margins, 1.0)), 0.0)
    below = (p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2
    above = (u1 - p1) ** 2 - 2 * phi * (u1 - p1) * (p2 - l2) + (p2 - l2) ** 2
    change = p1 - p2
    known = n > 0
    return (
        np.where(known, change, 0.0),
        np.where(known, np.maximum(-1.0, change - np.sqrt(np.maximum(0.0, below))), -1.0),
        np.where(known, np.minimum(1.0, change + np.sqrt(np.maximum(0.0, above))), 1.0),
    )
