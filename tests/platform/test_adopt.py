"""Models from elsewhere: asked through whatever signature they have, or refused with what they offer."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from probity.data import Column, ColumnKind, Dataset, Examples, Role, SplitFile
from probity.digest import digest_bytes, digest_file, digest_tree
from probity.errors import ConfigError
from probity.model import Unknown
from probity.platform.adopt import adopt, empty_transform
from probity.predictor import SavedModelPredictor
from probity.tfexample import encode, write_table

COLUMNS = (
    Column(name="hours", kind=ColumnKind.INT, roles=(Role.FEATURE,)),
    Column(name="rate", kind=ColumnKind.FLOAT, roles=(Role.FEATURE,)),
    Column(name="city", kind=ColumnKind.TEXT, roles=(Role.FEATURE,)),
    Column(name="y", kind=ColumnKind.INT, roles=(Role.LABEL,)),
)
ROWS = pa.table(
    {
        "hours": pa.array([10, 40, None], pa.int64()),
        "rate": pa.array([0.5, None, -1.0], pa.float32()),
        "city": pa.array(["Ulm", "Lund", None], pa.string()),
        "y": pa.array([0, 1, 1], pa.int64()),
    }
)
EXPECTED = {"hours": [10, 40, 0], "rate": [0.5, 0.0, -1.0], "city": [1.0, 0.0, 0.0]}


def scores_of(hours, rate, city):
    """A formula, with 0 for a number that is missing, so that what is given to the model can be seen in its score."""
    rate = tf.where(tf.math.is_nan(rate), 0.0, rate)
    logit = 0.1 * tf.cast(hours, tf.float32) + rate + tf.cast(city == "Ulm", tf.float32)
    return tf.sigmoid(logit)


def expected():
    logit = 0.1 * np.array(EXPECTED["hours"]) + np.array(EXPECTED["rate"]) + np.array(EXPECTED["city"])
    return 1 / (1 + np.exp(-logit))


def specs(rank, dtype=tf.float32):
    shape = [None] if rank == 1 else [None, 1]
    return {
        "hours": tf.TensorSpec(shape, dtype, name="hours"),
        "rate": tf.TensorSpec(shape, tf.float32, name="rate"),
        "city": tf.TensorSpec(shape, tf.string, name="city"),
    }


def save(folder, signatures):
    module = tf.Module()
    module.weight = tf.Variable([1.0, 2.0])
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return folder


def by_columns(answer, *, rank=1, dtype=tf.float32):
    @tf.function
    def call(hours, rate, city):
        return answer(scores_of(hours, rate, city))

    return call.get_concrete_function(**specs(rank, dtype))


def by_examples(key):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def call(inputs):
        sparse = {"hours": "int64", "rate": "float32", "city": "string"}
        found = tf.io.parse_example(inputs, {name: tf.io.VarLenFeature(kind) for name, kind in sparse.items()})
        dense = {name: tf.sparse.to_dense(found[name]) for name in sparse}
        return {key: scores_of(*(tf.reshape(dense[name], [-1]) for name in sparse))}

    return call.get_concrete_function()


@pytest.fixture
def data(tmp_path):
    dataset = Dataset(
        name="a",
        source="a.csv",
        source_format="csv",
        source_digest=digest_bytes(b"a"),
        content_digest=digest_bytes(b"a"),
        num_rows=3,
        columns=COLUMNS,
        label="y",
        positive="1",
        split_rule="given",
    )
    (tmp_path / "examples").mkdir()
    path = tmp_path / "examples/train.tfrecord.gz"
    write_table(path, ROWS)
    entry = SplitFile(path=path.name, digest=digest_file(path), num_rows=3)
    return dataset, Examples(folder=path.parent, files={"train": entry}, columns=COLUMNS)


def taken(model, data, out):
    out.mkdir()
    dataset, examples = data
    return adopt(
        model,
        dataset=dataset,
        examples=examples,
        num_units=3,
        members_known=True,
        environment={"python": "3"},
        out=out,
    )


FORMS = {
    "columns": lambda: {"serving_default": by_columns(lambda p: {"p": p})},
    "columns of width one": lambda: {"serving_default": by_columns(lambda p: {"p": p}, rank=2)},
    "whole numbers as they are": lambda: {"serving_default": by_columns(lambda p: {"p": p}, dtype=tf.int64)},
    "two classes": lambda: {"serving_default": by_columns(lambda p: {"probabilities": tf.stack([1 - p, p], axis=1)})},
    "several answers, one of them scores": lambda: {"ask": by_columns(lambda p: {"scores": p, "classes": p > 0.5})},
}


@pytest.mark.parametrize("form", FORMS)
def test_whatever_the_signature_is_the_score_is_the_models(form, data, tmp_path):
    model = save(tmp_path / "given", FORMS[form]())
    record = taken(model, data, tmp_path / "out")
    found = SavedModelPredictor(tmp_path / "out/saved_model").predict_examples(encode(ROWS))
    np.testing.assert_allclose(found, expected(), atol=1e-6)
    assert record.mechanism == Unknown()
    assert record.digest == digest_tree(tmp_path / "out/saved_model") != record.weights
    assert any("0 where a whole number is missing" in warning for warning in record.warnings)
    assert (record.steps, record.epochs) == (None, None)
    transform = empty_transform(record, data[0])
    assert [column.name for column in transform.inputs] == ["hours", "rate", "city"]


@pytest.mark.parametrize("key", ["scores", "p"])
def test_a_model_of_serialized_rows_is_taken_as_it_is_if_it_answers_as_ours_do(key, data, tmp_path):
    model = save(tmp_path / "given", {"serving_default": by_examples(key)})
    record = taken(model, data, tmp_path / "out")
    assert (record.digest == digest_tree(model)) == (key == "scores")
    found = SavedModelPredictor(tmp_path / "out/saved_model").predict(ROWS.slice(0, 1))
    np.testing.assert_allclose(found, expected()[:1], atol=1e-6)


REFUSED = {
    "no signature": (dict, "none at all"),
    "a column that is not there": (
        lambda: {
            "serving_default": tf.function(lambda zip_code: {"p": zip_code}).get_concrete_function(
                zip_code=tf.TensorSpec([None], tf.float32, name="zip_code")
            )
        },
        "zip_code",
    ),
    "three classes": (lambda: {"ask": by_columns(lambda p: {"p": tf.stack([p, p, p], axis=1)})}, "shape"),
    "several answers": (lambda: {"ask": by_columns(lambda p: {"a": p, "b": p})}, "2 answers"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_a_model_that_cannot_be_asked_is_refused_with_what_it_offers(form, data, tmp_path):
    make, word = REFUSED[form]
    model = save(tmp_path / "given", make())
    with pytest.raises(ConfigError, match=word):
        taken(model, data, tmp_path / "out")


def test_a_folder_that_is_no_model_is_refused(data, tmp_path):
    (tmp_path / "given").mkdir()
    (tmp_path / "given/saved_model.pb").write_bytes(b"no model")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        taken(tmp_path / "given", data, tmp_path / "out")


@pytest.mark.parametrize(
    ("task", "classes", "width", "taken"),
    [
        ("regression", (), 1, True),
        ("regression", (), 2, False),
        ("multiclass", ("a", "b", "c"), 3, True),
        ("multiclass", ("a", "b", "c"), 2, False),
        ("multiclass", ("a", "b"), 2, True),
    ],
)
def test_models_of_other_tasks_answer_with_as_many_scores_as_the_label_asks_for(task, classes, width, taken, tmp_path):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="rate")])
    def predict(rate):
        return {
            "answer": tf.stack([tf.cast(place, tf.float32) + tf.zeros_like(rate) for place in range(width)], axis=1)
        }

    label = Dataset(
        name="x",
        source="x",
        source_format="csv",
        source_digest=digest_bytes(b"x"),
        content_digest=digest_bytes(b"x"),
        num_rows=3,
        columns=COLUMNS,
        task=task,
        label="y",
        classes=classes,
        split_rule="none",
    )
    path = tmp_path / "rows.tfrecord.gz"
    write_table(path, ROWS)
    file = SplitFile(path=path.name, digest=digest_file(path), num_rows=3)
    examples = Examples(folder=tmp_path, files={"train": file, "test": file}, columns=COLUMNS)
    model = save(tmp_path / "model", {"serving_default": predict})
    (tmp_path / "out").mkdir()
    asked = {"dataset": label, "examples": examples, "num_units": 3, "members_known": False, "environment": {}}
    if not taken:
        with pytest.raises(ConfigError, match="has the shape"):
            adopt(model, **asked, out=tmp_path / "out")
        return
    adopt(model, **asked, out=tmp_path / "out")
    found = SavedModelPredictor(tmp_path / "out/saved_model").scores_of_examples(encode(ROWS))
    assert found.tolist() == [[float(place) for place in range(width)]] * 3
