"""The engine ``tensorflow_privacy``: clipped sums by TensorFlow Privacy, for layers ``book_keeping`` does not know.

Where TensorFlow Privacy's registry knows every layer with weights, its fast gradient clipping computes the norms; else
its vectorized clipping goes through every row's own gradient, which takes any layer and is several times slower.

In two cases its fast way would let rows pass the clip norm, and is not used. For a layer that is called more than once
it adds the squared norms of the calls, where the norm of their sum is wanted. And it calls the model twice, once for
norms and once for gradients: with dropout these belong to different masks.

Each row is clipped alone; the library's noise and its division by the batch size are not used.

References:
    Subramani, Vadivelu and Kamath (2021), Enabling Fast Differentially Private SGD via Just-in-Time Compilation and
    Vectorization. Kong and Muñoz Medina (2023), A Unified Fast Gradient Clipping Framework for DP-SGD.
"""

from __future__ import annotations

from typing import Any

from probity.trainers.dp_sgd import mixing, randomness, verification
from probity.trainers.dp_sgd.engine import ClippedSum, Refusal, coefficients, per_row_losses
from probity.trainers.dp_sgd.recording import layers_with_weights

__all__ = ["clipped_sum", "is_fast"]


def clipped_sum(model: Any, *, l2_clip_norm: float) -> ClippedSum | Refusal:
    """Returns the function that sums this model's clipped per-row gradients, or why there is none.

    Args:
        model: A Keras model with one score in [0, 1] per row.
        l2_clip_norm: Bound on the L2 norm of one row's gradient; infinite: none.

    References:
        :mod:`probity.trainers.dp_sgd.engine` says what the function guarantees.
    """
    refusal = mixing.refusal(model)
    if refusal is not None:
        return refusal
    if is_fast(model):
        return _fast(model, l2_clip_norm)
    summed = _vectorized(model, l2_clip_norm)
    return _untraceable(model, summed) or summed


def is_fast(model: Any) -> bool:
    """Whether TensorFlow Privacy's fast gradient clipping is right for a model.

    It is where all layers with weights are known, each is called once, no call draws random numbers, and a trial
    agrees.
    """
    from tensorflow_privacy.privacy.fast_gradient_clipping import layer_registry

    registry = layer_registry.make_default_layer_registry()
    layers = layers_with_weights(model)
    own = {id(layer) for layer in model.layers}
    owned = {id(weight) for layer in layers for weight in layer._trainable_weights}
    return (
        all(registry.is_elem(layer) and id(layer) in own and len(layer.inbound_nodes) == 1 for layer in layers)
        and all(id(weight) in owned for weight in model.trainable_variables)
        and not randomness.draws(model, training=True)
        and verification.agrees(model, lambda clip: _fast(model, clip))
    )


def _fast(model: Any, l2_clip_norm: float) -> ClippedSum:
    from tensorflow_privacy.privacy.fast_gradient_clipping import clip_grads, layer_registry

    registry = layer_registry.make_default_layer_registry()

    def summed(inputs: dict[str, Any], labels: Any, weights: Any = None) -> list[Any]:
        import tensorflow as tf

        def loss(labels: Any, scores: Any, none: Any) -> Any:
            return per_row_losses(labels, scores, weights)

        norms = clip_grads.compute_gradient_norms(model, registry, inputs, labels, per_example_loss_fn=loss)
        squared = tf.square(norms)
        clipping, finite = coefficients(squared, l2_clip_norm), tf.math.is_finite(squared)
        # Rows that count as zero must not be back-propagated: 0 times what is not a number is not a number.
        rows = {name: _rows_or_zeros(array, finite) for name, array in inputs.items()}
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(clipping * per_row_losses(labels, model(rows, training=True), weights))
        return _dense(tape.gradient(total, model.trainable_variables, unconnected_gradients="zero"))

    return summed


def _vectorized(model: Any, l2_clip_norm: float) -> ClippedSum:
    from tensorflow_privacy.privacy.optimizers.dp_optimizer_keras_vectorized import clip_gradients_vmap

    def clipped(row: tuple[dict[str, Any], Any, Any]) -> list[Any]:
        import tensorflow as tf

        inputs, label, weight = row
        with tf.GradientTape() as tape:
            scores = model({name: value[None] for name, value in inputs.items()}, training=True)
            loss = weight * per_row_losses(label[None], scores)[0]
        gradients = _dense(tape.gradient(loss, model.trainable_variables, unconnected_gradients="zero"))
        finite = tf.math.is_finite(tf.add_n([tf.reduce_sum(part**2) for part in gradients]))
        if l2_clip_norm != float("inf"):
            gradients = clip_gradients_vmap(gradients, l2_clip_norm)
        return [tf.where(finite, part, tf.zeros_like(part)) for part in gradients]

    def summed(inputs: dict[str, Any], labels: Any, weights: Any = None) -> list[Any]:
        import tensorflow as tf

        rows = tf.vectorized_map(clipped, (inputs, labels, tf.ones_like(labels) if weights is None else weights))
        return [tf.reduce_sum(gradients, axis=0) for gradients in rows]

    return summed


def _rows_or_zeros(array: Any, kept: Any) -> Any:
    """Returns the rows of an array that are to be kept, and zeros in the place of the others."""
    import tensorflow as tf

    return tf.where(tf.reshape(kept, [-1] + [1] * (array.shape.rank - 1)), array, tf.zeros_like(array))


def _untraceable(model: Any, summed: ClippedSum) -> Refusal | None:
    """Returns why a model's rows cannot be vectorized, if tracing fails; loops inside layers are the known case."""
    import tensorflow as tf

    inputs = {tensor.name: tf.TensorSpec([None, *tensor.shape[1:]]) for tensor in tf.nest.flatten(model.input)}
    try:
        tf.function(summed).get_concrete_function(inputs, tf.TensorSpec([None]))
    except Exception as error:  # TensorFlow's converters raise errors of many kinds
        return Refusal(
            layer=model.name,
            reason=f"has operations that cannot be vectorized over rows ({type(error).__name__})",
            remedy="give recurrent layers unroll=True, or use attention or convolutions over the sequence",
        )
    return None


def _dense(gradients: list[Any]) -> list[Any]:
    """Returns gradients as plain tensors: those of an embedding come as the rows that were touched."""
    import tensorflow as tf

    return [tf.convert_to_tensor(gradient) for gradient in gradients]
