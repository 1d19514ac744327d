"""Built-in models, and a user's build_model."""

import numpy as np
import pytest

from probity.data import TransformedFeature
from probity.errors import ConfigError
from probity.recipe import ModelConfig
from probity.trainers.architecture import CONCAT, LOGIT, build

OUTPUTS = (
    TransformedFeature(name="a_xf", source="a", width=2),
    TransformedFeature(name="b c_xf", source="b c", width=3),
)


def test_the_mlp_joins_inputs_in_order_and_ends_in_logit_and_sigmoid(tmp_path):
    import tensorflow as tf

    tf.keras.utils.set_random_seed(1)
    model = build(ModelConfig(kind="mlp", hidden=(5, 4), dropout=0.5), OUTPUTS, root=tmp_path)
    inputs = {"a_xf": np.ones((6, 2), np.float32), "b c_xf": np.full((6, 3), 2, np.float32)}
    joined = tf.keras.Model(model.inputs, model.get_layer(CONCAT).output).predict(inputs, verbose=0)
    np.testing.assert_array_equal(joined[0], [1, 1, 2, 2, 2])
    logit = tf.keras.Model(model.inputs, model.get_layer(LOGIT).output).predict(inputs, verbose=0)
    np.testing.assert_allclose(model.predict(inputs, verbose=0), 1 / (1 + np.exp(-logit)), atol=1e-6)
    assert [layer.units for layer in model.layers if hasattr(layer, "units")] == [5, 4, 1]
    assert model.count_params() == 5 * 5 + 5 + 5 * 4 + 4 + 4 + 1


def test_one_input_is_enough(tmp_path):
    model = build(ModelConfig(kind="logistic"), OUTPUTS[:1], root=tmp_path)
    assert model.get_layer(CONCAT).output.shape.as_list() == [None, 2]
    assert model.count_params() == 3


@pytest.mark.parametrize("ending", ["joined", "tf.keras.Model(inputs, joined)"])
def test_a_user_may_give_the_output_or_the_model(tmp_path, ending):
    (tmp_path / "mine.py").write_text(
        "import tensorflow as tf\ndef build_model(inputs):\n"
        f"    joined = tf.keras.layers.Dense(1, 'sigmoid')(inputs['a_xf'])\n    return {ending}\n"
    )
    model = build(ModelConfig(module="mine.py"), OUTPUTS, root=tmp_path)
    assert model.output_shape == (None, 1)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def build_model(inputs):\n    raise ValueError('secret')\n", "ValueError at line 2 while building"),
        ("def other(inputs): ...\n", "no function build_model"),
        ("import tensorflow as tf\ndef build_model(i):\n    return tf.keras.layers.Dense(2)(i['a_xf'])\n", "shape"),
        ("import tensorflow as tf\ndef build_model(i):\n    x = tf.keras.Input(2, name='z')\n"
         "    return tf.keras.Model(x, tf.keras.layers.Dense(1)(x))\n", "inputs it was given"),
    ],
)  # fmt: skip
def test_what_a_users_module_does_wrong_is_said(tmp_path, body, message):
    (tmp_path / "mine.py").write_text(body)
    with pytest.raises(ConfigError, match=message) as raised:
        build(ModelConfig(module="mine.py"), OUTPUTS, root=tmp_path)
    assert "secret" not in str(raised.value)
