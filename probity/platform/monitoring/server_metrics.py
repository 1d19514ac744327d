"""How a server fares: the share of requests that fail and the time of an answer, from its page for Prometheus.

The prediction log holds what was answered; requests that failed, and how long anything took, are in the server's
metrics only. The page counts since the server's start, so that is the period of these measures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import urlopen

import numpy as np

from probity.audits.intervals import clopper_pearson
from probity.errors import ConfigError
from probity.monitoring import Measure, MonitoringConfig

__all__ = ["ServerCounts", "parse_page", "read_page", "server_measures"]

_SECONDS = 10.0
_REQUESTS = ":tensorflow:serving:request_count"
_LATENCY = ":tensorflow:serving:request_latency"
_PREDICTIONS = frozenset({"predict", "classify", "regress", "multiinference"})
_PERCENTILE = 0.95


@dataclass(frozen=True, kw_only=True)
class ServerCounts:
    """What a server says of its requests about one model."""

    answered: int
    """Requests with status OK."""
    failed: int
    """Requests with any other."""
    latency: tuple[tuple[float, float], ...]
    """Upper edge in milliseconds and number of predictions up to it, edges ascending; the last one is infinite."""


def read_page(address: str, *, model_name: str) -> ServerCounts:
    """Asks a server for its metrics.

    Args:
        address: Of the page, ``http://host:8501/monitoring/prometheus/metrics``.
        model_name: The model.

    Raises:
        ConfigError: If nobody answers there, or with another page.
    """
    if urlsplit(address).scheme not in ("http", "https"):
        raise _unusable("no web address")
    try:
        with urlopen(address, timeout=_SECONDS) as answer:  # noqa: S310 - only http and https get this far
            text = answer.read().decode()
    except (OSError, ValueError) as error:
        raise _unusable(f"nobody answers there ({type(error).__name__})") from error
    return parse_page(text, model_name=model_name)


def parse_page(text: str, *, model_name: str) -> ServerCounts:
    """Reads the text that Prometheus reads, of the embedded server or of TensorFlow Serving.

    Raises:
        ConfigError: If it is no such text, or no model server's.
    """
    from prometheus_client.parser import text_string_to_metric_families

    try:
        families = {family.name: family for family in text_string_to_metric_families(text)}
    except ValueError as error:
        raise _unusable("a page that Prometheus could not read") from error
    if _REQUESTS not in families:
        raise _unusable(f"a page without {_REQUESTS}")
    statuses = {"OK": 0.0, "": 0.0}
    for sample in _samples(families[_REQUESTS], model_name, ending="_total"):
        statuses["OK" if sample.labels.get("status") == "OK" else ""] += sample.value
    edges: dict[float, float] = {}
    if _LATENCY in families:
        for sample in _samples(families[_LATENCY], model_name, ending="_bucket"):
            if sample.labels.get("API", "").lower() in _PREDICTIONS:
                edge = float(sample.labels["le"]) / 1000.0
                edges[edge] = edges.get(edge, 0.0) + sample.value
    return ServerCounts(
        answered=int(statuses["OK"]), failed=int(statuses[""]), latency=tuple(sorted(edges.items()))
    )  # fmt: skip


def _samples(family: Any, model_name: str, *, ending: str) -> Iterator[Any]:
    for sample in family.samples:
        if sample.name.endswith(ending) and sample.labels.get("model_name") == model_name:
            yield sample


def server_measures(counts: ServerCounts, config: MonitoringConfig) -> list[Measure]:
    """Compares the share of failed requests and the 95th percentile of the latency with their limits.

    As everywhere in a look, a limit is passed when the whole interval lies beyond it. The percentile is known up to the
    bucket that it falls into; inside, it is interpolated as Prometheus does it.
    """
    found = [_error_rate(counts, config)]
    if config.latency_p95_ms is not None:
        found.append(_latency(counts, config, limit=config.latency_p95_ms))
    return found


def _error_rate(counts: ServerCounts, config: MonitoringConfig) -> Measure:
    n = counts.answered + counts.failed
    if n < config.min_rows:
        return _too_few("error_rate", "requests", n, config.error_rate, config)
    lower, upper = clopper_pearson(np.array([counts.failed]), np.array([n]), confidence=config.confidence)
    return Measure(
        kind="error_rate",
        of="requests",
        status="beyond" if float(lower[0]) > config.error_rate else "within",
        observed=counts.failed / n,
        lower=float(lower[0]),
        upper=float(upper[0]),
        limit=config.error_rate,
        n=n,
        reason="since the server's start",
    )


def _latency(counts: ServerCounts, config: MonitoringConfig, *, limit: float) -> Measure:
    n = int(counts.latency[-1][1]) if counts.latency else 0
    if n < config.min_rows:
        return _too_few("latency", "95th percentile in ms", n, limit, config)
    rank = _PERCENTILE * n
    steps = pairwise([(0.0, 0.0), *counts.latency])
    (low, below), (high, upto) = next(step for step in steps if step[1][1] >= rank)
    known = np.isfinite(high)
    return Measure(
        kind="latency",
        of="95th percentile in ms",
        status="beyond" if low >= limit else "within",
        observed=low + (high - low) * (rank - below) / (upto - below) if known else low,
        lower=low,
        upper=float(high) if known else None,
        limit=limit,
        n=n,
        reason="since the server's start",
    )


def _too_few(
    kind: Literal["error_rate", "latency"], of: str, n: int, limit: float, config: MonitoringConfig
) -> Measure:
    reason = f"{n} requests, {config.min_rows} are needed"
    return Measure(kind=kind, of=of, status="insufficient", limit=limit, n=n, reason=reason)


def _unusable(seen: str) -> ConfigError:
    return ConfigError(
        "--metrics",
        seen=seen,
        allowed="the metrics page of a model server, as http://127.0.0.1:8501/monitoring/prometheus/metrics",
        remedy="see that the server runs, and that its monitoring is on; or leave --metrics out",
    )
