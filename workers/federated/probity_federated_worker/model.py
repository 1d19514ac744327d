"""The model and what a client does with it, as TensorFlow functions without variables.

TensorFlow Federated's own client work takes each client's rows as a ``tf.data`` sequence, which is written into a graph
by the caller and parsed again by the executor in every round. Rows that cross as plain tensors, and a loop inside the
graph, compute the same in a third of the time.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff
from probity_worker_contract.messages import WorkerFailure, weight_names

from probity_federated_worker.request import LocalTraining, Request, ServerOptimizer

__all__ = ["Weights", "build_local_training", "functional_model", "keras_model", "loss_of", "rows_spec"]

Weights = Any
"""Trainable weights, in Keras's order."""


def keras_model(request: Request, *, folder: Path, seed: int) -> tf.keras.Model:
    """Builds the model of a request with its initial weights, drawn from the seed if the request brings none.

    Raises:
        WorkerFailure: If it has weights that training does not change by gradients, which clients cannot average.
    """
    tf.keras.utils.set_random_seed(seed % 2**32)
    model = tf.keras.models.model_from_json(request.architecture)
    if model.non_trainable_weights or model.output_shape[-1] != 1:
        raise WorkerFailure("architecture", "the model needs one linear output, and trainable weights only")
    if request.initial_weights is not None:
        with np.load(folder / request.initial_weights, allow_pickle=False) as arrays:
            model.set_weights([arrays[name] for name in weight_names(len(model.weights))])
    return model


def rows_spec(features: int) -> OrderedDict[str, tf.TensorSpec]:
    """Returns the form in which a client's rows cross to the executor."""
    return OrderedDict(
        features=tf.TensorSpec([None, features], tf.float32),
        label=tf.TensorSpec([None], tf.float32),
        group=tf.TensorSpec([], tf.int32),
    )


def functional_model(model: tf.keras.Model) -> tff.learning.models.FunctionalModel:
    """Returns the model as a function of its weights."""
    width = model.input_shape[-1]
    return tff.learning.models.functional_model_from_keras(
        model,
        tf.keras.losses.BinaryCrossentropy(from_logits=True),
        (tf.TensorSpec([None, width], tf.float32), tf.TensorSpec([None, 1], tf.float32)),
    )


def loss_of(logits: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
    """Returns the log loss of each row, of shape (n,)."""
    return tf.nn.sigmoid_cross_entropy_with_logits(labels=label, logits=tf.reshape(logits, [-1]))


def build_local_training(
    model: tff.learning.models.FunctionalModel,
    *,
    local: LocalTraining,
    server: ServerOptimizer,
    groups: int,
    private: bool,
) -> Callable[[Weights, Any], Any]:
    """Returns what a client does in a round, a function of the server's weights and the client's rows.

    It returns the update (server's weights minus the client's), the number of rows, and sums for the report of the
    round by client group. A client whose update is not finite has an update of zeros, no weight and no part in
    the sums.

    Args:
        model: As a function of its weights.
        local: Steps of the client. ``fedsgd`` takes one step on all rows at once instead, with rate 1: its update is
            the gradient of the mean loss.
        server: Names the algorithm; FedProx adds ``mu / 2 * |w - w_server|^2`` to the loss (Li et al. 2020,
            equation 2).
        groups: Number of client groups.
        private: Whether sums of losses stay with the client, since they are no part of the noisy release.
    """
    whole = server.optimizer == "fedsgd"
    optimizer = _client_optimizer(local, whole=whole)
    epochs = 1 if whole else local.epochs

    def gradients(weights: Weights, start: Weights, features: tf.Tensor, label: tf.Tensor) -> tuple[Any, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(weights)
            logits = model.predict_on_batch((weights, ()), features, training=True)
            losses = loss_of(logits, label)
            objective = tf.reduce_mean(losses)
        found = tape.gradient(objective, weights)
        if server.proximal_strength:
            found = [g + server.proximal_strength * (w - s) for g, w, s in zip(found, weights, start, strict=True)]
        right = tf.cast(
            tf.equal(tf.reshape(logits, [-1]) > 0, label > 0.5), tf.float32
        )  # == compares objects in graphs
        return found, tf.stack([tf.reduce_sum(losses), tf.reduce_sum(right)])

    @tf.function
    def train(start: Weights, rows: Any) -> Any:
        start = tuple(tf.nest.flatten(start))
        count = tf.shape(rows["features"])[0]
        size = tf.maximum(count, 1) if whole else tf.constant(local.batch_size)
        steps = (count + size - 1) // size
        state = optimizer.initialize(tuple(tf.TensorSpec(w.shape, w.dtype) for w in start))

        def step(number: tf.Tensor, weights: Weights, state: Any, sums: tf.Tensor) -> tuple[Any, ...]:
            begin = (number % steps) * size
            batch = slice(begin, begin + size)
            found, more = gradients(weights, start, rows["features"][batch], rows["label"][batch])
            state, weights = optimizer.next(state, weights, tuple(found))
            return number + 1, tuple(weights), state, sums + more

        _, weights, _, sums = tf.while_loop(
            lambda number, *_: number < steps * epochs, step, (tf.constant(0), start, state, tf.zeros([2])),
            parallel_iterations=1,
        )  # fmt: skip
        update = tuple(s - w for s, w in zip(start, weights, strict=True))
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(u)) for u in update])
        update = tuple(tf.where(finite, u, tf.zeros_like(u)) for u in update)
        there = tf.cast(finite, tf.float32)
        weight = there * tf.cast(count, tf.float32)
        report = _report(sums, weight * epochs, there, rows["group"], groups=groups, private=private)
        return update, weight, report

    return train


def _report(
    sums: tf.Tensor, weight: tf.Tensor, there: tf.Tensor, group: tf.Tensor, *, groups: int, private: bool
) -> OrderedDict[str, tf.Tensor]:
    """Returns the client's part of the round's sums, in its group's place."""
    place = tf.one_hot(group, groups)
    report = OrderedDict(participants=place * there)
    if not private:
        finite = tf.where(there > 0, sums, tf.zeros_like(sums))
        report.update(loss=place * finite[0], right=place * finite[1], examples=place * weight)
    return report


def _client_optimizer(local: LocalTraining, *, whole: bool) -> tff.learning.optimizers.Optimizer:
    if whole:
        return tff.learning.optimizers.build_sgdm(learning_rate=1.0)
    if local.optimizer == "adam":
        return tff.learning.optimizers.build_adam(learning_rate=local.learning_rate)
    return tff.learning.optimizers.build_sgdm(learning_rate=local.learning_rate)


def number_of_parameters(model: tf.keras.Model) -> int:
    """Returns how many numbers an update has."""
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)
