"""Two other ways to ask what a model looks at. Where they disagree with Shapley values, a reader should know.

*Permutation importance* (Breiman 2001, section 10; Fisher, Rudin & Dominici 2019) asks what the model's ranking of the
labels loses without a column; it depends on how well the column works, not only on how much it moves the output.
*LIME* (Ribeiro, Singh & Guestrin 2016, eq. 1 and algorithm 1) fits a linear model to the output around one row. The
package ``lime`` has not been maintained since 2020 and perturbs single inputs, which for one-hot columns asks about
rows that cannot exist; here whole columns are switched between the row and the background, as Shapley values do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from probity.audits.auc import delong
from probity.audits.intervals import normal_quantile
from probity.audits.shapley import Inputs, Predict

__all__ = ["PERMUTATIONS", "AucDrop", "lime_weights", "permutation_importances", "rank_agreement"]

PERMUTATIONS = 5
"""Times that each column is permuted."""
_LIME_SAMPLES = 1000
_RIDGE = 1.0


@dataclass(frozen=True, kw_only=True)
class AucDrop:
    """How much AUC is lost when a column is permuted; the interval covers the draw of the rows."""

    value: float
    lower: float
    upper: float


def permutation_importances(
    predict: Predict,
    rows: Inputs,
    labels: npt.NDArray[np.bool_],
    *,
    groups: list[list[str]],
    confidence: float,
    seed: int,
) -> list[AucDrop] | None:
    """Returns the mean drop of AUC over five permutations of each column, with DeLong's interval.

    The five permuted scores and the model's own are scores of the same rows, so the variance of the difference of
    their AUCs is a contrast of their DeLong covariance.

    Args:
        predict: The model.
        rows: Labelled rows, which no training saw.
        labels: Shape (rows,).
        groups: Input names per column.
        confidence: Level of the intervals.
        seed: Seed of the permutations.

    Returns:
        One drop per column, or ``None`` if there is no positive or no negative row. A column whose permutation changes
        no score has a drop of exactly 0.
    """
    rng = np.random.default_rng(seed)
    own = predict(rows)
    contrast = np.array([1.0, *[-1.0 / PERMUTATIONS] * PERMUTATIONS])
    drops = []
    for names in groups:
        scores = [own]
        for _ in range(PERMUTATIONS):
            order = rng.permutation(len(own))
            scores.append(predict({**rows, **{name: rows[name][order] for name in names}}))
        auc = delong(np.stack(scores), labels)
        if auc is None:
            return None
        drop = float((auc.values[0] - auc.values[1:]).mean())
        half = normal_quantile(confidence) * math.sqrt(max(0.0, float(contrast @ auc.covariance @ contrast)))
        drops.append(AucDrop(value=drop, lower=drop - half, upper=drop + half))
    return drops


def lime_weights(
    predict: Predict, row: Inputs, *, background: Inputs, groups: list[list[str]], rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Returns LIME's weight of each column for one row.

    Each of 1,000 samples keeps a random half of the columns of the row and takes the others from one background row.
    A ridge regression of the output on what was kept is weighted by ``exp(-d^2 / w^2)``, where ``d`` is the Euclidean
    distance to the row (the square root of the number of columns that were replaced) and ``w`` is three quarters of
    the square root of the number of columns, as in the authors' implementation.

    Args:
        predict: The model.
        row: Inputs of one row, shape (1, width) each.
        background: Rows to take values from.
        groups: Input names per column.
        rng: Source of chance.
    """
    from sklearn.linear_model import Ridge

    players = len(groups)
    kept = rng.random((_LIME_SAMPLES, players)) < 0.5
    kept[0] = True
    others = rng.integers(len(next(iter(background.values()))), size=_LIME_SAMPLES)
    mixed = {
        name: np.where(kept[:, player, None], row[name], background[name][others])
        for player, names in enumerate(groups)
        for name in names
    }
    distance_squared = (~kept).sum(axis=1)
    weight = np.exp(-distance_squared / (0.75**2 * players))
    fitted = Ridge(alpha=_RIDGE).fit(kept.astype(np.float64), predict(mixed), sample_weight=weight)
    return np.asarray(fitted.coef_, np.float64)


def rank_agreement(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float | None:
    """Returns Spearman's rank correlation; ``None`` for fewer than two values, or where all of one side are equal."""
    from scipy.stats import spearmanr

    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(spearmanr(first, second)[0])
