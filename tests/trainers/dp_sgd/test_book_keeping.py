"""Clipped sums of both engines: equal to a naive loop over rows, and never moved further by a row than the clip
norm."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from probity.trainers.dp_sgd import book_keeping, tensorflow_privacy
from probity.trainers.dp_sgd.engine import Refusal, coefficients, per_row_losses
from tests.trainers.dp_sgd import models, naive

CLIPS = (0.05, 1.0, math.inf)
"""Every row clipped, some rows clipped, none."""


def largest_difference(one, other):
    return max(float(tf.reduce_max(tf.abs(a - b))) for a, b in zip(one, other, strict=True))


def sums_by_clip(engine, model, clips, monkeypatch):
    """Yields each clip norm with the engine's sum. A new model is probed and tried; that is needed once only."""
    for clip in clips:
        yield clip, engine.clipped_sum(model, l2_clip_norm=clip)
        monkeypatch.setattr(book_keeping.mixing, "refusal", lambda model: None)
        monkeypatch.setattr(book_keeping.verification, "agrees", lambda *of: True)


ALIKE = {
    f"conv2d {options}"
    for options in ("valid strides 2 dilation 1", "same strides 1 dilation 1", "same strides 1 dilation 2")
}
"""Models whose padding, strides and dilation are each in another one's too."""


def default_and_heavy(names, heavy):
    return [pytest.param(name, marks=pytest.mark.heavy) if name in heavy else name for name in names]


@pytest.mark.parametrize("name", default_and_heavy(models.KNOWN, ALIKE))
def test_clipped_sums_equal_a_loop_over_rows(name, monkeypatch):
    model, rows = models.make(models.KNOWN[name]), models.make_rows(7)
    gradients = naive.row_gradients(model, *rows)
    for clip, summed in sums_by_clip(book_keeping, model, CLIPS, monkeypatch):
        assert not isinstance(summed, Refusal), summed
        # Compiled as in training for the first norm. A second graph of the same model would differ in a constant.
        found = (models.compiled(summed) if clip == CLIPS[0] else summed)(*rows)
        assert [tensor.shape for tensor in found] == [weight.shape for weight in model.trainable_variables]
        assert largest_difference(found, naive.clipped(gradients, l2_clip_norm=clip)) < 1e-5


BY_BOTH = ("dense", "embedding", "conv1d causal", "attention", "shared dense")


@pytest.mark.parametrize("name", default_and_heavy(BY_BOTH, BY_BOTH[1:4]))
def test_both_engines_agree(name):
    model, rows = models.make(models.KNOWN[name]), models.make_rows(7)
    ours = book_keeping.clipped_sum(model, l2_clip_norm=0.5)
    theirs = tensorflow_privacy.clipped_sum(model, l2_clip_norm=0.5)
    assert largest_difference(models.compiled(ours)(*rows), models.compiled(theirs)(*rows)) < 1e-5


@pytest.mark.parametrize("name", ["dense", "embedding", pytest.param("attention", marks=pytest.mark.heavy)])
@pytest.mark.parametrize(
    "engine", [book_keeping, tensorflow_privacy], ids=lambda engine: engine.__name__.split(".")[-1]
)
def test_weighted_losses_are_clipped_like_any_other(name, engine, monkeypatch):
    """Weights of 1 are no weights; other weights are those of a loop over rows; a weight of 0 leaves a row out."""
    model, (inputs, labels) = models.make(models.KNOWN[name]), models.make_rows(7)
    weights = tf.constant([0.0, 0.3, 1.0, 2.5, 40.0, 1e-3, 7.0])
    gradients = naive.row_gradients(model, inputs, labels, weights)
    for clip, eager in sums_by_clip(engine, model, (0.5, math.inf), monkeypatch):  # some rows clipped, none
        summed = models.compiled(eager, weighted=True) if clip == 0.5 else eager
        assert largest_difference(summed(inputs, labels, tf.ones(7)), eager(inputs, labels)) < 1e-6
        found = summed(inputs, labels, weights)
        expected = naive.clipped(gradients, l2_clip_norm=clip)
        scale = max(1.0, float(max(tf.reduce_max(tf.abs(part)) for part in expected)))
        assert largest_difference(found, expected) < 1e-5 * scale
        rest = {key: value[1:] for key, value in inputs.items()}
        assert largest_difference(summed(rest, labels[1:], weights[1:]), found) < 1e-5 * scale


@pytest.mark.parametrize(
    "engine", [book_keeping, tensorflow_privacy], ids=lambda engine: engine.__name__.split(".")[-1]
)
def test_no_weight_lets_a_row_weigh_more_than_the_clip_norm(engine):
    model, (inputs, labels) = models.make(models.dense), models.make_rows(1)
    summed = engine.clipped_sum(model, l2_clip_norm=0.5)
    for weight in (1.0, 1e3, 1e6):
        norm = math.sqrt(sum(float(tf.reduce_sum(part**2)) for part in summed(inputs, labels, tf.constant([weight]))))
        assert norm <= 0.5 * (1 + 1e-5)
        assert norm == pytest.approx(0.5, rel=1e-4) or weight == 1.0


def test_the_fast_way_of_tensorflow_privacy_is_used_where_it_is_right_only():
    assert tensorflow_privacy.is_fast(models.make(models.dense))
    assert tensorflow_privacy.is_fast(models.make(models.embedding))
    assert not tensorflow_privacy.is_fast(models.make(models.shared_dense))
    assert not tensorflow_privacy.is_fast(models.make(models.attention))
    # It calls the model twice, and would take norms and gradients under different masks.
    dropping = models.make(lambda x: models.score(models.layers.Dropout(0.5)(models.layers.Dense(8)(x))))
    assert not tensorflow_privacy.is_fast(dropping)


@pytest.mark.parametrize("layer", [models.layers.SimpleRNN, pytest.param(models.layers.LSTM, marks=pytest.mark.heavy)])
def test_layers_that_book_keeping_does_not_know_are_named_and_taken_by_the_other_engine(layer):
    def unrolled(x):
        return models.score(layer(3, unroll=True, name="memory")(models.sequence(x)))

    model, rows = models.make(unrolled), models.make_rows(5)
    refusal = book_keeping.clipped_sum(model, l2_clip_norm=0.5)
    assert isinstance(refusal, Refusal)
    assert refusal.layer == {"SimpleRNN": "simple_rnn_cell", "LSTM": "lstm_cell"}[layer.__name__]
    assert "tensorflow_privacy" in refusal.remedy
    summed = tensorflow_privacy.clipped_sum(model, l2_clip_norm=0.5)
    expected = naive.clipped_sum(model, l2_clip_norm=0.5)(*rows)
    assert largest_difference(models.compiled(summed)(*rows), expected) < 1e-5


def test_loops_that_cannot_be_vectorized_are_refused_with_what_to_do():
    model = models.make(lambda x: models.score(models.layers.LSTM(3)(models.sequence(x))))
    refusal = tensorflow_privacy.clipped_sum(model, l2_clip_norm=0.5)
    assert isinstance(refusal, Refusal)
    assert "unroll=True" in refusal.remedy


def test_a_weight_of_two_layers_is_refused_by_both_names():
    class Tied(tf.keras.layers.Dense):
        pass

    first = models.layers.Dense(models.WIDTH, name="first")
    second = models.layers.Dense(models.WIDTH, name="second")

    def tied(x):
        middle = first(x)
        second.build(middle.shape)
        second.kernel = first.kernel
        second._trainable_weights = [first.kernel, second.bias]
        return models.score(second(middle))

    refusal = book_keeping.clipped_sum(models.make(tied), l2_clip_norm=1.0)
    assert refusal.layer == "second"
    assert "first" in refusal.reason


def test_a_weight_that_is_used_outside_its_layers_call_is_refused():
    inner = models.layers.Dense(models.WIDTH, use_bias=False, name="inner")

    def reused(x):
        middle = inner(x)
        outside = models.layers.Lambda(lambda tensor: tensor @ tf.transpose(inner.kernel))
        return models.score(outside(middle))

    model, rows = models.make(reused), models.make_rows(5)
    refusal = book_keeping.clipped_sum(model, l2_clip_norm=1.0)
    assert isinstance(refusal, Refusal)
    assert "outside the calls" in refusal.reason
    assert not tensorflow_privacy.is_fast(model)
    summed = tensorflow_privacy.clipped_sum(model, l2_clip_norm=0.5)
    expected = naive.clipped_sum(model, l2_clip_norm=0.5)(*rows)
    assert largest_difference(models.compiled(summed)(*rows), expected) < 1e-5


def test_a_weight_that_no_layer_owns_is_refused_by_name():
    class Holder(tf.Module):
        def __init__(self):
            super().__init__()
            self.scale = tf.Variable(tf.ones(models.WIDTH), name="scale")

    class Scaled(models.layers.Layer):
        def __init__(self):
            super().__init__()
            self.holder = Holder()

        def call(self, inputs):
            return inputs * self.holder.scale

    refusal = book_keeping.clipped_sum(models.make(lambda x: models.score(Scaled()(x))), l2_clip_norm=1.0)
    assert isinstance(refusal, Refusal)
    assert "scale" in refusal.reason


def test_a_subclass_may_compute_anything_and_is_not_taken_for_its_base():
    class Doubled(tf.keras.layers.Dense):
        def call(self, inputs):
            return 2 * super().call(inputs)

    refusal = book_keeping.clipped_sum(
        models.make(lambda x: models.score(Doubled(4, name="mine")(x))), l2_clip_norm=1.0
    )
    assert (refusal.layer, "Doubled" in refusal.reason) == ("mine", True)


@pytest.mark.parametrize("groups", [2])
def test_grouped_convolutions_are_left_to_the_other_engine(groups):
    def grouped(x):
        return models.score(models.layers.Flatten()(models.layers.Conv1D(4, 2, groups=groups)(models.sequence(x))))

    assert "groups" in book_keeping.clipped_sum(models.make(grouped), l2_clip_norm=1.0).reason


def test_the_model_is_left_as_it_was():
    model = models.make(models.attention)
    before = [weight.numpy() for weight in model.variables]
    methods = [layer.__dict__.get("call") for layer in model._flatten_layers()]
    models.compiled(book_keeping.clipped_sum(model, l2_clip_norm=1.0))(*models.make_rows(3))
    assert methods == [layer.__dict__.get("call") for layer in model._flatten_layers()]
    for weight, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)


@pytest.mark.heavy
@settings(max_examples=30, deadline=None)
@given(rows=st.integers(2, 12), clip=st.floats(1e-3, 10), seed=st.integers(0, 2**16))
def test_adding_a_row_moves_the_sum_by_at_most_the_clip_norm(rows, clip, seed):
    model = sensitivity_model()
    inputs, labels = models.make_rows(rows, seed=seed)
    summed = book_keeping.clipped_sum(model, l2_clip_norm=clip)
    with_it = summed(inputs, labels)
    without = summed({name: array[1:] for name, array in inputs.items()}, labels[1:])
    moved = math.sqrt(sum(float(tf.reduce_sum((a - b) ** 2)) for a, b in zip(with_it, without, strict=True)))
    assert moved <= clip * (1 + 1e-4) + 1e-6


def sensitivity_model(made=[]):  # noqa: B006 - built once; every example looks at the same model
    if not made:
        made.append(models.make(models.dense))
    return made[0]


def clipped_mean(model, clip):
    """The fault of clipping the batch's mean gradient in place of each row's."""

    def summed(inputs, labels):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(per_row_losses(labels, model(inputs)))
        gradients = tape.gradient(loss, model.trainable_variables)
        clipped, _ = tf.clip_by_global_norm(gradients, clip)
        return [gradient * len(labels) for gradient in clipped]

    return summed


def clipped_by_layer(model, clip):
    """The fault of clipping each weight's gradient to the whole norm."""

    def summed(inputs, labels):
        total = [tf.zeros_like(weight) for weight in model.trainable_variables]
        for i in range(len(labels)):
            row = {name: array[i : i + 1] for name, array in inputs.items()}
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(per_row_losses(labels[i : i + 1], model(row)))
            gradients = tape.gradient(loss, model.trainable_variables)
            total = [a + tf.clip_by_norm(b, clip) for a, b in zip(total, gradients, strict=True)]
        return total

    return summed


@pytest.mark.parametrize("fault", [clipped_mean, clipped_by_layer])
def test_the_comparison_with_the_loop_and_the_sensitivity_tell_broken_clipping(fault):
    model, (inputs, labels) = models.make(models.dense), models.make_rows(6)
    clip = 0.05
    broken = fault(model, clip)
    assert (
        largest_difference(broken(inputs, labels), naive.clipped_sum(model, l2_clip_norm=clip)(inputs, labels)) > 1e-3
    )
    one = {name: array[:1] for name, array in inputs.items()}
    norm = math.sqrt(sum(float(tf.reduce_sum(part**2)) for part in clipped_by_layer(model, clip)(one, labels[:1])))
    assert norm > clip * 1.2


def test_coefficients_at_their_limits():
    squared = tf.constant([0.0, 1.0, 4.0, math.inf])
    np.testing.assert_allclose(coefficients(squared, 1.0), [1.0, 1.0, 0.5, 0.0])
    np.testing.assert_allclose(coefficients(squared, math.inf), [1.0, 1.0, 1.0, 1.0])
