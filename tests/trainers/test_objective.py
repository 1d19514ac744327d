"""What a task asks of a network: the label's units, probabilities, and trainers that cannot."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from probity.errors import ConfigError, TrainingError
from probity.platform import plan
from probity.predictor import SavedModelPredictor
from probity.recipe import ModelConfig
from probity.trainers.architecture import Head, build
from probity.trainers.dp_sgd.trainer import DpSgdTrainer
from probity.trainers.objective import objective_of
from probity.trainers.outcome import require_scores
from probity.trainers.plain import PlainSettings, PlainTrainer
from probity.trainers.testing_world import agreed, make_request, make_world
from tests.trainers.test_architecture import OUTPUTS


def dataset(task, scores=1):
    return SimpleNamespace(task=task, num_scores=scores)


def test_a_regression_is_trained_on_standardised_labels_and_answers_in_their_units():
    import tensorflow as tf

    labels = np.array([10.0, 20.0, 60.0], np.float32)
    objective = objective_of(dataset("regression"), labels)
    targets = objective.targets(labels)
    assert targets.dtype == np.float32
    assert (targets.mean(), targets.std()) == pytest.approx((0, 1), abs=1e-6)
    same = tf.keras.Input((1,), name="same")
    network = tf.keras.Model(same, tf.keras.layers.Identity()(same))
    answers = objective.finished(network).predict(targets.reshape(-1, 1), verbose=0)
    np.testing.assert_allclose(answers[:, 0], labels, rtol=1e-6)


def test_constant_labels_do_not_divide_by_zero():
    objective = objective_of(dataset("regression"), np.full(4, 3.0, np.float32))
    assert (objective.mean, objective.scale) == (3.0, 1.0)


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_other_labels_and_networks_are_left_as_they_are(task):
    objective, labels, network = (
        objective_of(dataset(task, 3), np.zeros(2, np.float32)),
        np.ones(2, np.float32),
        object(),
    )
    assert objective.targets(labels) is labels
    assert objective.finished(network) is network


def test_classes_are_learned(tmp_path):
    """Better than the largest class. (That numbers are learned is seen on real data, end to end.)"""
    (tmp_path / "model").mkdir()
    (tmp_path / "world").mkdir()
    world = make_world(tmp_path / "world", task="multiclass")
    settings = PlainSettings(epochs=5, batch_size=32, learning_rate=0.03)
    request = make_request(world, settings, mechanism=agreed(PlainTrainer(), settings, world))
    record = PlainTrainer().train(request, workdir=tmp_path / "model", report=lambda done, text: None)
    assert set(record.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    chosen = SavedModelPredictor(tmp_path / "model" / "saved_model").scores(world.raw).argmax(axis=1)
    labels = world.raw.column("outcome").to_numpy()
    assert np.mean(chosen == labels) > np.bincount(labels).max() / len(labels) + 0.15


@pytest.mark.parametrize(
    ("units", "activation", "ending"),
    [(3, "softmax", r"Dense\(3\) with a softmax"), (1, "linear", r"Dense\(1\) with no activation")],
)
def test_a_users_module_is_held_to_the_number_of_outputs(units, activation, ending, tmp_path):
    code = "import tensorflow as tf\ndef build_model(inputs):\n    return tf.keras.layers.Dense({})(inputs['a_xf'])\n"
    (tmp_path / "mine.py").write_text(code.format(units))
    head = Head(units=units, activation=activation)
    assert build(ModelConfig(module="mine.py"), OUTPUTS, root=tmp_path, head=head).output_shape == (None, units)
    (tmp_path / "mine.py").write_text(code.format(units + 1))
    with pytest.raises(ConfigError, match=ending):
        build(ModelConfig(module="mine.py"), OUTPUTS, root=tmp_path, head=head)


class _Says:
    def __init__(self, scores):
        self._scores = np.array(scores, np.float32)

    def predict(self, inputs, **_):
        return self._scores


@pytest.mark.parametrize(
    ("task", "scores", "seen"),
    [
        ("multiclass", [[0.5, 0.6]], "do not sum to 1"),
        ("multiclass", [[1.5, -0.5]], "negative"),
        ("multiclass", [[np.nan, 1.0]], "not finite"),
        ("regression", [[np.inf]], "not finite"),
        ("binary", [[1.5]], "not in"),
    ],
)
def test_scores_that_are_not_what_the_task_asks_for_end_the_training(task, scores, seen):
    with pytest.raises(TrainingError, match=seen):
        require_scores(_Says(scores), {"x": np.zeros((1, 1), np.float32)}, task)


def test_scores_that_are_pass():
    require_scores(_Says([[0.25, 0.75]]), {"x": np.zeros((1, 1), np.float32)}, "multiclass")
    require_scores(_Says([[-1e6]]), {"x": np.zeros((1, 1), np.float32)}, "regression")


class _SaysNothing:
    name = "stranger"


@pytest.mark.parametrize("trainer", [DpSgdTrainer(), _SaysNothing()])
def test_a_trainer_that_cannot_is_refused_before_anything_runs(trainer):
    plan._require_task(trainer, "binary")
    for task in ("multiclass", "regression"):
        with pytest.raises(ConfigError, match=f"data.task is {task}.*task binary, for this trainer"):
            plan._require_task(trainer, task)
        plan._require_task(PlainTrainer(), task)
