"""Training on shares: one compiled step per batch, in which nobody sees rows.

Before the first step every owner deals shares of its rows to the servers, on its own device. In each step the servers
gather the batch from their shares, compute the gradient of the cross-entropy and take a step of gradient descent on
shares of the weights. At the end the weights are put together at the model owner, and nowhere else.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from probity_encrypted_worker.cast import MODEL_OWNER
from probity_encrypted_worker.checkpoints import Checkpoints
from probity_encrypted_worker.layers import DenseLayer, build, gradients
from probity_encrypted_worker.owners import Shard
from probity_encrypted_worker.refusal import Refusal
from probity_encrypted_worker.sharing import devices_of, reveal_to, shared_weights, tracing
from probity_encrypted_worker.sigmoid import approximate
from probity_encrypted_worker.tables import Tables
from probity_encrypted_worker.watch import all_in_range, can_watch

__all__ = ["Epoch", "Program", "Schedule", "largest_value", "train"]

Report = Callable[["Epoch"], None]


@dataclass(frozen=True)
class Schedule:
    """Which rows take part in which step.

    Attributes:
        rows: By owner, the positions of its rows, int32 of shape (epochs, steps, rows per step). Where columns are
            split, the same array for each owner.
        by: ``rows``: a batch is the rows of all owners below one another; ``columns``: their columns side by side.
    """

    rows: Sequence[npt.NDArray[np.int32]]
    by: str

    @property
    def epochs(self) -> int:
        """Passes over the data."""
        return int(self.rows[0].shape[0])

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return int(self.rows[0].shape[1])

    @property
    def batch_size(self) -> int:
        """Rows per step, of all owners together."""
        sizes = [int(array.shape[2]) for array in self.rows]
        return sizes[0] if self.by == "columns" else sum(sizes)


@dataclass(frozen=True)
class Epoch:
    """What is known after an epoch.

    Attributes:
        epoch: From 1.
        seconds: Wall time of its steps.
        brier_score: Mean squared error of the probabilities of its batches, only where revealing it was asked for.
        in_range: Whether the weights, and the sums of all units for its last batch, are in range; where the protocol
            cannot tell, ``True``.
    """

    epoch: int
    seconds: float
    brier_score: float | None
    in_range: bool


class Program:
    """The compiled step, and the shares it works on.

    Args:
        protocol: TF Encrypted's protocol.
        config: TF Encrypted's parties.
        layers: The model.
        weights: Initial weights, known to the model owner.
        shards: The owners' rows.
        schedule: The batches.
        learning_rate: Step size, public.
        reveal_loss: Whether the model owner gets the loss of each epoch.
    """

    def __init__(
        self,
        *,
        protocol: Any,
        config: Any,
        layers: tuple[DenseLayer, ...],
        weights: list[npt.NDArray[np.float32]],
        shards: Sequence[Shard],
        schedule: Schedule,
        learning_rate: float,
        reveal_loss: bool,
    ) -> None:
        import tensorflow as tf
        import tf_encrypted as tfe

        self._protocol, self._owner = protocol, config.get_player(MODEL_OWNER)
        self._devices = devices_of(config)
        self._tables, self._schedule = Tables(protocol, shards, by=schedule.by), schedule
        self._learning_rate = learning_rate
        with tf.device(self._owner.device_name):
            self._model = build(layers, weights, rows=schedule.batch_size)
            self._sum = tfe.define_private_variable(np.zeros([1, 1])) if reveal_loss else None
        self._step = tf.function(self._traced_step, autograph=False)
        self._watch = tf.function(self._traced_watch, autograph=False) if can_watch(protocol) else None
        self._weights = tf.function(self._traced_weights, autograph=False)
        self._loss = tf.function(self._traced_loss, autograph=False)

    @property
    def variables(self) -> list[tuple[str, Any, Any]]:
        """The servers' shares of all weights."""
        return shared_weights(self._protocol, self._devices, self._model)

    def compile(self) -> float:
        """Traces a step without executing it, and returns the seconds that took."""
        import tensorflow as tf

        started = time.monotonic()
        with tf.device(self._owner.device_name):
            positions = tf.constant(self._positions(0, 0))
            self._step.get_concrete_function(positions)
            if self._watch is not None:
                self._watch.get_concrete_function(positions)
        return time.monotonic() - started

    def run_epoch(self, epoch: int) -> Epoch:
        """Takes the steps of an epoch, numbered from 0."""
        import tensorflow as tf

        started = time.monotonic()
        with tf.device(self._owner.device_name):
            for step in range(self._schedule.steps):
                positions = tf.constant(self._positions(epoch, step))
                self._step(positions)
            in_range = self._watch is None or float(self._watch(positions)) > 0.5
            loss = None if self._sum is None else float(self._loss()) / self._schedule.steps
        return Epoch(epoch=epoch + 1, seconds=time.monotonic() - started, brier_score=loss, in_range=in_range)

    def weights(self) -> list[npt.NDArray[np.float32]]:
        """Puts the weights together at the model owner.

        Raises:
            Refusal: With the code ``overflow``, if one is beyond the range of the fixed-point numbers.
        """
        found = [np.asarray(tensor.numpy(), np.float64) for tensor in self._weights()]
        bound = largest_value(self._protocol)
        if not all(np.isfinite(array).all() and np.abs(array).max(initial=0) <= bound for array in found):
            raise _overflow("a weight is not finite, or beyond the range of the shares")
        return [array.astype(np.float32) for array in found]

    def _positions(self, epoch: int, step: int) -> npt.NDArray[np.int32]:
        return self._tables.positions([rows[epoch, step] for rows in self._schedule.rows])

    def _traced_step(self, positions: Any) -> None:
        import tf_encrypted as tfe

        with tracing(self._protocol):
            x, y = self._tables.batch(positions)
            logit = self._model.call(x)
            # Not the library's fit_batch, which reveals the loss of every batch.
            error = approximate(logit) - y
            pairs = [
                pair for weights, found in gradients(self._model, error) for pair in zip(weights, found, strict=True)
            ]
            self._descend(pairs)
            if self._sum is not None:
                mean = error.square().reduce_sum(axis=0, keepdims=True) * (1.0 / self._schedule.batch_size)
                tfe.assign(self._sum, self._sum.read_value() + mean)

    def _descend(self, pairs: Sequence[tuple[Any, Any]]) -> None:
        """Assigns each weight its own minus a step; all weights as one vector, as each truncation costs seven messages.

        Divided by the number of rows after the sum: before, most of the digits of a fixed-point number would be lost.
        """
        import tensorflow as tf
        import tf_encrypted as tfe

        shapes = [tf.TensorShape(weight.shape).as_list() for weight, _ in pairs]
        sizes = [math.prod(shape) for shape in shapes]
        whole = tfe.concat([tfe.reshape(gradient, [size]) for (_, gradient), size in zip(pairs, sizes, strict=True)], 0)
        step = whole / self._schedule.batch_size * self._learning_rate
        first = 0
        for (weight, _), shape, size in zip(pairs, shapes, sizes, strict=True):
            tfe.assign(weight, weight.read_value() - tfe.reshape(step[first : first + size], shape))
            first += size

    def _traced_watch(self, positions: Any) -> Any:
        with tracing(self._protocol):
            rows, _ = self._tables.batch(positions)
            found = all_in_range(self._protocol, self._model, rows, bound=largest_value(self._protocol))
            return reveal_to(self._protocol, self._owner, found)

    def _traced_weights(self) -> list[Any]:
        with tracing(self._protocol):
            return [
                reveal_to(self._protocol, self._owner, private.read_value())
                for layer in self._model.layers
                for private in layer.weights
            ]

    def _traced_loss(self) -> Any:
        import tf_encrypted as tfe

        with tracing(self._protocol):
            found = reveal_to(self._protocol, self._owner, self._sum.read_value())
            tfe.assign(self._sum, self._sum.read_value() * 0)
            return found


def train(
    program: Program, schedule: Schedule, *, checkpoints: Checkpoints | None, report: Report
) -> tuple[int, list[Epoch]]:
    """Trains from the last checkpoint, or from the start.

    Returns:
        The number of epochs that a checkpoint already held, and the epochs that were executed now.

    Raises:
        Refusal: With the code ``overflow``, if the model's numbers, or a revealed loss, are out of range.
    """
    done = 0 if checkpoints is None else min(checkpoints.last_epoch(), schedule.epochs)
    if checkpoints is not None and done:
        checkpoints.restore(program.variables, epochs=done)
    epochs = []
    for number in range(done, schedule.epochs):
        epoch = program.run_epoch(number)
        if not epoch.in_range:
            raise _overflow(f"a number inside the model left the range of the shares in epoch {epoch.epoch}")
        if epoch.brier_score is not None and not -0.01 <= epoch.brier_score <= 1.5:
            raise _overflow(f"the loss of epoch {epoch.epoch} is not one that probabilities can have")
        if checkpoints is not None:
            checkpoints.save(program.variables, epochs=epoch.epoch)
        epochs.append(epoch)
        report(epoch)
    return done, epochs


def largest_value(protocol: Any) -> float:
    """Returns the largest absolute value that the protocol's fixed-point numbers are made for."""
    fixed = protocol.fixedpoint_config
    return math.ldexp(1.0, int(fixed.precision_integral * math.log2(fixed.scaling_base)))


def _overflow(seen: str) -> Refusal:
    return Refusal(
        "overflow",
        "trainer encrypted",
        seen=seen,
        allowed="weights and losses within the range of the fixed-point numbers",
        remedy="use a smaller learning_rate, scale the columns, or use precision: 128",
    )
