"""Scores, selection and quality of what was served, against the audited rows, by group, for every task."""

import numpy as np
import pytest

from probity.audits.scoring import ScoredRows
from probity.audits.task_rows import ClassifiedRows, PredictedRows
from probity.data import Dataset
from probity.monitoring import MonitoringConfig
from probity.platform.monitoring.answers import Answers
from probity.platform.monitoring.tasks import answer_measures, quality_measures
from tests.platform.conftest import make_dataset

CONFIG = MonitoringConfig()
ROWS = 4000
SEX = {"groups": {"sex": np.arange(ROWS, dtype=np.int32) // 100 % 2}, "names": {"sex": ("Female", "Male", "(missing)")}}
GROUPS = [frozenset({"sex=Female" if row // 100 % 2 == 0 else "sex=Male"}) for row in range(ROWS)]
WOMEN = np.array(["sex=Female" in of_row for of_row in GROUPS])
PLACE = np.arange(ROWS) % 100


def dataset(task, **changes):
    label = {
        "binary": {},
        "multiclass": {"positive": None, "classes": ["no", "later", "yes"]},
        "regression": {"positive": None},
    }[task]
    return Dataset.from_json({**make_dataset("a").to_json(), "task": task, **label, **changes})


def answers(scores, task, **changes):
    by_row = np.asarray(scores, np.float64).reshape(len(scores), -1)
    return Answers(scores=by_row, dataset=dataset(task, **changes), threshold=0.5)


def named(measures, *kinds):
    return {entry.of: entry for entry in measures if not kinds or entry.kind in kinds}


# --- two classes -----------------------------------------------------------------------------------------------------


def audited(rate=0.4):
    scores = np.where(rate * 100 > PLACE, 0.9, 0.1).astype(np.float32)
    return ScoredRows(scores=scores, labels=scores > 0.5, **SEX)


def selection(chosen, groups=GROUPS, **changes):
    scores = np.where(chosen, 0.9, 0.1)
    return named(answer_measures(answers(scores, "binary", **changes), groups, audited(), CONFIG), "selection")


def test_the_same_rates_are_within():
    found = selection(audited().scores > 0.5)
    assert {entry.status for name, entry in found.items() if "missing" not in name} == {"within"}
    assert found["selection_rate of sex=(missing)"].status == "insufficient"
    few = selection(audited().scores[:150] > 0.5, GROUPS[:150])["selection_rate of sex=Male"]
    assert (few.status, few.n, few.reason) == ("insufficient", 0, "fewer than 100 logged rows")  # 50 people, untold
    assert found["selection_rate"].observed == pytest.approx(0.0)
    assert found["selection_rate"].lower < 0.0 < found["selection_rate"].upper


def test_a_drop_for_one_group_is_beyond_for_it_alone():
    found = selection((audited().scores > 0.5) & ~(WOMEN & (PLACE >= 20)))
    assert found["selection_rate of sex=Female"].status == "beyond"
    assert found["selection_rate of sex=Female"].observed == pytest.approx(-0.2)
    assert found["selection_rate of sex=Female"].upper < -0.05
    assert found["selection_rate of sex=Male"].status == "within"


def test_where_the_negative_outcome_is_favourable_more_positives_are_a_drop():
    found = selection((audited().scores > 0.5) | WOMEN, favourable_outcome="negative")
    assert found["selection_rate of sex=Female"].status == "beyond"
    assert found["selection_rate of sex=Female"].observed == pytest.approx(-0.6)


def test_a_drop_that_chance_may_explain_is_within():
    chosen = (audited().scores > 0.5)[:300]
    chosen[:25] = False
    found = selection(chosen, GROUPS[:300])
    assert found["selection_rate"].observed < -0.05
    assert found["selection_rate"].status == "within"


def test_without_a_group_table_only_all_rows_are_measured():
    assert list(selection(audited().scores > 0.5, [frozenset()] * ROWS)) == ["selection_rate"]


def test_quality_rests_on_what_feedback_labelled():
    predicted = audited().scores > 0.5
    actual = predicted.copy()
    actual[::4] = ~actual[::4]  # a quarter of the predictions turned out wrong
    given = answers(audited().scores, "binary")
    found = named(quality_measures(given, actual.tolist(), GROUPS, audited(), CONFIG))
    assert found["accuracy"].observed == pytest.approx(-0.25)
    assert found["accuracy of sex=Female"].status == "beyond"
    hits = (predicted & actual).sum() / actual.sum()
    assert found["true_positive_rate"].observed == pytest.approx(hits - 1.0)


# --- several classes -------------------------------------------------------------------------------------------------


def classes_by_place(yes=40, later=70):
    """Class 2 below the first place, class 1 below the second, else class 0."""
    return np.where(yes > PLACE, 2, np.where(later > PLACE, 1, 0)).astype(np.int32)


def scores_of(chosen, *, sure=0.8):
    found = np.full((len(chosen), 3), (1 - sure) / 2, np.float32)
    found[np.arange(len(chosen)), chosen] = sure
    return found


def classified():
    chosen = classes_by_place()
    return ClassifiedRows(scores=scores_of(chosen), labels=chosen, classes=("no", "later", "yes"), **SEX)


def of_classes(scores, **changes):
    return answer_measures(answers(scores, "multiclass", **changes), GROUPS, classified(), CONFIG)


def test_the_same_classes_are_within():
    found = of_classes(scores_of(classes_by_place()))
    assert {entry.status for entry in found if "missing" not in entry.of} == {"within"}
    assert {"score of no", "score of later", "score of yes"} == set(named(found, "score_drift"))


def test_a_class_that_is_chosen_less_often_for_one_group_is_beyond_for_it_alone():
    moved = np.where(WOMEN & (PLACE >= 20) & (PLACE < 40), 0, classes_by_place())
    found = named(of_classes(scores_of(moved)), "selection")
    beyond = {name for name, entry in found.items() if entry.status == "beyond"}
    assert beyond == {"selection_rate of yes", "selection_rate of yes of sex=Female"}
    assert found["selection_rate of yes of sex=Female"].observed == pytest.approx(-0.2)
    assert found["selection_rate of no of sex=Female"].observed == pytest.approx(0.2)


def test_where_classes_are_favourable_they_count_together():
    swapped = np.where(classes_by_place() == 2, 1, classes_by_place())  # everybody is put off, nobody is turned away
    found = named(of_classes(scores_of(swapped), favourable=["later", "yes"]), "selection")
    assert {name for name, entry in found.items() if entry.status == "within"} == {
        "favourable_rate", "favourable_rate of sex=Female", "favourable_rate of sex=Male",
    }  # fmt: skip
    away = np.where(WOMEN, 0, classes_by_place())
    found = named(of_classes(scores_of(away), favourable=["later", "yes"]), "selection")
    assert found["favourable_rate of sex=Female"].observed == pytest.approx(-0.7)
    assert found["favourable_rate of sex=Male"].status == "within"


def test_scores_of_a_class_that_moved_are_drift_though_the_choices_are_the_same():
    found = named(of_classes(scores_of(classes_by_place(), sure=0.5)))
    assert {found[f"score of {name}"].status for name in ("no", "later", "yes")} == {"beyond"}
    assert found["selection_rate of yes"].status == "within"


def test_the_quality_of_classes_is_of_each_and_of_all():
    chosen = classes_by_place()
    true = np.where((chosen == 2) & (PLACE < 10), 0, chosen)
    words = [("no", "later", "yes")[code] for code in true]
    found = named(
        quality_measures(answers(scores_of(chosen), "multiclass"), words, GROUPS, classified(), CONFIG), "quality"
    )
    assert found["accuracy"].observed == pytest.approx(-0.1)
    assert found["accuracy of sex=Male"].status == "beyond"
    assert found["true_positive_rate of no"].observed == pytest.approx(30 / 40 - 1)
    assert found["true_positive_rate of yes"].observed == pytest.approx(0.0)


# --- a number --------------------------------------------------------------------------------------------------------


def hours(seed=0, mean=40.0):
    return np.random.default_rng(seed).normal(mean, 8.0, ROWS)


def predicted():
    made = hours().astype(np.float32)
    return PredictedRows(predictions=made, labels=made + np.random.default_rng(9).normal(0, 5, ROWS), **SEX)


def test_a_number_is_compared_by_its_distribution_also_in_groups():
    found = named(answer_measures(answers(hours(1), "regression"), GROUPS, predicted(), CONFIG))
    assert {name: entry.status for name, entry in found.items()} == {
        "prediction": "within", "prediction of sex=Female": "within", "prediction of sex=Male": "within",
        "prediction of sex=(missing)": "insufficient",
    }  # fmt: skip
    moved = np.where(WOMEN, hours(1) - 12, hours(1))
    found = named(answer_measures(answers(moved, "regression"), GROUPS, predicted(), CONFIG))
    assert found["prediction of sex=Female"].status == "beyond"
    assert found["prediction of sex=Male"].status == "within"


def errors(true):
    given = answers(predicted().predictions, "regression")
    return named(quality_measures(given, true.tolist(), GROUPS, predicted(), CONFIG))


def test_an_error_as_large_as_the_audited_one_is_within():
    found = errors(predicted().predictions + np.random.default_rng(3).normal(0, 5, ROWS))
    expected = np.abs(predicted().residuals).mean()
    assert found["mean_absolute_error"].reference == pytest.approx(expected)
    assert found["mean_absolute_error"].limit == pytest.approx(0.05 * expected)
    assert {entry.status for name, entry in found.items() if "missing" not in name} == {"within"}


def test_a_rise_that_chance_may_explain_is_within():
    few = slice(0, 300)
    given = answers(predicted().predictions[few], "regression")
    true = predicted().predictions[few] + 1.1 * predicted().residuals[few]
    found = named(quality_measures(given, true.tolist(), GROUPS[few], predicted(), CONFIG))["mean_absolute_error"]
    assert found.observed > found.limit
    assert found.status == "within"


def test_an_error_that_rose_for_one_group_is_beyond_for_it():
    spread = np.where(WOMEN, 8.0, 5.0) * np.random.default_rng(3).normal(0, 1, ROWS)
    found = errors(predicted().predictions + spread)
    assert found["mean_absolute_error of sex=Female"].status == "beyond"
    assert found["mean_absolute_error of sex=Female"].lower > found["mean_absolute_error of sex=Female"].limit
    assert found["mean_absolute_error of sex=Male"].status == "within"
    assert found["mean_absolute_error of sex=(missing)"].status == "insufficient"
