"""Feedback joined with predictions: which answer says what."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from probity.errors import DataError
from probity.platform.monitoring.feedback import add_feedback, labels, read_feedback, training_rows

PREDICTED = {"a": True, "b": False, "c": True}


def said(tmp_path, **columns):
    source = tmp_path / "feedback.parquet"
    pq.write_table(pa.table(columns), source)
    assert add_feedback(source, tmp_path / "register") == len(columns["tracking_id"])
    known = labels(read_feedback(tmp_path / "register"), PREDICTED, positive=">50K")
    return {name: (entry.positive, entry.source) for name, entry in known.items()}


def test_a_label_is_the_label(tmp_path):
    found = said(tmp_path, tracking_id=["a", "b"], label=["<=50K", ">50K"])
    assert found == {"a": (False, "label"), "b": (True, "label")}


def test_a_verdict_is_about_what_was_predicted(tmp_path):
    found = said(tmp_path, tracking_id=["a", "b", "c"], verdict=["correct", "correct", "wrong"])
    assert found == {"a": (True, "verdict"), "b": (False, "verdict"), "c": (False, "verdict")}


def test_a_click_is_positive_and_no_click_is_nothing(tmp_path):
    assert said(tmp_path, tracking_id=["a", "b", "c"], clicked=[True, False, None]) == {"a": (True, "clicked")}


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
        "has_inputs": [True, False, True], "age": [30.0, None, 50.0],
    }
)  # fmt: skip


def test_examples_come_of_feedback_and_consent(tmp_path):
    said(tmp_path, tracking_id=["a", "b"], label=["<=50K", ">50K"])
    known = labels(read_feedback(tmp_path / "register"), PREDICTED, positive=">50K")
    rows = training_rows(LOG, known, label="income", texts=("<=50K", ">50K"))
    assert rows.to_pydict() == {"tracking_id": ["a"], "age": [30.0], "income": ["<=50K"]}


def test_few_clicks_teach_nothing(tmp_path):
    said(tmp_path, tracking_id=["a", "c"], clicked=[True, True])
    known = labels(read_feedback(tmp_path / "register"), PREDICTED, positive=">50K")
    assert training_rows(LOG, known, label="y", texts=("0", "1")).num_rows == 0
    assert training_rows(LOG, known, label="y", texts=("0", "1"), implicit_minimum=2).num_rows == 2
    assert training_rows(LOG.drop(["has_inputs"]), known, label="y", texts=("0", "1")).num_rows == 0
