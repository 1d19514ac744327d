"""The plain trainer: the contract, and what is its own."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from probity.digest import digest_bytes
from probity.errors import ConfigError, TrainingError
from probity.model import NonPrivate
from probity.recipe import ModelConfig
from probity.trainers.plain import PlainSettings, PlainTrainer
from probity.trainers.testing import TrainerContract
from probity.trainers.testing_world import make_request


class TestPlainTrainer(TrainerContract):
    @pytest.fixture(scope="class")
    def trainer(self):
        return PlainTrainer()

    @pytest.fixture(scope="class")
    def settings(self):
        return PlainSettings(epochs=2, batch_size=64)


def train(world, workdir, *, model=None, seed=7, **settings):
    request = make_request(world, PlainSettings(**settings), mechanism=NonPrivate(), model=model, seed=seed)
    workdir.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        # The contract exports for real; here the SavedModel would only take time.
        patch.setattr("probity.trainers.export.export", keras_file_alone)
        return PlainTrainer().train(request, workdir=workdir, report=lambda fraction, text: None)


def keras_file_alone(model, *_, workdir, **__):
    model.save(workdir / "model.keras")
    return digest_bytes(b"not exported")


def test_steps_are_counted_exactly_with_a_partial_last_batch(world, tmp_path):
    record = train(world, tmp_path, epochs=3, batch_size=50, patience=5)
    assert record.epochs == 3
    assert record.steps == 3 * math.ceil(480 / 50)
    assert record.mechanism == NonPrivate()
    assert set(record.history) == {"loss", "auc", "val_loss", "val_auc"}
    assert any((tmp_path / "logs").rglob("events*"))


def test_the_best_epoch_is_kept_even_if_training_was_not_stopped_early(world, tmp_path):
    """With a step size this large the loss on eval soon rises; patience outlasts the epochs."""
    import tensorflow as tf

    record = train(world, tmp_path, epochs=4, batch_size=32, learning_rate=0.3, patience=5)
    losses = record.history["val_loss"]
    assert record.epochs == 4
    assert record.best_epoch == int(np.argmin(losses)) + 1 < 4
    inputs, labels = world.examples.arrays("eval")
    model = tf.keras.models.load_model(tmp_path / "model.keras", compile=False)
    scores = np.clip(model.predict(inputs, verbose=0)[:, 0].astype(np.float64), 1e-7, 1 - 1e-7)
    log_loss = -np.mean(labels * np.log(scores) + (1 - labels) * np.log(1 - scores))
    assert log_loss == pytest.approx(min(losses), abs=1e-4)


def test_patience_ends_training(world, tmp_path):
    record = train(world, tmp_path, epochs=40, batch_size=32, learning_rate=0.3, patience=1)
    assert record.epochs == record.best_epoch + 1 < 40


def test_a_loss_that_is_not_finite_is_a_training_error(world, tmp_path):
    with pytest.raises(TrainingError, match="learning_rate"):
        train(world, tmp_path, epochs=3, batch_size=32, learning_rate=1e38, optimizer="sgd")
    assert not (tmp_path / "model.keras").exists()


def test_logistic_equals_scikit_learn(world, tmp_path):
    """Full-batch training to convergence against another library's solver of the same convex problem."""
    from sklearn.linear_model import LogisticRegression

    record = train(
        world,
        tmp_path,
        model=ModelConfig(kind="logistic"),
        epochs=40,
        batch_size=120,
        learning_rate=0.1,
        patience=40,
    )
    assert record.num_parameters == 2 + 2 + 5 + 1
    import tensorflow as tf

    inputs, labels = world.examples.arrays("train")
    joined = np.concatenate([inputs[feature.name] for feature in world.transform.outputs], axis=1)
    peer = LogisticRegression(C=1e6, max_iter=10_000, tol=1e-10).fit(joined, labels)
    best_loss = -np.mean(np.log(np.take_along_axis(peer.predict_proba(joined), labels.astype(int)[:, None], 1)))
    assert min(record.history["loss"]) == pytest.approx(best_loss, abs=2e-3)
    model = tf.keras.models.load_model(tmp_path / "model.keras", compile=False)
    kernel, bias = model.get_layer("logit").get_weights()
    by_hand = 1 / (1 + np.exp(-(joined @ kernel[:, 0] + bias[0])))
    np.testing.assert_allclose(model.predict(inputs, verbose=0)[:, 0], by_hand, atol=1e-6)


def test_settings_refuse_what_cannot_be():
    for wrong in ({"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0}, {"optimizer": "lion"}, {"epsilon": 1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            PlainSettings(**wrong)


def test_settings_of_another_trainer_are_refused(world, tmp_path):
    from probity.trainers.base import TrainerSettings

    request = make_request(world, TrainerSettings(), mechanism=NonPrivate())
    with pytest.raises(TypeError, match="PlainSettings"):
        PlainTrainer().train(request, workdir=tmp_path, report=lambda fraction, text: None)


def test_importing_the_trainer_imports_no_tensorflow():
    code = "import probity.trainers.plain, sys; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.heavy
@pytest.mark.slow
def test_two_devices_train_together(world, tmp_path):
    """Two logical CPU devices stand for two GPUs: MirroredStrategy, and a batch size that both can share."""
    code = f"""
import json, pathlib, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from probity.model import NonPrivate
from probity.trainers.plain import PlainSettings, PlainTrainer
from probity.trainers.testing_world import (make_request, make_world)
root = pathlib.Path({str(tmp_path)!r})
(root / "world").mkdir(); (root / "work").mkdir()
world = make_world(root / "world")
request = make_request(world, PlainSettings(epochs=2, batch_size=63), mechanism=NonPrivate())
record = PlainTrainer().train(request, workdir=root / "work", report=lambda fraction, text: None)
print(json.dumps(record.to_json()))
"""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    record = json.loads(done.stdout.splitlines()[-1])
    assert record["environment"]["devices"] == "2"
    assert record["settings"]["batch_size"] == 64
    assert record["steps"] == 2 * math.ceil(480 / 64)
    assert any("multiple of the 2 devices" in warning for warning in record["warnings"])


def test_a_module_that_is_not_a_probability_is_refused(world, tmp_path):
    (world.folder / "linear.py").write_text(
        "import tensorflow as tf\n"
        "def build_model(inputs):\n"
        "    joined = tf.keras.layers.Concatenate()(list(inputs.values()))\n"
        "    return tf.keras.layers.Dense(1, bias_initializer=tf.keras.initializers.Constant(50.0))(joined)\n"
    )
    try:
        with pytest.raises(TrainingError, match="sigmoid"):
            train(world, tmp_path, model=ModelConfig(module="linear.py"), epochs=1, batch_size=480)
        with pytest.raises(ConfigError, match="outside the config's folder"):
            train(world, tmp_path / "b", model=ModelConfig(module="../linear.py"), epochs=1)
    finally:
        (world.folder / "linear.py").unlink()
