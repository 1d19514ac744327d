"""Metrics of several classes against scikit-learn, and their limits."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from probity.audits.auc import auc_interval, delong
from probity.audits.multiclass import class_groups, class_quantities, confusion_measure, macro_auc
from probity.audits.task_rows import ClassifiedRows
from tests.audits.task_evidence import CLASSES, draw_table, rows_of


@pytest.fixture(scope="module")
def rows():
    return rows_of("multiclass", draw_table("multiclass", 600))


def measured(rows, metric, *, label_class=None, grouping=(), favourable=(), confidence=0.95):
    found = [
        entry
        for entry in class_quantities(rows, grouping, favourable=favourable)
        if (entry.metric, entry.label_class) == (metric, label_class)
    ]
    assert len(found) == 1
    return found[0].measure(confidence)


def made(scores, labels, classes=("a", "b", "c")):
    return ClassifiedRows(
        scores=np.array(scores, np.float32), labels=np.array(labels, np.int32), classes=classes, groups={}, names={}
    )


def exact(scores):
    """Scikit-learn wants sums of exactly 1."""
    scores = scores.astype(np.float64)
    return scores / scores.sum(axis=1, keepdims=True)


def test_values_of_all_classes_are_scikit_learns(rows):
    for code, name in enumerate(rows.names["region"]):
        members = rows.groups["region"] == code
        labels, scores = rows.labels[members], exact(rows.scores[members])
        expected = {
            "accuracy": metrics.accuracy_score(labels, scores.argmax(axis=1)),
            "log_loss": metrics.log_loss(labels, scores, labels=[0, 1, 2]),
            "auc": metrics.roc_auc_score(labels, scores, multi_class="ovr", average="macro"),
        }
        for metric, value in expected.items():
            found = measured(rows, metric, grouping=("region",))[code]
            assert found.slice_ == {"region": name}
            assert found.value == pytest.approx(value, abs=1e-6), metric
            assert found.lower < found.value < found.upper
            classes = np.bincount(labels, minlength=3)
            fewest = np.minimum(classes, len(labels) - classes).min()
            assert found.rows == (fewest if metric == "auc" else members.sum())


@pytest.mark.parametrize("place", range(3))
def test_rates_of_a_class_are_scikit_learns(rows, place):
    own, chosen = rows.labels == place, rows.chosen == place
    expected = {
        "precision": metrics.precision_score(own, chosen),
        "true_positive_rate": metrics.recall_score(own, chosen),
        "false_positive_rate": metrics.recall_score(~own, chosen),
        "selection_rate": chosen.mean(),
    }
    denominators = {"precision": chosen, "true_positive_rate": own, "false_positive_rate": ~own}
    for metric, value in expected.items():
        (found,) = measured(rows, metric, label_class=CLASSES[place])
        assert found.value == pytest.approx(value), metric
        assert found.n == found.rows == denominators.get(metric, np.ones(len(rows), bool)).sum()


def test_confusions_are_scikit_learns_and_add_up_with_the_true_positive_rate(rows):
    matrix = metrics.confusion_matrix(rows.labels, rows.chosen, normalize="true")
    (group,) = class_groups(rows, ())
    for actual in range(3):
        for predicted in range(3):
            found = confusion_measure(group, actual, predicted, confidence=0.95)
            assert found.value == pytest.approx(matrix[actual, predicted])


def test_the_favourable_rate_counts_all_favourable_classes(rows):
    (found,) = measured(rows, "favourable_rate", favourable=("high", "middle"))
    assert found.value == pytest.approx(np.isin(rows.chosen, [0, 2]).mean())
    assert not [entry for entry in class_quantities(rows, ()) if entry.metric == "favourable_rate"]


def test_of_two_classes_the_macro_auc_and_its_variance_are_delongs(rows):
    scores = rows.scores[:, 0]
    two = np.stack([1 - scores, scores], axis=1)
    labels = (rows.labels == 0).astype(np.int32)
    mine, theirs = macro_auc(two, labels), delong(scores, labels.astype(bool))
    assert mine.values[0] == pytest.approx(theirs.values[0])
    assert mine.covariance[0, 0] == pytest.approx(theirs.covariance[0, 0], rel=0.01)


def test_an_auc_without_a_class_is_undefined_and_says_so():
    absent = made([[0.5, 0.3, 0.2]] * 3, [0, 1, 0])
    (found,) = measured(absent, "auc")
    assert (found.value, found.undefined) == (None, "1 of 3 classes have no row")


def test_rates_of_absent_and_unchosen_classes_are_undefined_with_the_reason():
    rows = made([[0.8, 0.1, 0.1], [0.6, 0.2, 0.2]], [0, 1])
    assert measured(rows, "precision", label_class="b")[0].undefined == "no row is predicted as this class"
    assert measured(rows, "true_positive_rate", label_class="c")[0].undefined == "no row has the label of this class"
    same = made([[0.8, 0.1, 0.1]], [0])
    assert measured(same, "false_positive_rate", label_class="a")[0].undefined.startswith("every row")


def test_a_rate_that_rests_on_few_rows_of_the_class_is_insufficient_in_a_large_group(rows):
    many = made(np.repeat([[0.8, 0.1, 0.1]], 200, axis=0), [0] * 195 + [1] * 5)
    (found,) = measured(many, "true_positive_rate", label_class="b")
    assert (found.n, found.insufficiency(100)) == (5, "fewer than 100 rows")
    assert measured(many, "selection_rate", label_class="b")[0].insufficiency(100) is None


def test_no_rows_give_no_value():
    for entry in class_quantities(made(np.zeros((0, 3)), []), ()):
        (found,) = entry.measure(0.95)
        assert (found.value, found.undefined) == (None, "no rows"), entry.metric


def test_perfect_scores_give_an_auc_of_one_with_a_bound_below():
    rows = made(np.eye(3)[[0, 1, 2] * 20], [0, 1, 2] * 20)
    (found,) = measured(rows, "auc")
    assert (found.value, found.upper) == (1.0, 1.0)
    assert 0.7 < found.lower < 1


def test_coverage_of_the_macro_auc():
    rng = np.random.default_rng(6)

    def draw(n):
        labels = rng.choice(3, n, p=[0.5, 0.3, 0.2])
        logits = rng.normal(size=(n, 3))
        logits[np.arange(n), labels] += 1.2
        scores = np.exp(logits)
        return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32), labels.astype(np.int32)

    truth, covered, repeats = macro_auc(*draw(200_000)).values[0], 0, 400
    for _ in range(repeats):
        lower, upper = auc_interval(macro_auc(*draw(150)), confidence=0.95)
        covered += lower <= truth <= upper
    assert 0.91 < covered / repeats < 0.985
