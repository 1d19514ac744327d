"""Runs a Keras model once and keeps what each layer's rule needs, without changing the model."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from probity.trainers.dp_sgd.layers import Rule

__all__ = ["Call", "layers_with_weights", "recorded"]

# A layer's method is replaced while the model is traced; two traces of one model must not do that to each other.
_LOCK = threading.RLock()


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a layer.

    Attributes:
        layer: The layer.
        kept: What its rule wanted to keep.
        watched: The tensor that the layer's weights enter linearly.
    """

    layer: Any
    kept: Any
    watched: Any


def layers_with_weights(model: Any) -> list[Any]:
    """Returns the layers that own a trainable weight themselves, nested ones included, each once, in order."""
    trained = {id(variable) for variable in model.trainable_variables}
    layers = {id(layer): layer for layer in model._flatten_layers(include_self=True, recursive=True)}
    return [layer for layer in layers.values() if any(id(own) in trained for own in layer._trainable_weights)]


@contextmanager
def recorded(rules: Mapping[int, Rule], layers: list[Any], tape: Any) -> Iterator[list[Call]]:
    """Has every call of the given layers noted while the context lasts.

    Args:
        rules: Rule by ``id`` of the layer.
        layers: The layers to watch.
        tape: The gradient tape that watches their tensors.
    """
    calls: list[Call] = []
    with _LOCK, ExitStack() as stack:
        for layer in layers:
            stack.enter_context(_replaced(layer, rules[id(layer)], tape, calls))
        yield calls


@contextmanager
def _replaced(layer: Any, rule: Rule, tape: Any, calls: list[Call]) -> Iterator[None]:
    import tensorflow as tf

    forward = layer.call

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
    def call(inputs: Any, *arguments: Any, **named: Any) -> Any:
        def watch(kept: Any, tensor: Any) -> Any:
            tape.watch(tensor)
            calls.append(Call(layer=layer, kept=kept, watched=tensor))
            return tensor

        return rule.call(layer, lambda given: forward(given, *arguments, **named), inputs, watch)

    object.__setattr__(layer, "call", call)
    try:
        yield
    finally:
        object.__delattr__(layer, "call")
