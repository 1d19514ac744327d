"""Thresholds by group: fairlearn's rates, by a naive count over every threshold, and the limits."""

import numpy as np
import pytest

from probity.data import MISSING_GROUP
from probity.errors import TrainingError
from probity.trainers.mitigation.settings import ThresholdOptimizerSettings
from probity.trainers.mitigation.threshold_optimizer import choose_thresholds

NAMES = (("a",), ("b",), ("c",))
COUNTED = {
    "demographic_parity": lambda decided, labels: decided.mean(),
    "equal_opportunity": lambda decided, labels: decided[labels].mean(),
    "false_positive_rate_parity": lambda decided, labels: decided[~labels].mean(),
}


def draw(rows=1500, *, seed=0, decimals=None):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 3, rows)
    labels = rng.random(rows) < np.array([0.15, 0.35, 0.5])[codes]
    scores = 1 / (1 + np.exp(-(rng.normal(0, 1, rows) + 1.5 * labels - 1 + 0.4 * codes)))
    return (scores if decimals is None else scores.round(decimals)).astype(np.float32), labels, codes


def choose(scores, labels, codes, *, names=NAMES, common=0.5, favourable="positive", **settings):
    given = ThresholdOptimizerSettings(across=("x",), **{"min_group_size": 20, **settings})
    return choose_thresholds(scores, labels, codes, names=names, settings=given, common=common, favourable=favourable)


def randomised_rates(scores, labels, codes, constraint):
    """The rates of fairlearn's own, randomised decisions, from its own estimate of their probabilities."""
    from fairlearn.postprocessing import ThresholdOptimizer
    from sklearn.linear_model import LogisticRegression

    class Given(LogisticRegression):
        coef_ = classes_ = np.array([0, 1])

        def predict_proba(self, X):
            return np.column_stack([1 - X[:, 0], X[:, 0]])

    optimizer = ThresholdOptimizer(
        estimator=Given(), constraints=constraint, prefit=True, predict_method="predict_proba"
    )
    rows = scores[:, None].astype(np.float64)
    optimizer.fit(rows, labels.astype(int), sensitive_features=codes)
    return optimizer._pmf_predict(rows, sensitive_features=codes)[:, 1]


@pytest.mark.parametrize("decimals", [None, 2], ids=["all scores differ", "ties"])
@pytest.mark.parametrize("constraint", COUNTED)
def test_each_group_gets_the_threshold_nearest_to_fairlearns_rates(constraint, decimals):
    scores, labels, codes = draw(decimals=decimals)
    chosen = choose(scores, labels, codes, constraint=constraint)
    peer = {"equal_opportunity": "true_positive_rate_parity"}.get(constraint, constraint)
    wanted = randomised_rates(scores, labels, codes, peer)
    largest = 0.0
    for group in range(3):
        rows = codes == group
        target = COUNTED[constraint](wanted[rows], labels[rows])
        possible = [
            abs(COUNTED[constraint](scores[rows] > t, labels[rows]) - target) for t in (0.0, *np.unique(scores[rows]))
        ]
        off = abs(COUNTED[constraint](scores[rows] > np.float32(chosen.thresholds[group]), labels[rows]) - target)
        assert off == pytest.approx(min(possible), abs=1e-12)
        largest = max(largest, off)
    assert chosen.departure == pytest.approx(largest, abs=1e-12)
    assert chosen.own == (True, True, True)
    if decimals is None:
        assert chosen.departure < 1 / min((codes == group).sum() for group in range(3)) * 10


def test_equalised_odds_is_met_as_nearly_as_one_threshold_can():
    scores, labels, codes = draw()
    chosen = choose(scores, labels, codes, constraint="equalized_odds")
    wanted = randomised_rates(scores, labels, codes, "equalized_odds")
    for group in range(3):
        rows = codes == group

        def far(decided, rows=rows):
            pairs = [(decided[labels[rows] == label], wanted[rows][labels[rows] == label]) for label in (True, False)]
            return np.hypot(*(mine.mean() - theirs.mean() for mine, theirs in pairs))

        best = min(far(scores[rows] > t) for t in (0.0, *np.unique(scores[rows])))
        assert far(scores[rows] > np.float32(chosen.thresholds[group])) == pytest.approx(best, abs=1e-12)
    assert 0.0 < chosen.departure < 0.2


def test_a_favourable_negative_decision_makes_opportunity_a_matter_of_false_positives():
    scores, labels, codes = draw()
    one = choose(scores, labels, codes, constraint="equal_opportunity", favourable="negative")
    other = choose(scores, labels, codes, constraint="false_positive_rate_parity")
    assert one.thresholds == other.thresholds
    assert one.thresholds != choose(scores, labels, codes, constraint="equal_opportunity").thresholds


def test_small_groups_one_label_and_missing_values_keep_the_common_threshold():
    scores, labels, codes = draw(1200)
    labels = labels & (codes != 2)  # nobody in c has a positive label
    codes = np.concatenate([codes, np.full(19, 3), np.full(400, 4), np.full(50, -1)])
    scores = np.concatenate([scores, np.resize(scores, 469)])
    labels = np.concatenate([labels, np.resize(labels, 469)])
    names = (*NAMES, ("d",), (MISSING_GROUP,), ("e",))
    chosen = choose(scores, labels, codes, names=names, common=0.3)
    assert chosen.own == (True, True, False, False, False, False)
    assert chosen.thresholds[2:] == (0.3,) * 4
    assert 0.3 not in chosen.thresholds[:2]
    # Rows of groups without a threshold of their own change nothing for the others.
    two = codes < 2
    assert chosen.thresholds[:2] == choose(scores[two & (codes >= 0)], labels[two & (codes >= 0)],
                                           codes[two & (codes >= 0)], common=0.3).thresholds[:2]  # fmt: skip


def test_fewer_than_two_groups_cannot_be_made_alike():
    scores, labels, codes = draw(60)
    for broken in (codes * 0, np.full_like(codes, -1)):
        with pytest.raises(TrainingError, match="at least two such groups"):
            choose(scores, labels, broken)
    with pytest.raises(TrainingError, match="0 groups"):
        choose(scores[:0], labels[:0], codes[:0])


def test_scores_of_nought_and_one_and_a_single_score():
    codes = np.repeat([0, 1], 100)
    labels = np.tile([True, False], 100)
    chosen = choose(np.where(labels, 1.0, 0.0).astype(np.float32), labels, codes, constraint="equalized_odds")
    assert all(0.0 <= threshold < 1.0 for threshold in chosen.thresholds[:2])
    chosen = choose(np.full(200, 0.4, np.float32), labels, codes, constraint="demographic_parity")
    assert all(0.0 <= threshold <= 1.0 for threshold in chosen.thresholds)
