"""Feedback joined with predictions: which answer says what."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from probity.data import Dataset
from probity.errors import DataError
from probity.platform.monitoring.feedback import add_feedback, labels, read_feedback, training_rows
from tests.platform.conftest import make_dataset

PREDICTED = {"a": True, "b": False, "c": True}
BINARY = Dataset.from_json({**make_dataset("a").to_json(), "positive": ">50K"})
CLASSES = Dataset.from_json(
    {**make_dataset("a").to_json(), "task": "multiclass", "positive": None, "classes": ["no", "later", "yes"]}
)
NUMBER = Dataset.from_json({**make_dataset("a").to_json(), "task": "regression", "positive": None})


def said(tmp_path, *, dataset=BINARY, predicted=PREDICTED, **columns):
    source = tmp_path / "feedback.parquet"
    pq.write_table(pa.table(columns), source)
    assert add_feedback(source, tmp_path / "register") == len(columns["tracking_id"])
    known = labels(read_feedback(tmp_path / "register"), predicted, dataset)
    return {name: (entry.label, entry.source) for name, entry in known.items()}


def test_a_label_is_the_label(tmp_path):
    found = said(tmp_path, tracking_id=["a", "b"], label=["<=50K", ">50K"])
    assert found == {"a": (False, "label"), "b": (True, "label")}


def test_a_verdict_is_about_what_was_predicted(tmp_path):
    found = said(tmp_path, tracking_id=["a", "b", "c"], verdict=["correct", "correct", "wrong"])
    assert found == {"a": (True, "verdict"), "b": (False, "verdict"), "c": (False, "verdict")}


def test_a_click_is_positive_and_no_click_is_nothing(tmp_path):
    assert said(tmp_path, tracking_id=["a", "b", "c"], clicked=[True, False, None]) == {"a": (True, "clicked")}


def test_of_several_classes_wrong_says_nothing_and_neither_does_a_click(tmp_path):
    predicted = {"a": "later", "b": "yes", "c": "no", "d": None}
    columns = {"tracking_id": ["a", "b", "c", "d"], "verdict": ["correct", "wrong", None, "correct"]}
    columns |= {"clicked": [None, None, True, None], "label": [None, None, None, None]}
    assert said(tmp_path, dataset=CLASSES, predicted=predicted, **columns) == {"a": ("later", "verdict")}
    later = said(tmp_path, dataset=CLASSES, predicted=predicted, tracking_id=["b", "c"], label=["no", "perhaps"])
    assert later == {"a": ("later", "verdict"), "b": ("no", "label")}  # "perhaps" is no class


def test_of_a_number_only_the_number_says_anything(tmp_path):
    predicted = {"a": 39.5, "b": 40.0, "c": 41.0, "d": 42.0}
    columns = {"tracking_id": ["a", "b", "c", "d"], "label": ["38.5", "many", "nan", None]}
    found = said(tmp_path, dataset=NUMBER, predicted=predicted, **columns, verdict=[None, None, None, "correct"])
    assert found == {"a": (38.5, "label")}
    known = labels(read_feedback(tmp_path / "register"), predicted, NUMBER)
    assert training_rows(LOG, known, NUMBER).to_pydict()["y"] == [38.5]


def test_what_was_never_predicted_is_left_out(tmp_path):
    assert said(tmp_path, tracking_id=["z"], label=[">50K"]) == {}


def test_the_strongest_and_then_the_latest_counts(tmp_path):
    assert said(tmp_path, tracking_id=["a"], label=["<=50K"]) == {"a": (False, "label")}
    assert said(tmp_path, tracking_id=["a"], verdict=["correct"]) == {"a": (False, "label")}
    assert said(tmp_path, tracking_id=["a"], label=[">50K"]) == {"a": (True, "label")}


@pytest.mark.parametrize(
    ("columns", "seen"),
    [
        ({"tracking_id": ["a"]}, "columns tracking_id"),
        ({"label": ["x"]}, "columns label"),
        ({"tracking_id": ["a"], "verdict": ["perhaps"]}, "1 verdicts"),
    ],
)
def test_what_is_no_feedback_is_refused_and_not_quoted(tmp_path, columns, seen):
    source = tmp_path / "feedback.parquet"
    pq.write_table(pa.table(columns), source)
    with pytest.raises(DataError, match=seen) as failure:
        add_feedback(source, tmp_path / "register")
    assert "perhaps" not in str(failure.value)


LOG = pa.table(
    {
        "tracking_id": ["a", "b", "c"], "answered_at": [1.0, 2.0, 3.0], "score": [0.9, 0.1, 0.8],
        "has_inputs": [True, False, True], "input:age": [30.0, None, 50.0], "input:score": [7.0, None, 8.0],
    }
)  # fmt: skip


def test_examples_come_of_feedback_and_consent(tmp_path):
    said(tmp_path, tracking_id=["a", "b"], label=["<=50K", ">50K"])
    known = labels(read_feedback(tmp_path / "register"), PREDICTED, BINARY)
    rows = training_rows(LOG, known, BINARY)
    assert rows.to_pydict() == {"tracking_id": ["a"], "age": [30.0], "score": [7.0], "y": ["not >50K"]}


def test_few_clicks_teach_nothing(tmp_path):
    said(tmp_path, tracking_id=["a", "c"], clicked=[True, True])
    known = labels(read_feedback(tmp_path / "register"), PREDICTED, BINARY)
    assert training_rows(LOG, known, BINARY).num_rows == 0
    assert training_rows(LOG, known, BINARY, implicit_minimum=2).num_rows == 2
    assert training_rows(LOG.drop(["has_inputs"]), known, BINARY).num_rows == 0
