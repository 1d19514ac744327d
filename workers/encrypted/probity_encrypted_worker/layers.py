"""Which models TF Encrypted can train and evaluate here: stacks of dense layers that end in one logit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from probity_encrypted_worker.refusal import Refusal

__all__ = ["DenseLayer", "build", "dense_stack", "gradients", "zeros"]

_HIDDEN = {"aby3": ("relu", "sigmoid", "linear"), "securenn": ("relu", "sigmoid", "linear"), "pond": ("linear",)}
"""Activations between layers, by protocol. Pond compares no shares: its relu is a polynomial, wrong beyond +-5."""


@dataclass(frozen=True)
class DenseLayer:
    """One dense layer with a bias.

    Attributes:
        units: Numbers per row.
        activation: ``relu``, ``sigmoid`` or ``linear``.
    """

    units: int
    activation: str


def dense_stack(architecture: str, *, protocol: str) -> tuple[DenseLayer, ...]:
    """Reads a Keras ``Sequential`` model's JSON.

    Guarantees: the last layer has one unit and no activation: the logit.

    Args:
        architecture: The answer of ``to_json`` of a Keras 2 model.
        protocol: Name of the protocol it is for.

    Raises:
        Refusal: With the code ``unsupported_layers``, naming each layer that cannot be computed on shares.
    """
    config = json.loads(architecture)
    if config.get("class_name") != "Sequential":
        raise _unsupported([f"a {config.get('class_name')} model"], protocol)
    layers: list[DenseLayer] = []
    offending: list[str] = []
    for layer in _described(config["config"]["layers"]):
        settings = layer["config"]
        kind, activation = layer["class_name"], settings.get("activation", "linear")
        if kind == "Dense" and activation in (*_HIDDEN[protocol], "linear") and settings.get("use_bias", True):
            layers.append(DenseLayer(units=int(settings["units"]), activation=activation))
        else:
            offending.append(f"{settings.get('name', kind)} ({kind}, activation {activation})")
    if not offending and (not layers or layers[-1] != DenseLayer(units=1, activation="linear")):
        offending.append("the last layer, which is not Dense(1) without activation")
    if offending:
        raise _unsupported(offending, protocol)
    return tuple(layers)


def build(layers: tuple[DenseLayer, ...], weights: list[npt.NDArray[np.float32]], *, rows: int) -> Any:
    """Returns a TF Encrypted model whose weights are shares of the given ones.

    Guarantees: the shares are drawn in this process, which is the model owner's.

    Args:
        layers: The stack.
        weights: Kernel and bias of each layer, in order.
        rows: Rows per batch; the shapes of a computation on shares are fixed.
    """
    import tf_encrypted as tfe

    model = tfe.keras.Sequential()
    columns = weights[0].shape[0]
    for layer in layers:
        first = {"batch_input_shape": [rows, columns]} if not model.layers else {}
        smooth = None if layer.activation in ("relu", "linear") else layer.activation
        model.add(tfe.keras.layers.Dense(layer.units, activation=smooth, **first))
        if layer.activation == "relu":
            model.add(tfe.keras.layers.ReLU())
    model.set_weights([np.asarray(array, np.float64) for array in weights])
    return model


def gradients(model: Any, by_logit: Any) -> Iterator[tuple[Any, list[Any]]]:
    """Yields each layer's weights and their gradients, summed over the rows, from the last layer to the first.

    The library's own ``backward`` goes on to the gradient by the rows themselves, which nobody needs and which is the
    largest product of a step.

    Args:
        model: What :func:`build` gave, after a call.
        by_logit: Shares of the gradient by the logit, of shape (rows, 1).
    """
    for layer in reversed(model.layers[1:]):
        found, by_logit = layer.backward(by_logit)
        yield layer.weights, found
    yield model.layers[0].weights, _first_gradients(model.layers[0], by_logit)


def _first_gradients(layer: Any, by_output: Any) -> list[Any]:
    import tf_encrypted as tfe

    if layer.activation_identifier is not None:
        by_output = tfe.keras.activations.get_deriv(layer.activation_identifier)(layer._layer_output, by_output)
    return [tfe.matmul(layer._layer_input.transpose(), by_output), by_output.reduce_sum(axis=0)]


def zeros(layers: tuple[DenseLayer, ...], *, columns: int) -> list[npt.NDArray[np.float32]]:
    """Returns weights of the right shapes, to be overwritten by shares that the servers have."""
    arrays: list[npt.NDArray[np.float32]] = []
    for layer in layers:
        arrays += [np.zeros((columns, layer.units), np.float32), np.zeros(layer.units, np.float32)]
        columns = layer.units
    return arrays


def _described(layers: list[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yields the layers that compute something."""
    return (layer for layer in layers if layer["class_name"] not in ("InputLayer", "Dropout"))


def _unsupported(offending: list[str], protocol: str) -> Refusal:
    return Refusal(
        "unsupported_layers",
        "model",
        seen=f"{protocol} cannot compute {', '.join(offending)} on shares",
        allowed=f"Dense layers with activation {', '.join(_HIDDEN[protocol])} that end in Dense(1)",
        remedy="use model kind logistic or mlp, or a protocol that compares shares (aby3, securenn)",
    )
