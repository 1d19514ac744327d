"""What the gate reads holds together: 2,000 draws of populations whose gaps, ratios and rates are known."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy.stats import norm

from probity.audit_plan import AuditsConfig
from probity.audits.comparison import compare
from probity.audits.fairness import _equalized_odds
from probity.audits.intervals import bonferroni
from probity.audits.measures import rate_measures, score_measures
from probity.audits.scoring import ScoredRows
from probity.audits.slices import confusion, score_metrics

pytestmark = pytest.mark.statistical

DRAWS = 2000
ALLOWED = 0.95 - 1.645 * np.sqrt(0.95 * 0.05 / DRAWS)
"""0.942: what true coverage of 95 % stays above in 95 % of experiments."""

# By group: rows, base rate, mean score of positives and of negatives on the normal scale. Selected: above 0.
POPULATIONS = {
    "equal groups": [(300, 0.3, 0.5, -1.0)] * 4,
    "one small group": [(40, 0.3, 0.5, -1.0), (400, 0.3, 0.5, -1.0), (2000, 0.3, 0.5, -1.0)],
    "rare and unequal": [(150, 0.05, 0.0, -2.0), (300, 0.1, 0.5, -1.7), (1000, 0.15, 0.8, -1.5)],
    "far apart": [(200, 0.2, -0.5, -1.5), (600, 0.5, 1.0, -0.3)],
}


def truths(groups):
    """The true numbers that seven rules would ask for."""
    _, base, up, down = (np.array(column) for column in zip(*groups, strict=True))
    tpr, fpr = norm.cdf(up), norm.cdf(down)
    selected = base * tpr + (1 - base) * fpr
    auc = norm.cdf((up - down) / np.sqrt(2))
    return {
        "gap of true_positive_rate": tpr.max() - tpr.min(),
        "gap of selection_rate": selected.max() - selected.min(),
        "ratio of selection_rate": selected.min() / selected.max(),
        "equalized_odds": max(tpr.max() - tpr.min(), fpr.max() - fpr.min()),
        "gap of auc": auc.max() - auc.min(),
        "true_positive_rate of a group": tpr[0],
        "auc of a group": auc[0],
    }


def drawn(groups, rng):
    scores, labels, codes = [], [], []
    for code, (rows, base, up, down) in enumerate(groups):
        positive = rng.random(rows) < base
        scores.append(norm.cdf(rng.standard_normal(rows) + np.where(positive, up, down)))
        labels.append(positive)
        codes.append(np.full(rows, code, np.int32))
    return ScoredRows(
        scores=np.concatenate(scores).astype(np.float32),
        labels=np.concatenate(labels),
        groups={"g": np.concatenate(codes)},
        names={"g": tuple(str(code) for code in range(len(groups)))},
    )


def measured(rows, *, confidence):
    """The bounds of the same numbers, by the functions that the audits' findings are made with."""
    settings = AuditsConfig(min_group_size=2, thresholds=())
    counts = confusion(rows, groupings=[("g",)], thresholds=[0.5])[("g",)]
    groups = score_metrics(rows, groupings=[("g",)])[("g",)]

    def compared(metric, comparison):
        measure = partial(rate_measures, metric, counts, threshold=0.5, exact=True)
        return compare(measure, comparison, settings, confidence=confidence).extremes

    aucs = partial(score_measures, "auc", groups, seed=1)
    return {
        "gap of true_positive_rate": compared("true_positive_rate", "gap"),
        "gap of selection_rate": compared("selection_rate", "gap"),
        "ratio of selection_rate": compared("selection_rate", "ratio"),
        "equalized_odds": _equalized_odds(counts, settings, threshold=0.5, confidence=confidence).extremes,
        "gap of auc": compare(aucs, "gap", settings, confidence=confidence).extremes,
        "true_positive_rate of a group": rate_measures(
            "true_positive_rate", counts, threshold=0.5, confidence=confidence
        )[0],
        "auc of a group": aucs(confidence=confidence)[0],
    }


def held(rows, truth, *, confidence):
    """Which statements are true; one that could not be measured says nothing, so it says nothing false."""
    found = measured(rows, confidence=confidence)
    return {
        name: bounds is None or bounds.value is None or bounds.lower - 1e-9 <= truth[name] <= bounds.upper + 1e-9
        for name, bounds in found.items()
    }


@pytest.mark.parametrize("name", POPULATIONS)
def test_intervals_hold_one_by_one_and_joint_ones_together(name):
    groups, rng = POPULATIONS[name], np.random.default_rng(20)
    truth = truths(groups)
    alone, together = dict.fromkeys(truth, 0), 0
    for _ in range(DRAWS):
        rows = drawn(groups, rng)
        for statement, right in held(rows, truth, confidence=0.95).items():
            alone[statement] += right
        together += all(held(rows, truth, confidence=bonferroni(0.95, len(truth))).values())
    shares = {statement: count / DRAWS for statement, count in alone.items()}
    shares["all of them, jointly"] = together / DRAWS
    assert min(shares.values()) >= ALLOWED, shares


def test_intervals_made_one_by_one_do_not_hold_together():
    """The power of the test above: without the shared level, some statement is false in more than one draw of 20."""
    groups, rng = POPULATIONS["far apart"], np.random.default_rng(21)
    truth = truths(groups)
    together = sum(all(held(drawn(groups, rng), truth, confidence=0.95).values()) for _ in range(DRAWS))
    assert together / DRAWS < ALLOWED


def test_unequal_groups_are_told_from_equal_ones():
    """The other direction: intervals are not so wide that they would never say anything."""
    rng = np.random.default_rng(22)
    seen = {}
    for name in ("equal groups", "far apart"):
        rows = (drawn(POPULATIONS[name], rng) for _ in range(DRAWS // 4))
        seen[name] = np.mean([measured(each, confidence=0.95)["gap of selection_rate"].lower > 0 for each in rows])
    assert seen["equal groups"] <= 0.05
    assert seen["far apart"] >= 0.99
