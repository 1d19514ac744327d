"""Proxy strength: how well one feature alone tells which sensitive group a row belongs to.

A model that never sees a sensitive column can still act on it through a feature that stands in for it. The measure is
the AUC, one group against the rest, of a score that knows nothing but the feature's value:

1. The feature becomes categories: texts as they are (the 1,000 most frequent, the others together), numbers by value or
   by 32 quantile bins, "missing" a category of its own. So neither a bent nor a non-monotone relation is missed, and it
   counts if data is missing for one group more often.
2. A category's score is the smoothed share of the group among the rows of the *other* folds (target-rate scoring with
   cross-fitting), so a category cannot predict a row by containing it. The AUC is taken inside each of five folds and
   averaged: pooling scores of different folds would push the AUC of a useless feature below one half.
3. The strength is the largest AUC over the groups. Its interval joins the groups' AUC intervals at a
   Bonferroni-corrected level, so it holds although the largest was picked.

Cost: one sort and one count of the rows per feature and attribute.

References:
    DeLong, DeLong, Clarke-Pearson (1988), Biometrics 44, 837-845. Micci-Barreca (2001), SIGKDD Explorations 3, 27-32.
    Forman, Scholz (2010), SIGKDD Explorations 12, 49-57 (averaging against pooling over folds).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from probity.audits.auc import Auc, auc_interval
from probity.audits.intervals import bonferroni

__all__ = ["ProxyStrength", "categories", "folds", "proxy_strength"]

_FOLDS = 5
_MAX_CATEGORIES = 1000
_BINS = 32

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ProxyStrength:
    """The largest one-against-rest AUC, and the group it belongs to."""

    value: float
    lower: float
    upper: float
    group: int
    """Position of the group that the feature tells best."""


def categories(column: pa.ChunkedArray) -> Codes:
    """Returns the category of each row, shape (rows,), numbered from 0; missing is a category of its own."""
    array = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if not pa.types.is_string(array.type) and pc.count_distinct(array).as_py() > _BINS:
        values = array.drop_null().to_numpy()
        edges = np.unique(np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:-1]))
        numbers = array.fill_null(0).to_numpy(zero_copy_only=False)
        codes = np.searchsorted(edges, numbers, side="right").astype(np.int64)
        return np.where(np.asarray(array.is_null()), len(edges) + 1, codes)
    encoded = array.dictionary_encode()
    # Numbered by value, so that the order of the rows decides nothing.
    of_value = pc.rank(encoded.dictionary).to_numpy() if len(encoded.dictionary) else np.zeros(0, np.uint64)
    missing = len(encoded.dictionary) + 1
    places = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy(zero_copy_only=False)
    found = np.append(of_value.astype(np.int64), missing)[places]
    counts = np.bincount(found, minlength=missing + 1)
    # The most frequent values come first and everything beyond the limit shares the last number.
    rank = np.empty(len(counts), np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return np.where(found == missing, _MAX_CATEGORIES + 1, np.minimum(rank, _MAX_CATEGORIES)[found])


def folds(feature: Codes, groups: npt.NDArray[np.int32], *, seed: int) -> Codes:
    """Returns the fold of each row, shape (rows,): random, and with each group spread evenly over the folds.

    Guarantees: how many rows of a category and group are in a fold does not depend on the order of the rows.
    """
    in_order = np.lexsort((feature, groups))  # rows of one category and group are interchangeable
    shuffled = in_order[np.random.default_rng(seed).permutation(len(groups))]
    by_group = shuffled[np.argsort(groups[shuffled], kind="stable")]
    fold = np.empty(len(groups), np.int64)
    fold[by_group] = np.arange(len(groups)) % _FOLDS
    return fold


def proxy_strength(
    feature: Codes, groups: npt.NDArray[np.int32], *, eligible: list[int], confidence: float, seed: int
) -> ProxyStrength:
    """Returns how well a feature predicts the groups of one sensitive attribute.

    Args:
        feature: Category of each row, as :func:`categories` gives them.
        groups: Group of each row.
        eligible: Groups to tell from the rest, at least one, each of five or more rows and leaving five or more.
        confidence: Level of the interval.
        seed: Of the folds.
    """
    fold = folds(feature, groups, seed=seed)
    _, feature = np.unique(feature, return_inverse=True)
    shape = (_FOLDS, int(feature.max()) + 1, int(groups.max()) + 1)
    flat = (fold * shape[1] + feature) * shape[2] + groups
    counts = np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape)
    of_all = counts.sum(axis=2)
    level = bonferroni(confidence, len(eligible))
    results = []
    for group in eligible:
        auc = _cross_fitted_auc(counts[:, :, group], of_all - counts[:, :, group])
        results.append((float(auc.values[0]), *auc_interval(auc, confidence=level)))
    values, lowers, uppers = zip(*results, strict=True)
    best = int(np.argmax(values))
    return ProxyStrength(value=values[best], lower=max(lowers), upper=max(uppers), group=eligible[best])


def _cross_fitted_auc(inside: npt.NDArray[Any], outside: npt.NDArray[Any]) -> Auc:
    """Returns the mean AUC over folds, from counts of shape (folds, categories) of rows in and outside the group."""
    values, variances = [], []
    for held_out in range(len(inside)):
        others_in = inside.sum(axis=0) - inside[held_out]
        others_out = outside.sum(axis=0) - outside[held_out]
        base = others_in.sum() / (others_in.sum() + others_out.sum())
        scores = (others_in + base) / (others_in + others_out + 1.0)
        value, variance = _auc_of_counts(scores, inside[held_out], outside[held_out])
        values.append(value)
        variances.append(variance)
    return Auc(
        values=np.array([np.mean(values)]),
        covariance=np.array([[np.mean(variances) / len(variances)]]),
        positives=int(inside.sum()),
        negatives=int(outside.sum()),
        averaged=True,
    )


def _auc_of_counts(
    scores: npt.NDArray[Any], positives: npt.NDArray[Any], negatives: npt.NDArray[Any]
) -> tuple[float, float]:
    """Returns AUC and DeLong variance where all rows of a category share one score."""
    _, place = np.unique(scores, return_inverse=True)
    p = np.bincount(place, weights=positives)
    n = np.bincount(place, weights=negatives)
    placed_p = (np.cumsum(n) - n / 2) / n.sum()  # share of negatives below a positive of this score, ties half
    placed_n = 1.0 - (np.cumsum(p) - p / 2) / p.sum()
    value = float(p @ placed_p / p.sum())
    variance = _variance_of_mean(placed_p, p, value) + _variance_of_mean(placed_n, n, value)
    return value, variance


def _variance_of_mean(values: npt.NDArray[Any], weights: npt.NDArray[Any], mean: float) -> float:
    count = float(weights.sum())
    return float(weights @ (values - mean) ** 2) / (count - 1) / count if count > 1 else 0.0
