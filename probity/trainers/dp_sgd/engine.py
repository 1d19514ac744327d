"""What an engine is: it turns a Keras model into a function that sums clipped per-row gradients, or says why not.

``clipped_sum(model, l2_clip_norm=C)`` of an engine's module returns a :data:`ClippedSum`, or a :class:`Refusal`.

Guarantees of a :data:`ClippedSum`, whichever engine made it: its result is the sum over the rows of each row's
gradient of the binary cross-entropy with respect to all trainable weights together, scaled by ``min(1, C / norm)`` of
that row's own gradient; so adding or removing one row changes the sum by at most ``C`` in L2 norm. It can be called
inside a ``tf.function`` with any number of rows that is at least one, and changes neither weights nor any other state
of the model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["ClippedSum", "Refusal", "coefficients", "per_row_losses"]

ClippedSum = Callable[[dict[str, Any], Any], list[Any]]
"""``clipped_sum(inputs, labels)``: inputs by name, each of shape (rows, width); labels of shape (rows,) in {0, 1}.
Returns one tensor per trainable weight, in the order and of the shapes of ``model.trainable_variables``."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a model cannot be trained with clipped gradients by an engine.

    Attributes:
        layer: Name of the layer that stands in the way.
        reason: What it does, as the end of a sentence that begins with the layer.
        remedy: What to do instead.
    """

    layer: str
    reason: str
    remedy: str


def per_row_losses(labels: Any, scores: Any) -> Any:
    """Returns the binary cross-entropy of each row, of shape (rows,), as Keras's ``binary_crossentropy`` computes it.

    Keras looks through a final sigmoid to its logits, so this is as stable as a loss on logits.
    """
    import tensorflow as tf

    return tf.keras.losses.binary_crossentropy(labels[:, None], scores)


def coefficients(squared_norms: Any, l2_clip_norm: float) -> Any:
    """Returns ``min(1, C / norm)`` for each row, of shape (rows,); 1 for a norm of zero and for an infinite ``C``."""
    import tensorflow as tf

    if l2_clip_norm == float("inf"):
        return tf.ones_like(squared_norms)
    # 1 / max(1, norm / C) needs no division by a norm that may be zero, and turns an infinite norm into a weight of 0.
    return 1.0 / tf.maximum(1.0, tf.sqrt(squared_norms) / l2_clip_norm)
