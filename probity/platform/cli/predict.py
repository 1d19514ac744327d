"""``predict``: scores of many rows, by a released model in the clear or on secret shares."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from probity.platform.cli.options import JsonOption, RunArgument, WorkspaceOption, quiet, workspace_at

if TYPE_CHECKING:
    from probity.runs import RunFolder
    from probity.workspace import Workspace

__all__ = ["predict"]


def predict(
    run: RunArgument,
    rows: Annotated[
        Path, typer.Option("--data", "--input", metavar="FILE", help="Raw rows: CSV, Parquet or TFRecord.")
    ],
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where the scores go, as Parquet.")] = None,
    id_column: Annotated[
        str | None, typer.Option("--id", metavar="COLUMN", help="A column to carry over, to join the scores by.")
    ] = None,
    encrypted: Annotated[
        bool, typer.Option("--encrypted", help="Predict on secret shares; prints one score per line.")
    ] = False,
    parties: Annotated[
        str, typer.Option("--parties", help="local, processes, or the path of a parties file.")
    ] = "processes",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score many unlabelled rows with a released model, file to file.

    With --encrypted the model is one that was released with --encrypted, and no server sees a row, a weight or a score:
    the rows are transformed, shared and the answers put together in this process alone.

    Example: probity predict latest --data people.csv --id person --out scores.parquet
    """
    quiet()
    place = workspace_at(workspace)
    folder = place.find(run)
    if encrypted:
        _require_stdout(out, id_column)
        _on_shares(folder, place, rows, parties=parties, as_json=as_json)
        return
    from probity.platform.bulk_prediction import predict_file

    target = _target(out)
    count = predict_file(folder, rows, target, id_column=id_column)
    facts = {"run": folder.id, "rows": count, "out": str(target)}
    typer.echo(json.dumps(facts, indent=1) if as_json else f"{count} rows scored by run {folder.id}: {target}")


def _target(out: Path | None) -> Path:
    from probity.errors import ConfigError

    if out is None:
        raise ConfigError(
            "--out",
            seen="no file for the scores",
            allowed="a Parquet file; scores on a terminal are for --encrypted",
            remedy="add --out scores.parquet",
        )
    return out


def _require_stdout(out: Path | None, id_column: str | None) -> None:
    from probity.errors import ConfigError

    if out is not None or id_column is not None:
        raise ConfigError(
            "--encrypted",
            seen="with --out or --id",
            allowed="scores on stdout, one per row in the order of the file",
            remedy="leave them out, and redirect stdout",
        )


def _on_shares(folder: RunFolder, place: Workspace, rows: Path, *, parties: str, as_json: bool) -> None:
    from probity.platform.readers import read_file
    from probity.platform.shared_model import base_path_of, latest_shares, predict_on_shares

    version = latest_shares(folder, base_path=base_path_of(folder, place))
    with TemporaryDirectory(prefix="probity-") as scratch:
        found = predict_on_shares(version, read_file(rows), workdir=Path(scratch) / "worker", parties=parties)
    if as_json:
        typer.echo(json.dumps({"scores": found.scores.tolist(), **found.facts}, indent=1))
        return
    for score in found.scores:
        typer.echo(f"{score:.6f}")
