"""Models in which a row's score depends on the other rows of its batch: clipping rows bounds nothing there.

Batch normalization is the known case: every row enters the mean that every other row is normalized with, so leaving
one row out changes *all* gradients of the batch, and the sum by more than the clip norm. A user's own layer can do the
same in other ways, so besides the layers known by name every model is probed: with a few rows, the loss of one row
must not depend on any other row, neither in its derivatives nor in its value.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from probity.trainers.dp_sgd.engine import Refusal, per_row_losses

__all__ = ["refusal"]

_MIXING = ("BatchNormalization", "SyncBatchNormalization", "SpectralNormalization")
_REMEDY = "use LayerNormalization or GroupNormalization, which treat each row alone"
_ROWS = 4


def refusal(model: Any) -> Refusal | None:
    """Returns why rows are not independent in this model, or ``None`` if they are.

    Args:
        model: A Keras model. It is left as it was.
    """
    for layer in model._flatten_layers(include_self=False, recursive=True):
        # A frozen batch normalization uses its stored mean and variance: then each row is alone.
        if type(layer).__name__ in _MIXING and layer.trainable:
            return Refusal(
                layer=layer.name,
                reason=f"is a {type(layer).__name__}, which normalizes each row by the others of its batch",
                remedy=_REMEDY,
            )
    try:
        with _state_kept(model):
            return _probe(model)
    except (
        Exception
    ) as error:  # whatever a model does that cannot be called on a few rows, nothing can be said about it
        return Refusal(
            layer=model.name,
            reason=f"cannot be called on {_ROWS} rows of zeros and ones ({type(error).__name__}), so that nothing "
            "shows that "
            "it treats each row alone",
            remedy="let build_model accept any number of rows with values in [0, 1]",
        )


def _probe(model: Any) -> Refusal | None:
    import tensorflow as tf

    rows = _random_rows(model)
    _reset_masks(model)
    scores = model(rows, training=True)
    if model.losses:
        return Refusal(
            layer=model.name,
            reason="adds losses of its own (a regularizer or add_loss), which no row's clipping covers",
            remedy="use optimizer.weight_decay of the trainer in place of regularizers",
        )
    if scores.shape[0] != _ROWS:
        return Refusal(layer=model.name, reason="does not give one score per row", remedy="keep the axis of rows")
    _reset_masks(model)
    others = model({name: _other_rows_changed(array) for name, array in rows.items()}, training=True)
    depends = not bool(tf.reduce_all(tf.abs(scores[0] - others[0]) <= 1e-6))
    if depends or _derivatives_cross(model, rows):
        return Refusal(
            layer=model.name,
            reason="gives a row another score when other rows of its batch change",
            remedy=f"remove what computes over the axis of rows; {_REMEDY}",
        )
    return None


def _derivatives_cross(model: Any, rows: dict[str, Any]) -> bool:
    """Whether the loss of row 0 has a derivative with respect to another row's input or activations."""
    import tensorflow as tf

    watched: list[Any] = []
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        for array in rows.values():
            tape.watch(array)
            watched.append(array)
        loss = per_row_losses(tf.zeros([_ROWS]), model(rows, training=True))[0]
    found = tape.gradient(loss, watched, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return any(bool(tf.reduce_any(gradient[1:] != 0.0)) for gradient in found)


def _random_rows(model: Any) -> dict[str, Any]:
    import numpy as np
    import tensorflow as tf

    draw = np.random.default_rng(0)
    return {
        tensor.name: tf.constant(draw.integers(0, 2, (_ROWS, *tensor.shape[1:])), tf.float32)
        for tensor in tf.nest.flatten(model.input)
    }


def _other_rows_changed(array: Any) -> Any:
    import tensorflow as tf

    return tf.concat([array[:1], 1.0 - array[1:]], 0)


@contextmanager
def _state_kept(model: Any) -> Iterator[None]:
    """Puts back every variable of the model, the state of its random generators, and TensorFlow's global seed."""
    import tensorflow as tf

    kept = [(variable, variable.numpy()) for variable in (*model.variables, *_generators(model))]
    seed, _ = tf.compat.v1.random.get_seed(0)
    try:
        yield
    finally:
        tf.random.set_seed(seed)
        for variable, value in kept:
            variable.assign(value)


def _reset_masks(model: Any) -> None:
    """Makes the next call draw the same dropout masks as the last one after a reset."""
    import tensorflow as tf

    tf.random.set_seed(0)  # for layers without a generator of their own, which count on from the global seed
    for state in _generators(model):
        state.assign(tf.ones_like(state))


def _generators(model: Any) -> list[Any]:
    """Returns the state of each random generator of the model's layers; Keras makes them when they are first used."""
    found = []
    for layer in model._flatten_layers(include_self=False, recursive=True):
        random = getattr(layer, "_random_generator", None)
        if random is not None:
            random._maybe_init()
            found += [] if random._generator is None else [random._generator.state]
    return found
