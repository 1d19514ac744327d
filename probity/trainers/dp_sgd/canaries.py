"""Gradient canaries: rows whose clipped gradient is a known direction, planted in a model for the time of its training.

An auditor wants to see how much of one row the noisy sums hold. So the model gets, beside its own weights, one weight
for each canary, and a canary row whose loss has a large derivative with respect to its own weight and to nothing else
worth speaking of: once clipped it is, but for a ten-thousandth, the clip norm times its own axis. It goes through the
engine, the clipping, the sum and the noise as every row does, so what the sums hold of it is what they might hold of
anybody. The weights change no score (what they add is zero, whatever they are), and are not part of the exported model.

References:
    Nasr et al. (2023), Tight Auditing of Differentially Private Machine Learning, section 4 (Dirac gradient canaries).
    Steinke, Nasr and Jagielski (2023), section 6: many of them in one training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Planted", "plant", "planted_rows", "planted_units"]

_INPUT = "planted_canary"  # names of the transform's outputs end in _xf, so none can collide
_SCALE = 1e4
"""Derivative of a canary's loss with respect to its own weight: far above any clip norm, and above the derivatives of
the other weights, so that clipping leaves the canary's axis and little else."""


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A model with canaries.

    Attributes:
        model: The model to train; shares its layers and weights with the one it was made from.
        place: Position of the canaries' weights among ``model.trainable_variables``.
    """

    model: Any
    place: int


def plant(model: Any, count: int) -> Planted:
    """Returns the model with weights for so many canaries.

    Guarantees: its scores are those of the model, bit for bit where the model ends in a sigmoid activation layer.

    Args:
        model: A Keras model of probabilities, of shape (rows, 1).
        count: Number of canaries, planted or not.
    """
    import tensorflow as tf

    layers = tf.keras.layers
    canary = tf.keras.Input((1,), name=_INPUT)
    weights = layers.Embedding(count + 1, 1, embeddings_initializer="zeros", name="planted_canaries")
    weight, last = layers.Flatten()(weights(canary)), model.layers[-1]
    # Added to the logit where there is one, so that the loss is computed from logits as it is without canaries.
    if isinstance(last, layers.Activation) and last.get_config()["activation"] == "sigmoid":
        pushed = layers.Lambda(_push, name="planted_push")([canary, weight, model.output])
        scores = layers.Activation("sigmoid", name="planted_score")(layers.Add()([last.input, pushed]))
    else:
        pushed = layers.Lambda(_push, name="planted_push")([canary, weight])
        scores = layers.Add()([model.output, pushed])
    inputs = {tensor.name: tensor for tensor in tf.nest.flatten(model.input)}
    planted = tf.keras.Model({**inputs, _INPUT: canary}, scores)
    names = [variable is weights.embeddings for variable in planted.trainable_variables]
    return Planted(model=planted, place=names.index(True))


def planted_rows(
    inputs: dict[str, npt.NDArray[np.float32]],
    labels: npt.NDArray[np.float32],
    included: npt.NDArray[np.bool_],
    *,
    rows_per_unit: int = 1,
) -> tuple[dict[str, npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    """Returns the training rows with the included canaries after them.

    Canary rows are zero in all inputs, so that the model's own weights see little of them, and have the label 0, so
    that they all push the same way.

    Args:
        inputs: The training rows by input name, each of shape (rows, width).
        labels: Of shape (rows,).
        included: Which canaries are planted, of shape (count,).
        rows_per_unit: Rows that each of them has: as many as a unit may give to a step, so that a canary weighs as much
            as any unit may.
    """
    import numpy as np

    numbers = np.repeat(np.flatnonzero(included) + 1, rows_per_unit).astype(np.float32)[:, None]
    padded = {
        name: np.concatenate([array, np.zeros((len(numbers), *array.shape[1:]), array.dtype)])
        for name, array in inputs.items()
    }
    padded[_INPUT] = np.concatenate([np.zeros((len(labels), 1), np.float32), numbers])
    return padded, np.concatenate([labels, np.zeros(len(numbers), labels.dtype)])


def planted_units(
    units: npt.NDArray[np.int64], included: npt.NDArray[np.bool_], *, rows_per_unit: int = 1
) -> npt.NDArray[np.int64]:
    """Returns the units of the training rows with one of its own for each included canary."""
    import numpy as np

    own = np.arange(int(included.sum()), dtype=np.int64) + (int(units.max()) + 1 if len(units) else 0)
    return np.concatenate([units, np.repeat(own, rows_per_unit)])


def _push(tensors: list[Any]) -> Any:
    """Returns zeros whose derivative with respect to a canary's weight is large, and none for other rows.

    The loss of a row with label 0 has the derivative ``p`` with respect to the logit, which is close to nothing where a
    model is sure of that label; dividing by ``p`` makes it the same for every model. (With respect to the score itself
    it is ``1 / (1 - p)``, at least 1.)
    """
    import tensorflow as tf

    canary, weight, *scores = tensors
    pushed = _SCALE * tf.minimum(canary, 1.0) * (weight - tf.stop_gradient(weight))
    return pushed / tf.stop_gradient(tf.maximum(scores[0], 1e-30)) if scores else pushed
