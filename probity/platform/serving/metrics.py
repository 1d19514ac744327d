"""What Prometheus is told, under TensorFlow Serving's names where the meaning is the same, of all processes together.

One process keeps its counters in memory; several keep them in files of a common folder (``PROMETHEUS_MULTIPROC_DIR``,
which the launcher sets), so that whichever of them Prometheus happens to ask answers for all.

============================================  ==========================================================================
``:tensorflow:serving:request_count``         requests by model and status
``:tensorflow:serving:request_latency``       histogram, microseconds to an answer
``:tensorflow:core:graph_runs``               batches that were run (one whose rows had to be run singly counts once)
``:tensorflow:core:graph_run_time_usecs``     microseconds that they took, in all
``:tensorflow:cc:saved_model:load_latency``   microseconds that successful loads took, in all, by ``<model>/<version>``
``…:saved_model:load_attempt_count``          loads by ``<model>/<version>`` and status; each process loads each version
``probity_loaded_versions``                   versions in memory by model, of the process that answers; all do the same
``probity_prediction_log_failures_total``     predictions that the log did not take
``process_…``                                 CPU, memory and open files, added up over the processes that answer now
============================================  ==========================================================================
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["Metrics"]

_SEVERAL = "PROMETHEUS_MULTIPROC_DIR"
_REQUESTS = ":tensorflow:serving:request_count"
_LATENCY = ":tensorflow:serving:request_latency"
_RUNS = ":tensorflow:core:graph_runs"
_RUN_TIME = ":tensorflow:core:graph_run_time_usecs"
_LOADS = ":tensorflow:cc:saved_model:load_attempt_count"
_LOAD_TIME = ":tensorflow:cc:saved_model:load_latency"
_LOG_FAILURES = "probity_prediction_log_failures"
_VERSIONS = "probity_loaded_versions"
# Exponential, as in tensorflow_serving/servables/tensorflow/util.cc: from 10 microseconds, growing by 1.8.
_BUCKETS = tuple(10 * 1.8**i for i in range(33))


class Metrics:
    """What Prometheus is told.

    Args:
        versions: Gives the number of versions in memory by model.
    """

    def __init__(self, versions: Callable[[], Mapping[str, int]] = dict) -> None:
        from prometheus_client import CollectorRegistry, Counter, Histogram
        from prometheus_client.multiprocess import MultiProcessCollector

        folder = os.environ.get(_SEVERAL)
        own = CollectorRegistry()
        self._requests = Counter(_REQUESTS, "Requests by status.", ["model_name", "status"], registry=own)
        self._latency = Histogram(
            _LATENCY, "Microseconds to an answer.", ["model_name", "API", "entrypoint"], buckets=_BUCKETS, registry=own
        )
        self._counted, self._timed = cache(self._requests.labels), cache(self._latency.labels)
        self._runs = Counter(_RUNS, "Batches that were run.", registry=own)
        self._run_time = Counter(_RUN_TIME, "Microseconds that they took, in all.", registry=own)
        self._loads = Counter(_LOADS, "Loads of a version, by every process.", ["model_path", "status"], registry=own)
        self._load_time = Counter(
            _LOAD_TIME, "Microseconds that successful loads took, in all.", ["model_path"], registry=own
        )
        self._log_failures = Counter(_LOG_FAILURES, "Predictions that the log did not take.", registry=own)
        self._registry = CollectorRegistry() if folder else own
        if folder:
            MultiProcessCollector(self._registry)
        self._registry.register(_Versions(versions))
        self._registry.register(_Processes(Path(folder) if folder else None))

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

    def ran(self, seconds: float) -> None:
        """Counts a batch that was run, by its duration. May be called by any thread."""
        self._runs.inc()
        self._run_time.inc(seconds * 1e6)

    def loaded(self, model_name: str, version: int, *, seconds: float) -> None:
        """Counts a version that this process loaded, by how long it took."""
        path = f"{model_name}/{version}"
        self._loads.labels(path, "success").inc()
        self._load_time.labels(path).inc(seconds * 1e6)

    def load_failed(self, model_name: str, version: int) -> None:
        """Counts a version that this process could not load."""
        self._loads.labels(f"{model_name}/{version}", "fail").inc()

    def log_failed(self) -> None:
        """Counts a prediction that the log did not take."""
        self._log_failures.inc()

    def page(self) -> bytes:
        """Returns the text that Prometheus reads."""
        from prometheus_client import generate_latest

        text: bytes = generate_latest(self._registry)
        # The client library ends every counter's name in _total; TensorFlow Serving's do not.
        for name in (_REQUESTS, _RUNS, _RUN_TIME, _LOADS, _LOAD_TIME):
            text = text.replace(f"{name}_total".encode(), name.encode())
        return text


class _Versions:
    """How many versions of each model this process holds at the moment of the question."""

    def __init__(self, versions: Callable[[], Mapping[str, int]]) -> None:
        self._versions = versions

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import GaugeMetricFamily

        family = GaugeMetricFamily(_VERSIONS, "Versions in memory.", labels=["model_name"])
        for name, count in self._versions().items():
            family.add_metric([name], count)
        yield family


class _Processes:
    """CPU, memory and files of the processes that answer, by the client library's reading of ``/proc``.

    Prometheus asks any one of them, so each reads what the system says of all. Memory that processes share counts for
    each of them. A process that ended takes its CPU seconds with it: a reset, as ``rate`` expects it of a counter.
    """

    _ADDED = (
        "process_cpu_seconds",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_open_fds",
    )

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Any]:
        from prometheus_client import ProcessCollector

        added: dict[str, Any] = {}
        for pid in self._pids():
            for family in ProcessCollector(pid=lambda pid=pid: pid, registry=None).collect():
                if family.name not in self._ADDED:
                    continue
                (sample,) = family.samples
                so_far = added[family.name].samples[0].value if family.name in added else 0.0
                family.samples = [sample._replace(value=sample.value + so_far)]
                added[family.name] = family
        yield from added.values()

    def _pids(self) -> list[int]:
        if self._folder is None:
            return [os.getpid()]
        named = (path.stem.rpartition("_")[2] for path in self._folder.glob("counter_*.db"))
        return [int(pid) for pid in named if _parent_of(pid) == os.getppid()]  # a number may be another's by now


def _parent_of(pid: str) -> int | None:
    try:
        lines = Path("/proc", pid, "status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("PPid:")), None)
