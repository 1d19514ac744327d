"""``predict``: scores of rows, computed on secret shares."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from probity.platform.cli.options import JsonOption, RunArgument, WorkspaceOption, quiet, workspace_at

__all__ = ["predict"]


def predict(
    run: RunArgument,
    rows: Annotated[Path, typer.Option("--input", metavar="FILE", help="Raw rows: CSV, Parquet or TFRecord.")],
    encrypted: Annotated[
        bool, typer.Option("--encrypted", help="Predict on secret shares; the only way there is so far.")
    ] = False,
    parties: Annotated[
        str, typer.Option("--parties", help="local, processes, or the path of a parties file.")
    ] = "processes",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Predict with a model that was released with --encrypted: no server sees a row, a weight or a score.

    Prints one score per line; the rows are transformed, shared and the answers put together in this process alone.

    Example: probity predict latest --encrypted --input rows.csv
    """
    quiet()
    from probity.errors import ConfigError
    from probity.platform.readers import read_file
    from probity.platform.shared_model import base_path_of, latest_shares, predict_on_shares

    if not encrypted:
        raise ConfigError(
            "predict",
            seen="no --encrypted",
            allowed="predictions on secret shares",
            remedy="add --encrypted, or ask the model server, which predicts in the clear",
        )
    place = workspace_at(workspace)
    folder = place.find(run)
    version = latest_shares(folder, base_path=base_path_of(folder, place))
    with TemporaryDirectory(prefix="probity-") as scratch:
        found = predict_on_shares(version, read_file(rows), workdir=Path(scratch) / "worker", parties=parties)
    if as_json:
        typer.echo(json.dumps({"scores": found.scores.tolist(), **found.facts}, indent=1))
        return
    for score in found.scores:
        typer.echo(f"{score:.6f}")
