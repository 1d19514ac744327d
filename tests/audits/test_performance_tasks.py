"""The performance audit of several classes and of numbers, with real TFMA on a real SavedModel."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from probity.audits import evaluation_tasks, performance_tasks
from probity.audits.evaluation import run_tfma
from probity.audits.evaluation_tasks import OfficialNumbers, evaluate_classes, evaluate_numbers
from probity.audits.multiclass import CLASS_RATES
from probity.audits.performance import PerformanceAudit
from probity.audits.performance_tasks import TOLERANCE
from probity.audits.regression import NUMBERS
from probity.findings import AuditReport
from tests.audits.task_evidence import CLASSES, draw_table, full_evidence, light_evidence, rows_of

TASKS = ("multiclass", "regression")
SLICES = 1 + 3 + 3 + 9


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    return {task: full_evidence(tmp_path_factory.mktemp(task), task) for task in TASKS}


@pytest.fixture(scope="module")
def workdirs(tmp_path_factory):
    return {task: tmp_path_factory.mktemp(task) for task in TASKS}


@pytest.fixture(scope="module")
def reports(evidence, workdirs):
    return {task: PerformanceAudit().run(evidence[task], workdir=workdirs[task]) for task in TASKS}


def official(task, workdirs):
    """What TFMA found in the fixture's run, read again."""
    read = evaluation_tasks._counts
    if task == "regression":
        read = partial(evaluation_tasks._numbers, errors=list(evaluation_tasks._ERRORS))
    return evaluation_tasks._read(workdirs[task] / "tfma", read)


@pytest.mark.parametrize("task", TASKS)
def test_tfma_and_our_code_agree(task, reports, evidence):
    report = reports[task]
    assert report.status == "complete", report.reasons
    difference = report.find("performance/engine_difference/overall").estimate
    assert 0 <= difference.value <= TOLERANCE
    assert difference.n == 300
    assert report.subject == evidence[task].subject
    assert AuditReport.from_json(report.to_json()) == report


@pytest.mark.parametrize("task", TASKS)
def test_tfma_can_load_its_result(task, workdirs, reports):
    import tensorflow_model_analysis as tfma

    found = dict(tfma.load_eval_result(str(workdirs[task] / "tfma")).slicing_metrics)
    assert found[()][""][""]["example_count"]["doubleValue"] == 300
    assert (("sex", "Female"), ("region", "North")) in found or (("region", "North"), ("sex", "Female")) in found


def test_every_metric_of_every_declared_slice_is_there(reports):
    numbers = [entry for entry in reports["regression"].findings if entry.metric in NUMBERS]
    assert len(numbers) == SLICES * len(NUMBERS)
    rates = [entry for entry in reports["multiclass"].findings if entry.label_class and not entry.predicted_class]
    assert len(rates) == SLICES * len(CLASS_RATES) * len(CLASSES)
    confusions = [entry for entry in reports["multiclass"].findings if entry.predicted_class]
    assert {(entry.label_class, entry.predicted_class) for entry in confusions} == {
        (one, other) for one in CLASSES for other in CLASSES if one != other
    }
    found = reports["multiclass"].find("performance/true_positive_rate/class=low/sex=Female")
    assert (found.metric, found.label_class, found.slice) == ("true_positive_rate", "low", {"sex": "Female"})


@pytest.mark.parametrize("task", TASKS)
def test_an_empty_group_stays_visible(task, reports):
    metric = "accuracy" if task == "multiclass" else "mean_absolute_error"
    empty = reports[task].find(f"performance/{metric}/sex=Unseen")
    assert (empty.evidence, empty.reason, empty.estimate.value) == ("insufficient", "no rows", None)
    assert reports[task].find("performance/example_count/sex=Unseen").estimate.value == 0


@pytest.mark.parametrize("task", TASKS)
def test_other_labels_than_the_models_own_rows_fail_the_audit(task, evidence, reports, workdirs, tmp_path, monkeypatch):
    """What TFMA found for the true rows no longer fits when our code is given others."""
    name = "evaluate_classes" if task == "multiclass" else "evaluate_numbers"
    rows = evidence[task].scored
    found = official(task, workdirs)
    monkeypatch.setattr(performance_tasks, name, lambda *args, **kwargs: found)
    assert PerformanceAudit().run(evidence[task], workdir=tmp_path).status == "complete"
    labels = rows.labels.copy()
    labels[0] = (labels[0] + 1) % 3 if task == "multiclass" else labels[0] + 40.0
    changed = replace(evidence[task], scored=replace(rows, labels=labels))
    report = PerformanceAudit().run(changed, workdir=tmp_path)
    assert report.status == "failed"
    assert "TFMA and our code differ" in report.reasons[0]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    "change",
    [
        lambda entry: replace(entry, example_count=entry.example_count + 1),
        lambda entry: replace(entry, values={name: float("nan") for name in entry.values}),
        lambda entry: replace(entry, values={name: value * (1 + 1e-5) + 1e-5 for name, value in entry.values.items()}),
    ],
)
def test_a_disagreement_in_one_slice_is_found(task, change, evidence, monkeypatch):
    """Made from our own values, so that TFMA need not run."""
    mine = _agreeing(evidence[task])
    assert _difference(evidence[task], mine, monkeypatch) <= TOLERANCE
    key = frozenset({("region", "South")})
    assert _difference(evidence[task], {**mine, key: change(mine[key])}, monkeypatch) > TOLERANCE
    assert _difference(evidence[task], {k: v for k, v in mine.items() if k != key}, monkeypatch) == float("inf")


def _agreeing(evidence):
    from probity.audits.multiclass import class_groups
    from probity.audits.regression import regression_groups

    official = {}
    for grouping in evidence.dataset.slices():
        if evidence.dataset.task == "multiclass":
            for group in class_groups(evidence.scored, grouping):
                values = {f"confusion/{i}/{j}": float(n) for (i, j), n in np.ndenumerate(group.counts) if n}
                official[frozenset(group.slice_.items())] = OfficialNumbers(example_count=group.rows, values=values)
        else:
            for group in regression_groups(evidence.scored, grouping, seed=1):
                if group.rows:
                    values = {"mean_squared_error": group.mean_of("mean_squared_error").mean}
                    official[frozenset(group.slice_.items())] = OfficialNumbers(example_count=group.rows, values=values)
    return {key: entry for key, entry in official.items() if entry.example_count}


def _difference(evidence, official, monkeypatch):
    name = "evaluate_classes" if evidence.dataset.task == "multiclass" else "evaluate_numbers"
    monkeypatch.setattr(performance_tasks, name, lambda *args, **kwargs: official)
    return performance_tasks._largest_difference(evidence, output=None)[0]


def _one_by_one(extracts, attributes):
    """Elements as stock TFMA has them: one row each."""
    from tensorflow_model_analysis import constants

    for row in range(len(extracts[constants.INPUT_KEY])):
        yield {
            constants.LABELS_KEY: np.asarray(extracts[constants.LABELS_KEY]).reshape(-1)[row : row + 1],
            constants.PREDICTIONS_KEY: np.asarray(extracts[constants.PREDICTIONS_KEY])[row].reshape(-1),
            constants.EXAMPLE_WEIGHTS_KEY: np.ones(1, np.float32),
            constants.FEATURES_KEY: {
                name: np.array([extracts[constants.FEATURES_KEY][name][row]], object) for name in attributes
            },
        }


def test_rows_grouped_by_decision_give_what_rows_one_by_one_give(evidence, reports, workdirs, tmp_path, monkeypatch):
    monkeypatch.setattr(
        evaluation_tasks, "run_tfma", lambda *args, **kwargs: run_tfma(*args, **{**kwargs, "group": _one_by_one})
    )
    given = evidence["multiclass"]
    place = (given.model_folder / "saved_model", given.examples.path("test"), given.scored)
    single = evaluate_classes(*place, groupings=((), ("region",)), output=tmp_path / "single")
    grouped = official("multiclass", workdirs)
    assert len(single) == 4
    for key, entry in single.items():
        assert entry.example_count == grouped[key].example_count
        assert entry.values == grouped[key].values


@pytest.mark.parametrize("task", TASKS)
def test_no_test_rows_fail_the_audit(task, tmp_path):
    rows = rows_of(task, draw_table(task, 0))
    report = PerformanceAudit().run(light_evidence(task, rows), workdir=tmp_path)
    assert (report.status, report.reasons) == ("failed", ("the test split has no rows",))


def test_a_percentage_error_is_not_asked_for_where_a_label_is_zero(evidence, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(evaluation_tasks, "run_tfma", lambda config, *args, **kwargs: asked.append(str(config)) or {})
    rows = evidence["regression"].scored
    for labels in (rows.labels, np.where(np.arange(300) < 3, 0.0, rows.labels)):
        evaluate_numbers(tmp_path, tmp_path, replace(rows, labels=labels), groupings=((),), output=tmp_path)
    assert ["MeanAbsolutePercentageError" in config for config in asked] == [True, False]
    zero = replace(evidence["regression"], scored=replace(rows, labels=np.where(np.arange(300) < 3, 0.0, rows.labels)))
    mine = _agreeing(zero)
    monkeypatch.setattr(performance_tasks, "evaluate_numbers", lambda *args, **kwargs: mine)
    report = PerformanceAudit().run(zero, workdir=tmp_path)
    assert report.status == "complete", report.reasons
    found = report.find("performance/mean_absolute_percentage_error/overall")
    assert (found.evidence, found.estimate.value) == ("insufficient", None)
    assert "label is 0 in 3 of 300 rows" in found.reason
