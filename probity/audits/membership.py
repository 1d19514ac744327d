"""Membership inference: how well somebody who sees a row and its score can tell whether it was trained on.

Members are rows of the training split, the others rows of the test split, which is why a split by chance is needed. The
attacks are those of TensorFlow Privacy's privacy tests: thresholds on the loss and on the entropy of the score (for a
binary label the entropy orders rows as the confidence does), and classifiers that learn the difference from the scores
of other rows, cross-fitted, so that every row is judged by a classifier that did not see it.

References:
    Shokri et al. (2017), Membership Inference Attacks Against Machine Learning Models.
    Yeom et al. (2018), Privacy Risk in Machine Learning, section 3 (threshold on the loss, advantage).
    Song and Mittal (2021), Systematic Evaluation of Privacy Risks of Machine Learning Models.
    Carlini et al. (2022), Membership Inference Attacks From First Principles (the rate at a small false-positive rate).
"""

from __future__ import annotations

import contextlib
import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from probity.audits.auc import Auc, auc_interval, delong
from probity.audits.intervals import bonferroni, clopper_pearson

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["ATTACKS", "Attack", "Sample", "Strength", "run_attacks", "strength", "true_positive_rate_at"]

ATTACKS = ("threshold_loss", "threshold_entropy", "logistic_regression", "nearest_neighbors", "random_forest")
"""All attacks, by the names under which they are reported."""
_LOSS = 1e-12
"""Scores are kept this far from 0 and 1, so that losses stay finite."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """Rows to attack, members and others together. Row-level personal data; internal.

    Attributes:
        members: Whether a row was trained on, of shape (rows,): independent fair coins where the split is by chance.
        scores: The model's scores, in [0, 1], of shape (rows,).
        labels: Whether the label is the positive one, of shape (rows,).
        groups: Attribute to the group's position in ``names``, of shape (rows,).
        names: Attribute to its groups.
        positions: Where each row is in the training split followed by the test split, of shape (rows,).
    """

    members: npt.NDArray[np.bool_]
    scores: npt.NDArray[np.float64]
    labels: npt.NDArray[np.bool_]
    groups: Mapping[str, npt.NDArray[np.int32]]
    names: Mapping[str, tuple[str, ...]]
    positions: npt.NDArray[np.int64]

    @property
    def losses(self) -> npt.NDArray[np.float64]:
        """Cross-entropy of each row, in nats."""
        found: npt.NDArray[np.float64] = -np.log(np.where(self.labels, self._scores, 1.0 - self._scores))
        return found

    @property
    def entropies(self) -> npt.NDArray[np.float64]:
        """Entropy of each score, in nats: how unsure the model is, whatever the label."""
        p = self._scores
        found: npt.NDArray[np.float64] = -(p * np.log(p) + (1.0 - p) * np.log1p(-p))
        return found

    @property
    def _scores(self) -> npt.NDArray[np.float64]:
        found: npt.NDArray[np.float64] = np.clip(self.scores, _LOSS, 1.0 - _LOSS)
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Attack:
    """What one attack says of each row of a sample: higher where it looks more like a member.

    Attributes:
        name: One of :data:`ATTACKS`, or ``likelihood_ratio``.
        scores: Of shape (rows,).
    """

    name: str
    scores: npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Strength:
    """How well an attack does on some rows, each number with its interval.

    Attributes:
        members: Number of members among the rows.
        others: Number of others.
        auc: Area under the ROC curve: value, lower, upper.
        advantage: Largest true-positive minus false-positive rate: value, lower, upper.
    """

    members: int
    others: int
    auc: tuple[float, float, float]
    advantage: tuple[float, float, float]


def run_attacks(sample: Sample, *, seed: int) -> tuple[Attack, ...]:
    """Runs all attacks on a sample with members and others in it.

    Guarantees: equal arguments give equal scores; the state of NumPy's global generator, which the attacks draw from,
    is put back.
    """
    with _library() as (attack, data_structures), _seeded(seed):
        members, others = sample.members, ~sample.members
        probabilities = np.stack([1.0 - sample.scores, sample.scores], axis=1)
        data = data_structures.AttackInputData(
            probs_train=probabilities[members],
            probs_test=probabilities[others],
            labels_train=sample.labels[members].astype(np.int64),
            labels_test=sample.labels[others].astype(np.int64),
            loss_train=sample.losses[members],
            loss_test=sample.losses[others],
            entropy_train=sample.entropies[members],
            entropy_test=sample.entropies[others],
        )
        kinds = data_structures.AttackType
        asked = {
            "threshold_loss": kinds.THRESHOLD_ATTACK,
            "threshold_entropy": kinds.THRESHOLD_ENTROPY_ATTACK,
            "logistic_regression": kinds.LOGISTIC_REGRESSION,
            "nearest_neighbors": kinds.K_NEAREST_NEIGHBORS,
        }
        slicing = data_structures.SlicingSpec(entire_dataset=True)
        found = []
        for name, kind in asked.items():
            results = attack.run_attacks(data, slicing, attack_types=(kind,)).single_attack_results
            scores = np.zeros(len(members))
            scores[members] = np.ravel(results[0].membership_scores_train)
            scores[others] = np.ravel(results[0].membership_scores_test)
            found.append(Attack(name=name, scores=scores))
        return (*found, Attack(name="random_forest", scores=_forest(sample, probabilities, seed=seed)))


def strength(
    scores: npt.NDArray[np.float64], members: npt.NDArray[np.bool_], *, confidence: float, attacks: int = 1
) -> Strength | None:
    """Returns how well scores tell members from others; ``None`` without two of each.

    Args:
        scores: Higher where a row looks more like a member, of shape (rows,).
        members: Of shape (rows,).
        confidence: Level at which the intervals of all attacks hold together.
        attacks: Number of attacks among which the strongest will be looked for.

    References:
        AUC: DeLong. Advantage: the band of Dvoretzky, Kiefer and Wolfowitz (with the constant of Massart 1990) around
        both distribution functions, which holds for the largest difference wherever it is.
    """
    auc: Auc | None = delong(scores, members)
    number, rest = int(members.sum()), int((~members).sum())
    if auc is None or min(number, rest) < 2:
        return None
    level = bonferroni(confidence, attacks)
    lower, upper = auc_interval(auc, confidence=level)
    largest = _largest_difference(scores, members)
    band = sum(math.sqrt(math.log(4.0 / (1.0 - level)) / (2.0 * rows)) for rows in (number, rest))
    return Strength(
        members=number,
        others=rest,
        auc=(float(auc.values[0]), lower, upper),
        advantage=(largest, max(0.0, largest - band), min(1.0, largest + band)),
    )


def true_positive_rate_at(
    scores: npt.NDArray[np.float64],
    members: npt.NDArray[np.bool_],
    *,
    false_positive_rate: float,
    confidence: float,
) -> tuple[float, float, float] | None:
    """Returns the true-positive rate at a false-positive rate with its interval, or ``None`` for too few others.

    Guarantees: the interval holds the rate of the attack whose true false-positive rate is the one asked for, with the
    given confidence, whatever the distributions are. The threshold itself is uncertain: the interval's lower end takes
    one at which the false-positive rate is surely not larger, its upper end one at which it is surely not smaller.

    Args:
        scores: Higher where a row looks more like a member, of shape (rows,).
        members: Of shape (rows,).
        false_positive_rate: In (0, 1).
        confidence: In (0, 1).
    """
    inside, outside = scores[members], np.sort(scores[~members])[::-1]
    rest, allowed = len(outside), math.floor(false_positive_rate * len(outside))
    if allowed < 1 or not len(inside):
        return None
    from scipy.stats import binom

    half = bonferroni(confidence, 2)
    error = (1.0 - half) / 2.0
    # The number of others above the true threshold is binomial; a threshold that the k-th of them marks is surely not
    # below the true one while P[at most k are above] is within the error, and surely not above it beyond the quantile.
    strict = int(binom.ppf(error, rest, false_positive_rate)) - 1
    loose = int(binom.ppf(1.0 - error, rest, false_positive_rate))

    def accepted(number: int) -> int:
        """Number of members above the threshold that this many others pass at most."""
        return int((inside > outside[number]).sum()) if number < rest else len(inside)

    value = accepted(allowed) / len(inside)
    lower = 0.0 if strict < 0 else float(clopper_pearson(accepted(strict), len(inside), confidence=half)[0])
    upper = float(clopper_pearson(accepted(loose), len(inside), confidence=half)[1])
    return value, min(lower, value), max(upper, value)


def _largest_difference(scores: npt.NDArray[np.float64], members: npt.NDArray[np.bool_]) -> float:
    """Returns the largest true-positive minus false-positive rate over all thresholds."""
    inside, outside = np.sort(scores[members]), np.sort(scores[~members])
    thresholds = np.unique(scores)
    below = np.searchsorted(inside, thresholds, side="left") / len(inside)
    rest_below = np.searchsorted(outside, thresholds, side="left") / len(outside)
    return max(0.0, float((rest_below - below).max()))


def _forest(sample: Sample, probabilities: npt.NDArray[np.float64], *, seed: int) -> npt.NDArray[np.float64]:
    """Judges rows by random forests, cross-fitted.

    The library's own search over 72 forests takes a minute for a thousand rows, and names settings that scikit-learn no
    longer has; this is one forest of the size it usually chooses, with leaves that are not single rows.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    features = np.column_stack([probabilities, sample.losses])
    forest = RandomForestClassifier(n_estimators=100, min_samples_leaf=10, random_state=seed % 2**32, n_jobs=1)
    folds = StratifiedKFold(2, shuffle=True, random_state=seed % 2**32)
    found: npt.NDArray[np.float64] = cross_val_predict(
        forest, features, sample.members, cv=folds, method="predict_proba"
    )[:, 1]
    return found


@contextlib.contextmanager
def _library() -> Iterator[tuple[Any, Any]]:
    """Imports the privacy tests, and keeps them quiet."""
    import joblib
    import sklearn.utils

    # The tests import it from where scikit-learn used to keep it.
    if not hasattr(sklearn.utils, "parallel_backend"):
        sklearn.utils.parallel_backend = joblib.parallel_backend
    disabled = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            from tensorflow_privacy.privacy.privacy_tests.membership_inference_attack import data_structures
            from tensorflow_privacy.privacy.privacy_tests.membership_inference_attack import (
                membership_inference_attack as attack,
            )

            yield attack, data_structures
        finally:
            logging.disable(disabled)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seeds NumPy's global generator for as long as the context lasts."""
    state = np.random.get_state()  # noqa: NPY002 - the library draws from it
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
