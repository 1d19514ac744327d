"""Metrics of several classes for every group, with intervals.

The decision is the class with the highest score. Of each class against all others: precision, true- and false-positive
rate and selection rate; of all classes together: accuracy, log loss, and the mean of the one-vs-rest AUCs (Hand and
Till 2001 average over pairs instead; this is scikit-learn's ``roc_auc_score(multi_class="ovr", average="macro")``).

==============  ====================================================================================================
metric          interval
==============  ====================================================================================================
a rate          Wilson score
log_loss        Hall's interval of a mean without its skewness (:mod:`probity.audits.mean_intervals`)
auc             logit transform (Pepe 2003, section 5.2.4) of the variance that the rows' influences give: DeLong's
                variance of one AUC, with the covariance of the AUCs of the classes, which share their rows
==============  ====================================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt

from probity.audits.auc import Auc, auc_interval
from probity.audits.mean_intervals import METHOD, mean_interval, mean_statistics
from probity.audits.measures import Measure, rate_measures, whole_measure
from probity.audits.quantities import Quantity
from probity.audits.slices import Confusion, members_of
from probity.audits.task_rows import ClassifiedRows

__all__ = [
    "CLASS_RATES",
    "ClassGroup",
    "class_groups",
    "class_quantities",
    "confusion_measure",
    "macro_auc",
    "macro_influence",
]

CLASS_RATES = ("precision", "true_positive_rate", "false_positive_rate", "selection_rate")
"""Rates of one class against all others."""

_LOG_FLOOR = 1e-7  # as for a binary label: Keras's and TFMA's clipping of probabilities in the cross-entropy
_AT = (0.0,)  # the one decision, in the place of thresholds
_UNDEFINED = {
    "precision": "no row is predicted as this class",
    "true_positive_rate": "no row has the label of this class",
    "false_positive_rate": "every row has the label of this class",
}

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassGroup:
    """The rows of one group."""

    slice_: dict[str, str]
    scores: npt.NDArray[np.float32]
    """Shape (rows, classes)."""
    labels: npt.NDArray[np.int32]
    """Shape (rows,)."""

    @property
    def rows(self) -> int:
        """Number of rows of the group."""
        return len(self.labels)

    @cached_property
    def counts(self) -> Ints:
        """Rows by label and decision, shape (classes, classes)."""
        classes = self.scores.shape[1]
        cells = self.labels.astype(np.int64) * classes + self.scores.argmax(axis=1)
        return np.bincount(cells, minlength=classes * classes).reshape(classes, classes).astype(np.int64)

    @cached_property
    def losses(self) -> Floats:
        """Cross-entropy of each row in nats, shape (rows,)."""
        own = self.scores[np.arange(self.rows), self.labels].astype(np.float64)
        losses: Floats = -np.log(np.clip(own, _LOG_FLOOR, 1 - _LOG_FLOOR))
        return losses

    @cached_property
    def auc(self) -> Auc | None:
        """The macro AUC; ``None`` where a class has no row here, or every one."""
        return macro_auc(self.scores, self.labels)


def class_groups(rows: ClassifiedRows, grouping: tuple[str, ...]) -> tuple[ClassGroup, ...]:
    """Returns the groups of a grouping in the order of the data set, empty ones included."""
    return tuple(
        ClassGroup(slice_=slice_, scores=rows.scores[members], labels=rows.labels[members])
        for slice_, members in members_of(rows, grouping)
    )


def class_quantities(
    rows: ClassifiedRows, grouping: tuple[str, ...], *, favourable: tuple[str, ...] = ()
) -> Iterator[Quantity]:
    """Yields every metric of the groups of a grouping: of all classes together, then of each class.

    Args:
        rows: Scored rows.
        grouping: The attributes that form the groups.
        favourable: The classes whose prediction benefits a person; with them comes ``favourable_rate``.
    """
    groups = class_groups(rows, grouping)
    yield Quantity(metric="accuracy", measure=partial(_accuracy, groups))
    yield Quantity(metric="auc", measure=lambda level: tuple(_auc(group, level) for group in groups))
    yield Quantity(metric="log_loss", measure=lambda level: tuple(_log_loss(group, level) for group in groups))
    if favourable:
        places = tuple(rows.classes.index(name) for name in favourable)
        yield Quantity(metric="favourable_rate", measure=partial(_favourable, groups, places))
    for place, name in enumerate(rows.classes):
        for metric in CLASS_RATES:
            yield Quantity(metric=metric, measure=partial(_class_rate, groups, metric, place), label_class=name)


def confusion_measure(group: ClassGroup, actual: int, predicted: int, *, confidence: float) -> Measure:
    """Measures for which share of the rows with one label another class is predicted, with a Wilson interval."""
    of_label = int(group.counts[actual].sum())
    hits = np.array([[group.counts[actual, predicted]]])
    counts = _confusion([group], tp=hits, fn=of_label - hits)
    return _in_words(rate_measures("true_positive_rate", counts, threshold=_AT[0], confidence=confidence)[0], group)


def macro_auc(scores: npt.NDArray[np.float32], labels: npt.NDArray[np.int32]) -> Auc | None:
    """Returns the mean over classes of the AUC of each class against the others, with its variance.

    Args:
        scores: Shape (rows, classes).
        labels: Position of the label's class, shape (rows,).

    Returns:
        One value; its counts are those of the class with the fewest rows in or outside it. ``None`` where a class has
        no row, or every one: its AUC is undefined.
    """
    found = macro_influence(scores, labels)
    if found is None:
        return None
    value, influence = found
    n, sizes = len(labels), np.bincount(labels, minlength=scores.shape[1])
    fewest = int(np.minimum(sizes, n - sizes).min())
    variance = float(influence.var(ddof=1) / n)
    return Auc(
        values=np.array([value]),
        covariance=np.array([[variance]]),
        positives=fewest,
        negatives=fewest,
        averaged=True,
    )


def macro_influence(scores: npt.NDArray[np.float32], labels: npt.NDArray[np.int32]) -> tuple[float, Floats] | None:
    """Returns the macro AUC and each row's influence on it, shape (rows,); ``None`` where it is undefined.

    For one class the influences are DeLong's placements: of a row with the label, (share of other rows below it - AUC)
    over the share of the label; of another row, likewise. The mean over classes of a row's influences carries the
    covariance of the classes' AUCs, and the variance of its mean is that of the macro AUC.
    """
    from scipy.stats import rankdata

    n, classes = scores.shape
    sizes = np.bincount(labels, minlength=classes)
    if n == 0 or sizes.min() == 0 or sizes.max() == n:
        return None
    influence, total = np.zeros(n), 0.0
    for place, size in enumerate(sizes):
        inside, own = labels == place, scores[:, place]
        rank = rankdata(own)
        below = (rank[inside] - rankdata(own[inside])) / (n - size)
        above = 1 - (rank[~inside] - rankdata(own[~inside])) / size
        value = float(below.mean())
        influence[inside] += (below - value) * n / size
        influence[~inside] += (above - value) * n / (n - size)
        total += value
    return total / classes, influence / classes


def _confusion(groups: list[ClassGroup] | tuple[ClassGroup, ...], **counts: Ints) -> Confusion:
    """Returns counts of shape (groups, 1) in the form that the rates are defined on; those not given are 0."""
    zero = np.zeros((len(groups), 1), np.int64)
    parts = {name: np.asarray(counts.get(name, zero), np.int64).reshape(-1, 1) for name in ("tp", "fp", "tn", "fn")}
    return Confusion(grouping=(), slices=tuple(group.slice_ for group in groups), thresholds=_AT, **parts)


def _accuracy(groups: tuple[ClassGroup, ...], confidence: float) -> tuple[Measure, ...]:
    right = np.array([np.trace(group.counts) for group in groups])
    rows = np.array([group.rows for group in groups])
    return rate_measures(
        "accuracy", _confusion(groups, tp=right, fp=rows - right), threshold=_AT[0], confidence=confidence
    )


def _favourable(groups: tuple[ClassGroup, ...], places: tuple[int, ...], confidence: float) -> tuple[Measure, ...]:
    chosen = np.array([group.counts[:, list(places)].sum() for group in groups])
    rows = np.array([group.rows for group in groups])
    counts = _confusion(groups, tp=chosen, fn=rows - chosen)
    return rate_measures("selection_rate", counts, threshold=_AT[0], confidence=confidence)


def _class_rate(groups: tuple[ClassGroup, ...], metric: str, place: int, confidence: float) -> tuple[Measure, ...]:
    tables = np.stack([group.counts for group in groups])
    tp = tables[:, place, place]
    fp, fn = tables[:, :, place].sum(axis=1) - tp, tables[:, place, :].sum(axis=1) - tp
    counts = _confusion(groups, tp=tp, fp=fp, fn=fn, tn=tables.sum(axis=(1, 2)) - tp - fp - fn)
    measures = rate_measures(metric, counts, threshold=_AT[0], confidence=confidence)
    return tuple(_in_words(measure, group, metric) for measure, group in zip(measures, groups, strict=True))


def _in_words(measure: Measure, group: ClassGroup, metric: str = "true_positive_rate") -> Measure:
    """Says of a class, and not of a positive label, why a rate is undefined.

    A rate of a class rests on the rows of its denominator, which can be few in a large group: these rows are held to
    the minimum size of a group.
    """
    undefined = measure.undefined if measure.undefined is None or not group.rows else _UNDEFINED[metric]
    return replace(measure, rows=measure.n, undefined=undefined)


def _log_loss(group: ClassGroup, confidence: float) -> Measure:
    statistics = mean_statistics(group.losses)
    bounds = None if statistics is None else mean_interval(statistics, confidence=confidence)
    return whole_measure(
        group,
        None if statistics is None else statistics.mean,
        None if bounds is None else (max(0.0, bounds[0]), bounds[1]),
        method=METHOD,
        undefined="no rows",
    )


def _auc(group: ClassGroup, confidence: float) -> Measure:
    absent = int((np.bincount(group.labels, minlength=group.scores.shape[1]) == 0).sum())
    why = f"{absent} of {group.scores.shape[1]} classes have no row" if group.rows else "no rows"
    measure = whole_measure(
        group,
        None if group.auc is None else float(group.auc.values[0]),
        None if group.auc is None else auc_interval(group.auc, confidence=confidence),
        method="influence_logit",
        undefined=why,
    )
    # A class of few rows decides the mean as much as any other, and says little of its own uncertainty.
    return measure if group.auc is None else replace(measure, rows=group.auc.positives)
