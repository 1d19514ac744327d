"""Small models, rows and mechanisms that these tests share."""

import numpy as np
import pytest

from probity.model import DpSgd

ROWS, WIDTH = 96, 6


def make_mechanism(**changes):
    facts = {
        "noise_multiplier": 1.0,
        "noise_source": "os_entropy",
        "sampling": "poisson",
        "sampling_prob": 0.25,
        "steps": 8,
        "l2_clip_norm": 1.0,
        "expected_batch_size": 24,
        "normalization": "expected_batch_size",
        "unit": "row",
        "engine": "naive",
    }
    return DpSgd(**{**facts, **changes})


def make_model(hidden=5, seed=3):
    import tensorflow as tf

    tf.keras.utils.set_random_seed(seed)
    inputs = {"x": tf.keras.Input((WIDTH,), name="x")}
    inner = tf.keras.layers.Dense(hidden, activation="relu")(inputs["x"]) if hidden else inputs["x"]
    return tf.keras.Model(inputs, tf.keras.layers.Dense(1, activation="sigmoid")(inner))


@pytest.fixture(scope="session")
def rows():
    rng = np.random.default_rng(5)
    x = rng.normal(0, 1, (ROWS, WIDTH)).astype(np.float32)
    labels = (rng.random(ROWS) < 1 / (1 + np.exp(-x[:, 0] * 2))).astype(np.float32)
    return {"x": x}, labels
