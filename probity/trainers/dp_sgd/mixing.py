"""Models in which a row's score depends on the other rows of its batch: clipping rows bounds nothing there.

Batch normalization is the known case: every row enters the mean that every other row is normalized with, so leaving
one row out changes *all* gradients of the batch, and the sum by more than the clip norm. A user's own layer can do the
same in other ways, so besides the layers known by name every model is probed with a few rows. A row's loss must depend
on no other row, neither in its derivatives nor in its value, nor on how many rows there are; and a call must leave
nothing of its rows behind in the model's variables, which would be released without noise.
"""

from __future__ import annotations

from typing import Any

from probity.trainers.dp_sgd import randomness
from probity.trainers.dp_sgd.engine import Refusal, per_row_losses

__all__ = ["ROWS", "probing_rows", "refusal"]

ROWS = 4
"""Number of rows that a model is probed with."""

_REMEDY = "use LayerNormalization or GroupNormalization, which treat each row alone"
# With as many rows as before the same routines run. For one row others may, which round differently.
_ROUNDING = 1e-6
_ROUNDING_ALONE = 1e-4


def refusal(model: Any) -> Refusal | None:
    """Returns why rows are not independent in this model, or ``None`` if they are.

    Args:
        model: A Keras model. It is left as it was.
    """
    import tensorflow as tf

    for layer in model._flatten_layers(include_self=False, recursive=True):
        # A frozen batch normalization uses its stored mean and variance: then each row is alone.
        if isinstance(layer, tf.keras.layers.BatchNormalization) and layer.trainable:
            return Refusal(
                layer=layer.name,
                reason=f"is a {type(layer).__name__}, which normalizes each row by the others of its batch",
                remedy=_REMEDY,
            )
    try:
        with randomness.state_kept(model):
            return _probe(model)
    # Whatever it is that a model raises on a few rows, nothing can be said about it then.
    except Exception as error:
        return Refusal(
            layer=model.name,
            reason=f"cannot be called on {ROWS} rows of numbers from 0 to 1 ({type(error).__name__}), so nothing "
            "shows that it treats each row alone",
            remedy="let build_model accept any number of rows with values in [0, 1]",
        )


def probing_rows(model: Any, *, whole: bool) -> dict[str, Any]:
    """Returns :data:`ROWS` random rows by input name, of whole numbers 0 and 1 or of any numbers between them."""
    import numpy as np
    import tensorflow as tf

    draw = np.random.default_rng(0)
    rows = {}
    for tensor in tf.nest.flatten(model.input):
        drawn = draw.random((ROWS, *tensor.shape[1:]))
        rows[tensor.name] = tf.constant(np.round(drawn) if whole else drawn, tf.float32)
    return rows


def _probe(model: Any) -> Refusal | None:
    before = [variable.numpy() for variable in model.variables]
    scores = model(probing_rows(model, whole=True), training=True)
    if any((variable.numpy() != value).any() for variable, value in zip(model.variables, before, strict=True)):
        return Refusal(
            layer=model.name,
            reason="changes variables of its own when it is called, which neither clipping nor noise covers",
            remedy="use layers that keep no state between batches",
        )
    if model.losses:
        return Refusal(
            layer=model.name,
            reason="adds losses of its own (a regularizer or add_loss), which no row's clipping covers",
            remedy="use optimizer.weight_decay of the trainer in place of regularizers",
        )
    if scores.shape[0] != ROWS:
        return Refusal(layer=model.name, reason="does not give one score per row", remedy="keep the axis of rows")
    if randomness.draws(model, training=False):
        return Refusal(
            layer=model.name,
            reason="draws random numbers outside training as well, so nothing shows that it treats each row alone",
            remedy="draw random numbers in training only, as Dropout does",
        )
    draws = randomness.draws(model, training=True)
    for rows in (probing_rows(model, whole=True), probing_rows(model, whole=False)):
        if _values_depend(model, rows, draws=draws) or _derivatives_cross(model, rows):
            return Refusal(
                layer=model.name,
                reason="gives a row another score when other rows of its batch change",
                remedy=f"remove what computes over the axis of rows; {_REMEDY}",
            )
        if _number_matters(model, rows, training=not draws):
            return Refusal(
                layer=model.name,
                reason="gives a row another score when there are fewer rows in its batch",
                remedy=f"remove what computes with the number of rows; {_REMEDY}",
            )
    return None


def _values_depend(model: Any, rows: dict[str, Any], *, draws: bool) -> bool:
    """Whether some row's score changes when all other rows do, with the same dropout where there is any."""
    import tensorflow as tf

    def called(rows: dict[str, Any]) -> Any:
        if draws:  # a new seed has TensorFlow forget every operation that it has prepared
            randomness.repeated(model)
        return model(rows, training=True)

    scores = called(rows)
    for row in range(ROWS):
        alone = tf.one_hot(row, ROWS, on_value=True, off_value=False)
        others = called({name: _flipped(array, except_for=alone) for name, array in rows.items()})
        if _differ(scores[row], others[row], within=_ROUNDING):
            return True
    return False


def _number_matters(model: Any, rows: dict[str, Any], *, training: bool) -> bool:
    """Whether some row's score differs where it is its batch's only row; in training only if no masks would differ."""
    scores = model(rows, training=training)
    for i in range(ROWS):
        alone = model({name: array[i : i + 1] for name, array in rows.items()}, training=training)
        if _differ(scores[i], alone[0], within=_ROUNDING_ALONE):
            return True
    return False


def _derivatives_cross(model: Any, rows: dict[str, Any]) -> bool:
    """Whether some row's loss has a derivative with respect to another row's inputs."""
    import tensorflow as tf

    watched = list(rows.values())
    with tf.GradientTape(watch_accessed_variables=False, persistent=True) as tape:
        tape.watch(watched)
        losses = tf.unstack(per_row_losses(tf.zeros([ROWS]), model(rows, training=True)))
    for row, loss in enumerate(losses):
        for gradient in tape.gradient(loss, watched, unconnected_gradients=tf.UnconnectedGradients.ZERO):
            if bool(tf.reduce_any(tf.boolean_mask(gradient, [other != row for other in range(ROWS)]) != 0.0)):
                return True
    return False


def _flipped(array: Any, *, except_for: Any) -> Any:
    import tensorflow as tf

    return tf.where(tf.reshape(except_for, [ROWS] + [1] * (array.shape.rank - 1)), array, 1.0 - array)


def _differ(one: Any, other: Any, *, within: float) -> bool:
    import tensorflow as tf

    return not bool(tf.reduce_all(tf.abs(one - other) <= within))
