"""Whether the numbers inside a network stay in the range of the shares: one bit per epoch, for the model owner.

A number beyond the range wraps around silently. What comes of it may be back in range when the weights are put
together: a unit, say, that a wrapped sum switched off. A protocol that compares shares can look at the numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["all_in_range", "can_watch"]


def can_watch(protocol: Any) -> bool:
    """Returns whether a protocol compares shares and counts the outcomes: of the three, ABY3."""
    return hasattr(protocol, "mul_ab")


def all_in_range(protocol: Any, model: Any, rows: Any, *, bound: float) -> Any:
    """Returns shares of 1 if every weight, and every unit's sum for each of some rows, is within a bound; else of 0.

    How many are beyond it, and which, stays in the shares.

    Args:
        protocol: ABY3.
        model: What :func:`probity_encrypted_worker.layers.build` gave.
        rows: Shares of the features, of shape (rows, columns).
        bound: Largest absolute value; far below what wraps, so that a number that did is not taken for one in range.
    """
    import tf_encrypted as tfe

    numbers = [weight.read_value() for layer in model.layers for weight in layer.weights]
    for layer in model.layers:
        if not layer.weights:
            rows = layer.call(rows)
            continue
        sums = tfe.matmul(rows, layer.weights[0].read_value()) + layer.weights[1].read_value()
        numbers.append(sums)
        rows = sums if layer.activation_identifier is None else layer.activation(sums)
    flat = tfe.concat([tfe.reshape(number, [-1]) for number in numbers], axis=0)
    beyond = protocol.msb(tfe.concat([flat + bound, bound - flat], axis=0))
    count = protocol.mul_ab(protocol.define_constant(np.ones(beyond.shape.as_list())), beyond)
    none = protocol.less_than(count.reduce_sum(axis=0, keepdims=True), 0.5)
    return protocol.mul_ab(protocol.define_constant(np.ones([1])), none)
