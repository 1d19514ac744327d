"""Counters under TensorFlow Serving's names, of all processes together.

One process keeps them in memory; several keep them in files of a common folder (``PROMETHEUS_MULTIPROC_DIR``, which
the launcher sets), so that whichever of them Prometheus happens to ask answers for all.
"""

from __future__ import annotations

import os
from functools import cache

__all__ = ["Metrics"]

_REQUESTS = ":tensorflow:serving:request_count"
_LATENCY = ":tensorflow:serving:request_latency"
_LOG_FAILURES = "probity_prediction_log_failures"
# Exponential, as in tensorflow_serving/servables/tensorflow/util.cc: from 10 microseconds, growing by 1.8.
_BUCKETS = tuple(10 * 1.8**i for i in range(33))


class Metrics:
    """What Prometheus is told."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Histogram
        from prometheus_client.multiprocess import MultiProcessCollector

        several = bool(os.environ.get("PROMETHEUS_MULTIPROC_DIR"))
        own = CollectorRegistry()
        self._requests = Counter(_REQUESTS, "Requests by status.", ["model_name", "status"], registry=own)
        self._latency = Histogram(
            _LATENCY, "Microseconds to an answer.", ["model_name", "API", "entrypoint"], buckets=_BUCKETS, registry=own
        )
        self._counted, self._timed = cache(self._requests.labels), cache(self._latency.labels)
        self._log_failures = Counter(_LOG_FAILURES, "Predictions that the log did not take.", registry=own)
        self._registry = CollectorRegistry() if several else own
        if several:
            MultiProcessCollector(self._registry)

    def answered(self, model_name: str, *, status: str, api: str, entrypoint: str, seconds: float) -> None:
        """Counts a request.

        Args:
            model_name: A model that exists, or empty: names that clients invent must not fill the memory.
            status: The canonical code.
            api: ``Predict``, ``Classify`` and so on.
            entrypoint: ``REST`` or ``GRPC``.
            seconds: From the request's arrival to its answer.
        """
        self._counted(model_name, status).inc()
        self._timed(model_name, api, entrypoint).observe(seconds * 1e6)

    def log_failed(self) -> None:
        """Counts a prediction that the log did not take."""
        self._log_failures.inc()

    def page(self) -> bytes:
        """Returns the text that Prometheus reads."""
        from prometheus_client import generate_latest

        text: bytes = generate_latest(self._registry)
        # The client library ends every counter's name in _total; TensorFlow Serving's does not.
        return text.replace(f"{_REQUESTS}_total".encode(), _REQUESTS.encode())
