"""Can the candidate be served at all? A clean process loads it and answers real rows on both signatures.

This is the InfraValidator of TFX, as an audit report.

What was audited was scored inside the training process. A model can pass every audit and still be none for a server: it
needs a file that only the training had, its signatures disagree, or it takes a second for a row. The report goes to the
gate like every other; a candidate that cannot be served is held.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from probity.errors import ProbityError
from probity.findings import AuditReport, Estimate, Finding, Subject, finding_id
from probity.metric import METRICS
from probity.platform.serving.client import Client
from probity.platform.serving.launcher import start_server
from probity.platform.serving.options import ModelSource, ServerOptions
from probity.platform.serving.status import ServingError
from probity.serving_policy import InfraValidationConfig

if TYPE_CHECKING:
    import pyarrow as pa

    Array = np.ndarray[Any, Any]

__all__ = ["AUDIT", "validate"]

AUDIT = "serving"
"""Name of the report."""

_MODEL = "candidate"
_TOLERANCE = 1e-5
"""Largest difference between the scores of the two signatures: they read numbers as float64 and as float32."""
_WARM_UP = 30
_CONFIDENCE = 0.95


class _Unservable(Exception):
    """The candidate did not do what a server needs; the text says what."""


def validate(saved_model: Path, rows: pa.Table, *, subject: Subject, settings: InfraValidationConfig) -> AuditReport:
    """Serves a candidate in a process of its own, and reports whether and how fast it answers.

    Guarantees: nothing of this process is used to load or run the model; every row was answered through
    ``predict_columns`` over REST and through ``serving_default`` over gRPC, with finite and equal scores.

    Args:
        saved_model: The candidate.
        rows: Raw feature columns of some test rows; further columns are ignored.
        subject: What the report speaks of.
        settings: Limits.

    Returns:
        ``complete`` with latency and size; ``failed`` with the reason if the candidate cannot be served or is slower
        than the limit.
    """
    rows = rows.slice(0, settings.rows)
    try:
        milliseconds = _ask(saved_model, rows, settings)
        latency = _latency(milliseconds)
    except (_Unservable, ServingError, ProbityError) as error:
        return AuditReport(audit=AUDIT, status="failed", subject=subject, reasons=(f"not servable: {error}",))
    if latency.estimate.value is not None and latency.estimate.value > settings.latency_limit_ms:
        reason = (
            f"not servable: the 95th percentile of {len(milliseconds)} answers is {latency.estimate.value:.1f} ms, "
            f"the limit {settings.latency_limit_ms:g} ms"
        )
        return AuditReport(audit=AUDIT, status="failed", subject=subject, reasons=(reason,), findings=(latency,))
    return AuditReport(audit=AUDIT, status="complete", subject=subject, findings=(latency, _size(saved_model)))


def _ask(saved_model: Path, rows: pa.Table, settings: InfraValidationConfig) -> list[float]:
    """Returns the milliseconds of each timed request."""
    if rows.num_rows == 0:
        raise _Unservable("there is no row to ask for")
    with tempfile.TemporaryDirectory(prefix="probity-candidate-") as folder:
        version = Path(folder, _MODEL, "1")
        version.parent.mkdir()
        version.symlink_to(saved_model.resolve(), target_is_directory=True)
        options = ServerOptions(
            models=(ModelSource(name=_MODEL, base_path=version.parent),),
            port=0,
            rest_api_port=0,
            require_verified=False,  # it is not released yet; that is what this is for
            monitoring_path=None,
        )
        with (
            start_server(options) as settled,
            Client(settled.host, rest_api_port=settled.rest_api_port) as rest,
            Client(settled.host, port=settled.port) as grpc,
        ):
            rest.wait_until_available(_MODEL, version=1, timeout_seconds=settings.start_seconds)
            columns = _columns(rows, rest)
            _require_equal(
                rest.predict(_MODEL, columns, signature_name="predict_columns").output,
                grpc.predict(_MODEL, {"examples": _examples(rows)}).output,
            )
            return _timed(rest, columns, rows.num_rows, settings.requests)


def _columns(rows: pa.Table, client: Client) -> dict[str, Array]:
    """Returns the columns that the candidate asks for, missing values as ``predict_columns`` takes them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    signature = client.metadata(_MODEL).get("predict_columns")
    if signature is None:
        raise _Unservable("it has no signature predict_columns")
    absent = sorted(set(signature["inputs"]) - set(rows.column_names))
    if absent:
        raise _Unservable(f"it asks for columns that the data does not have: {', '.join(absent)}")
    columns: dict[str, Array] = {}
    for name, info in signature["inputs"].items():
        column = rows.column(name)
        if info["dtype"] == "DT_STRING":
            columns[name] = np.array(pc.fill_null(column.cast(pa.string()), "").to_pylist(), object)
        else:
            columns[name] = np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)
    return columns


def _examples(rows: pa.Table) -> Array:
    from probity.tfexample import encode

    array = np.empty(rows.num_rows, object)
    array[:] = encode(rows)
    return array


def _require_equal(by_columns: Array, by_examples: Array) -> None:
    if by_columns.shape != by_examples.shape or not np.isfinite(by_columns).all():
        raise _Unservable("its scores are not finite, or not one row for each row")
    difference = float(np.abs(by_columns - by_examples).max())
    scale = max(1.0, float(np.abs(by_examples).max()))
    if difference > _TOLERANCE * scale:
        raise _Unservable(f"its two signatures differ by up to {difference:.2g} for the same rows")


def _timed(client: Client, columns: Mapping[str, Array], num_rows: int, requests: int) -> list[float]:
    singles = [{name: column[i : i + 1] for name, column in columns.items()} for i in range(num_rows)]
    client.warm_up(_MODEL, singles[0], signature_name="predict_columns", times=_WARM_UP)
    milliseconds = []
    for i in range(requests):
        started = time.perf_counter()
        client.predict(_MODEL, singles[i % num_rows], signature_name="predict_columns")
        milliseconds.append((time.perf_counter() - started) * 1000.0)
    return milliseconds


def _latency(milliseconds: Sequence[float]) -> Finding:
    """Returns the 95th percentile with the distribution-free interval of its order statistics.

    References: Hahn and Meeker, "Statistical Intervals" (1991), section 5.2.
    """
    from scipy import stats

    ordered = np.sort(milliseconds)
    n = len(ordered)
    tail = (1.0 - _CONFIDENCE) / 2.0
    low = max(int(stats.binom.ppf(tail, n, 0.95)) - 1, 0)
    high = min(int(stats.binom.ppf(1.0 - tail, n, 0.95)), n - 1)
    value = float(np.quantile(ordered, 0.95, method="higher"))
    estimate = Estimate(
        value=value,
        lower=min(float(ordered[low]), value),
        upper=max(float(ordered[high]), value),
        confidence=_CONFIDENCE,
        method="order statistics",
        n=n,
    )
    return _finding("serving_latency_p95_ms", estimate)


def _size(saved_model: Path) -> Finding:
    size = sum(path.stat().st_size for path in saved_model.rglob("*") if path.is_file())
    return _finding("model_size_bytes", Estimate(value=float(size), method="exact", n=1))


def _finding(metric: str, estimate: Estimate) -> Finding:
    return Finding(id=finding_id(AUDIT, metric), metric=metric, estimate=estimate, direction=METRICS[metric].direction)
