"""How the clients' updates become one: weighted mean, simulated secure sum, or clipped sum with noise.

Clipping and noise are part of the aggregation, which the platform runs. The client's work has no switch for either, and
whatever a client returns is clipped here.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from probity_federated_worker.request import AdaptiveClipping, FixedClipping, Privacy, Request

__all__ = ["SECURE_BOUND", "NoisedSumFactory", "aggregation_of", "report_sum"]

SECURE_BOUND = 4096.0
"""Range of each coordinate of a weighted update in the simulated secure sum: +-4096 in 2^32 steps of 1.9e-6."""

_REPORT_BOUND = 2.0**20
_QUANTIZED_BITS = 8
_QUANTIZED_FROM = 2  # numbers in a tensor; by default the small tensors of such models would all be left as they are
# Single-precision scaling may exceed the bound by a few units in the last place; a secure sum's rounding adds less.
_HEADROOM = 1.0 - 1e-6


def aggregation_of(request: Request) -> tff.aggregators.WeightedAggregationFactory:
    """Returns the aggregation that a request asks for."""
    if request.privacy is not None:
        return tff.aggregators.as_weighted_aggregator(NoisedSumFactory(request.privacy, secure=request.secure))
    if request.secure:
        return tff.aggregators.MeanFactory(
            value_sum_factory=tff.aggregators.SecureSumFactory(SECURE_BOUND),
            weight_sum_factory=tff.aggregators.SecureSumFactory(_REPORT_BOUND),
            no_nan_division=True,
        )
    if request.quantized:
        quantized = tff.aggregators.EncodedSumFactory.quantize_above_threshold(
            quantization_bits=_QUANTIZED_BITS, threshold=_QUANTIZED_FROM
        )
        return tff.aggregators.MeanFactory(value_sum_factory=quantized, no_nan_division=True)
    return tff.aggregators.MeanFactory(no_nan_division=True)


def report_sum(request: Request) -> tff.aggregators.UnweightedAggregationFactory:
    """Returns the sum of what clients report about a round."""
    return tff.aggregators.SecureSumFactory(_REPORT_BOUND) if request.secure else tff.aggregators.SumFactory()


class NoisedSumFactory(tff.aggregators.UnweightedAggregationFactory):
    """Sum of clipped updates, with noise, divided by the expected number of clients.

    Guarantees: each client moves the sum by at most the clip norm in Euclidean length, whatever it returns (an update
    that is not finite counts as zero); the divisor is a constant; the noise is added before the result leaves the
    aggregation, and the clip norm of the next round depends on the clients through a noisy count alone.

    The state holds ``noise`` (standard normal, one number per coordinate) and ``count_noise``; both have to be set
    anew before each round. They are not drawn here since TensorFlow has no cryptographic generator.

    Args:
        privacy: Bound, noise and expected clients.
        secure: Whether the sum takes the form of a secure sum, computed in the clear.
    """

    def __init__(self, privacy: Privacy, *, secure: bool = False) -> None:
        self._privacy = privacy
        self._secure = secure

    def create(self, value_type: Any) -> tff.templates.AggregationProcess:
        """See :class:`tff.aggregators.UnweightedAggregationFactory`."""
        sizes = [math.prod(part.shape) for part in tff.structure.flatten(value_type)]
        clip = _clip(value_type)
        values, counts = self._sum(value_type, self._largest_norm()), self._sum(tff.TensorType(np.float32), 1.0)
        begin, release = _begin(self._privacy, sum(sizes)), _release(self._privacy, value_type, sizes)
        norm = tff.tensorflow.computation(lambda own: own["l2_clip_norm"], begin.type_signature.result)

        @tff.federated_computation
        def initialize() -> Any:
            own = tff.federated_eval(begin, tff.SERVER)
            return tff.federated_zip(OrderedDict(own=own, values=values.initialize(), counts=counts.initialize()))

        @tff.federated_computation(initialize.type_signature.result, tff.FederatedType(value_type, tff.CLIENTS))
        def advance(state: Any, value: Any) -> Any:
            bound = tff.federated_map(norm, state["own"])
            clipped, within = tff.federated_map(clip, (value, tff.federated_broadcast(bound)))
            total = values.next(state["values"], clipped)
            count = counts.next(state["counts"], within)
            own, result = tff.federated_map(release, (state["own"], total.result, count.result))
            after = tff.federated_zip(OrderedDict(own=own, values=total.state, counts=count.state))
            return tff.templates.MeasuredProcessOutput(
                after, result, tff.federated_zip(OrderedDict(l2_clip_norm=bound))
            )

        return tff.templates.AggregationProcess(initialize, advance)

    def _sum(self, value_type: Any, bound: float) -> tff.templates.AggregationProcess:
        factory = tff.aggregators.SecureSumFactory(bound) if self._secure else tff.aggregators.SumFactory()
        return factory.create(value_type)

    def _largest_norm(self) -> float:
        clipping = self._privacy.clipping
        # An adaptive norm beyond this range would be cut by the secure sum, never passed on unclipped.
        return clipping.l2_clip_norm if isinstance(clipping, FixedClipping) else SECURE_BOUND


def _begin(privacy: Privacy, size: int) -> Any:
    clipping = privacy.clipping
    first = clipping.l2_clip_norm if isinstance(clipping, FixedClipping) else clipping.initial_l2_clip_norm

    @tff.tensorflow.computation
    def begin() -> Any:
        return OrderedDict(
            l2_clip_norm=tf.constant(first, tf.float32), noise=tf.zeros([size]), count_noise=tf.constant(0.0)
        )

    return begin


def _clip(value_type: Any) -> Any:
    @tff.tensorflow.computation(value_type, np.float32)
    def clip(value: Any, bound: tf.Tensor) -> Any:
        parts = tf.nest.flatten(value)
        length = tf.linalg.global_norm(parts)
        factor = tf.minimum(1.0, bound * _HEADROOM / tf.maximum(length, 1e-30))
        finite = tf.math.is_finite(length)
        clipped = [tf.where(finite, part * factor, tf.zeros_like(part)) for part in parts]
        # +-1/2 rather than 0 or 1: the count then has sensitivity 1/2 (Andrew et al. 2021, section 3).
        within = tf.where(length <= bound, 0.5, -0.5)
        return tf.nest.pack_sequence_as(value, clipped), within

    return clip


def _release(privacy: Privacy, value_type: Any, sizes: list[int]) -> Any:
    multiplier, clients = privacy.update_noise_multiplier, privacy.expected_clients_per_round
    state_type = _begin(privacy, sum(sizes)).type_signature.result

    @tff.tensorflow.computation(state_type, value_type, np.float32)
    def release(own: Any, total: Any, count: tf.Tensor) -> Any:
        bound = own["l2_clip_norm"]
        noises = tf.split(own["noise"], sizes)
        noisy = [
            _on_grid(part + multiplier * bound * tf.reshape(noise, part.shape), multiplier * bound) / clients
            for part, noise in zip(tf.nest.flatten(total), noises, strict=True)
        ]
        after = OrderedDict(own)
        after["l2_clip_norm"] = _next_norm(privacy.clipping, own, count, clients=clients)
        after["noise"] = tf.zeros_like(own["noise"])  # used once, and in no checkpoint
        after["count_noise"] = tf.constant(0.0)
        return after, tf.nest.pack_sequence_as(total, noisy)

    return release


def _next_norm(clipping: FixedClipping | AdaptiveClipping, own: Any, count: tf.Tensor, *, clients: float) -> tf.Tensor:
    """Returns the clip norm of the next round (Andrew et al. 2021, algorithm 1)."""
    if isinstance(clipping, FixedClipping):
        return own["l2_clip_norm"]
    noisy = count + clipping.clipped_count_stddev * own["count_noise"]
    unclipped = noisy / clients + 0.5
    change = tf.exp(-clipping.learning_rate * (unclipped - clipping.target_unclipped_quantile))
    return own["l2_clip_norm"] * change


def _on_grid(noisy: tf.Tensor, deviation: Any) -> tf.Tensor:
    """Rounds to multiples of a power of two that is at most a 1024th of the noise; without noise, changes nothing."""
    deviation = tf.convert_to_tensor(deviation, tf.float32)
    exponent = tf.floor(tf.math.log(tf.maximum(deviation, 1e-30)) / math.log(2.0)) - 10.0
    grid = tf.pow(2.0, exponent)
    return tf.where(deviation > 0, tf.round(noisy / grid) * grid, noisy)
