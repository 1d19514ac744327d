"""The Keras model: built in, or a function of the user's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from probity.data import TransformedFeature
from probity.errors import ConfigError
from probity.recipe import ModelConfig
from probity.usercode import load_function, module_path, user_error

__all__ = ["CONCAT", "LOGIT", "Head", "build"]

CONCAT = "concat"
"""Layer of the built-in models that joins all inputs into one vector, in the order of the transform's outputs."""
LOGIT = "logit"
"""Layer of the built-in models whose output is the score before the sigmoid."""

_KEY = "model.module"


@dataclass(frozen=True, kw_only=True)
class Head:
    """What a network ends in.

    Attributes:
        units: Numbers per row.
        activation: ``sigmoid``, ``softmax`` or ``linear``.
    """

    units: int = 1
    activation: Literal["sigmoid", "softmax", "linear"] = "sigmoid"


_BINARY = Head()
_ENDINGS = {"sigmoid": "a sigmoid", "softmax": "a softmax", "linear": "no activation"}


def build(config: ModelConfig, outputs: Sequence[TransformedFeature], *, root: Path, head: Head = _BINARY) -> Any:
    """Builds the model with initial weights drawn from TensorFlow's global seed.

    Guarantees: inputs are the transform's outputs by name, float32 of shape (rows, width); the output is of shape
    (rows, ``head.units``): one number per row unless the head has more.

    Args:
        config: The architecture.
        outputs: The transform's outputs.
        root: The config file's folder, where a user's module is looked for.
        head: What it ends in. A user's module is only held to the number of outputs; the trainer tries its scores.

    Returns:
        An uncompiled ``tf.keras.Model``.

    Raises:
        ConfigError: If the user's module cannot be used.
    """
    import tensorflow as tf

    inputs = {feature.name: tf.keras.Input((feature.width,), name=feature.name) for feature in outputs}
    if config.module is not None:
        return _user_model(config.module, inputs, root=root, head=head)
    return tf.keras.Model(inputs, _built_in(config, list(inputs.values()), head), name=config.kind)


def _built_in(config: ModelConfig, inputs: list[Any], head: Head) -> Any:
    import tensorflow as tf

    layers = tf.keras.layers
    # A single input cannot be concatenated; the layer keeps its name, so that it can be found all the same.
    joined = layers.Concatenate(name=CONCAT)(inputs) if len(inputs) > 1 else layers.Identity(name=CONCAT)(inputs[0])
    for i, units in enumerate(config.hidden, start=1):
        joined = layers.Dense(units, activation="relu", name=f"hidden_{i}")(joined)
        if config.dropout:
            joined = layers.Dropout(config.dropout, name=f"dropout_{i}")(joined)
    return layers.Activation(head.activation, name="score")(layers.Dense(head.units, name=LOGIT)(joined))


def _user_model(module: str, inputs: dict[str, Any], *, root: Path, head: Head) -> Any:
    import tensorflow as tf

    path = module_path(module, root=root, key=_KEY)
    function = load_function(module, "build_model", root=root, key=_KEY)
    try:
        built = function(dict(inputs))
        model = built if isinstance(built, tf.keras.Model) else tf.keras.Model(inputs, built)
        names = {tensor.name for tensor in tf.nest.flatten(model.input)}
        shape = tuple(model.output_shape)
    except Exception as error:
        raise user_error(error, path, key=_KEY, doing="building the model") from error
    if shape != (None, head.units) or not names <= set(inputs):
        raise ConfigError(
            _KEY,
            seen=f"build_model of {path.name} gave a model of {len(names)} inputs with output shape {shape}",
            allowed=f"a Keras model, or its output tensor, of shape (rows, {head.units}) over the inputs it was given",
            remedy=f"end in Dense({head.units}) with {_ENDINGS[head.activation]}, and use the given inputs only",
        )
    return model
