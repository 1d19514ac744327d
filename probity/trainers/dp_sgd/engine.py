"""What an engine is: it turns a Keras model into a function that sums clipped per-row gradients, or says why not.

``clipped_sum(model, l2_clip_norm=C)`` of an engine's module returns a :class:`ClippedSum`, or a :class:`Refusal`.

Guarantees of a :class:`ClippedSum`, whichever engine made it: its result is the sum over the rows of each row's
gradient of the binary cross-entropy with respect to all trainable weights together, scaled by ``min(1, C / norm)`` of
that row's own gradient; so adding or removing one row changes the sum by at most ``C`` in L2 norm. A row whose norm is
no finite number in single precision counts as zero, whatever ``C``, or it alone could make the sum not a number and end
the training, which no noise hides. Where rows have
weights, each row's loss is multiplied by its weight *before* its gradient is clipped, so the bound is the same. It can
be called inside a ``tf.function`` with any number of rows that is at least one, and changes neither weights nor any
other state of the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["ClippedSum", "Refusal", "coefficients", "per_row_losses"]


class ClippedSum(Protocol):
    """The sum of clipped per-row gradients of one model."""

    def __call__(self, inputs: dict[str, Any], labels: Any, weights: Any = None) -> list[Any]:
        """Returns one tensor per trainable weight, in the order and of the shapes of ``model.trainable_variables``.

        Args:
            inputs: By name, each of shape (rows, width).
            labels: In {0, 1}, of shape (rows,).
            weights: Weight of each row's loss, not negative, of shape (rows,); ``None``: each counts once.
        """
        ...


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


def per_row_losses(labels: Any, scores: Any, weights: Any = None) -> Any:
    """Returns the binary cross-entropy of each row, of shape (rows,), as Keras's ``binary_crossentropy`` computes it.

    Each is multiplied by the row's weight, if there are any.

    Keras looks through a final sigmoid to its logits, so this is as stable as a loss on logits.
    """
    import tensorflow as tf

    losses = tf.keras.losses.binary_crossentropy(labels[:, None], scores)
    return losses if weights is None else weights * losses


def coefficients(squared_norms: Any, l2_clip_norm: float) -> Any:
    """Returns ``min(1, C / norm)`` for each row, of shape (rows,); 1 for a norm of zero and for an infinite ``C``.

    0 for a norm that is not finite.
    """
    import tensorflow as tf

    if l2_clip_norm == float("inf"):
        clipped = tf.ones_like(squared_norms)
    else:
        # 1 / max(1, norm / C) needs no division by a norm that may be zero.
        clipped = 1.0 / tf.maximum(1.0, tf.sqrt(squared_norms) / l2_clip_norm)
    return tf.where(tf.math.is_finite(squared_norms), clipped, 0.0)
