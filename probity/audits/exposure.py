"""Exposure: how far a planted canary stands out from equally likely ones that were not planted.

A canary of rank ``r`` among ``n`` candidates, itself included, has exposure ``log2(n) - log2(r)``: the number of
guesses that knowing the model saves somebody who searches the candidates for it, as a power of two. Candidates are the
canaries whose coin said no, which come from the very same distribution; so no distribution needs to be fitted.

References:
    Carlini et al. (2019), The Secret Sharer, section 4.2, definition 4.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["exposures", "largest_exposure", "mean_variance", "null_mean"]


def null_mean(references: int) -> float:
    """Returns the mean exposure, in bits, of a canary that the model knows nothing of: every rank is equally likely.

    Args:
        references: Number of canaries that were not planted; for many of them the mean is near 1 / ln 2 = 1.4427.
    """
    candidates = references + 1
    return math.log2(candidates) - math.lgamma(candidates + 1) / math.log(2.0) / candidates


def mean_variance(scores: npt.NDArray[np.float64], included: npt.NDArray[np.bool_], *, seed: int) -> float:
    """Returns the variance of the mean exposure over planted canaries *and* over those that they are ranked among.

    All planted canaries are ranked among the same references, so their exposures depend on each other; half of the
    variance of the mean comes from there. This is the sum of both parts of its linearisation (Hájek projection), as for
    a statistic of two samples.

    Args:
        scores: See :func:`exposures`.
        included: See :func:`exposures`; at least two canaries of each kind.
        seed: Decides the places among equal scores.
    """
    found, ranks = exposures(scores, included, seed=seed)
    references, planted = scores[~included], scores[included]
    # A reference above a planted canary lowers its exposure by 1 / (ln 2 rank), in the mean over the planted ones.
    order = np.argsort(planted)
    weights = np.concatenate([[0.0], np.cumsum(1.0 / ranks[order])]) / len(planted) / math.log(2.0)
    below = np.searchsorted(planted[order], references, side="right")
    influence = weights[below] * (len(references) + 1)
    return float(found.var(ddof=1) / len(found) + influence.var(ddof=1) / len(references))


def exposures(
    scores: npt.NDArray[np.float64], included: npt.NDArray[np.bool_], *, seed: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Returns exposure in bits and rank of each included canary, in the order given.

    Args:
        scores: Higher where the model looks more as if it had seen a canary, of shape (canaries,). Among equal scores a
            canary's place is drawn at random, so that a model that gives all the same score exposes nothing.
        included: Whether a canary was planted, of shape (canaries,).
        seed: Decides the places among equal scores.

    Returns:
        Exposures in [0, log2(n)], and ranks from 1 (highest score) to n, both of shape (included,); n is one more
        than the number of canaries that were not planted.
    """
    references = np.sort(scores[~included])
    planted = scores[included]
    higher = len(references) - np.searchsorted(references, planted, side="right")
    equal = np.searchsorted(references, planted, side="right") - np.searchsorted(references, planted, side="left")
    ranks = 1 + higher + np.random.default_rng(seed).integers(0, equal + 1)
    return math.log2(len(references) + 1) - np.log2(ranks), ranks


def largest_exposure(references: int) -> float:
    """Returns the largest exposure that can be seen among so many canaries that were not planted, in bits."""
    return math.log2(references + 1)
