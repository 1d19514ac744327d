"""Layers whose per-row gradients are known: how each is called, what is kept of the call, and what follows from it.

A rule calls its layer so that the layer's own forward computation runs, and watches the tensor to which the weights
contribute linearly. With the gradient of the loss with respect to that tensor, the gradient with respect to each
weight is known for every row, and no gradient with respect to a weight has to be computed by back-propagation.

References:
    Goodfellow (2015), Efficient Per-Example Gradient Computations (Dense).
    Rochette, Manoel and Tramel (2019), Efficient Per-Example Gradient Computations in Convolutional Neural Networks.
    Lee and Kifer (2021), Scaling up Differentially Private Deep Learning with Fast Per-Example Gradient Clipping.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from probity.trainers.dp_sgd.contributions import Contribution, Direct, Lookup, Outer

__all__ = ["KNOWN", "Rule", "rule_of"]

Watch = Callable[[Any, Any], Any]
"""``watch(kept, tensor)`` notes what the rule needs later, and returns the tensor, watched."""


class Rule(Protocol):
    """What is known about one kind of layer."""

    def objection(self, layer: Any) -> str | None:
        """Returns why this layer, though of a known kind, is not supported, as the end of a sentence; else ``None``."""
        ...

    def call(self, layer: Any, forward: Callable[[Any], Any], inputs: Any, watch: Watch) -> Any:
        """Returns the layer's output for ``inputs``, having watched the tensor that its weights enter linearly."""
        ...

    def contributions(self, layer: Any, kept: Any, gradients: Any) -> Mapping[str, Contribution]:
        """Returns the contribution of each of the layer's weights, by attribute, for one call of the layer.

        Args:
            layer: The layer.
            kept: What :meth:`call` gave to ``watch``.
            gradients: Gradients of the loss with respect to the watched tensor.
        """
        ...


class _Linear:
    """Layers that apply an activation to a linear map: the watched tensor is what the activation is applied to."""

    def objection(self, layer: Any) -> str | None:
        """See :class:`Rule`."""
        return None

    def call(self, layer: Any, forward: Callable[[Any], Any], inputs: Any, watch: Watch) -> Any:
        """See :class:`Rule`."""
        import tensorflow as tf

        activation = layer.activation
        with _set(layer, activation=tf.keras.activations.linear):
            linear = forward(inputs)
        linear = watch(inputs, linear)
        return linear if activation is None else activation(linear)


class DenseRule(_Linear):
    """``Dense``, on rows of any rank."""

    def contributions(self, layer: Any, kept: Any, gradients: Any) -> Mapping[str, Contribution]:
        """See :class:`Rule`."""
        found: dict[str, Contribution] = {
            "kernel": Outer(inputs=_as_positions(kept), gradients=_as_positions(gradients))
        }
        if layer.use_bias:
            found["bias"] = Direct(gradients=_over_positions(gradients))
        return found


class ConvolutionRule(_Linear):
    """``Conv1D`` and ``Conv2D``: a matrix applied to the patch around each output position."""

    def objection(self, layer: Any) -> str | None:
        """See :class:`Rule`."""
        if layer.groups != 1:
            return f"has {layer.groups} groups"
        if layer.data_format != "channels_last":
            return f"has data_format {layer.data_format}"
        if None in layer.input_shape[1:]:
            return "has an input whose size is not fixed"
        return None

    def contributions(self, layer: Any, kept: Any, gradients: Any) -> Mapping[str, Contribution]:
        """See :class:`Rule`."""
        patches = _patches(kept, layer)
        found: dict[str, Contribution] = {"kernel": Outer(inputs=patches, gradients=_as_positions(gradients))}
        if layer.use_bias:
            found["bias"] = Direct(gradients=_over_positions(gradients))
        return found


class EmbeddingRule:
    """``Embedding``."""

    def objection(self, layer: Any) -> str | None:
        """See :class:`Rule`."""
        return None

    def call(self, layer: Any, forward: Callable[[Any], Any], inputs: Any, watch: Watch) -> Any:
        """See :class:`Rule`."""
        return watch(inputs, forward(inputs))

    def contributions(self, layer: Any, kept: Any, gradients: Any) -> Mapping[str, Contribution]:
        """See :class:`Rule`."""
        import tensorflow as tf

        ids = tf.reshape(tf.cast(kept, tf.int64), [tf.shape(kept)[0], -1])
        found = tf.reshape(gradients, [tf.shape(kept)[0], tf.shape(ids)[1], layer.output_dim])
        return {"embeddings": Lookup(ids=ids, gradients=found, size=layer.input_dim)}


class NormalizationRule:
    """``LayerNormalization`` and ``GroupNormalization`` over the last axis: a scale and an offset per channel."""

    def objection(self, layer: Any) -> str | None:
        """See :class:`Rule`."""
        axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
        rank = len(layer.input_shape)
        return None if [axis % rank for axis in axes] == [rank - 1] else "normalizes over other axes than the last"

    def call(self, layer: Any, forward: Callable[[Any], Any], inputs: Any, watch: Watch) -> Any:
        """See :class:`Rule`."""
        with _set(layer, scale=False, center=False, gamma=None, beta=None):
            normal = forward(inputs)
        scaled = normal * layer.gamma if layer.scale else normal
        return watch(normal, scaled + layer.beta if layer.center else scaled)

    def contributions(self, layer: Any, kept: Any, gradients: Any) -> Mapping[str, Contribution]:
        """See :class:`Rule`."""
        found: dict[str, Contribution] = {}
        if layer.scale:
            found["gamma"] = Direct(gradients=_over_positions(gradients * kept))
        if layer.center:
            found["beta"] = Direct(gradients=_over_positions(gradients))
        return found


class EinsumRule(_Linear):
    """``EinsumDense``, which ``MultiHeadAttention`` is made of: a tensor contracted with each position of a row."""

    def objection(self, layer: Any) -> str | None:
        """See :class:`Rule`."""
        inputs, kernel, output = _einsum(layer)
        if inputs[0] != output[0] or inputs[0] in kernel:
            return f"computes {layer.equation}, whose first axis is not the rows'"
        shared = set(inputs[1:]) & set(kernel) & set(output)
        lost = set(inputs[1:]) - set(kernel) - set(output)
        if shared or lost or set(output[1:]) - set(inputs) - set(kernel) or set(kernel) - set(inputs) - set(output):
            return f"computes {layer.equation}, which is no matrix applied to each position"
        return None

    def contributions(self, layer: Any, kept: Any, gradients: Any) -> Mapping[str, Contribution]:
        """See :class:`Rule`."""
        inputs, kernel, output = _einsum(layer)
        positions = [axis for axis in inputs[1:] if axis in output]
        contracted = [axis for axis in kernel if axis in inputs]
        free = [axis for axis in kernel if axis in output]
        size = dict(zip(kernel, layer.kernel.shape, strict=True))
        outer = Outer(
            inputs=_arranged(kept, inputs, positions, contracted),
            gradients=_arranged(gradients, output, positions, free),
            shape=tuple(size[axis] for axis in (*contracted, *free)),
            order=tuple((*contracted, *free).index(axis) for axis in kernel),
        )
        found: dict[str, Contribution] = {"kernel": outer}
        if layer.bias is not None:
            found["bias"] = Direct(gradients=_like_bias(gradients, layer.bias.shape))
        return found


KNOWN: Mapping[str, Rule] = {
    "Dense": DenseRule(),
    "Conv1D": ConvolutionRule(),
    "Conv2D": ConvolutionRule(),
    "Embedding": EmbeddingRule(),
    "LayerNormalization": NormalizationRule(),
    "GroupNormalization": NormalizationRule(),
    "EinsumDense": EinsumRule(),
}
"""Rules by the name of the Keras layer; ``MultiHeadAttention`` consists of ``EinsumDense``."""


def rule_of(layer: Any) -> Rule | None:
    """Returns the rule of a layer, or ``None``. A subclass may compute anything, so only Keras's own classes count."""
    import tensorflow as tf

    name = type(layer).__name__
    return KNOWN.get(name) if type(layer) is getattr(tf.keras.layers, name, None) else None


@contextmanager
def _set(layer: Any, **attributes: Any) -> Iterator[None]:
    """Sets attributes past Keras's tracking, for one call."""
    before = {name: getattr(layer, name) for name in attributes}
    for name, value in attributes.items():
        object.__setattr__(layer, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            object.__setattr__(layer, name, value)


def _as_positions(tensor: Any) -> Any:
    """Returns (rows, ..., channels) as (rows, positions, channels); (rows, channels) as it is."""
    import tensorflow as tf

    if tensor.shape.rank == 2:
        return tensor
    sizes = tensor.shape.as_list()[1:-1]
    positions = -1 if None in sizes else math.prod(sizes)
    return tf.reshape(tensor, [tf.shape(tensor)[0], positions, tensor.shape[-1]])


def _over_positions(tensor: Any) -> Any:
    """Returns (rows, ..., channels) added up to (rows, channels)."""
    import tensorflow as tf

    return tf.reduce_sum(tensor, axis=list(range(1, tensor.shape.rank - 1))) if tensor.shape.rank > 2 else tensor


def _patches(images: Any, layer: Any) -> Any:
    """Returns the patch that each output position of a convolution sees, of shape (rows, positions, patch).

    Slices side by side: TensorFlow's own patch extraction is several times slower on processors.
    """
    import tensorflow as tf

    padding, kernel = layer.padding, layer.kernel_size
    axes = list(zip(images.shape.as_list()[1:-1], kernel, layer.strides, layer.dilation_rate, strict=True))
    padded = tf.pad(images, [(0, 0), *(_padding(padding, *axis) for axis in axes), (0, 0)])
    counts = [_positions(padding, *axis) for axis in axes]
    slices = []
    for offsets in _offsets(kernel):
        window = tuple(
            slice(offset * dilation, offset * dilation + (count - 1) * stride + 1, stride)
            for offset, count, (_, _, stride, dilation) in zip(offsets, counts, axes, strict=True)
        )
        slices.append(padded[(slice(None), *window, slice(None))])
    return _as_positions(tf.concat(slices, axis=-1))


def _offsets(kernel: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [(i, *rest) for i in range(kernel[0]) for rest in (_offsets(kernel[1:]) if len(kernel) > 1 else [()])]


def _positions(padding: str, size: int, kernel: int, stride: int, dilation: int) -> int:
    """Returns the number of output positions along one axis."""
    covered = (kernel - 1) * dilation + 1
    return math.ceil((size - covered + 1) / stride) if padding == "valid" else math.ceil(size / stride)


def _padding(padding: str, size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Returns the zeros before and after one axis."""
    if padding == "valid":
        return 0, 0
    covered = (kernel - 1) * dilation + 1
    if padding == "causal":
        return covered - 1, 0
    total = max((_positions(padding, size, kernel, stride, dilation) - 1) * stride + covered - size, 0)
    return total // 2, total - total // 2


def _einsum(layer: Any) -> tuple[str, str, str]:
    """Returns the axes of inputs, kernel and output, one letter each, an ellipsis written out."""
    operands, output = layer.equation.replace(" ", "").split("->")
    inputs, kernel = operands.split(",")
    if "..." in inputs:
        rank = len(layer.input_shape) - len(inputs.replace("...", ""))
        letters = "".join(letter for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if letter not in layer.equation)[:rank]
        inputs, output = inputs.replace("...", letters), output.replace("...", letters)
    return inputs, kernel, output


def _arranged(tensor: Any, axes: str, positions: list[str], last: list[str]) -> Any:
    """Returns a tensor as (rows, positions, channels), or (rows, channels) where there are no positions."""
    import tensorflow as tf

    sizes = dict(zip(axes, tensor.shape.as_list(), strict=True))
    moved = tf.transpose(tensor, [axes.index(axis) for axis in (axes[0], *positions, *last)])
    width = math.prod(sizes[axis] for axis in last)
    if not positions:
        return tf.reshape(moved, [-1, width])
    known = [sizes[axis] for axis in positions]
    return tf.reshape(moved, [tf.shape(tensor)[0], -1 if None in known else math.prod(known), width])


def _like_bias(gradients: Any, shape: Any) -> Any:
    """Returns gradients of shape (rows, ...) added up over the axes along which the bias was repeated."""
    import tensorflow as tf

    missing = gradients.shape.rank - 1 - len(shape)
    summed = tf.reduce_sum(gradients, axis=list(range(1, 1 + missing))) if missing else gradients
    repeated = [i + 1 for i, size in enumerate(shape) if size == 1 and summed.shape[i + 1] != 1]
    return tf.reduce_sum(summed, axis=repeated, keepdims=True) if repeated else summed
