"""Graphs that only compute are rewritten freely, others are not; answers are the same bits either way."""

from __future__ import annotations

import numpy as np
import pytest

from probity.platform.serving import saved_model
from probity.platform.serving.graph_rewriting import may_rewrite
from probity.platform.serving.saved_model import LoadedModel
from probity.platform.serving.status import ServingError


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Writes a SavedModel with one signature, the body of which is given, beside a table of words and a layer."""
    import tensorflow as tf

    class Model(tf.Module):
        def __init__(self, body):
            super().__init__()
            words = tf.lookup.KeyValueTensorInitializer(["a", "b"], [1.0, 2.0])
            self.table = tf.lookup.StaticHashTable(words, -1.0)
            self.weights = tf.Variable(tf.random.stateless_normal([2, 3], [7, 7]))
            self.counter = tf.Variable(0.0)
            self.body = body

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string), tf.TensorSpec([None], tf.float32)])
        def serve(self, word, number):
            features = tf.stack([self.table.lookup(word), number], axis=1)
            return {"scores": tf.reduce_sum(tf.nn.sigmoid(features @ self.weights), axis=1) + self.body(self, number)}

    def write(name, body):
        folder = tmp_path_factory.mktemp(name)
        model = Model(body)
        tf.saved_model.save(model, str(folder), signatures={"serving_default": model.serve})
        return folder

    return write


def asserting(model, number):
    import tensorflow as tf

    tf.debugging.assert_less(number, 100.0)
    return 0.0


def counting(model, number):
    return model.counter.assign_add(1.0)


def random(model, number):
    import tensorflow as tf

    return tf.random.uniform([])


def printing(model, number):
    import tensorflow as tf

    tf.print("asked")
    return 0.0


def in_python(model, number):
    import tensorflow as tf

    return tf.py_function(lambda given: given, [number], tf.float32)


def in_a_branch(model, number):
    import tensorflow as tf

    return tf.cond(tf.reduce_sum(number) > 5.0, lambda: model.counter.assign_add(1.0), lambda: model.counter + 0.0)


def nothing(model, number):
    return 0.0


@pytest.mark.parametrize("body", [asserting, counting, random, printing, in_python, in_a_branch])
def test_whatever_does_more_than_compute_is_left_as_it_is(saved, body):
    assert not may_rewrite(saved(body.__name__, body), tag="serve")


def test_what_cannot_be_read_is_left_as_it_is(saved, tmp_path):
    assert not may_rewrite(tmp_path, tag="serve")
    assert not may_rewrite(saved("other", nothing), tag="train")
    (tmp_path / "saved_model.pb").write_bytes(b"\xff\xff")
    assert not may_rewrite(tmp_path, tag="serve")


def test_a_graph_that_only_computes_is_rewritten_and_answers_the_same_bits(saved, monkeypatch):
    folder = saved("nothing", nothing)
    assert may_rewrite(folder, tag="serve")
    rewritten = LoadedModel(folder, name="m", version=1)
    monkeypatch.setattr(saved_model, "may_rewrite", lambda path, *, tag: False)
    as_it_is = LoadedModel(folder, name="m", version=1)
    random_numbers = np.random.default_rng(7)
    for rows in (1, 7, 64, 500):
        inputs = {
            "word": random_numbers.choice(np.array([b"a", b"b", b"c"], object), rows),
            "number": random_numbers.normal(size=rows).astype(np.float32),
        }
        scores = [model.run(model.signatures["serving_default"], inputs)["scores"] for model in (rewritten, as_it_is)]
        assert scores[0].tobytes() == scores[1].tobytes()


def test_a_model_that_refuses_a_value_still_does(saved):
    model = LoadedModel(saved("refusing", asserting), name="m", version=1)
    signature = model.signatures["serving_default"]
    word = np.array([b"a"], object)
    assert model.run(signature, {"word": word, "number": np.array([1.0], np.float32)})["scores"].shape == (1,)
    with pytest.raises(ServingError, match="does not accept"):
        model.run(signature, {"word": word, "number": np.array([200.0], np.float32)})
