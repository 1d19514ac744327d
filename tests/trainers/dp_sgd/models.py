"""Small models with one kind of layer each, over 24 inputs in {0, 1}."""

import numpy as np
import tensorflow as tf

layers = tf.keras.layers

WIDTH = 24


def score(tensor):
    return layers.Activation("sigmoid")(layers.Dense(1)(tensor))


def grid(tensor):
    return layers.Reshape((4, 6, 1))(tensor)


def sequence(tensor):
    return layers.Reshape((4, 6))(tensor)


def dense(x):
    return score(layers.Dense(8, "relu")(layers.Dense(8, "tanh", use_bias=False)(x)))


def dense_on_sequences(x):
    return score(layers.Flatten()(layers.Dense(3, "relu")(sequence(x))))


def sigmoid_dense(x):
    return layers.Dense(1, "sigmoid")(x)


def embedding(x):
    return score(layers.GlobalAveragePooling1D()(layers.Embedding(3, 5)(x)))


def convolution(padding, strides, dilation):
    def build(x):
        first = layers.Conv2D(2, 3, padding="same")(grid(x))
        second = layers.Conv2D(
            3, (2, 3), strides=strides, dilation_rate=dilation, padding=padding, activation="relu", use_bias=False
        )
        return score(layers.Flatten()(second(first)))

    return build


def causal_convolution(x):
    tensor = layers.Conv1D(3, 2, padding="causal", dilation_rate=2, activation="relu")(layers.Reshape((8, 3))(x))
    return score(layers.Flatten()(tensor))


def layer_normalization(x):
    return score(layers.LayerNormalization()(layers.Dense(8)(x)))


def offset_only(x):
    return score(layers.LayerNormalization(scale=False)(layers.Dense(8)(x)))


def group_normalization(x):
    return score(layers.Flatten()(layers.GroupNormalization(2)(layers.Dense(4)(sequence(x)))))


def attention(x):
    tensor = sequence(x)
    attended = layers.MultiHeadAttention(2, 3)(tensor, tensor)
    return score(layers.Flatten()(layers.LayerNormalization()(tensor + attended)))


def einsum(x):
    dense = layers.EinsumDense("...ab,bcd->...acd", output_shape=(4, 2, 3), bias_axes="cd")
    return score(layers.Flatten()(dense(sequence(x))))


def einsum_per_row(x):
    return score(layers.EinsumDense("ab,cb->ac", output_shape=5, bias_axes="c", activation="tanh")(x))


def shared_dense(x):
    layer = layers.Dense(WIDTH, "tanh")
    return score(layer(layer(x)))


def shared_embedding(x):
    layer = layers.Embedding(2, 5)
    return score(layers.Flatten()(layers.Concatenate()([layer(x), layer(1 - x)])))


def nested(x):
    inner = layers.Input((WIDTH,))
    part = tf.keras.Model(inner, layers.Dense(WIDTH, "relu")(inner))
    return score(part(part(x)))


def frozen(x):
    return score(layers.Dense(6, "tanh")(layers.Dense(8, trainable=False)(x)))


def frozen_batch_normalization(x):
    return score(layers.BatchNormalization(trainable=False)(layers.Dense(8)(x)))


def unused_weights(x):
    return score(layers.Lambda(lambda pair: pair[0])([layers.Dense(4)(x), layers.Dense(4)(x)]))


KNOWN = {
    "dense": dense,
    "dense on sequences": dense_on_sequences,
    "sigmoid dense": sigmoid_dense,
    "embedding": embedding,
    **{
        f"conv2d {padding} strides {strides} dilation {dilation}": convolution(padding, strides, dilation)
        for padding in ("valid", "same")
        for strides, dilation in ((1, 1), (2, 1), (1, 2))
    },
    "conv1d causal": causal_convolution,
    "layer normalization": layer_normalization,
    "offset only": offset_only,
    "group normalization": group_normalization,
    "attention": attention,
    "einsum": einsum,
    "einsum per row": einsum_per_row,
    "shared dense": shared_dense,
    "shared embedding": shared_embedding,
    "nested": nested,
    "frozen": frozen,
    "frozen batch normalization": frozen_batch_normalization,
    "unused weights": unused_weights,
}


def make(build, *, seed=1):
    tf.keras.utils.set_random_seed(seed)
    x = layers.Input((WIDTH,), name="x")
    model = tf.keras.Model({"x": x}, build(x))
    for weight in model.trainable_variables:  # biases and scales start at constants, which would hide errors
        weight.assign_add(0.1 * tf.random.normal(weight.shape))
    return model


def make_rows(count, *, seed=0):
    draw = np.random.default_rng(seed)
    inputs = tf.constant(draw.integers(0, 2, (count, WIDTH)), tf.float32)
    return {"x": inputs}, tf.constant(draw.integers(0, 2, count), tf.float32)


def compiled(summed, *, weighted=False):
    signature = [{"x": tf.TensorSpec([None, WIDTH])}, tf.TensorSpec([None]), *[tf.TensorSpec([None])] * weighted]
    return tf.function(summed, input_signature=signature, autograph=False)
