"""The tests' independent truth: one row at a time, clipped by hand. Slow, and hard to get wrong."""

import tensorflow as tf


def clipped_sum(model, *, l2_clip_norm):
    variables = model.trainable_variables

    def clipped(row):
        inputs, label, weight = row
        with tf.GradientTape() as tape:
            score = model({name: value[None] for name, value in inputs.items()}, training=True)
            loss = weight * tf.keras.losses.binary_crossentropy(label[None, None], score)[0]
        gradients = [
            tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, variables, unconnected_gradients="zero")
        ]
        norm = tf.sqrt(sum(tf.reduce_sum(gradient**2) for gradient in gradients))
        factor = tf.minimum(1.0, l2_clip_norm / norm) if l2_clip_norm < float("inf") else 1.0
        return [gradient * factor for gradient in gradients]

    def summed(inputs, labels, weights=None):
        tf.debugging.assert_positive(tf.shape(labels)[0], "engines are promised at least one row")
        kinds = [tf.TensorSpec(variable.shape, tf.float32) for variable in variables]
        weights = tf.ones_like(labels) if weights is None else weights
        rows = tf.map_fn(clipped, (inputs, labels, weights), fn_output_signature=kinds)
        return [tf.reduce_sum(row, axis=0) for row in rows]

    return summed
