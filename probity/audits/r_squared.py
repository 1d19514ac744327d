"""The interval of the coefficient of determination, by a bootstrap of the rows.

``1 - R2`` is a ratio of two means over the same rows, ``A = mean (p - y)^2`` over ``B = mean (y - mean y)^2``. Its
logarithm has the standard error of ``e^2 / A - d^2 / B`` (the delta method; ``e`` the residual, ``d`` the label minus
its mean; that the mean is estimated too changes nothing to first order). Rows are resampled, and each replicate is
studentised by its own standard error: the bootstrap-t interval, which is second-order accurate. On the logarithm, so
that the bounds stay below 1.

Above :data:`RESAMPLED_ROWS` rows the quantiles of the replicates are those of the normal distribution, which is used.

References:
    Davison, A. C. and Hinkley, D. V. (1997). Bootstrap Methods and Their Application, sections 2.4 and 5.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probity.audits.intervals import normal_quantile

__all__ = ["RESAMPLED_ROWS", "RSquared", "r_squared"]

RESAMPLED_ROWS = 50_000

_REPLICATES = 2000

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class RSquared:
    """R2 of some rows, with what its interval at any level needs."""

    value: float
    n: int
    log_rest: float | None
    """Logarithm of 1 - R2; ``None`` where the predictions are exact."""
    standard_error: float
    """Of ``log_rest``."""
    pivots: Floats | None
    """Studentised replicates, ascending; ``None``: the normal distribution is close enough."""

    def interval(self, *, confidence: float) -> tuple[float, float] | None:
        """Returns the bounds, or ``None`` for fewer than three rows. Guarantees: they hold the value."""
        if self.n < 3:
            return None
        if self.log_rest is None:
            return self.value, self.value
        tail = (1 - confidence) / 2
        z = normal_quantile(confidence)
        low, high = (-z, z) if self.pivots is None else np.quantile(self.pivots, [tail, 1 - tail])
        upper = 1 - float(np.exp(self.log_rest - high * self.standard_error))
        lower = 1 - float(np.exp(self.log_rest - low * self.standard_error))
        return min(lower, self.value), max(upper, self.value)

    @property
    def method(self) -> str:
        """How the interval is made."""
        return "delta_log" if self.pivots is None else "bootstrap_t_log"


def r_squared(residuals: Floats, labels: Floats, *, seed: int) -> RSquared | None:
    """Returns R2, or ``None`` where all labels are equal: there is nothing to explain.

    Guarantees: the order of the rows does not matter.

    Args:
        residuals: Prediction minus label, shape (rows,).
        labels: Shape (rows,).
        seed: Of the resampling.
    """
    n = len(labels)
    if n == 0 or labels.min() == labels.max():
        return None
    order = np.lexsort((labels, residuals))  # rows are drawn by position
    # In units of the labels' standard deviation R2 is the same, and no moment is lost beside a larger one.
    spread = float(labels.std())
    moments = _moments((residuals[order]) / spread, (labels[order] - labels.mean()) / spread)
    rest, error = _log_rest(moments.mean(axis=0)[None, :], n)
    if not np.isfinite(rest[0]):
        return RSquared(value=1.0, n=n, log_rest=None, standard_error=0.0, pivots=None)
    pivots = None if n > RESAMPLED_ROWS else _pivots(moments, float(rest[0]), seed=seed)
    return RSquared(
        value=1 - float(np.exp(rest[0])),
        n=n,
        log_rest=float(rest[0]),
        standard_error=float(error[0]),
        pivots=pivots,
    )


def _moments(residuals: Floats, labels: Floats) -> Floats:
    """Returns the terms whose means decide R2 and its standard error, shape (rows, 8)."""
    e2 = residuals**2
    terms: Floats = np.stack([e2, e2**2, e2 * labels, e2 * labels**2, labels, labels**2, labels**3, labels**4], axis=1)
    return terms


def _log_rest(means: Floats, n: int) -> tuple[Floats, Floats]:
    """Returns log(1 - R2) and its standard error from means of the moments, shape (replicates, 8)."""
    e2, e4, e2y, e2y2, m1, m2, m3, m4 = means.T
    d2 = m2 - m1**2
    e2d2 = e2y2 - 2 * m1 * e2y + m1**2 * e2
    d4 = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = e4 / e2**2 - 2 * e2d2 / (e2 * d2) + d4 / d2**2
        return np.log(e2 / d2), np.sqrt(np.maximum(variance, 0.0) / n)


def _pivots(moments: Floats, log_rest: float, *, seed: int) -> Floats:
    rng, n = np.random.default_rng(seed), len(moments)
    means = np.empty((_REPLICATES, moments.shape[1]))
    for replicate in range(_REPLICATES):
        drawn = np.bincount(rng.integers(0, n, n), minlength=n)
        means[replicate] = drawn @ moments / n
    rest, error = _log_rest(means, n)
    with np.errstate(divide="ignore", invalid="ignore"):
        pivots = (rest - log_rest) / error
    return np.sort(pivots[np.isfinite(pivots)])
