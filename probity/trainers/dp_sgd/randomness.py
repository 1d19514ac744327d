"""Random numbers that a model draws as it is called, as dropout does: whether there are any, and how to repeat them.

Comparing two calls of a model says something only if both draw the same numbers; and a computation that calls the
model twice for one row has two different gradients of that row in its hands.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["draws", "repeated", "state_kept"]

_READS = frozenset({"ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VarHandleOp"})
# What a loop or a branch does is looked at on its own.
_CONTROL = frozenset({"Placeholder", "StatefulPartitionedCall", "While", "If", "Case"})
# LSTM and GRU hold a branch for graphics processors; Keras drops nothing out within it.
_RECURRENT = frozenset({"CudnnRNN", "CudnnRNNBackprop"})
_HARMLESS = _READS | _CONTROL | _RECURRENT
"""Operations that TensorFlow counts as stateful and that give the same whenever the weights are the same."""


def draws(model: Any, *, training: bool) -> bool:
    """Whether two calls of a model may differ. Any stateful operation that is not known counts as drawing."""
    import tensorflow as tf
    from tensorflow.python.framework import op_def_registry

    inputs = {tensor.name: tf.TensorSpec([None, *tensor.shape[1:]]) for tensor in tf.nest.flatten(model.input)}
    traced = tf.function(lambda rows: model(rows, training=training)).get_concrete_function(inputs)
    graph = traced.graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    kinds = {node.op for node in nodes} - {function.signature.name for function in graph.library.function}
    known = {kind: op_def_registry.get(kind) for kind in kinds - _HARMLESS}
    return any(definition is None or definition.is_stateful for definition in known.values())


def repeated(model: Any) -> None:
    """Makes the next call of a model draw the same numbers as every other call that follows this function."""
    import tensorflow as tf

    tf.random.set_seed(0)  # for layers without a generator of their own, which count on from the global seed
    for state in _generators(model):
        state.assign(tf.ones_like(state))


@contextmanager
def state_kept(model: Any) -> Iterator[None]:
    """Puts back every variable of the model, the state of its random generators, and TensorFlow's global seed."""
    import tensorflow as tf

    kept = [(variable, variable.numpy()) for variable in (*model.variables, *_generators(model))]
    seed, _ = tf.compat.v1.random.get_seed(None)
    try:
        yield
    finally:
        tf.random.set_seed(seed)
        for variable, value in kept:
            variable.assign(value)


def _generators(model: Any) -> list[Any]:
    """Returns the state of each random generator of the model's layers; Keras makes them when they are first used."""
    found = []
    for layer in model._flatten_layers(include_self=False, recursive=True):
        random = getattr(layer, "_random_generator", None)
        if random is not None:
            random._maybe_init()
            found += [] if random._generator is None else [random._generator.state]
    return found
