"""Threshold optimisation: a decision threshold for each group, chosen on held-out rows with fairlearn.

The optimum of Hardt et al. is randomised: between two thresholds a coin decides. A served score cannot toss coins -
equal rows must get equal answers, and the audited answer must be the served one - so each group gets the single
threshold whose constrained rates on the same rows are nearest to those of the randomised optimum. Where no two rows
share a score, one rate can be met to within half a row; two rates at once (``equalized_odds``) cannot in general, and
how far off they are is said.

References:
    Hardt, Price and Srebro (2016), Equality of Opportunity in Supervised Learning, sections 3.2 and 4.
    Weerts et al. (2023), Fairlearn: Assessing and Improving Fairness of AI Systems.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from probity.data import MISSING_GROUP
from probity.errors import TrainingError
from probity.trainers.mitigation.settings import Constraint, ThresholdOptimizerSettings

__all__ = ["Chosen", "choose_thresholds"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_RATES: Mapping[Constraint, tuple[str, ...]] = {
    "demographic_parity": ("selection_rate",),
    "equal_opportunity": ("true_positive_rate",),
    "false_positive_rate_parity": ("false_positive_rate",),
    "equalized_odds": ("true_positive_rate", "false_positive_rate"),
}


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The thresholds of a rule.

    Attributes:
        thresholds: For each group, a float32 in [0, 1].
        own: Whether the group has a threshold of its own, by group.
        departure: Largest difference between a constrained rate of a group under its threshold and under fairlearn's
            randomised rule, on the rows that both were chosen by.
    """

    thresholds: tuple[float, ...]
    own: tuple[bool, ...]
    departure: float


def choose_thresholds(
    scores: npt.NDArray[np.float32],
    labels: npt.NDArray[np.bool_],
    codes: Ints,
    *,
    names: tuple[tuple[str, ...], ...],
    settings: ThresholdOptimizerSettings,
    common: float,
    favourable: str = "positive",
) -> Chosen:
    """Chooses a threshold for every group that is large enough.

    Args:
        scores: In [0, 1], of shape (rows,).
        labels: Of shape (rows,).
        codes: The group of each row; -1 for none.
        names: For each group, its values.
        settings: Constraint, objective, smallest group.
        common: The threshold of all other groups.
        favourable: Which prediction benefits a person, ``positive`` or ``negative``.

    Raises:
        TrainingError: If fewer than two groups are large enough.
    """
    members = {
        group: np.flatnonzero(codes == group) for group in range(len(names)) if MISSING_GROUP not in names[group]
    }
    members = {group: rows for group, rows in members.items() if _is_enough(labels[rows], settings.min_group_size)}
    if len(members) < 2:
        raise TrainingError(
            "trainer: mitigation threshold_optimizer",
            seen=f"{len(members)} groups with at least {settings.min_group_size} rows and labels of both classes",
            allowed="at least two such groups in the split that thresholds are chosen on",
            remedy="lower mitigation.min_group_size, name a coarser attribute, or use another method",
        )
    rates = _RATES[settings.constraint]
    if settings.constraint == "equal_opportunity" and favourable == "negative":
        rates = ("false_positive_rate",)  # equal true negative rates
    rules = _randomised(scores, labels, codes, groups=list(members), settings=settings, rates=rates)
    thresholds, departure = [common] * len(names), 0.0
    for group, rows in members.items():
        points = _operating_points(scores[rows], labels[rows])
        wanted = _rates_of(rules[group](scores[rows].astype(np.float64)), labels[rows])
        apart = np.stack([points.rates[name] - wanted[name] for name in rates])
        positives = float(labels[rows].mean())
        nearest = _nearest(apart, points, objective=settings.objective, positives=positives, common=common)
        thresholds[group] = float(points.thresholds[nearest])
        departure = max(departure, float(np.abs(apart[:, nearest]).max()))
    return Chosen(
        thresholds=tuple(thresholds), own=tuple(group in members for group in range(len(names))), departure=departure
    )


def _is_enough(labels: npt.NDArray[np.bool_], smallest: int) -> bool:
    return len(labels) >= smallest and bool(labels.any()) and not labels.all()


def _randomised(
    scores: npt.NDArray[np.float32],
    labels: npt.NDArray[np.bool_],
    codes: Ints,
    *,
    groups: list[int],
    settings: ThresholdOptimizerSettings,
    rates: tuple[str, ...],
) -> dict[int, Any]:
    """Returns, by group, the function from scores to fairlearn's probability of a positive decision."""
    from fairlearn.postprocessing import ThresholdOptimizer

    taken = np.isin(codes, groups)
    constraint = "equalized_odds" if len(rates) > 1 else f"{rates[0]}_parity"
    optimizer = ThresholdOptimizer(
        estimator=_given_scores(),
        constraints=constraint,
        objective=settings.objective,
        prefit=True,
        predict_method="predict_proba",
    )
    rows = scores[taken].astype(np.float64)[:, None]
    optimizer.fit(rows, labels[taken].astype(np.int64), sensitive_features=codes[taken])
    found = optimizer.interpolated_thresholder_.interpolation_dict
    return {int(group): _probability(entry) for group, entry in found.items()}


def _probability(entry: Any) -> Any:
    """Returns one group's randomised rule as a function of scores (Hardt et al. 2016, section 4.2)."""

    def positive(scores: Floats) -> Floats:
        decided = entry.p0 * entry.operation0(scores) + entry.p1 * entry.operation1(scores)
        ignore = entry.get("p_ignore", 0.0)  # with this probability a coin decides that has not seen the score
        mixed: Floats = np.asarray(
            ignore * entry.get("prediction_constant", 0.0) + (1.0 - ignore) * decided, np.float64
        )
        return mixed

    return positive


def _given_scores() -> Any:
    """Returns an estimator whose predicted probabilities are its inputs."""
    from sklearn.base import BaseEstimator, ClassifierMixin

    class GivenScores(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        classes_ = np.array([0, 1])

        def __sklearn_is_fitted__(self) -> bool:
            return True

        def fit(self, X: Any, y: Any) -> Any:
            return self

        def predict_proba(self, X: Any) -> Floats:
            column = np.asarray(X, np.float64).reshape(-1)
            return np.stack([1.0 - column, column], axis=1)

    return GivenScores()


@dataclass(frozen=True, kw_only=True, eq=False)
class _Points:
    """Every decision that one threshold can make in a group: all arrays have shape (points,)."""

    thresholds: npt.NDArray[np.float32]
    rates: dict[str, Floats]

    def objective(self, name: str, *, positives: float) -> Floats:
        found, alarms = self.rates["true_positive_rate"], self.rates["false_positive_rate"]
        share = 0.5 if name == "balanced_accuracy_score" else positives
        value: Floats = share * found + (1.0 - share) * (1.0 - alarms)
        return value


def _operating_points(scores: npt.NDArray[np.float32], labels: npt.NDArray[np.bool_]) -> _Points:
    """Returns thresholds between every two neighbouring scores, below the lowest and above the highest."""
    distinct, places = np.unique(scores, return_inverse=True)
    positives = np.bincount(places, weights=labels, minlength=len(distinct))
    rows = np.bincount(places, minlength=len(distinct)).astype(np.float64)
    edges = np.concatenate([[np.float32(0.0)], distinct, [np.float32(1.0)]]).astype(np.float32)
    middle = ((edges[:-1].astype(np.float64) + edges[1:]) / 2.0).astype(np.float32)
    # Rounding may put the middle of two neighbouring floats on the upper one, which would no longer be above it.
    thresholds = np.where(middle < edges[1:], middle, edges[:-1])
    # The scores above threshold i are those from place i on.
    selected_positive, selected = (
        np.concatenate([np.cumsum(counts[::-1])[::-1], [0.0]]) for counts in (positives, rows)
    )
    if distinct[0] == 0.0:  # no threshold is below such a score, so nothing selects everybody
        thresholds, selected_positive, selected = thresholds[1:], selected_positive[1:], selected[1:]
    total_positive, total = float(labels.sum()), float(len(labels))
    return _Points(
        thresholds=thresholds,
        rates={
            "selection_rate": selected / total,
            "true_positive_rate": selected_positive / total_positive,
            "false_positive_rate": (selected - selected_positive) / (total - total_positive),
        },
    )


def _rates_of(probabilities: Floats, labels: npt.NDArray[np.bool_]) -> dict[str, float]:
    return {
        "selection_rate": float(probabilities.mean()),
        "true_positive_rate": float(probabilities[labels].mean()),
        "false_positive_rate": float(probabilities[~labels].mean()),
    }


def _nearest(apart: Floats, points: _Points, *, objective: str, positives: float, common: float) -> int:
    """Returns the point nearest to the wanted rates; of equally near ones the best, then the one nearest to common.

    Points that differ in the constrained rates by rounding only count as equal.
    """
    distance = np.round(np.sqrt((apart**2).sum(axis=0)), 12)
    value = points.objective(objective, positives=positives)
    order = np.lexsort((np.abs(points.thresholds - common), -value, distance))
    return int(order[0])
