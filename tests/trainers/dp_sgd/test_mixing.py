"""Models whose rows depend on each other are refused by every engine, whatever way they found to do it."""

import pytest
import tensorflow as tf

from probity.trainers.dp_sgd import book_keeping, mixing, tensorflow_privacy
from probity.trainers.dp_sgd.engine import Refusal
from tests.trainers.dp_sgd import models

layers = tf.keras.layers


def centred(tensor):
    return tensor - tf.reduce_mean(tensor, axis=0, keepdims=True)


def secretly_centred(tensor):
    return tensor - tf.stop_gradient(tf.reduce_mean(tensor, axis=0, keepdims=True))


MIXING = {
    "batch normalization": lambda x: models.score(layers.BatchNormalization()(x)),
    "a mean over rows": lambda x: models.score(layers.Lambda(centred)(layers.Dense(4)(x))),
    "without a derivative": lambda x: models.score(layers.Lambda(secretly_centred)(layers.Dense(4)(x))),
    "before any weight": lambda x: models.score(layers.Lambda(secretly_centred)(x)),
    "rows turned around": lambda x: models.score(layers.Lambda(lambda t: tf.reverse(t, [0]))(x)),
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


def test_dropout_treats_each_row_alone_and_its_masks_are_not_spent():
    model = models.make(lambda x: models.score(layers.Dropout(0.5)(layers.Dense(16)(x))))
    states = [state.numpy() for state in mixing._generators(model)]
    assert mixing.refusal(model) is None
    for state, before in zip(mixing._generators(model), states, strict=True):
        assert (state.numpy() == before).all()


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
