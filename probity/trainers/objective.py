"""What a task asks of a network: how it ends, what it minimises, and what its scores must be.

==============  =====================  ========================================  =====================================
task            last layer             loss                                      ``scores``, float32
==============  =====================  ========================================  =====================================
``binary``      one unit, sigmoid      binary cross-entropy                      (rows, 1): the probability of the
                                                                                 positive label
``multiclass``  one unit per class,    categorical cross-entropy                 (rows, classes): probabilities that
                softmax                                                          sum to 1
``regression``  one unit, linear       mean squared error of the standardised    (rows, 1): the prediction, in the
                                       label                                     label's units
==============  =====================  ========================================  =====================================

A regression is trained on ``(label - mean) / scale``, so that learning rates mean the same whatever the label's units
are. Mean and scale (the standard deviation) of the training labels go into the exported model as constants.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from probity.data import Dataset
from probity.task import Task
from probity.trainers.architecture import Head

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Objective", "objective_of"]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """How a network is trained for a task.

    Attributes:
        task: What is predicted.
        head: What the network ends in.
        loss: Keras's name of the loss.
        shown: The metric of the eval split that progress reports, and its name there; the loss where there is none.
        mean: Subtracted from labels before training.
        scale: Labels are divided by it before training.
    """

    task: Task
    head: Head
    loss: str
    shown: tuple[str, str] = ("val_loss", "loss")
    mean: float = 0.0
    scale: float = 1.0

    def metrics(self) -> list[Any]:
        """Returns new Keras metrics, to be made in the scope that the model is made in."""
        import tensorflow as tf

        if self.task == "binary":
            return [tf.keras.metrics.AUC(name="auc")]
        return [tf.keras.metrics.SparseCategoricalAccuracy(name="accuracy")] if self.task == "multiclass" else []

    def targets(self, labels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Returns what the network is trained on, float32 of shape (rows,)."""
        import numpy as np

        if self.task != "regression":
            return labels
        return ((labels.astype(np.float64) - self.mean) / self.scale).astype(np.float32)

    def finished(self, network: Any) -> Any:
        """Returns the model that gives ``scores``: the network itself, or the network and the way back to the units."""
        import tensorflow as tf

        if self.task != "regression":
            return network
        back = tf.keras.layers.Rescaling(self.scale, offset=self.mean, name="label_units")
        return tf.keras.Model(network.input, back(network.output), name=network.name)


def objective_of(dataset: Dataset, labels: npt.NDArray[np.float32]) -> Objective:
    """Returns the objective of a data set.

    Args:
        dataset: Says the task and the classes.
        labels: The training labels, which give the constants of a regression.
    """
    import numpy as np

    if dataset.task == "multiclass":
        head = Head(units=dataset.num_scores, activation="softmax")
        return Objective(
            task="multiclass",
            head=head,
            loss="sparse_categorical_crossentropy",
            shown=("val_accuracy", "accuracy"),
        )
    if dataset.task == "regression":
        exact = labels.astype(np.float64)
        return Objective(
            task="regression",
            head=Head(activation="linear"),
            loss="mean_squared_error",
            mean=float(exact.mean()),
            scale=float(exact.std()) or 1.0,
        )
    return Objective(task="binary", head=Head(), loss="binary_crossentropy", shown=("val_auc", "AUC"))
