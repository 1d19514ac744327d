"""The same training in the clear: same initial weights, same batches, same steps, to measure what shares cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from probity.trainers.encrypted.parts import Plan
from probity.trainers.encrypted.stack import Stack

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Twin", "train_twin"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Twin:
    """A model that was trained in the clear.

    Attributes:
        weights: Kernel and bias of each layer of the stack.
        seconds_per_epoch: Mean wall time of a pass, compiling left out.
    """

    weights: list[npt.NDArray[np.float32]]
    seconds_per_epoch: float


def train_twin(
    stack: Stack, plan: Plan, joined: npt.NDArray[np.float32], labels: npt.NDArray[np.float32], *, learning_rate: float
) -> Twin:
    """Trains a copy of the stack; the stack keeps its weights."""
    import tensorflow as tf

    model = stack.sequential()
    step = _compiled(model, learning_rate)
    epochs, steps = plan.schedule[0].shape[:2]

    def arguments(epoch: int, number: int) -> tuple[Any, Any]:
        rows = plan.batch(epoch, number)
        return tf.constant(joined[rows]), tf.constant(labels[rows][:, None])

    step.get_concrete_function(*arguments(0, 0))
    started = time.monotonic()
    for epoch in range(epochs):
        for number in range(steps):
            step(*arguments(epoch, number))
    return Twin(weights=model.get_weights(), seconds_per_epoch=(time.monotonic() - started) / epochs)


def _compiled(model: Any, learning_rate: float) -> Any:
    import tensorflow as tf

    loss = tf.keras.losses.BinaryCrossentropy(from_logits=True)

    trace: Callable[..., Any] = tf.function

    def step(rows: Any, labels: Any) -> None:
        with tf.GradientTape() as tape:
            found = loss(labels, model(rows, training=True))
        variables = model.trainable_variables
        for variable, gradient in zip(variables, tape.gradient(found, variables), strict=True):
            variable.assign_sub(learning_rate * gradient)

    return trace(step)
