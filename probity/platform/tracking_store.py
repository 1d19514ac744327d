"""The tracker's store: found, created once, used by one process at a time, and quiet.

Left alone, MLflow creates its tables step by step in the file that others already see - a process killed meanwhile
leaves a tracker that refuses every later run -, writes notes to the terminal, and reports its use to its makers.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock

__all__ = ["artifact_root", "open_client", "quiet", "sqlite_file", "turn"]

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # MLflow's own defaults keep a run waiting for minutes on a server that is not there.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
"""Read by MLflow when it is imported; what the user has set stays."""

_LOCK_SECONDS = 120.0


def sqlite_file(uri: str) -> Path | None:
    """Returns the file of a SQLite URI, or ``None`` for any other tracker."""
    prefix = "sqlite:///"
    return Path(uri.removeprefix(prefix)).absolute() if uri.startswith(prefix) else None


def artifact_root(uri: str) -> str | None:
    """Returns where artifacts of a SQLite tracker go, beside its file; ``None``: the server's own place."""
    file = sqlite_file(uri)
    return None if file is None else (file.parent / "mlartifacts").as_uri()


@contextlib.contextmanager
def turn(uri: str) -> Iterator[None]:
    """Lets one process at a time use a SQLite tracker; the operating system frees the lock when that process dies."""
    file = sqlite_file(uri)
    if file is None:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_name(f".{file.name}.lock"), timeout=_LOCK_SECONDS):
        yield


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps MLflow's notes about tables and URLs away from the terminal."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.tracking.client  # noqa: F401 - configures its loggers, so it comes before they are turned down

        loggers = {name: logging.getLogger(name) for name in ("mlflow", "alembic", "urllib3")}
        levels = {name: logger.level for name, logger in loggers.items()}
        try:
            for logger in loggers.values():
                logger.setLevel(logging.CRITICAL)
            yield
        finally:
            for name, logger in loggers.items():
                logger.setLevel(levels[name])


def open_client(uri: str) -> Any:
    """Returns MLflow's client for a tracker; creates a SQLite tracker that is not there. To be called in its turn."""
    from mlflow.tracking.client import MlflowClient

    file = sqlite_file(uri)
    if file is not None and not file.exists():
        _create(file)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _create(file: Path) -> None:
    """Creates the tables in a file aside, and renames it: whoever dies in between leaves no half-made tracker."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy import Engine, event

    for left in file.parent.glob(f".{file.name}.*.tmp*"):  # by a process that was killed; it is our turn
        left.unlink(missing_ok=True)
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}.tmp")
    # Hundreds of small commits, each waiting for the disk; nothing here is worth keeping before the rename.
    event.listen(Engine, "connect", _do_not_wait_for_the_disk)
    try:
        store = SqlAlchemyStore(f"sqlite:///{temporary}", str(artifact_root(f"sqlite:///{file}")))
        store.engine.dispose()
    finally:
        event.remove(Engine, "connect", _do_not_wait_for_the_disk)
    descriptor = os.open(temporary, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(file)


def _do_not_wait_for_the_disk(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA synchronous=OFF")
