"""The engine ``book_keeping``: clipped sums from one forward and one backward pass.

Back-propagation computes, on its way, the gradient of the loss with respect to every layer's output. Together with the
layer's input this determines each row's gradient with respect to the layer's weights: enough for its norm, and, once
the clipping coefficients are known, for the clipped sum by one product per layer. No gradient of a single row is
formed where that can be avoided, no second backward pass is needed, and back-propagation itself computes no gradient
of a weight.

References:
    Bu, Wang, Zha and Karypis (2023), Differentially Private Optimization on Large Model at Small Cost, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from probity.trainers.dp_sgd import mixing, verification
from probity.trainers.dp_sgd.contributions import Contribution, joined
from probity.trainers.dp_sgd.engine import ClippedSum, Refusal, coefficients, per_row_losses
from probity.trainers.dp_sgd.layers import KNOWN, Rule, rule_of
from probity.trainers.dp_sgd.recording import Call, layers_with_weights, recorded

__all__ = ["clipped_sum"]

_REMEDY = "use engine: tensorflow_privacy, which is slower and takes any layer that treats each row alone"


def clipped_sum(model: Any, *, l2_clip_norm: float) -> ClippedSum | Refusal:
    """Returns the function that sums this model's clipped per-row gradients, or why there is none.

    Args:
        model: A Keras model with one score in [0, 1] per row.
        l2_clip_norm: Bound on the L2 norm of one row's gradient; infinite: none.

    References:
        :mod:`probity.trainers.dp_sgd.engine` says what the function guarantees.
    """
    refusal = mixing.refusal(model) or _unknown(model)
    if refusal is not None:
        return refusal
    if not verification.agrees(model, lambda clip: _summing(model, clip)):
        return Refusal(
            layer=model.name,
            reason="uses weights outside the calls of the layers that own them",
            remedy=_REMEDY,
        )
    return _summing(model, l2_clip_norm)


def _summing(model: Any, l2_clip_norm: float) -> ClippedSum:
    layers = layers_with_weights(model)
    rules = {id(layer): _rule(layer) for layer in layers}

    def summed(inputs: dict[str, Any], labels: Any, weights: Any = None) -> list[Any]:
        import tensorflow as tf

        tape = tf.GradientTape(watch_accessed_variables=False)
        with tape, recorded(rules, layers, tape) as calls:
            loss = tf.reduce_sum(per_row_losses(labels, model(inputs, training=True), weights))
        watched = [call.watched for call in calls]
        gradients = tape.gradient(loss, watched, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        found = _by_weight(calls, gradients, rules)
        squared = tf.add_n([found[id(weight)].squared_norms() for weight in model.trainable_variables])
        clipping, finite = coefficients(squared, l2_clip_norm), tf.math.is_finite(squared)

        def total(drop: bool) -> list[Any]:
            parts = [found[id(weight)] for weight in model.trainable_variables]
            sums = [(part.only(finite) if drop else part).weighted_sum(clipping) for part in parts]
            return [tf.reshape(one, weight.shape) for one, weight in zip(sums, model.trainable_variables, strict=True)]

        # A coefficient of 0 takes nothing away from what is not a number; such rows are so rare that looking for them
        # must cost nothing where there are none.
        result: list[Any] = tf.cond(tf.reduce_all(finite), lambda: total(False), lambda: total(True))
        return result

    return summed


def _rule(layer: Any) -> Rule:
    rule = rule_of(layer)
    if rule is None:
        raise AssertionError("layers without a rule were refused")
    return rule


def _by_weight(calls: Sequence[Call], gradients: Sequence[Any], rules: dict[int, Rule]) -> dict[int, Contribution]:
    """Returns the contribution of each weight, by ``id``, over all calls of its layer."""
    found: dict[int, list[Contribution]] = {}
    for call, gradient in zip(calls, gradients, strict=True):
        contributions = rules[id(call.layer)].contributions(call.layer, call.kept, gradient)
        for name, contribution in contributions.items():
            found.setdefault(id(getattr(call.layer, name)), []).append(contribution)
    return {weight: joined(contributions) for weight, contributions in found.items()}


def _unknown(model: Any) -> Refusal | None:
    """Returns why the per-row gradients of some weight are not known, if they are not."""
    owners: dict[int, Any] = {}
    for layer in layers_with_weights(model):
        rule = rule_of(layer)
        if rule is None:
            return Refusal(
                layer=layer.name,
                reason=f"is a {type(layer).__name__} (known: {', '.join(KNOWN)}, MultiHeadAttention)",
                remedy=_REMEDY,
            )
        objection = rule.objection(layer)
        if objection is not None:
            return Refusal(layer=layer.name, reason=objection, remedy=_REMEDY)
        for weight in layer._trainable_weights:
            other = owners.setdefault(id(weight), layer)
            if other is not layer:
                return Refusal(
                    layer=layer.name,
                    reason=f"shares the weight {weight.name} with layer {other.name}",
                    remedy="call one layer several times instead of giving two layers one weight; or " + _REMEDY,
                )
    alone = [weight.name for weight in model.trainable_variables if id(weight) not in owners]
    if alone:
        return Refusal(layer=model.name, reason=f"has weights of no layer's own ({', '.join(alone)})", remedy=_REMEDY)
    return None
