"""The tests' independent truth: one row at a time, clipped by hand. Slow, and hard to get wrong."""

import tensorflow as tf


def clipped_sum(model, *, l2_clip_norm):
    def summed(inputs, labels, weights=None):
        return clipped(row_gradients(model, inputs, labels, weights), l2_clip_norm=l2_clip_norm)

    return summed


def row_gradients(model, inputs, labels, weights=None):
    """Each row's gradient of each weight, before any clipping."""
    variables = model.trainable_variables

    def gradient_of(row):
        inputs, label, weight = row
        with tf.GradientTape() as tape:
            score = model({name: value[None] for name, value in inputs.items()}, training=True)
            loss = weight * tf.keras.losses.binary_crossentropy(label[None, None], score)[0]
        return [
            tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, variables, unconnected_gradients="zero")
        ]

    tf.debugging.assert_positive(tf.shape(labels)[0], "engines are promised at least one row")
    kinds = [tf.TensorSpec(variable.shape, tf.float32) for variable in variables]
    weights = tf.ones_like(labels) if weights is None else weights
    return tf.map_fn(gradient_of, (inputs, labels, weights), fn_output_signature=kinds)


def clipped(gradients, *, l2_clip_norm):
    """The sum of the rows' gradients, each scaled down to the clip norm where it is longer."""

    def one_row(row):
        norm = tf.sqrt(sum(tf.reduce_sum(gradient**2) for gradient in row))
        factor = tf.minimum(1.0, l2_clip_norm / norm) if l2_clip_norm < float("inf") else 1.0
        return [gradient * factor for gradient in row]

    return [tf.reduce_sum(part, axis=0) for part in tf.map_fn(one_row, gradients)]
