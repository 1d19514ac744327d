"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from probity.runs import Workspace

__all__ = ["JsonOption", "RunArgument", "WorkspaceOption", "workspace_at"]

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run id, a unique prefix, or latest.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
WorkspaceOption = Annotated[
    Path | None,
    typer.Option("--workspace", metavar="DIR", help="The workspace. Default: .probity beside the config, else here."),
]


def workspace_at(folder: Path | None, *, beside: Path | None = None) -> Workspace:
    """Returns the workspace that was asked for, or the default one."""
    from probity.runs import Workspace

    return Workspace((folder or (beside or Path.cwd()) / ".probity").resolve())
