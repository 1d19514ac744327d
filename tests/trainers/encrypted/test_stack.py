"""Which models are stacks of dense layers: found with their weights, or refused with the layers' names."""

import numpy as np
import pytest

from probity.errors import ConfigError
from probity.trainers.encrypted.stack import stack_of


@pytest.fixture(scope="module")
def layers():
    import tensorflow as tf

    return tf.keras.layers


def model_of(*chain, inputs=("b", "a")):
    import tensorflow as tf

    given = {name: tf.keras.Input((i + 1,), name=name) for i, name in enumerate(sorted(inputs))}
    found = tf.keras.layers.Concatenate()([given[name] for name in inputs])
    for layer in chain:
        found = layer(found)
    return tf.keras.Model(given, found)


def test_activations_in_layers_of_their_own_belong_to_the_layer_before(layers):
    model = model_of(layers.Dense(3), layers.ReLU(), layers.Dense(1), layers.Activation("sigmoid"))
    stack = stack_of(model, protocol="aby3")
    assert stack.inputs == ("b", "a")
    assert stack.activations == ("relu", "linear")
    rows = {"a": np.ones((2, 1), np.float32), "b": np.full((2, 2), 0.5, np.float32)}
    logit = stack.sequential()(np.concatenate([rows["b"], rows["a"]], axis=1)).numpy()
    np.testing.assert_allclose(1 / (1 + np.exp(-logit)), model(rows).numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("build", "protocol", "named"),
    [
        (lambda k: [k.Dense(3, "tanh"), k.Dense(1, "sigmoid")], "aby3", "activation tanh"),
        (lambda k: [k.BatchNormalization(name="norm"), k.Dense(1, "sigmoid")], "aby3", r"norm \(BatchNormalization\)"),
        (lambda k: [k.Dense(3, "relu"), k.Dense(1, "sigmoid")], "pond", "activation relu"),
        (lambda k: [k.Dense(1)], "aby3", "not one unit with a sigmoid"),
        (lambda k: [k.Dense(2, "sigmoid")], "aby3", "not one unit with a sigmoid"),
        (lambda k: [k.ReLU(max_value=6.0, name="six"), k.Dense(1, "sigmoid")], "aby3", "six"),
    ],
)
def test_what_shares_cannot_compute_is_named(layers, build, protocol, named):
    with pytest.raises(ConfigError, match=named):
        stack_of(model_of(*build(layers)), protocol=protocol)
