"""Confidence intervals for the kinds of number that audits report, vectorised over NumPy arrays.

========================  ==========================================================  ==========================
number                    interval                                                    at the limits
========================  ==========================================================  ==========================
a rate                    Wilson score (Wilson 1927; Brown, Cai, DasGupta 2001)       no trials: [0, 1]
a rate, exactly           Clopper-Pearson                                             no trials: [0, 1]
a mean                    normal                                                      one row: no interval
a sum of absolute values  bounds by the triangle inequality and convexity             never below 0
an AUC                    DeLong with logit transform and Student's t, and Newcombe's  0 or 1: one-pair bound
                          method 5: whichever reaches further
a difference              MOVER on the two intervals; Newcombe's method 10 for Wilson never outside its range
a ratio                   MOVER-R on the two intervals                                zero below: up to infinity
the largest gap, the      all pairs at a Bonferroni-corrected level, then the         holds for the largest gap,
smallest ratio            extremes of their bounds                                    not for a pair chosen first
a paired difference       Newcombe 1998b, method 10; paired DeLong                    no rows: [-1, 1]
========================  ==========================================================  ==========================

Every interval holds its own point estimate.

References:
    Wilson (1927), JASA 22, 209-212. Brown, Cai, DasGupta (2001), Statistical Science 16, 101-133.
    Clopper, Pearson (1934), Biometrika 26, 404-413.
    Newcombe (1998a), Statistics in Medicine 17, 873-890, method 10; (1998b) 17, 2635-2650, method 10.
    Zou, Donner (2008), Statistics in Medicine 27, 1693-1702, eq. 3 (MOVER).
    Donner, Zou (2012), Statistical Methods in Medical Research 21, 347-359, eq. 7-8 (MOVER-R).
    DeLong, DeLong, Clarke-Pearson (1988), Biometrics 44, 837-845.
    Sun, Xu (2014), IEEE Signal Processing Letters 21, 1389-1393 (mid-rank algorithm).
    Pepe (2003), The Statistical Evaluation of Medical Tests, section 5.2.4 (logit transform of the AUC).
    Brunner, Munzel (2000), Biometrical Journal 42, 17-25 (degrees of freedom of a Mann-Whitney statistic).
    Newcombe (2006), Statistics in Medicine 25, 559-573, method 5 (score-type interval of the AUC).
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "Auc",
    "Extremes",
    "absolute_sum",
    "auc_interval",
    "bonferroni",
    "clopper_pearson",
    "compare_auc",
    "delong",
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


@dataclass(frozen=True, kw_only=True)
class Auc:
    """Areas under ROC curves of one or more score vectors on the same rows, with their covariance."""

    values: Floats
    """Shape (models,)."""
    covariance: Floats
    """DeLong covariance of the values, shape (models, models)."""
    positives: int
    negatives: int
    degrees: Floats | None = None
    """Degrees of freedom of each variance (Brunner & Munzel 2000, section 4), shape (models,): few rows of a class make
    it uncertain itself. ``None``: taken as known."""
    averaged: bool = False
    """Whether a value is a mean of several areas, whose variance is not that of one of them."""


def delong(scores: npt.ArrayLike, labels: npt.ArrayLike) -> Auc | None:
    """Returns AUC and DeLong covariance, in O(rows log rows) by mid-ranks (Sun & Xu 2014, algorithm 2).

    Args:
        scores: Shape (rows,) or (models, rows), without NaN; infinities are ordinary scores.
        labels: Booleans, shape (rows,).

    Returns:
        ``None`` if there is no positive or no negative row: the AUC is undefined then. With one row of a class that
        class adds no variance, because none can be estimated.
    """
    matrix = np.atleast_2d(np.asarray(scores))
    positive = np.asarray(labels, bool)
    m, n = int(positive.sum()), int((~positive).sum())
    if m == 0 or n == 0:
        return None
    placed_pos = np.empty((len(matrix), m))  # V10: share of negatives below each positive
    placed_neg = np.empty((len(matrix), n))  # V01: share of positives above each negative
    for row, values in enumerate(matrix):
        x, y = values[positive], values[~positive]
        together = _mid_ranks(np.concatenate([x, y]))
        placed_pos[row] = (together[:m] - _mid_ranks(x)) / n
        placed_neg[row] = 1.0 - (together[m:] - _mid_ranks(y)) / m
    of_pos, of_neg = _covariance(placed_pos) / m, _covariance(placed_neg) / n
    return Auc(
        values=placed_pos.mean(axis=1),
        covariance=of_pos + of_neg,
        positives=m,
        negatives=n,
        degrees=_degrees(np.diag(of_pos), np.diag(of_neg), positives=m, negatives=n),
    )


def _degrees(of_pos: Floats, of_neg: Floats, *, positives: int, negatives: int) -> Floats:
    """Returns Satterthwaite's degrees of freedom of the sum of two variances; 1 where both are 0."""
    total = of_pos + of_neg
    spread = of_pos**2 / max(positives - 1, 1) + of_neg**2 / max(negatives - 1, 1)
    found: Floats = np.where(spread > 0, total**2 / np.where(spread > 0, spread, 1.0), 1.0)
    return found


def _mid_ranks(values: npt.NDArray[Any]) -> Floats:
    """Returns 1-based ranks, ties sharing the mean of theirs."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    last = np.append(first[1:], len(values))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat((first + last + 1) / 2.0, last - first)
    return ranks


def _covariance(samples: Floats) -> Floats:
    if samples.shape[1] < 2:
        return np.zeros((len(samples), len(samples)))
    covariance: Floats = np.atleast_2d(np.cov(samples))
    return covariance


def auc_interval(auc: Auc, *, confidence: float, model: int = 0) -> tuple[float, float]:
    """Returns an interval that holds for small groups too, and stays inside [0, 1].

    Two intervals are made, and from each the bound that reaches further is taken: DeLong's with logit transform (Pepe
    2003, section 5.2.4) and Student's t for a variance estimated from few rows (Brunner & Munzel 2000), and Newcombe's
    method 5 (2006), whose variance is that of the bound itself. With eight positives the first alone holds in 89 to
    95 % of draws in place of 95 %, and the second alone fails where scores are far from exponential; together they hold
    in 94 to 99 %. For a hundred rows of each class they are the same within a few percent of their width.

    A mean of several areas has the first interval only. At an AUC of exactly 0 or 1 (and wherever no variance can be
    estimated) DeLong gives no width at all, so the bound is taken from the Wilson interval of ``min(positives,
    negatives)`` independent pairs instead: the rows pair up into that many comparisons that share none, which makes the
    bound conservative.
    """
    value, variance = float(auc.values[model]), float(auc.covariance[model, model])
    if not 0.0 < value < 1.0 or variance <= 0.0:
        pairs = min(auc.positives, auc.negatives)
        lower, upper = wilson(value * pairs, pairs, confidence=confidence)
        return float(lower), float(upper)
    centre = np.log(value / (1 - value))
    half = _quantile(auc, model, confidence=confidence) * np.sqrt(variance) / (value * (1 - value))
    lower_logit, upper_logit = (float(1 / (1 + np.exp(side * half - centre))) for side in (1.0, -1.0))
    if auc.averaged:
        return lower_logit, upper_logit
    lower_score, upper_score = _newcombe_auc(
        value, positives=auc.positives, negatives=auc.negatives, confidence=confidence
    )
    return min(lower_score, lower_logit), max(upper_score, upper_logit)


def _quantile(auc: Auc, model: int, *, confidence: float) -> float:
    """Returns the quantile of Student's t distribution, or of the normal one where the variance is taken as known."""
    from scipy.special import stdtrit

    return (
        normal_quantile(confidence) if auc.degrees is None else float(stdtrit(auc.degrees[model], 0.5 + confidence / 2))
    )


def _newcombe_auc(value: float, *, positives: int, negatives: int, confidence: float) -> tuple[float, float]:
    """Returns the areas whose own variance puts ``value`` at the edge of their interval (Newcombe 2006, method 5)."""
    from scipy.optimize import brentq

    z, even = normal_quantile(confidence), (positives + negatives) / 2

    def excess(area: float) -> float:
        spread = 1 + (even - 1) * ((1 - area) / (2 - area) + area / (1 + area))
        variance = area * (1 - area) * spread / (positives * negatives)
        return abs(area - value) - z * float(np.sqrt(variance))

    edge = 1e-12
    lower = brentq(excess, edge, value) if excess(edge) > 0 else 0.0
    upper = brentq(excess, value, 1 - edge) if excess(1 - edge) > 0 else 1.0
    return float(lower), float(upper)


def compare_auc(auc: Auc, *, confidence: float) -> tuple[float, float, float]:
    """Returns the difference of two AUCs on the same rows with its paired interval (DeLong et al. 1988, eq. 6).

    The quantile is that of the model with fewer degrees of freedom.

    Args:
        auc: Two models; the difference is the first minus the second.
        confidence: Level in (0, 1).

    Returns:
        Difference, lower, upper.
    """
    contrast = np.array([1.0, -1.0])
    change = float(contrast @ auc.values)
    variance = max(0.0, float(contrast @ auc.covariance @ contrast))
    if variance <= 0.0 or min(auc.positives, auc.negatives) < 2:
        # No variance can be estimated. As if the rows were not the same, which is too wide rather than too narrow.
        bounds = [(auc.values[model], *auc_interval(auc, confidence=confidence, model=model)) for model in (0, 1)]
        low, high = difference(bounds[0], bounds[1])
        return change, max(-1.0, float(low)), min(1.0, float(high))
    half = max(_quantile(auc, model, confidence=confidence) for model in (0, 1)) * float(np.sqrt(variance))
    return change, max(-1.0, change - half), min(1.0, change + half)


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
