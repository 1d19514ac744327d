"""The prediction register: consent, whole files, and the last answer to each tracking id."""

import queue
import stat
import threading

import numpy as np
import pyarrow.parquet as pq
import pytest

from probity.errors import DataError
from probity.platform.monitoring.prediction_log import ParquetLog, forget, read_log, row_ids, score_columns
from probity.platform.serving.prediction_log import Prediction


def prediction(tracking_id, score=0.5, *, at=100.0, version=3, age=39.0, job=b"Sales"):
    scores = np.atleast_1d(np.asarray(score, np.float32))
    return Prediction(
        tracking_id=tracking_id,
        model_name="m",
        version=version,
        signature_name="predict_columns",
        inputs={"age": np.full(len(scores), age), "job": np.full(len(scores), job, object)},
        outputs={"scores": scores.reshape(-1, 1)},
        answered_at=at,
    )


def logged(folder, *predictions, **policy):
    log = ParquetLog(folder, **policy)
    for entry in predictions:
        log.record(entry)
    log.close()
    return read_log(folder, "m", (3,), since=0.0, until=1000.0)


def test_without_a_policy_no_input_is_kept(tmp_path):
    table = logged(tmp_path, prediction("a", 0.25))
    assert table.to_pydict() == {
        "tracking_id": ["a"], "answered_at": [100.0], "score": [0.25], "has_inputs": [False],
    }  # fmt: skip


def test_only_who_agreed_has_inputs(tmp_path):
    agreed = tmp_path / "agreed.txt"
    agreed.write_text("a\n")
    folder = tmp_path / "log"
    table = logged(folder, prediction("a"), prediction("b", age=61.0), inputs="consented", consented=agreed)
    assert table.column("input:age").to_pylist() == [39.0, None]
    assert table.column("input:job").to_pylist() == ["Sales", None]
    for path in folder.glob("m/3/*.parquet"):
        assert b"61" not in b"".join(str(entry).encode() for entry in pq.read_table(path).to_pydict()["input:age"])


def test_missing_values_and_examples_are_read_as_they_were_sent(tmp_path):
    import tensorflow as tf

    sent = {
        "age": tf.train.Feature(int64_list=tf.train.Int64List(value=[39])),
        "job": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"Sales"])),
    }
    records = [
        tf.train.Example(features=tf.train.Features(feature=sent)).SerializeToString(),
        tf.train.Example(features=tf.train.Features(feature={"age": sent["age"]})).SerializeToString(),
    ]
    entry = prediction("x", [0.1, 0.2])
    by_examples = Prediction(**{**entry.__dict__, "inputs": {"examples": np.array(records, object)}})
    table = logged(tmp_path, by_examples, prediction("y", age=float("nan"), job=b""), inputs="all")
    assert table.select(["tracking_id", "input:age", "input:job"]).to_pydict() == {
        "tracking_id": ["x/0", "x/1", "y"], "input:age": [39.0, 39.0, None], "input:job": ["Sales", None, None],
    }  # fmt: skip


def test_rows_are_named_one_by_one_or_numbered():
    assert row_ids("a", 1) == ["a"]
    assert row_ids("a, b", 2) == ["a", "b"]
    assert row_ids("a", 2) == ["a/0", "a/1"]


def test_the_last_answer_counts_and_the_period_is_half_open(tmp_path):
    answers = prediction("a", 0.9, at=50.0), prediction("a", 0.1, at=60.0), prediction("b", 0.2, at=1000.0)
    table = logged(tmp_path, *answers)
    assert dict(zip(table["tracking_id"].to_pylist(), table["score"].to_pylist(), strict=True)) == {
        "a": pytest.approx(0.1)
    }
    assert read_log(tmp_path, "m", (3,), since=0.0, until=60.0)["score"].to_pylist() == [pytest.approx(0.9)]
    assert read_log(tmp_path, "m", (4,), since=0.0, until=60.0).num_rows == 0


def test_every_score_of_several_classes_is_kept(tmp_path):
    entry = prediction("a")
    outputs = {"scores": np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]])}
    table = logged(tmp_path, Prediction(**{**entry.__dict__, "outputs": outputs}))
    assert "score" not in table.column_names
    assert [table.column(name).to_pylist() for name in score_columns(3)] == [[0.5, 0.125], [0.25, 0.75], [0.25, 0.125]]


def test_an_input_may_be_called_as_a_column_of_the_log(tmp_path):
    entry = prediction("a", 0.25)
    inputs = {"score": np.array([712.0]), "tracking_id": np.array([b"x"], object)}
    table = logged(tmp_path, Prediction(**{**entry.__dict__, "inputs": inputs}), inputs="all")
    assert (table["score"].to_pylist(), table["input:score"].to_pylist()) == ([0.25], [712.0])
    assert (table["tracking_id"].to_pylist(), table["input:tracking_id"].to_pylist()) == (["a"], ["x"])


def test_answers_without_scores_are_left_out(tmp_path):
    entry = prediction("a")
    images = Prediction(**{**entry.__dict__, "outputs": {"scores": np.ones((1, 3, 3))}})
    other = Prediction(**{**entry.__dict__, "outputs": {"classes": np.ones((1, 1))}})
    assert logged(tmp_path, images, other).num_rows == 0


def test_files_are_for_their_owner_and_are_forgotten(tmp_path):
    folder = tmp_path / "log"
    logged(folder, prediction("a"))
    (file,) = folder.glob("m/3/*.parquet")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert forget(folder, before=1.0) == 0
    assert forget(folder, before=1e12) == 1
    assert not list(folder.glob("m/3/*.parquet"))


def test_a_disk_that_does_not_keep_up_is_said_and_not_waited_for(tmp_path, monkeypatch):
    go_on = threading.Event()
    monkeypatch.setattr(ParquetLog, "_rows", lambda self, entry: go_on.wait(30) and None)
    log = ParquetLog(tmp_path, most_requests=2)
    entries = iter([prediction("a")] * 10)
    with pytest.raises(queue.Full):
        all(log.record(entry) is None for entry in entries)
    go_on.set()
    log.close()


def test_a_file_that_was_damaged_is_refused(tmp_path):
    logged(tmp_path, prediction("a"))
    (file,) = tmp_path.glob("m/3/*.parquet")
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(DataError, match="cannot be read"):
        read_log(tmp_path, "m", (3,), since=0.0, until=1000.0)
