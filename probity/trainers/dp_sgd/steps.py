"""One step of DP-SGD on a Keras model, compiled.

References:
    Abadi et al. (2016), Deep Learning with Differential Privacy, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from probity.model import DpSgd
from probity.trainers.dp_sgd.engine import ClippedSum
from probity.trainers.dp_sgd.noise import rounding_grid

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Steps"]


class Steps:
    """Executes steps of a mechanism on a model.

    Guarantees: a step updates the weights by ``(sum of clipped gradients + noise) / expected_batch_size`` through the
    optimiser, whatever the number of rows, none included; the noise enters once per step, however many pieces the rows
    were summed in; nothing else that depends on the rows reaches the weights.

    Args:
        model: A Keras model.
        clipped_sum: Sums gradients of rows of this model, each clipped to ``l2_clip_norm / rows_per_unit``.
        optimizer: A Keras optimizer; used for this model only.
        mechanism: What is executed.
        inputs: The training rows by input name, each float32 of shape (rows, width).
        labels: In {0, 1}, float32 of shape (rows,).
        weights: Weight of each row's loss before clipping, float32 of shape (rows,); ``None``: each counts once.
        physical_batch_size: Rows to sum at once.
        averaging: Whether to keep a running average of the weights.
        watched: Position of a trainable weight whose noisy sums are added up over all steps; ``None``: of none.
    """

    def __init__(
        self,
        model: Any,
        clipped_sum: ClippedSum,
        *,
        optimizer: Any,
        mechanism: DpSgd,
        inputs: Mapping[str, npt.NDArray[np.float32]],
        labels: npt.NDArray[np.float32],
        weights: npt.NDArray[np.float32] | None = None,
        physical_batch_size: int,
        averaging: bool = False,
        watched: int | None = None,
    ) -> None:
        import tensorflow as tf

        self.variables = list(model.trainable_variables)
        self.optimizer = optimizer
        optimizer.build(self.variables)
        self._clipped_sum = clipped_sum
        self._expected = float(mechanism.expected_batch_size)
        # Written out because no noise at an infinite norm is no noise, while 0 * inf is not a number.
        self._deviation = mechanism.noise_multiplier * mechanism.l2_clip_norm if mechanism.noise_multiplier else 0.0
        self._physical = physical_batch_size
        names = {tensor.name for tensor in tf.nest.flatten(model.input)}
        self._inputs = {name: tf.constant(array) for name, array in inputs.items() if name in names}
        self._labels = tf.constant(labels)
        self._weights = None if weights is None else tf.constant(weights)
        self._averages = [tf.Variable(variable, trainable=False) for variable in self.variables] if averaging else []
        self._place = watched
        self._watched = None if watched is None else tf.Variable(tf.zeros_like(self.variables[watched]))
        self._compile()

    @property
    def watched_sums(self) -> npt.NDArray[np.float32]:
        """The watched weight's noisy sums of all steps so far, added up, in its shape; empty if none is watched.

        This is what somebody sees who sees every step: the sums before they are divided and given to the optimiser.
        """
        import numpy as np

        return np.zeros(0, np.float32) if self._watched is None else self._watched.numpy()

    @property
    def size(self) -> int:
        """Number of trainable weights, which is the length of a step's noise."""
        return sum(int(variable.shape.num_elements()) for variable in self.variables)

    @property
    def noisy(self) -> bool:
        """Whether steps add noise at all."""
        return self._deviation > 0.0

    def execute(
        self, rows: npt.NDArray[np.int64], *, noise: npt.NDArray[np.float32] | None, averaging_weight: float = 1.0
    ) -> None:
        """Executes one step.

        Args:
            rows: Numbers of the rows that take part.
            noise: Independent standard normals, of shape (:attr:`size`,); ``None`` where the mechanism adds none.
            averaging_weight: Weight of the new weights in the running average, in (0, 1].

        Raises:
            ValueError: If there is noise where the mechanism adds none, or the other way round.
        """
        import numpy as np

        if (noise is not None) != self.noisy:
            raise ValueError("noise is given if and only if the mechanism adds some")
        rest = (np.zeros(0, np.float32) if noise is None else noise, np.float32(averaging_weight))
        if 0 < len(rows) <= self._physical:
            self._whole(rows, *rest)
            return
        sums = [np.zeros(variable.shape, np.float32) for variable in self.variables]
        for begin in range(0, len(rows), self._physical):
            sums = self._add(sums, rows[begin : begin + self._physical])
        self._finish(sums, *rest)

    @property
    def weights(self) -> tuple[npt.NDArray[np.float32], ...]:
        """Copies of the trainable weights as they are in the model now."""
        return tuple(variable.numpy() for variable in self.variables)

    @property
    def averages(self) -> tuple[npt.NDArray[np.float32], ...]:
        """Copies of the running averages; empty without averaging."""
        return tuple(variable.numpy() for variable in self._averages)

    @property
    def optimizer_state(self) -> tuple[npt.NDArray[np.generic], ...]:
        """Copies of the optimiser's variables, its own count of steps among them."""
        return tuple(variable.numpy() for variable in self.optimizer.variables)

    def restore(
        self, *, weights: Sequence[Any], optimizer: Sequence[Any], averages: Sequence[Any], watched: Any = ()
    ) -> None:
        """Sets all state to what it was when it was read from here."""
        if self._watched is not None:
            self._watched.assign(watched)
        _assign(self.variables, weights)
        _assign(self.optimizer.variables, optimizer)
        _assign(self._averages, averages)

    def release(self, weights: Sequence[Any] = ()) -> None:
        """Puts the given weights into the model, or else the running averages if there are any."""
        if weights or self._averages:
            _assign(self.variables, weights or self.averages)

    @contextmanager
    def released(self) -> Iterator[None]:
        """Has the weights that would be released now in the model for as long as the context lasts."""
        kept = self.weights
        self.release()
        yield
        _assign(self.variables, kept)

    def _compile(self) -> None:
        import tensorflow as tf

        rows = tf.TensorSpec([None], tf.int64)
        rest = (tf.TensorSpec([None], tf.float32), tf.TensorSpec([], tf.float32))
        sums = [tf.TensorSpec(variable.shape, tf.float32) for variable in self.variables]
        compiled: Callable[..., Any] = tf.function

        def whole(rows: Any, noise: Any, weight: Any) -> None:
            self._update(self._sum(rows), noise, weight)

        def add(sums: list[Any], rows: Any) -> list[Any]:
            return [total + more for total, more in zip(sums, self._sum(rows), strict=True)]

        self._whole = compiled(whole, input_signature=[rows, *rest])
        self._add = compiled(add, input_signature=[sums, rows])
        self._finish = compiled(self._update, input_signature=[sums, *rest])

    def _sum(self, rows: Any) -> list[Any]:
        import tensorflow as tf

        inputs = {name: tf.gather(column, rows) for name, column in self._inputs.items()}
        labels = tf.gather(self._labels, rows)
        if self._weights is None:
            return self._clipped_sum(inputs, labels)
        return self._clipped_sum(inputs, labels, tf.gather(self._weights, rows))

    def _update(self, sums: list[Any], noise: Any, weight: Any) -> None:
        if self.noisy:
            sums = self._noisy(sums, noise)
        if self._watched is not None and self._place is not None:
            self._watched.assign_add(sums[self._place])
        gradients = [total / self._expected for total in sums]
        self.optimizer.apply_gradients(zip(gradients, self.variables, strict=True))
        for average, variable in zip(self._averages, self.variables, strict=False):
            average.assign_add(weight * (variable - average))

    def _noisy(self, sums: list[Any], noise: Any) -> list[Any]:
        """Returns the sums with noise, rounded to the grid; as one vector, because small operations cost by number."""
        import tensorflow as tf

        sizes = [int(variable.shape.num_elements()) for variable in self.variables]
        grid = rounding_grid(self._deviation)
        total = tf.concat([tf.reshape(part, [-1]) for part in sums], axis=0)
        # The grid is a power of two, so dividing by it and multiplying with it are exact.
        noisy = grid * tf.round(total * (1.0 / grid) + noise * (self._deviation / grid))
        pieces = tf.split(noisy, sizes)
        return [tf.reshape(piece, variable.shape) for piece, variable in zip(pieces, self.variables, strict=True)]


def _assign(variables: Sequence[Any], values: Sequence[Any]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
