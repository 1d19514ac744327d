"""``audit``: the whole audit layer for a model that was trained elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from probity.platform.cli.options import JsonOption, WorkspaceOption, quiet, workspace_at
from probity.platform.cli.running import HELD

__all__ = ["audit"]


def audit(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Folder of a TensorFlow SavedModel.")],
    data: Annotated[Path, typer.Option("--data", metavar="FILE", help="Rows to audit it on, with labels.")],
    config: Annotated[
        Path, typer.Option("--config", metavar="CONFIG", help="Says what the columns mean, and the gate's rules.")
    ],
    trained_on: Annotated[
        Path | None,
        typer.Option(
            "--trained-on", metavar="FILE", help="The rows that it was trained on; without them nobody can be attacked."
        ),
    ] = None,
    split_at_random: Annotated[
        bool,
        typer.Option(
            "--split-at-random", help="Chance alone divided the rows of both files: then attacks on them bound epsilon."
        ),
    ] = False,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override a config value; repeatable.")
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Compute every stage anew.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Audit a SavedModel that was trained elsewhere, to a card and a gate decision. Nothing is trained or released.

    With --trained-on all rows of --data are the test split; without it the config's data.split applies, and membership
    inference is left out. Privacy is not assessed, because nobody saw the training; what attacks show stands beside it.

    Exit code 0: verdict release. 3: verdict hold.

    Example: probity audit exported/1 --data heldout.csv --trained-on train.csv --config probity.yaml
    """
    from probity.config_file import load_config, parse_config

    loaded = load_config(config, overrides=list(assignments or []))
    place = workspace_at(workspace, beside=config.resolve().parent)
    quiet()
    from probity.platform import pipeline
    from probity.platform.cli.progress import progress
    from probity.platform.cli.summary import print_run, run_json
    from probity.platform.plan import make_plan

    _require_there(model, data, trained_on)
    source: object = str(data.resolve())
    if trained_on is not None:
        source = {"train": str(trained_on.resolve()), "test": str(data.resolve())}
    value = loaded.to_json()
    audits = {**value["audits"], "canaries": None}  # there is no training to plant them in
    rows = {**value["data"], "source": source, "split_at_random": split_at_random}
    asked = parse_config({**value, "data": rows, "audits": audits})
    with progress() as observer:
        folder = pipeline.audit(
            make_plan(asked, root=config.resolve().parent),
            model,
            workspace=place,
            observer=observer,
            members_known=trained_on is not None,
            use_cache=not no_cache,
        )
    if as_json:
        typer.echo(json.dumps(run_json(folder), indent=1, allow_nan=False))
    else:
        print_run(folder)
    if folder.decision().verdict != "release":
        raise typer.Exit(HELD)


def _require_there(model: Path, *files: Path | None) -> None:
    from probity.errors import ConfigError

    if not (model / "saved_model.pb").is_file():
        raise ConfigError(
            "MODEL",
            seen=f"{model} is no folder with a saved_model.pb",
            allowed="the folder of a TensorFlow SavedModel",
            remedy="export the model with tf.saved_model.save, or name its version folder",
        )
    for name, path in zip(("--data", "--trained-on"), files, strict=True):
        if path is not None and not path.exists():
            raise ConfigError(name, seen=f"{path} is not there", allowed="a data file", remedy="check the path")
