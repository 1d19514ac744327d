"""The step that all servers execute: traced once as a jax function, compiled to SPU's bytecode, public."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from probity_spu_worker.refusal import refused

__all__ = ["STEP", "Program", "activations", "compile_step"]

STEP = "step"
"""The public variable that says which batch of the epoch is meant."""

_BETWEEN = ("relu", "sigmoid", "linear")


@dataclass(frozen=True)
class Program:
    """What the servers execute.

    Attributes:
        code: SPU's bytecode.
        weights: Names of the variables that a step reads and writes.
        data: Names of the owners' features and labels of one epoch, in the order of its batches.
    """

    code: bytes
    weights: tuple[str, ...]
    data: tuple[str, ...]

    def write(self, path: Path) -> None:
        """Writes it for the servers."""
        path.with_suffix(".mlir").write_bytes(self.code)
        names = {"weights": self.weights, "data": self.data}
        path.write_text(json.dumps(names))

    @classmethod
    def read(cls, path: Path) -> Program:
        """Reads what :meth:`write` wrote."""
        names = json.loads(path.read_text())
        return cls(code=path.with_suffix(".mlir").read_bytes(), **{key: tuple(value) for key, value in names.items()})

    def executable(self) -> Any:
        """Returns SPU's own form of it."""
        from spu import libspu

        inputs = [*self.weights, *self.data, STEP]
        return libspu.Executable(name="step", input_names=inputs, output_names=list(self.weights), code=self.code)


def activations(architecture: str) -> list[str]:
    """Returns what follows each dense layer of a Keras ``Sequential`` model's JSON; the last is ``linear``, a logit.

    Raises:
        WorkerFailure: With the code ``unsupported_layers``, naming each layer that is not computed here.
    """
    found, offending = [], []
    for layer in json.loads(architecture)["config"]["layers"]:
        if layer["class_name"] == "InputLayer":
            continue
        activation = layer["config"].get("activation", "linear")
        if layer["class_name"] != "Dense" or activation not in _BETWEEN:
            offending.append(f"{layer['config'].get('name')} ({layer['class_name']}, activation {activation})")
        found.append(activation)
    if offending or not found or found[-1] != "linear":
        raise refused(
            "unsupported_layers",
            "model",
            seen=f"SPU's engine does not compute {', '.join(offending) or 'a model without a logit'} on shares",
            allowed=f"Dense layers with activation {', '.join(_BETWEEN)} that end in Dense(1)",
            remedy="use model kind logistic or mlp",
        )
    return found


def compile_step(
    weights: Sequence[Any], data: Mapping[str, Any], *, steps: int, by: str, layers: Sequence[str], learning_rate: float
) -> Program:
    """Compiles one step of gradient descent on a batch, a slice of the servers' shares of an epoch's rows.

    A slice, as gathering rows by their positions costs SPU several times the rest of a step.

    Args:
        weights: Kernel and bias of each layer; shapes only matter.
        data: By name ``features0``, ``label0``, ...: arrays of the shapes of an epoch's rows.
        steps: Steps of an epoch.
        by: ``rows`` or ``columns``.
        layers: What follows each layer.
        learning_rate: Public.
    """
    from spu import libspu
    from spu.utils import frontend

    names = tuple(f"w{i:04d}" for i in range(len(weights)))
    secret, public = libspu.Visibility.VIS_SECRET, libspu.Visibility.VIS_PUBLIC
    executable, _ = frontend.compile(
        frontend.Kind.JAX,
        _step(tuple(data), len(weights), steps=steps, by=by, layers=layers, learning_rate=learning_rate),
        (*weights, *data.values(), np.zeros(1, np.int32)),
        {},
        [*names, *data, STEP],
        [secret] * (len(weights) + len(data)) + [public],
        lambda outputs: list(names),
    )
    return Program(code=executable.code, weights=names, data=tuple(data))


def _step(
    names: Sequence[str], num_weights: int, *, steps: int, by: str, layers: Sequence[str], learning_rate: float
) -> Any:
    import jax.numpy as jnp
    from jax.lax import dynamic_slice_in_dim
    from jax.nn import sigmoid

    def step(*given: Any) -> tuple[Any, ...]:
        weights, number = list(given[:num_weights]), given[-1][0]
        batch = {}
        for name, value in zip(names, given[num_weights:-1], strict=True):
            size = value.shape[0] // steps
            batch[name] = dynamic_slice_in_dim(value, number * size, size)
        parts = [value for name, value in batch.items() if name.startswith("features")]
        rows = jnp.concatenate(parts, axis=0 if by == "rows" else 1)
        labels = jnp.concatenate([value for name, value in batch.items() if name.startswith("label")], axis=0)
        inputs, outputs = [rows], []
        for i, activation in enumerate(layers):
            outputs.append(inputs[-1] @ weights[2 * i] + weights[2 * i + 1])
            inputs.append(_after(outputs[-1], activation))
        slope = sigmoid(inputs[-1]) - labels
        updated = list(weights)
        for i in reversed(range(len(layers))):
            if i < len(layers) - 1:
                slope = (slope @ weights[2 * i + 2].T) * _derivative(outputs[i], inputs[i + 1], layers[i])
            # Divided after the sum: before, most of the digits of a fixed-point number would be lost.
            updated[2 * i] = weights[2 * i] - (inputs[i].T @ slope) / rows.shape[0] * learning_rate
            updated[2 * i + 1] = weights[2 * i + 1] - slope.sum(axis=0) / rows.shape[0] * learning_rate
        return tuple(updated)

    return step


def _after(value: Any, activation: str) -> Any:
    import jax.numpy as jnp
    from jax.nn import sigmoid

    return {"relu": lambda x: jnp.maximum(x, 0.0), "sigmoid": sigmoid, "linear": lambda x: x}[activation](value)


def _derivative(before: Any, after: Any, activation: str) -> Any:
    import jax.numpy as jnp

    if activation == "relu":
        return (before > 0).astype(np.float32)
    return after * (1.0 - after) if activation == "sigmoid" else jnp.ones_like(after)
