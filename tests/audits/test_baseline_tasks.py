"""Candidate minus release for several classes and for numbers: values, intervals, and who may be compared."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from probity.audit_plan import AuditsConfig
from probity.audits import baseline_tasks
from probity.audits.baseline_tasks import compare_rows
from probity.audits.regression import NUMBERS, RegressionGroup
from probity.audits.task_rows import ClassifiedRows, PredictedRows
from probity.audits.testing import draw_rows, score_by_formula
from probity.digest import digest_bytes
from probity.errors import AuditError
from probity.findings import Subject
from tests.audits.task_evidence import CLASSES, draw_table, rows_of
from tests.audits.test_regression import SKLEARN

SUBJECT = Subject(model=digest_bytes(b"model"), examples=digest_bytes(b"examples"))


def compare(candidate, released, *, minimum=20):
    settings = AuditsConfig(min_group_size=minimum)
    return compare_rows(
        candidate, released, subject=SUBJECT, settings=settings, seed=3, intersections=(("sex", "region"),)
    )


def moved(rows, *, seed=2, size=0.3):
    """The same rows, as another model scores them."""
    noise = np.random.default_rng(seed)
    if isinstance(rows, PredictedRows):
        shifted = rows.predictions + (1000 * size * noise.normal(size=len(rows))).astype(np.float32)
        return PredictedRows(**{**vars(rows), "predictions": shifted.astype(np.float32)})
    scores = rows.scores * np.exp(size * noise.normal(size=rows.scores.shape)).astype(np.float32)
    return ClassifiedRows(**{**vars(rows), "scores": scores / scores.sum(axis=1, keepdims=True)})


@pytest.mark.parametrize("metric", NUMBERS)
def test_changes_of_numbers_are_differences_of_scikit_learns_values(metric):
    rows = rows_of("regression", draw_table("regression", 250))
    other = moved(rows)
    found = compare(rows, other).find(f"baseline/{metric}/change/sex=Female").estimate
    members = rows.groups["sex"] == 0
    first, second = (
        SKLEARN[metric](rows.labels[members], each.predictions[members].astype(np.float64)) for each in (rows, other)
    )
    assert found.value == pytest.approx(first - second, rel=1e-5, abs=1e-9)
    assert found.lower <= found.value <= found.upper
    assert found.lower < found.upper


def test_changes_of_classes_are_differences_of_scikit_learns_values():
    rows = rows_of("multiclass", draw_table("multiclass", 250))
    other = moved(rows, size=1.0)
    report = compare(rows, other)

    def value(name):
        return report.find(f"baseline/{name}/overall").estimate.value

    def change(function):
        return function(rows) - function(other)

    assert value("accuracy/change") == pytest.approx(change(lambda r: metrics.accuracy_score(r.labels, r.chosen)))
    assert value("log_loss/change") == pytest.approx(change(lambda r: metrics.log_loss(r.labels, r.scores)), abs=1e-5)
    assert value("auc/change") == pytest.approx(
        change(lambda r: metrics.roc_auc_score(r.labels, r.scores / r.scores.sum(1, keepdims=True), multi_class="ovr")),
        abs=1e-4,
    )
    for place, name in enumerate(CLASSES):
        found = value(f"true_positive_rate/change/class={name}")
        assert found == pytest.approx(
            change(lambda r, place=place: metrics.recall_score(r.labels == place, r.chosen == place))
        )
    assert report.find(f"baseline/precision/change/class={CLASSES[0]}/overall") is None


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_a_model_against_itself_has_not_changed(task):
    rows = rows_of(task, draw_table(task, 200))
    for finding in compare(rows, rows).findings:
        if finding.estimate.value is not None:
            assert finding.estimate.value == 0, finding.id
            assert finding.estimate.lower <= 0 <= finding.estimate.upper


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_without_a_release_there_is_nothing_to_compare(task):
    report = compare(rows_of(task, draw_table(task, 50)), None)
    assert report.status == "not_applicable"


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_other_rows_or_another_task_cannot_be_compared(task):
    rows = rows_of(task, draw_table(task, 50))
    other = "regression" if task == "multiclass" else "multiclass"
    for released in (rows_of(task, draw_table(task, 50, seed=9)), rows_of(other, draw_table(other, 50))):
        with pytest.raises(AuditError, match="differ"):
            compare(rows, released)


def test_rates_that_rest_on_few_rows_of_a_class_are_insufficient():
    rows = rows_of("multiclass", draw_table("multiclass", 250))
    report = compare(rows, moved(rows), minimum=150)
    assert report.find("baseline/accuracy/change/overall").evidence == "sufficient"
    found = report.find("baseline/true_positive_rate/change/class=low/overall")
    assert (found.evidence, found.reason) == ("insufficient", "fewer than 150 rows")


def test_an_absent_class_and_a_zero_label_are_reasons():
    rows = rows_of("multiclass", draw_table("multiclass", 40))
    one = ClassifiedRows(**{**vars(rows), "labels": np.zeros(40, np.int32)})
    report = compare(one, moved(one))
    assert report.find("baseline/auc/change/overall").reason == "a class has no row"
    assert report.find("baseline/true_positive_rate/change/class=low/overall").reason == "no row of these labels"
    numbers = rows_of("regression", draw_table("regression", 40))
    zero = PredictedRows(**{**vars(numbers), "labels": np.zeros(40)})
    report = compare(zero, moved(zero))
    assert "all labels are equal" in report.find("baseline/r_squared/change/overall").reason
    assert report.find("baseline/mean_absolute_percentage_error/change/overall").reason == "a label is 0"


def test_binary_rows_are_compared_as_ever(tmp_path):
    from probity.audits.testing import make_evidence

    evidence = make_evidence(tmp_path, rows=40)
    rows = score_by_formula(draw_rows(40, seed=3), evidence.dataset)
    report = compare_rows(rows, rows, subject=SUBJECT, settings=AuditsConfig(), seed=1)
    assert report.find("baseline/accuracy/change/overall@0.5").estimate.value == 0


@pytest.mark.parametrize("metric", ["root_mean_squared_error", "r_squared"])
def test_coverage_of_the_linearised_changes(metric):
    """Two equally good models that err alike: the true change is 0. (Fourth powers of Laplace errors are slow.)"""
    rng, covered, repeats = np.random.default_rng(8), 0, 600
    for _ in range(repeats):
        labels, common = rng.normal(size=200), rng.laplace(size=200)
        errors = [0.9 * common + np.sqrt(1 - 0.81) * rng.laplace(size=200) for _ in range(2)]
        groups = [RegressionGroup(slice_={}, residuals=residuals, labels=labels, seed=1) for residuals in errors]
        found = baseline_tasks._linearised_change(metric, *groups, confidence=0.95)
        covered += found.bounds[0] <= 0 <= found.bounds[1]
    assert 0.91 < covered / repeats < 0.98
