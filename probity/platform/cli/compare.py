"""``compare``: trainers x epsilons x seeds on the same splits, in one table and a few plots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from probity.platform.cli.options import JsonOption, WorkspaceOption, quiet, workspace_at

__all__ = ["compare"]

FAILED = 1
"""Exit code if a cell has no result."""


def compare(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The YAML config that all cells have in common.")],
    trainers: Annotated[str, typer.Option("--trainers", metavar="A,B", help="Trainers to compare.")] = "plain,dp_sgd",
    epsilons: Annotated[
        str, typer.Option("--epsilons", metavar="E,E", help="Asked epsilons, for trainers that take one.")
    ] = "0.5,1,3",
    seeds: Annotated[int, typer.Option("--seeds", help="Number of seeds, from the config's own on.")] = 3,
    settings: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="TRAINER.KEY=VALUE", help="A setting of one of the trainers; repeatable."),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Cells to run at once.")] = 1,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override a config value; repeatable.")
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare trainers and privacy budgets. The same command again continues where it stopped.

    Every cell is an ordinary run, and spends privacy budget like one. Exit code 1: a cell has no result. 4: the budget
    does not allow the cells together; none was trained.

    Example: probity compare examples/adult_income/dp.yaml --trainers plain,dp_sgd --epsilons 0.5,1,3 --seeds 3 --jobs 2
    """
    from probity.config_file import load_config

    loaded = load_config(config, overrides=list(assignments or []))
    place = workspace_at(workspace, beside=config.resolve().parent)
    quiet()
    from probity.platform.cli.progress import progress
    from probity.platform.compare.comparison import compare as run_comparison

    with progress() as display:
        found = run_comparison(
            loaded,
            root=config.resolve().parent,
            workspace=place,
            trainers=_names(trainers),
            epsilons=_numbers(epsilons),
            seeds=seeds,
            settings_of=_settings_of(settings or []),
            jobs=jobs,
            observer=display,
            report=display.runs_done,
        )
    if as_json:
        rows = json.loads(found.summary.to_json(orient="records", double_precision=15))
        typer.echo(json.dumps({"folder": str(found.folder), "table": rows}, indent=1))
    else:
        typer.echo(found.markdown)
        typer.echo(f"table and plots: {found.folder / 'index.html'}")
    if any(result.status != "complete" for result in found.results):
        raise typer.Exit(FAILED)


def _settings_of(assignments: list[str]) -> dict[str, dict[str, Any]]:
    from probity.config_file import parse_assignments

    found: dict[str, dict[str, Any]] = parse_assignments(assignments, argument="--with")
    return found


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str) -> list[float]:
    from probity.errors import ConfigError

    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise ConfigError(
            "--epsilons",
            seen=repr(text),
            allowed="numbers separated by commas",
            remedy="for example: --epsilons 0.5,1,3",
        ) from error
