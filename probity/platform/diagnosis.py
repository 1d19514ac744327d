"""What ``probity doctor`` looks at. Each check tries the real thing; none only reads a version number."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from probity.errors import WorkerNotReadyError
from probity.record import Record
from probity.trainers import registry, worker_environments

__all__ = ["Diagnosis", "diagnose"]

_MINIMUM_FREE_BYTES = 1 << 30

_LIBRARIES = {
    "tensorflow": "tensorflow",
    "tensorflow_data_validation": "tensorflow-data-validation",
    "tensorflow_transform": "tensorflow-transform",
    "tensorflow_model_analysis": "tensorflow-model-analysis",
    "dp_accounting": "dp-accounting",
    "shap": "shap",
    "mlflow": "mlflow",
    "ml_metadata": "ml-metadata",
}


class Diagnosis(Record):
    """One thing that was tried."""

    name: str
    works: bool
    found: str
    remedy: str = ""
    needed: bool = True
    """Whether every run needs it; a worker is needed by its own trainer only."""


def diagnose(workspace: Path) -> list[Diagnosis]:
    """Tries everything that a run needs on this machine.

    Args:
        workspace: The workspace that runs would use.
    """
    checks: list[tuple[str, Callable[[], str], str]] = [
        ("Python 3.11", _python, "install Python 3.11; the pinned TensorFlow has no build for others"),
        *(
            (f"import {module}", _importer(module, package), "install the locked environment: make setup")
            for module, package in _LIBRARIES.items()
        ),
        ("devices", _devices, "reinstall tensorflow with: make setup"),
        *((f"trainer {name}", _trainer(name), "install the extra it names") for name in registry.names()),
        ("workspace is writable", lambda: _writable(workspace), "choose another folder with --workspace DIR"),
        ("disk space", lambda: _space(workspace), "free some space; a run of 50,000 rows needs about 100 MB"),
    ]
    return [*(_try(*check) for check in checks), *_workers()]


def _try(name: str, check: Callable[[], str], remedy: str) -> Diagnosis:
    try:
        return Diagnosis(name=name, works=True, found=check())
    except Exception as error:
        text = str(error).splitlines()
        return Diagnosis(name=name, works=False, found=text[0] if text else type(error).__name__, remedy=remedy)


def _workers() -> list[Diagnosis]:
    try:
        found = worker_environments.environments()
    except WorkerNotReadyError as error:
        return [Diagnosis(name="workers", works=False, found=error.seen, remedy=error.remedy, needed=False)]
    return [
        Diagnosis(
            name=f"worker {worker.name}",
            works=(reason := worker.why_not_ready()) is None,
            found=reason or f"Python {worker.python_version}, as its lock says",
            remedy="" if reason is None else f"probity workers sync {worker.name}",
            needed=False,
        )
        for worker in found
    ]


def _python() -> str:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] != (3, 11):
        raise RuntimeError(f"found {found}")
    return found


def _importer(module: str, package: str) -> Callable[[], str]:
    def check() -> str:
        import_module(module)
        return version(package)

    return check


def _devices() -> str:
    import tensorflow as tf

    return ", ".join(f"{device.device_type}" for device in tf.config.list_physical_devices())


def _trainer(name: str) -> Callable[[], str]:
    def check() -> str:
        return f"settings {registry.load(name).settings_type.__name__}"

    return check


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def _writable(workspace: Path) -> str:
    with tempfile.TemporaryFile(dir=_existing(workspace)):
        return str(workspace)


def _space(workspace: Path) -> str:
    free = shutil.disk_usage(_existing(workspace)).free
    if free < _MINIMUM_FREE_BYTES:
        raise RuntimeError(f"{free / (1 << 20):.0f} MiB free")
    return f"{free / (1 << 30):.1f} GiB free"
