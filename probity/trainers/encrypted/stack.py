"""The part of a Keras model that is computed on shares: a stack of dense layers over the joined inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from probity.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Stack", "stack_of"]

_BETWEEN = {"aby3": ("relu", "sigmoid", "linear"), "securenn": ("relu", "sigmoid", "linear"), "pond": ("linear",)}
"""Activations that each protocol can compute between layers. Pond compares no shares."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Dense layers in order, the last of which gives the logit.

    Attributes:
        inputs: Names of the model's inputs, in the order in which they are joined.
        layers: The Keras layers.
        activations: What follows each of them: ``relu``, ``sigmoid`` or ``linear``; the last is ``linear``.
    """

    inputs: tuple[str, ...]
    layers: tuple[Any, ...]
    activations: tuple[str, ...]

    def weights(self) -> list[npt.NDArray[np.float32]]:
        """Returns kernel and bias of each layer."""
        return [array for layer in self.layers for array in layer.get_weights()]

    def set_weights(self, weights: Sequence[npt.NDArray[np.float32]]) -> None:
        """Gives each layer its kernel and bias, in the model that the stack was found in."""
        for i, layer in enumerate(self.layers):
            layer.set_weights(list(weights[2 * i : 2 * i + 2]))

    def sequential(self) -> Any:
        """Returns a new Keras model from joined inputs to the logit, with the weights of the stack."""
        import tensorflow as tf

        model = tf.keras.Sequential(name="logit_of_joined_inputs")
        # A name of its own: the text of the architecture is part of what a checkpoint belongs to.
        model.add(tf.keras.Input((self.layers[0].get_weights()[0].shape[0],), name="joined_inputs"))
        for i, (layer, activation) in enumerate(zip(self.layers, self.activations, strict=True)):
            model.add(tf.keras.layers.Dense(layer.units, activation=activation, name=f"dense_{i}"))
        model.set_weights(self.weights())
        return model


def stack_of(model: Any, *, protocol: str) -> Stack:
    """Finds the stack in a model, from its output back to its inputs.

    Args:
        model: A Keras model that ends in one probability.
        protocol: The protocol it is to be computed with.

    Raises:
        ConfigError: If the model holds anything else; names the layers.
    """
    found: list[tuple[Any, str]] = []
    offending: list[str] = []
    activation: str | None = None
    activated_by = ""
    tensor = model.output
    while True:
        layer = tensor._keras_history.layer
        kind = type(layer).__name__
        if kind in ("Concatenate", "Identity", "InputLayer"):
            break
        own = _activation(layer)
        if kind == "Dense" and layer.use_bias and (activation is None or own == "linear"):
            after = own if activation is None else activation
            found.insert(0, (layer, after))
            activation = None
        elif kind in ("Activation", "ReLU") and activation is None:
            activation, activated_by = own, layer.name
        else:
            offending.append(f"{layer.name} ({kind})")
        if isinstance(layer.input, list | tuple):
            break
        tensor = layer.input
    if activation is not None:
        offending.append(f"{activated_by} (an activation of the inputs themselves)")
    offending += _wrong_activations(found, protocol)
    inputs = _joined(layer, model)
    if offending or not found or inputs is None:
        raise _unsupported(offending or ["a model that is no stack over its joined inputs"], protocol)
    layers = tuple(layer for layer, _ in found)
    return Stack(inputs=inputs, layers=layers, activations=(*(after for _, after in found[:-1]), "linear"))


def _activation(layer: Any) -> str:
    if type(layer).__name__ == "ReLU":
        plain = layer.max_value is None and not layer.negative_slope and not layer.threshold
        return "relu" if plain else "a relu with settings"
    function = getattr(layer, "activation", None)
    return "linear" if function is None else str(function.__name__)


def _wrong_activations(found: Sequence[tuple[Any, str]], protocol: str) -> list[str]:
    wrong = [
        f"{layer.name} (activation {activation})" for layer, activation in found[:-1]
        if activation not in _BETWEEN[protocol]
    ]  # fmt: skip
    if found and (found[-1][1] != "sigmoid" or found[-1][0].units != 1):
        wrong.append(f"{found[-1][0].name} (not one unit with a sigmoid)")
    return wrong


def _joined(layer: Any, model: Any) -> tuple[str, ...] | None:
    """Returns the names of the inputs that a layer joins, or ``None`` where it joins something else."""
    tensors = layer.input if isinstance(layer.input, list | tuple) else [layer.input]
    names = tuple(tensor.name for tensor in tensors)
    known = {tensor.name for tensor in _flat(model.input)}
    return names if set(names) == known and len(names) == len(known) else None


def _flat(inputs: Any) -> list[Any]:
    return list(inputs.values()) if isinstance(inputs, dict) else inputs if isinstance(inputs, list) else [inputs]


def _unsupported(offending: Sequence[str], protocol: str) -> ConfigError:
    return ConfigError(
        "model",
        seen=f"{protocol} cannot compute {', '.join(offending)} on shares",
        allowed="Dense layers over the joined inputs, with "
        f"{' or '.join(_BETWEEN[protocol])} between them and one sigmoid at the end",
        remedy="use model kind logistic or mlp without dropout, or protocol aby3",
    )
