"""What was asked of a server: which models, where to listen, and how much it may take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from probity.platform.serving.prediction_log import PredictionLog

__all__ = ["All", "Batching", "Latest", "Limits", "ModelSource", "Policy", "ServerOptions", "Specific", "Tls"]


@dataclass(frozen=True, kw_only=True)
class Latest:
    """Serve the ``num_versions`` highest versions."""

    num_versions: int = 1


@dataclass(frozen=True, kw_only=True)
class All:
    """Serve every version that is there."""


@dataclass(frozen=True, kw_only=True)
class Specific:
    """Serve these versions."""

    versions: tuple[int, ...]


Policy = Latest | All | Specific


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """A model to serve.

    Attributes:
        name: As requests say it.
        base_path: Holds one folder per version, named by its number.
        policy: Which versions.
        labels: Version by label; a request may name either.
    """

    name: str
    base_path: Path
    policy: Policy = Latest()
    labels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Batching:
    """How requests are run together, with the names of TensorFlow Serving's ``BatchingParameters``.

    Attributes:
        max_batch_size: Rows, at least 1. A single larger request still runs, by itself.
        batch_timeout_micros: How long the first request waits for company. 0 waits for nobody: what has arrived by
            the time the model is free runs together.
        max_enqueued_batches: Batches that may wait; further requests are answered 503.
        num_batch_threads: Threads of slow models. Quick ones run where the request arrived.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 100
    num_batch_threads: int = 2


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a client may take of one process.

    Attributes:
        max_request_bytes: Of one request's body, before and after decompression, and of its tensors.
        max_pending_bytes: Of all bodies that are held at once; further requests are answered 429.
        max_connections: REST connections; further ones are answered 503 and closed.
        max_concurrent_rpcs: gRPC calls at once; further ones are answered RESOURCE_EXHAUSTED.
        request_seconds: Until a request must have arrived, and until it must be answered.
        idle_seconds: How long a connection may go without a complete request.
        drain_seconds: How long requests may go on after the server was told to stop.
    """

    max_request_bytes: int = 16 << 20
    max_pending_bytes: int = 64 << 20
    max_connections: int = 4096
    max_concurrent_rpcs: int = 1024
    request_seconds: float = 30.0
    idle_seconds: float = 60.0
    drain_seconds: float = 10.0


@dataclass(frozen=True, kw_only=True)
class Tls:
    """TLS of both ports, with the fields of TensorFlow Serving's ``SSLConfig`` (PEM texts).

    Attributes:
        server_key: The private key.
        server_cert: The certificate, with its chain.
        custom_ca: Certificates that sign the clients'.
        client_verify: Whether a client must show a certificate that ``custom_ca`` signed.
    """

    server_key: str = field(repr=False)
    server_cert: str
    custom_ca: str = ""
    client_verify: bool = False


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """Everything a server needs to know.

    Attributes:
        models: What to serve.
        host: Interface to listen on.
        port: Of gRPC; 0 chooses a free one, ``None`` leaves gRPC off.
        rest_api_port: Of REST; as ``port``.
        processes: How many answer, on the same ports.
        require_verified: Load only versions that verify: what was released, signed by a trusted key, not expired.
        trusted_keys: Public keys for that: PEM files, or folders with ``.pub`` files.
        poll_seconds: How often the base paths are looked at, above 0.
        batching: ``None`` runs every request by itself.
        limits: What clients may take.
        tls: ``None`` serves in clear.
        monitoring_path: Where Prometheus finds the metrics; ``None`` nowhere.
        intra_op_threads: Threads within an operation; 0 shares the cores out among the processes.
        inter_op_threads: Threads for operations side by side; 0 runs them in the thread of the request, which is the
            quickest way for the small graphs of tabular models.
        prediction_log: Makes the log of a process. Must be importable by name; ``None`` logs no prediction.
    """

    models: tuple[ModelSource, ...]
    host: str = "127.0.0.1"
    port: int | None = 8500
    rest_api_port: int | None = 8501
    processes: int = 1
    require_verified: bool = True
    trusted_keys: tuple[Path, ...] = (Path("keys"),)
    poll_seconds: float = 1.0
    batching: Batching | None = Batching()
    limits: Limits = Limits()
    tls: Tls | None = None
    monitoring_path: str | None = "/monitoring/prometheus/metrics"
    intra_op_threads: int = 0
    inter_op_threads: int = 0
    prediction_log: Callable[[], PredictionLog] | None = None
