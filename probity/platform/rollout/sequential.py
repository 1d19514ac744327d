"""Always-valid inference on a running mean: it may be read after every request, and stopped at any time.

A rollout is watched continuously, so an interval for a fixed number of rows would cry wolf sooner or later. What is
used here keeps its error over the whole, unlimited sequence. For differences ``d`` in [-1, 1], put ``x = (1 + d) / 2``.
With ``a_i`` the mean of ``x`` before request ``i`` and ``V`` the sum of ``(x_i - a_i)^2``,

    exp(bet * (sum of x_i - n * m) - V * (-log(1 - bet) - bet)),    0 < bet < 1,

is a supermartingale that starts at 1 if the conditional means of ``x`` are at most ``m`` (Howard et al. 2021, section
3; Waudby-Smith and Ramdas 2024, theorem 2), and below one of them if only their average so far is at most ``m``. So is
its average over several bets, which is the method of mixtures (Robbins 1970). By Ville's inequality it ever reaches
``1 / error`` with probability at most ``error``. Nothing is assumed of the distribution, and traffic may change by the
hour: the statement is about the average of the conditional means so far.

References:
    Howard, S., Ramdas, A., McAuliffe, J. and Sekhon, J. (2021). Time-uniform, nonparametric, nonasymptotic confidence
    sequences. Annals of Statistics 49, 1055-1080.
    Johari, R., Koomen, P., Pekelis, L. and Walsh, D. (2022). Always valid inference. Operations Research 70, 1806-1821.
    Robbins, H. (1970). Statistical methods related to the law of the iterated logarithm. Annals of Mathematical
    Statistics 41, 1397-1409.
    Ville, J. (1939). Étude critique de la notion de collectif.
    Waudby-Smith, I. and Ramdas, A. (2024). Estimating means of bounded random variables by betting. JRSS B 86, 1-27.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from probity.rollout import RunningDifference

__all__ = ["bound", "extended", "log_evidence"]

Side = Literal["below", "above"]

_BETS = np.geomspace(0.002, 0.95, 24)
"""From what finds a thousandth in a million requests to what finds a gross fault in twenty."""
_COSTS = -np.log1p(-_BETS) - _BETS
_HALVINGS = 50


def extended(running: RunningDifference, differences: npt.ArrayLike) -> RunningDifference:
    """Returns what is known after some more differences, in the order in which they came.

    Args:
        running: What is known so far.
        differences: Shape (requests,), each in [-1, 1].

    Raises:
        ValueError: If a difference is outside of [-1, 1] or not finite.
    """
    given = np.asarray(differences, np.float64)
    if not len(given):
        return running
    if not (np.abs(given) <= 1).all():
        raise ValueError("differences of rates are numbers in [-1, 1]")
    x = (1 + given) / 2
    sums = running.total + np.concatenate([[0.0], np.cumsum(x)])
    seen = running.n + np.arange(len(x))
    guesses = (0.5 + sums[:-1]) / (seen + 1)  # of what is before each request only, as the theorem asks
    return RunningDifference(
        n=running.n + len(x), total=float(sums[-1]), spread=running.spread + float(((x - guesses) ** 2).sum())
    )


def log_evidence(running: RunningDifference, *, mean: float, side: Side) -> float:
    """Returns the logarithm of the evidence that the mean difference lies below, or above, a number.

    Guarantees: if the average of the conditional means is never on that side of ``mean``, the evidence ever reaches
    ``log(1 / error)`` with probability at most ``error``, however often it is read.

    Args:
        running: What is known.
        mean: The number, in [-1, 1].
        side: ``below``: evidence for a mean smaller than ``mean``.
    """
    excess = running.total - running.n * (1 + mean) / 2
    signed = -excess if side == "below" else excess
    return float(np.logaddexp.reduce(_BETS * signed - _COSTS * running.spread) - math.log(len(_BETS)))


def bound(running: RunningDifference, *, error: float, side: Side) -> float:
    """Returns the always-valid lower (``side="above"``) or upper (``side="below"``) bound on the mean difference.

    Guarantees: the sequence of bounds ever excludes the average of the conditional means with probability at most
    ``error``; -1 or 1 before the first request.

    Args:
        running: What is known.
        error: In (0, 1).
        side: ``above``: the mean is above the bound; ``below``: it is below it.
    """
    needed = -math.log(error)
    out, inside = (-1.0, 1.0) if side == "above" else (1.0, -1.0)
    if log_evidence(running, mean=out, side=side) < needed:
        return out
    for _ in range(_HALVINGS):
        middle = (out + inside) / 2
        if log_evidence(running, mean=middle, side=side) >= needed:
            out = middle
        else:
            inside = middle
    return out
