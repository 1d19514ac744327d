"""Models whose rows depend on each other are refused by every engine, whatever way they found to do it."""

import numpy as np
import pytest
import tensorflow as tf

from probity.trainers.dp_sgd import book_keeping, mixing, randomness, tensorflow_privacy
from probity.trainers.dp_sgd.engine import Refusal
from tests.trainers.dp_sgd import models

layers = tf.keras.layers


def centred(tensor):
    return tensor - tf.reduce_mean(tensor, axis=0, keepdims=True)


def secretly_centred(tensor):
    return tensor - tf.stop_gradient(tf.reduce_mean(tensor, axis=0, keepdims=True))


def only_of_fractions(tensor):
    return tf.reduce_sum(tensor * (1.0 - tensor), axis=0, keepdims=True)


def last_follows_first(tensor):
    return tf.concat([tensor[:-1], tensor[-1:] + tensor[:1]], 0)


class Counting(layers.Layer):
    """Keeps the mean of what it has seen: released without noise, whatever becomes of the gradients."""

    def build(self, shape):
        self.seen = self.add_weight(name="seen", shape=shape[1:], initializer="zeros", trainable=False)

    def call(self, inputs):
        self.seen.assign_add(tf.reduce_mean(inputs, axis=0))
        return inputs


MIXING = {
    "batch normalization": lambda x: models.score(layers.BatchNormalization()(x)),
    "a mean over rows": lambda x: models.score(layers.Lambda(centred)(layers.Dense(4)(x))),
    "without a derivative": lambda x: models.score(layers.Lambda(secretly_centred)(layers.Dense(4)(x))),
    "before any weight": lambda x: models.score(layers.Lambda(secretly_centred)(x)),
    "rows turned around": lambda x: models.score(layers.Lambda(lambda t: tf.reverse(t, [0]))(x)),
    "between the whole numbers": lambda x: models.score(x + layers.Lambda(only_of_fractions)(x)),
    "by the number of rows": lambda x: models.score(layers.Lambda(lambda t: t / tf.cast(tf.shape(t)[0], t.dtype))(x)),
    "the last row only": lambda x: models.score(layers.Lambda(last_follows_first)(layers.Dense(4)(x))),
    "a sum of squares": lambda x: models.score(x + layers.Lambda(lambda t: tf.reduce_sum(t**2, 0, keepdims=True))(x)),
}


@pytest.mark.parametrize("name", MIXING)
@pytest.mark.parametrize("engine", [book_keeping, tensorflow_privacy])
def test_models_that_mix_rows_are_refused_by_every_engine(name, engine):
    refusal = engine.clipped_sum(models.make(MIXING[name]), l2_clip_norm=1.0)
    assert isinstance(refusal, Refusal)
    assert "LayerNormalization" in refusal.remedy


def test_batch_normalization_is_named():
    def build(x):
        return models.score(layers.BatchNormalization(name="culprit")(x))

    refusal = mixing.refusal(models.make(build))
    assert refusal.layer == "culprit"
    assert "the others of its batch" in refusal.reason


@pytest.mark.parametrize("name", models.KNOWN)
def test_models_that_treat_each_row_alone_are_not_refused(name):
    assert mixing.refusal(models.make(models.KNOWN[name])) is None


def test_dropout_treats_each_row_alone_and_the_global_seed_is_kept():
    model = models.make(lambda x: models.score(layers.Dropout(0.5)(layers.Dense(16)(x))))
    tf.random.set_seed(5)
    drawn = tf.random.uniform([4])
    tf.random.set_seed(5)
    assert mixing.refusal(model) is None
    tf.debugging.assert_equal(tf.random.uniform([4]), drawn)


def test_a_layer_that_remembers_its_rows_is_refused_and_left_as_it_was():
    model = models.make(lambda x: models.score(Counting()(x)))
    before = [variable.numpy() for variable in model.variables]
    assert "variables of its own" in mixing.refusal(model).reason
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_noise_outside_training_hides_what_depends_on_what():
    def build(x):
        return models.score(layers.Lambda(lambda t: t + tf.random.normal(tf.shape(t)))(x))

    assert "in training only" in mixing.refusal(models.make(build)).remedy


@pytest.mark.parametrize(
    ("build", "drawn"),
    [
        (lambda x: models.score(layers.Dropout(0.5)(x)), True),
        (lambda x: models.score(layers.GaussianNoise(0.5)(x)), True),
        (lambda x: models.score(layers.SimpleRNN(3, dropout=0.5)(models.sequence(x))), True),
        (lambda x: models.score(layers.SimpleRNN(3)(models.sequence(x))), False),
        (lambda x: models.score(layers.LSTM(3)(models.sequence(x))), False),
        (models.attention, False),
    ],
)
def test_drawing_in_training_is_seen(build, drawn):
    model = models.make(build)
    assert randomness.draws(model, training=True) is drawn
    assert not randomness.draws(model, training=False)


@pytest.mark.parametrize(
    "build",
    [
        lambda x: models.score(layers.Dense(3, kernel_regularizer="l2")(x)),
        lambda x: models.score(layers.ActivityRegularization(l2=0.1)(layers.Dense(3)(x))),
    ],
)
def test_losses_of_the_models_own_are_outside_clipping(build):
    assert "weight_decay" in mixing.refusal(models.make(build)).remedy


def test_a_model_that_cannot_be_called_on_few_rows_is_refused():
    def build(x):
        return models.score(layers.Lambda(lambda t: tf.ensure_shape(t, [64, models.WIDTH]))(x))

    assert "cannot be called" in mixing.refusal(models.make(build)).reason
