"""Rows of several classes and of numbers: what they refuse, and that they come back from disk as they were."""

from __future__ import annotations

import numpy as np
import pytest

from probity.audits.task_rows import ClassifiedRows, PredictedRows, read_rows, score_rows
from probity.errors import AuditError, DataError
from tests.audits.task_evidence import CLASSES, draw_table, full_evidence, rows_of


def classified(scores, labels, **changes):
    values = {"scores": np.array(scores, np.float32), "labels": np.array(labels, np.int32), "classes": ("a", "b")}
    return ClassifiedRows(**{**values, "groups": {}, "names": {}, **changes})


def predicted(predictions, labels, **changes):
    values = {"predictions": np.array(predictions, np.float32), "labels": np.array(labels, np.float64)}
    return PredictedRows(**{**values, "groups": {}, "names": {}, **changes})


@pytest.mark.parametrize("task", ["multiclass", "regression"])
@pytest.mark.parametrize("number", [0, 1, 50])
def test_rows_come_back_from_disk_as_they_were(task, number, tmp_path):
    rows = rows_of(task, draw_table(task, number))
    rows.write(tmp_path / "rows.parquet")
    again = read_rows(tmp_path / "rows.parquet", task)
    assert type(again) is type(rows)
    for name, value in vars(rows).items():
        if isinstance(value, np.ndarray):
            assert getattr(again, name).dtype == value.dtype
            np.testing.assert_array_equal(getattr(again, name), value)
    assert again.names == rows.names
    assert {name: codes.tolist() for name, codes in again.groups.items()} == {
        name: codes.tolist() for name, codes in rows.groups.items()
    }


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_a_file_of_another_task_is_refused(task, tmp_path):
    rows_of(task, draw_table(task, 5)).write(tmp_path / "rows.parquet")
    for other in {"binary", "multiclass", "regression"} - {task}:
        with pytest.raises(DataError, match="no readable file of scored rows"):
            read_rows(tmp_path / "rows.parquet", other)


@pytest.mark.parametrize(
    ("make", "seen"),
    [
        (lambda: classified([[0.5, 0.5]], [2]), "label is none of the classes"),
        (lambda: classified([[0.5, 0.5]], [-1]), "label is none of the classes"),
        (lambda: classified([[0.5, 0.6]], [0]), "do not sum to 1"),
        (lambda: classified([[1.5, -0.5]], [0]), "negative"),
        (lambda: classified([[np.nan, 0.5]], [0]), "1 scores or labels that are not finite"),
        (lambda: classified([[1.0]], [0]), "shape"),
        (lambda: classified([[0.5, 0.5]], [0, 1]), "shape"),
        (lambda: predicted([np.nan, 1], [0, 0]), "1 scores or labels that are not finite"),
        (lambda: predicted([1.0], [np.inf]), "1 scores or labels that are not finite"),
        (lambda: predicted([1.0, 2.0], [1.0]), "shape"),
        (lambda: predicted([1.0], [1.0], groups={"sex": np.array([1], np.int32)}, names={"sex": ("F",)}), "sex"),
        (lambda: predicted([1.0], [1.0], groups={"sex": np.array([0], np.int32)}), "groups and names"),
    ],
)
def test_what_cannot_be_measured_is_refused(make, seen):
    with pytest.raises(AuditError, match=seen):
        make()


def test_of_equal_scores_the_first_class_is_chosen():
    assert classified([[0.5, 0.5], [0.4, 0.6]], [0, 0]).chosen.tolist() == [0, 1]


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_the_exported_model_scores_as_the_formula(task, tmp_path):
    evidence = full_evidence(tmp_path, task, rows=40)
    found = score_rows(evidence.model_folder, dataset=evidence.dataset, examples=evidence.examples)
    expected = evidence.scored
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.groups["region"], expected.groups["region"])
    if task == "multiclass":
        assert found.classes == CLASSES
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)
    else:
        np.testing.assert_allclose(found.predictions, expected.predictions, rtol=1e-6)
    other = "regression" if task == "multiclass" else "multiclass"
    wrong = evidence.dataset.model_copy(update={"task": other, "classes": CLASSES if other == "multiclass" else ()})
    with pytest.raises(AuditError, match="scores for a row"):
        score_rows(evidence.model_folder, dataset=wrong, examples=evidence.examples)
