"""The slice engine: confusion counts, AUC, log loss and calibration of every slice, in few passes over the rows.

All slices share one pass: each row gets one integer made of its groups, its label and the interval between thresholds
that its score lies in; one ``bincount`` gives a small tensor, and every slice at every threshold is a sum over parts of
it. Memory beyond the rows is one block of rows and the tensor.

A row is predicted positive when ``score > threshold``, strictly, comparing the float32 score with the float64 threshold
exactly - as TensorFlow Model Analysis does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from probity.audits.auc import Auc, delong
from probity.audits.scoring import ScoredRows
from probity.metric import METRICS, MetricKind

__all__ = [
    "CALIBRATION_BINS",
    "RATES",
    "Confusion",
    "Grouped",
    "ScoreMetrics",
    "confusion",
    "exact_threshold",
    "rate_counts",
    "score_metrics",
    "undefined_reason",
]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Grouping = tuple[str, ...]

RATES = tuple(name for name, entry in METRICS.items() if entry.kind is MetricKind.RATE)
"""The metrics that are ratios of confusion counts."""

CALIBRATION_BINS = 10
_BLOCK_ROWS = 1 << 17  # a block's temporaries stay in the cache, which doubles the speed at a million rows
_MAX_CELLS = 1 << 18  # a larger joint tensor would cost more than one bincount per grouping
_LOG_FLOOR = 1e-7  # Keras's and TFMA's clipping of probabilities in the cross-entropy


class Grouped(Protocol):
    """Rows with sensitive groups, whatever was predicted for them."""

    @property
    def groups(self) -> Mapping[str, npt.NDArray[np.int32]]:
        """Sensitive attribute to the group's position in ``names``, shape (rows,)."""

    @property
    def names(self) -> Mapping[str, tuple[str, ...]]:
        """Sensitive attribute to all its declared groups."""

    def __len__(self) -> int: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Confusion:
    """Confusion counts of the groups of one grouping at several thresholds; all counts have shape (groups, thresholds).

    ``grouping`` is the attributes that form the groups; none for the single slice of all rows.
    """

    grouping: Grouping
    slices: tuple[dict[str, str], ...]
    """The groups, in the order of the first axis: attribute to group name."""
    thresholds: tuple[float, ...]
    tp: Ints
    fp: Ints
    tn: Ints
    fn: Ints

    @property
    def rows(self) -> Ints:
        """Number of rows of each group, shape (groups,)."""
        return (self.tp + self.fp + self.tn + self.fn)[:, 0]

    @property
    def positives(self) -> Ints:
        """Number of rows of each group with a positive label, shape (groups,)."""
        return (self.tp + self.fn)[:, 0]


_Counts = Callable[[Confusion], tuple[Ints, Ints]]
_RATE_COUNTS: dict[str, _Counts] = {
    "accuracy": lambda c: (c.tp + c.tn, c.tp + c.fp + c.tn + c.fn),
    "precision": lambda c: (c.tp, c.tp + c.fp),
    "true_positive_rate": lambda c: (c.tp, c.tp + c.fn),
    "false_positive_rate": lambda c: (c.fp, c.fp + c.tn),
    "true_negative_rate": lambda c: (c.tn, c.fp + c.tn),
    "false_negative_rate": lambda c: (c.fn, c.tp + c.fn),
    "selection_rate": lambda c: (c.tp + c.fp, c.tp + c.fp + c.tn + c.fn),
}
_EMPTY_DENOMINATOR = {
    "precision": "no row is predicted positive",
    "true_positive_rate": "no row has a positive label",
    "false_negative_rate": "no row has a positive label",
    "false_positive_rate": "no row has a negative label",
    "true_negative_rate": "no row has a negative label",
}


def rate_counts(metric: str, counts: Confusion) -> tuple[Ints, Ints]:
    """Returns numerator and denominator of a rate, each of shape (groups, thresholds).

    Where the denominator is 0 the rate is undefined; :func:`undefined_reason` says why.
    """
    return _RATE_COUNTS[metric](counts)


def undefined_reason(metric: str, *, rows: int) -> str:
    """Returns why a rate with denominator 0 is undefined."""
    return "no rows" if rows == 0 else _EMPTY_DENOMINATOR[metric]


def confusion(
    rows: ScoredRows, *, groupings: Sequence[Grouping], thresholds: Sequence[float]
) -> dict[Grouping, Confusion]:
    """Counts every slice at every threshold.

    Guarantees: the counts of the groups of a grouping add up to those of all rows; the order of rows does not matter;
    groups without rows are there, with zeros.

    Args:
        rows: Scored rows.
        groupings: Combinations of attributes; the empty one is the slice of all rows.
        thresholds: At least one.
    """
    points = tuple(sorted(set(thresholds)))
    wanted = list(dict.fromkeys(groupings))
    attributes = tuple(dict.fromkeys(name for grouping in wanted for name in grouping))
    sizes = [len(rows.names[name]) for name in attributes]
    if prod(sizes) * 2 * (len(points) + 1) > _MAX_CELLS and wanted != [attributes]:
        return {grouping: confusion(rows, groupings=[grouping], thresholds=points)[grouping] for grouping in wanted}
    joint = _tensor(rows, attributes=attributes, thresholds=points)
    return {
        grouping: _marginal(joint, attributes, grouping=grouping, rows=rows, thresholds=points) for grouping in wanted
    }


def exact_threshold(threshold: float) -> np.float32:
    """Returns the float32 with ``score > it`` exactly when ``float64(score) > threshold``, for every float32 score.

    It is the largest float32 that is not above the threshold. Comparing with the nearest float32 instead would flip
    rows that score exactly at a threshold such as 0.1, which no binary fraction equals.
    """
    nearest = np.float32(threshold)
    return np.nextafter(nearest, np.float32(-np.inf)) if float(nearest) > threshold else nearest


def _tensor(rows: ScoredRows, *, attributes: Grouping, thresholds: tuple[float, ...]) -> Ints:
    """Returns counts of shape (*groups of each attribute, 2 labels, thresholds + 1 score intervals)."""
    sizes = [len(rows.names[name]) for name in attributes]
    shape = (*sizes, 2, len(thresholds) + 1)
    cells = prod(shape)
    counts = np.zeros(cells, np.int64)
    points = [exact_threshold(value) for value in thresholds]
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        index = np.zeros(len(rows.labels[block]), np.intp)
        for name, size in zip(attributes, sizes, strict=True):
            index *= size
            index += rows.groups[name][block]
        index *= 2
        index += rows.labels[block]
        index *= len(thresholds) + 1
        scores = rows.scores[block]
        for point in points:
            index += scores > point
        counts += np.bincount(index, minlength=cells)
    return counts.reshape(shape)


def _marginal(
    joint: Ints, attributes: Grouping, *, grouping: Grouping, rows: ScoredRows, thresholds: tuple[float, ...]
) -> Confusion:
    dropped = tuple(axis for axis, name in enumerate(attributes) if name not in grouping)
    kept = [name for name in attributes if name in grouping]
    summed = joint.sum(axis=dropped)
    order = [kept.index(name) for name in grouping]
    counts = summed.transpose(*order, len(kept), len(kept) + 1).reshape(-1, 2, len(thresholds) + 1)
    above = counts[:, :, ::-1].cumsum(axis=2)[:, :, ::-1][:, :, 1:]  # rows in a higher interval, per threshold
    total = counts.sum(axis=2)[:, :, None]
    return Confusion(
        grouping=grouping,
        slices=_slices(rows, grouping),
        thresholds=thresholds,
        tp=above[:, 1],
        fp=above[:, 0],
        tn=(total - above)[:, 0],
        fn=(total - above)[:, 1],
    )


def _slices(rows: Grouped, grouping: Grouping) -> tuple[dict[str, str], ...]:
    combinations = product(*(rows.names[name] for name in grouping))
    return tuple(dict(zip(grouping, groups, strict=True)) for groups in combinations)


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoreMetrics:
    """What depends on the scores of one slice and not on a threshold."""

    slice_: dict[str, str]
    rows: int
    positives: int
    auc: Auc | None
    """``None``: the slice lacks positive or negative rows."""
    log_loss: float | None
    """Mean cross-entropy in nats, probabilities clipped to [1e-7, 1 - 1e-7]; ``None`` without rows."""
    log_loss_variance: float
    """Sample variance of the rows' cross-entropy; 0 for fewer than two rows."""
    residual_sums: Floats
    """Sum of score minus label by calibration bin, shape (bins,)."""
    residual_squares: Floats
    """Sum of (score minus label) squared by calibration bin, shape (bins,)."""

    @property
    def calibration_error(self) -> float | None:
        """Expected calibration error (Guo et al. 2017, eq. 3); ``None`` without rows."""
        return float(np.abs(self.residual_sums).sum() / self.rows) if self.rows else None


def score_metrics(rows: ScoredRows, *, groupings: Sequence[Grouping]) -> dict[Grouping, tuple[ScoreMetrics, ...]]:
    """Measures every slice, in the order of :func:`confusion`.

    Time: one sort of the rows per grouping, and one of each slice by score for the AUC.
    """
    losses, residuals, bins = row_losses(rows), residuals_of(rows), calibration_bins(rows)
    result: dict[Grouping, tuple[ScoreMetrics, ...]] = {}
    for grouping in dict.fromkeys(groupings):
        result[grouping] = tuple(
            _measure(rows, members=members, slice_=slice_, losses=losses, residuals=residuals, bins=bins)
            for slice_, members in members_of(rows, grouping)
        )
    return result


def members_of(rows: Grouped, grouping: Grouping) -> Iterator[tuple[dict[str, str], npt.NDArray[np.intp]]]:
    """Yields each group of a grouping with the positions of its rows, in the order of :func:`confusion`."""
    slices = _slices(rows, grouping)
    code = np.zeros(len(rows), np.intp)
    for name in grouping:
        code = code * len(rows.names[name]) + rows.groups[name]
    order = np.argsort(code, kind="stable")
    ends = np.cumsum(np.bincount(code, minlength=len(slices)))
    for position, slice_ in enumerate(slices):
        yield slice_, order[ends[position - 1] if position else 0 : ends[position]]


def row_losses(rows: ScoredRows) -> Floats:
    """Returns the cross-entropy of each row in nats, shape (rows,)."""
    scores = np.clip(rows.scores.astype(np.float64), _LOG_FLOOR, 1 - _LOG_FLOOR)
    losses: Floats = -np.log(np.where(rows.labels, scores, 1 - scores))
    return losses


def residuals_of(rows: ScoredRows) -> Floats:
    """Returns score minus label of each row, shape (rows,)."""
    return rows.scores.astype(np.float64) - rows.labels


def calibration_bins(rows: ScoredRows) -> npt.NDArray[Any]:
    """Returns the equal-width bin of each score, shape (rows,): bin m holds (m/10, (m+1)/10] (Guo et al. 2017)."""
    bins = np.ceil(rows.scores.astype(np.float64) * CALIBRATION_BINS) - 1
    clipped: npt.NDArray[Any] = np.clip(bins, 0, CALIBRATION_BINS - 1).astype(np.intp)
    return clipped


def _measure(
    rows: ScoredRows,
    *,
    members: npt.NDArray[np.intp],
    slice_: dict[str, str],
    losses: Floats,
    residuals: Floats,
    bins: npt.NDArray[Any],
) -> ScoreMetrics:
    count = len(members)
    labels, own_losses, own_residuals, own_bins = (
        rows.labels[members],
        losses[members],
        residuals[members],
        bins[members],
    )
    return ScoreMetrics(
        slice_=slice_,
        rows=count,
        positives=int(labels.sum()),
        auc=delong(rows.scores[members], labels),
        log_loss=float(own_losses.mean()) if count else None,
        log_loss_variance=float(own_losses.var(ddof=1)) if count > 1 else 0.0,
        residual_sums=_weighted_counts(own_bins, own_residuals),
        residual_squares=_weighted_counts(own_bins, own_residuals**2),
    )


def _weighted_counts(bins: npt.NDArray[Any], weights: Floats) -> Floats:
    counts: Any = np.bincount(bins, weights=weights, minlength=CALIBRATION_BINS)
    return np.asarray(counts, np.float64)
