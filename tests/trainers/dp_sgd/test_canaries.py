"""Planted gradients: a known axis each, through the engine's own clipping, and no trace in the exported model."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from probity.canaries import GRADIENT_SCORES, read_array
from probity.recipe import ModelConfig
from probity.trainers.base import Population
from probity.trainers.dp_sgd import choice
from probity.trainers.dp_sgd.canaries import plant, planted_rows, planted_units
from probity.trainers.dp_sgd.settings import DpSgdSettings
from probity.trainers.dp_sgd.trainer import DpSgdTrainer
from probity.trainers.testing_world import make_request, make_world
from tests.trainers.dp_sgd import models, naive

CANARIES = 12
INCLUDED = np.arange(CANARIES) % 3 == 0


def rows_with_canaries(rows):
    inputs, labels = models.make_rows(rows)
    inputs = {name: np.asarray(array, np.float32) for name, array in inputs.items()}
    padded, targets = planted_rows(inputs, np.asarray(labels, np.float32), INCLUDED)
    return {name: tf.constant(array) for name, array in padded.items()}, tf.constant(targets)


@pytest.mark.parametrize("build", [models.dense, pytest.param(models.sigmoid_dense, marks=pytest.mark.heavy)])
@pytest.mark.parametrize("engine", ["book_keeping", "tensorflow_privacy"])
def test_clipped_canaries_are_their_own_axes_and_other_rows_are_left_alone(build, engine):
    model = models.make(build)
    planted = plant(model, CANARIES)
    inputs, labels = rows_with_canaries(7)
    summed = choice.choose(planted.model, engine, l2_clip_norm=0.5).clipped_sum
    found = tf.function(summed, autograph=False)(inputs, labels)
    axes = found[planted.place].numpy().reshape(-1)
    np.testing.assert_allclose(axes[1:], 0.5 * INCLUDED, atol=1e-4)
    assert axes[0] == 0.0
    own = {name: array[:7] for name, array in inputs.items() if name in {t.name for t in tf.nest.flatten(model.input)}}
    expected = naive.clipped_sum(model, l2_clip_norm=0.5)(own, labels[:7])
    by_name = {variable.name: part for variable, part in zip(planted.model.trainable_variables, found, strict=True)}
    for variable, part in zip(model.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(by_name[variable.name], part, atol=1e-3)


@pytest.mark.parametrize("bias", [-20.0, 0.0, 20.0])
def test_a_model_that_is_sure_of_a_label_does_not_hide_the_canaries(bias):
    model = models.make(models.dense)
    model.trainable_variables[-1].assign([bias])
    planted = plant(model, CANARIES)
    summed = choice.choose(planted.model, "book_keeping", l2_clip_norm=10.0).clipped_sum
    found = summed(*rows_with_canaries(7))[planted.place].numpy().reshape(-1)
    np.testing.assert_allclose(found[1:], 10.0 * INCLUDED, rtol=1e-3)


def test_a_canary_weighs_as_much_as_a_unit_may():
    labels = np.zeros(2, np.float32)
    padded, targets = planted_rows({"x": np.ones((2, 3), np.float32)}, labels, INCLUDED, rows_per_unit=3)
    assert len(targets) == 2 + 3 * INCLUDED.sum()
    assert padded["planted_canary"].ravel().tolist() == [0, 0, *np.repeat([1, 4, 7, 10], 3)]
    units = planted_units(np.array([0, 1]), INCLUDED, rows_per_unit=3)
    assert units.tolist() == [0, 1, *np.repeat([2, 3, 4, 5], 3)]


def test_scores_are_the_models_whatever_the_canaries_weights_are():
    model = models.make(models.dense)
    planted = plant(model, CANARIES)
    inputs, _ = rows_with_canaries(7)
    planted.model.trainable_variables[planted.place].assign_add(
        tf.random.normal(planted.model.trainable_variables[planted.place].shape)
    )
    own = {name: array for name, array in inputs.items() if name in {t.name for t in tf.nest.flatten(model.input)}}
    np.testing.assert_array_equal(planted.model(inputs), model(own))


def test_each_canary_has_a_unit_of_its_own():
    assert planted_units(np.array([0, 0, 1]), np.array([True, False, True])).tolist() == [0, 0, 1, 2, 3]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training with canaries and without clipping noise to speak of, so that the sums can be read off."""
    world = make_world(tmp_path_factory.mktemp("world"), rows=200)
    settings = DpSgdSettings(noise_multiplier=1e-6, expected_batch_size=64, epochs=3, noise_seed=4)
    included = np.random.default_rng(0).random(300) < 0.5
    units = 200 + int(included.sum())
    trainer = DpSgdTrainer()
    mechanism = trainer.propose(settings, Population(num_rows=units, num_units=units, unit="row"))
    request = make_request(world, settings, mechanism=mechanism, model=ModelConfig(kind="logistic"), canaries=included)
    folder = tmp_path_factory.mktemp("model")
    return trainer.train(request, workdir=folder, report=lambda done, text: None), folder, included, request


def test_what_the_sums_held_is_how_often_a_canary_took_part(trained):
    model, folder, included, _ = trained
    scores = read_array(folder / GRADIENT_SCORES, "scores")
    assert scores.shape == included.shape
    np.testing.assert_allclose(scores[~included], 0.0, atol=1e-3)
    np.testing.assert_allclose(scores[included], scores[included].round(), atol=2e-2)
    expected = model.mechanism.sampling_prob * model.mechanism.steps
    assert scores[included].mean() == pytest.approx(expected, rel=0.15)


def test_the_exported_model_knows_nothing_of_canaries(trained):
    model, folder, included, request = trained
    keras = tf.keras.models.load_model(folder / "model.keras")
    assert sorted(tensor.name for tensor in tf.nest.flatten(keras.input)) == sorted(
        feature.name for feature in request.transform.outputs
    )
    assert model.num_parameters == keras.count_params()
    assert model.num_train_units == 200 + included.sum() == model.num_train_examples


def test_a_mechanism_that_does_not_count_them_is_refused(trained, tmp_path):
    *_, request = trained
    without = dataclasses.replace(request, gradient_canaries=None)
    with pytest.raises(ValueError, match="mechanism"):
        DpSgdTrainer().train(without, workdir=tmp_path, report=lambda done, text: None)
