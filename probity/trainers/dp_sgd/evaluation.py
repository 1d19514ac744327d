"""Loss and AUC on the eval split after each epoch. The training split is never evaluated: exact numbers would leak."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Evaluation", "area_under_curve"]

_ROWS = 8192


class Evaluation:
    """Evaluates a model on the same rows again and again.

    Args:
        model: A Keras model of probabilities, of shape (rows, 1).
        inputs: The rows by input name, each of shape (rows, width).
        labels: In {0, 1}, of shape (rows,).
    """

    def __init__(self, model: Any, inputs: dict[str, npt.NDArray[np.float32]], labels: npt.NDArray[np.float32]) -> None:
        import tensorflow as tf

        names = {tensor.name for tensor in tf.nest.flatten(model.input)}
        used = {name: array for name, array in inputs.items() if name in names}
        self._pieces = [
            {name: tf.constant(array[begin : begin + _ROWS]) for name, array in used.items()}
            for begin in range(0, len(labels), _ROWS)
        ]
        self._labels = labels
        signature = {name: tf.TensorSpec([None, *array.shape[1:]], tf.float32) for name, array in used.items()}
        self._score = tf.function(lambda piece: model(piece, training=False), input_signature=[signature])

    def measure(self) -> dict[str, float]:
        """Returns ``val_loss``, the mean binary cross-entropy, and ``val_auc``.

        Without rows nothing is given, and with labels of one class only no ``val_auc``, which is then not defined.
        """
        import numpy as np
        import tensorflow as tf

        if not self._pieces:
            return {}
        scores = np.concatenate([self._score(piece).numpy().reshape(-1) for piece in self._pieces])
        measured = {
            "val_loss": float(
                tf.reduce_mean(tf.keras.losses.binary_crossentropy(self._labels[:, None], scores[:, None]))
            )
        }
        if 0.0 < self._labels.mean() < 1.0:
            measured["val_auc"] = area_under_curve(scores, self._labels)
        return measured


def area_under_curve(scores: npt.NDArray[np.float32], labels: npt.NDArray[np.float32]) -> float:
    """Returns the area under the ROC curve: how often a positive row scores above a negative one, ties counting half.

    References:
        Mann and Whitney (1947), On a Test of Whether one of Two Random Variables is Stochastically Larger.
    """
    from scipy.stats import rankdata

    positive = labels == 1
    num_positive, num_negative = int(positive.sum()), int((~positive).sum())
    ranks = rankdata(scores)[positive].sum()
    return float((ranks - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative))
