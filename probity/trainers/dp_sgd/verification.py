"""An engine tried on the model itself before it is used: its clipped sum against back-propagation, one row at a time.

What an engine knows about layers says nothing about weights that a model also uses in other ways, as a table of an
embedding that an output layer multiplies with. Such a use is missing from the norms, and only the result tells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from probity.trainers.dp_sgd import randomness
from probity.trainers.dp_sgd.engine import ClippedSum, coefficients, per_row_losses
from probity.trainers.dp_sgd.mixing import ROWS, probing_rows

__all__ = ["agrees"]

# Relative to the clip norm; rounding is a thousand times smaller, and what is forgotten is rarely so small.
_TOLERANCE = 1e-3


def agrees(model: Any, engine: Callable[[float], ClippedSum]) -> bool:
    """Whether an engine clips and sums a few rows of random numbers as back-propagation, row by row, does.

    Args:
        model: A Keras model that treats each row alone. It is left as it was.
        engine: Returns the function to try, for a clip norm; it must call the model once.
    """
    import tensorflow as tf

    rows, labels = probing_rows(model, whole=True), tf.constant([i % 2 for i in range(ROWS)], tf.float32)
    with randomness.state_kept(model):
        gradients = _row_gradients(model, rows, labels)
        squared = tf.stack([tf.add_n([tf.reduce_sum(part**2) for part in row]) for row in gradients])
        # The middle of the norms: some rows are clipped, others are not.
        clip = float(tf.sort(tf.sqrt(squared))[ROWS // 2]) or 1.0
        weights = tf.unstack(coefficients(squared, clip))
        expected = [
            tf.add_n([a * b for a, b in zip(weights, parts, strict=True)]) for parts in zip(*gradients, strict=True)
        ]
        randomness.repeated(model)
        found = engine(clip)(rows, labels)
    far = tf.add_n([tf.reduce_sum((one - other) ** 2) for one, other in zip(found, expected, strict=True)])
    return bool(tf.sqrt(far) <= _TOLERANCE * clip)


def _row_gradients(model: Any, rows: dict[str, Any], labels: Any) -> list[list[Any]]:
    """Returns each row's gradient, in one call of the model, so that dropout is the engine's."""
    import tensorflow as tf

    weights = model.trainable_variables
    randomness.repeated(model)
    with tf.GradientTape(persistent=True) as tape:
        losses = tf.unstack(per_row_losses(labels, model(rows, training=True)))
    return [
        [tf.convert_to_tensor(part) for part in tape.gradient(loss, weights, unconnected_gradients="zero")]
        for loss in losses
    ]
