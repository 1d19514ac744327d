"""Arguments, options and manners that several commands share."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from probity.workspace import Workspace

__all__ = ["JsonOption", "RunArgument", "WorkspaceOption", "quiet", "workspace_at"]

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run id, a unique prefix, or latest.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
WorkspaceOption = Annotated[
    Path | None,
    typer.Option("--workspace", metavar="DIR", help="The workspace. Default: .probity beside the config, else here."),
]


def workspace_at(folder: Path | None, *, beside: Path | None = None) -> Workspace:
    """Returns the workspace that was asked for, or the default one."""
    from probity.workspace import Workspace

    return Workspace((folder or (beside or Path.cwd()) / ".probity").resolve())


def _but_for_tensorflow_at_exit(failure: sys.UnraisableHookArgs) -> None:
    """Says nothing of compiled functions that TensorFlow fails to delete when the interpreter ends; it is harmless."""
    if getattr(failure.object, "__qualname__", "") != "AtomicFunction.__del__":
        sys.__unraisablehook__(failure)


def quiet() -> None:
    """Keeps the chatter of the libraries off the terminal. Set before TensorFlow is imported, or it has no effect."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    warnings.simplefilter("ignore")
    sys.unraisablehook = _but_for_tensorflow_at_exit
    for name in ("tensorflow", "absl", "apache_beam", "root", "mlflow", "alembic", "shap"):
        logging.getLogger(name).setLevel(logging.ERROR)
