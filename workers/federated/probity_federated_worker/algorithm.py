"""One round as a TensorFlow Federated computation: send, train locally, aggregate, step."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from probity_federated_worker.aggregation import aggregation_of, report_sum
from probity_federated_worker.model import build_local_training, functional_model, rows_spec
from probity_federated_worker.request import Request, ServerOptimizer

__all__ = ["build_process", "weights_in", "with_noise"]

# Reddi et al. (2021), Adaptive Federated Optimization, section 5: the moments and tau of FedAdam.
_ADAM = {"beta_1": 0.9, "beta_2": 0.99, "epsilon": 1e-3}


def build_process(request: Request, model: tf.keras.Model) -> tff.templates.IterativeProcess:
    """Returns the training as a process whose every step is a round.

    ``next`` takes the state and one structure of rows per client, see :func:`model.rows_spec`; it returns the state and
    the round's sums: ``report`` by client group and, under privacy, ``l2_clip_norm``.
    """
    functional = functional_model(model)
    train = build_local_training(
        functional,
        local=request.local,
        server=request.server,
        groups=request.num_groups,
        private=request.privacy is not None,
    )
    weights_type = tff.types.tensorflow_to_type(tuple(tf.TensorSpec(w.shape, w.dtype) for w in model.trainable_weights))
    rows_type = tff.types.tensorflow_to_type(rows_spec(model.input_shape[-1]))
    start = tuple(np.asarray(weight) for weight in functional.initial_weights[0])

    work = tff.tensorflow.computation(lambda weights, rows: train(weights, rows), weights_type, rows_type)
    update_type, weight_type, report_type = work.type_signature.result
    aggregation = aggregation_of(request).create(update_type, weight_type)
    reports = report_sum(request).create(report_type)
    finalizer = _finalizer(request.server, weights_type)
    first_weights = tff.tensorflow.computation(lambda: tf.nest.map_structure(tf.constant, start))
    from_model = tff.tensorflow.computation(lambda weights: weights.trainable, _model_weights_type(weights_type))
    as_model = tff.tensorflow.computation(
        lambda weights: tff.learning.models.ModelWeights(trainable=weights, non_trainable=()), weights_type
    )

    @tff.federated_computation
    def initialize() -> Any:
        return tff.federated_zip(
            OrderedDict(
                weights=tff.federated_eval(first_weights, tff.SERVER),
                aggregation=aggregation.initialize(),
                reports=reports.initialize(),
                finalizer=finalizer.initialize(),
            )
        )

    @tff.federated_computation(initialize.type_signature.result, tff.FederatedType(rows_type, tff.CLIENTS))
    def advance(state: Any, rows: Any) -> Any:
        sent = tff.federated_broadcast(state["weights"])
        update, weight, report = tff.federated_map(work, (sent, rows))
        mean = aggregation.next(state["aggregation"], update, weight)
        told = reports.next(state["reports"], report)
        model_weights = tff.federated_map(as_model, state["weights"])
        stepped = finalizer.next(state["finalizer"], model_weights, mean.result)
        after = tff.federated_zip(
            OrderedDict(
                weights=tff.federated_map(from_model, stepped.result),
                aggregation=mean.state,
                reports=told.state,
                finalizer=stepped.state,
            )
        )
        return after, tff.federated_zip(OrderedDict(report=told.result, aggregation=mean.measurements))

    return tff.templates.IterativeProcess(initialize, advance)


def weights_in(state: Any) -> list[np.ndarray]:
    """Returns the server's weights of a state, in the order of Keras's ``get_weights()``."""
    return [np.asarray(weight) for weight in tf.nest.flatten(state["weights"])]


def with_noise(state: Any, *, noise: np.ndarray, count_noise: float) -> Any:
    """Returns the state with the noise of the next round."""
    own = OrderedDict(state["aggregation"]["own"], noise=noise, count_noise=np.float32(count_noise))
    return OrderedDict(state, aggregation=OrderedDict(state["aggregation"], own=own))


def _finalizer(server: ServerOptimizer, weights_type: Any) -> tff.learning.templates.FinalizerProcess:
    """The server's optimiser takes the mean update for a gradient (Reddi et al. 2021, algorithm 1)."""
    if server.optimizer == "fedadam":
        optimizer = tff.learning.optimizers.build_adam(server.learning_rate, **_ADAM)
    else:
        optimizer = tff.learning.optimizers.build_sgdm(server.learning_rate)
    return tff.learning.templates.build_apply_optimizer_finalizer(optimizer, _model_weights_type(weights_type))


def _model_weights_type(weights_type: Any) -> Any:
    return tff.StructWithPythonType(
        [("trainable", weights_type), ("non_trainable", tff.StructWithPythonType([], tuple))],
        tff.learning.models.ModelWeights,
    )
