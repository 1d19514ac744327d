"""``run``, ``gate`` and ``release``: the commands that end in a verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from probity.platform.cli.options import JsonOption, RunArgument, WorkspaceOption, quiet, workspace_at

if TYPE_CHECKING:
    from probity.runs import RunFolder
    from probity.workspace import Workspace

__all__ = ["gate", "release", "run"]

HELD = 3
"""Exit code for verdict hold."""


def run(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The YAML config.")],
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override a config value; repeatable.")
    ] = None,
    trainer: Annotated[
        str | None, typer.Option("--trainer", metavar="NAME", help="Use another trainer, with its default settings.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="STAGE", help="Stop after this stage.")] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Compute every stage anew.")] = False,
    no_release: Annotated[bool, typer.Option("--no-release", help="Do not push, even on verdict release.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the pipeline to a decision, and release the model if the gate says so.

    Exit code 0: verdict release. 3: verdict hold.

    Example: probity run probity.yaml --set trainer.epochs=3 --no-release
    """
    from probity.config_file import load_config

    overrides = list(assignments or [])
    if trainer is not None:
        overrides.insert(0, f"trainer={{name: {json.dumps(trainer)}}}")
    loaded = load_config(config, overrides=overrides)
    place = workspace_at(workspace, beside=config.resolve().parent)
    quiet()
    from probity.platform import pipeline
    from probity.platform.cli.progress import progress
    from probity.platform.cli.summary import print_run, run_json
    from probity.platform.plan import make_plan

    _require_stage(until, pipeline.stage_names())
    plan = make_plan(loaded, root=config.resolve().parent)
    with progress() as observer:
        folder = pipeline.run(
            plan,
            workspace=place,
            observer=observer,
            until=until,
            use_cache=not no_cache,
            push_release=not no_release,
        )
    if as_json:
        typer.echo(json.dumps(run_json(folder), indent=1, allow_nan=False))
    else:
        print_run(folder)
    _exit_by_verdict(folder)


def gate(run: RunArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Decide again from the stored evidence of a run, and explain every check. Changes nothing.

    Exit code 0: verdict release. 3: verdict hold.

    Example: probity gate latest
    """
    from probity.platform.cli.summary import print_decision
    from probity.platform.verdict import decide

    folder = workspace_at(workspace).find(run)
    decision = decide(folder)
    if as_json:
        typer.echo(json.dumps(decision.to_json(), indent=1, allow_nan=False))
    else:
        print_decision(folder, decision)
    if decision.verdict != "release":
        raise typer.Exit(HELD)


def release(
    run: RunArgument,
    encrypted: Annotated[
        bool, typer.Option("--encrypted", help="Deal shares of the model to three servers instead.")
    ] = False,
    wait: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", min=0.0, help="Wait so long for reviewers, then go on.")
    ] = 0.0,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Push the model of a run whose verdict is release into TensorFlow Serving's layout.

    Refuses on verdict hold (exit code 3), and if any byte of the model changed since the audit. With --encrypted the
    model goes out as secret shares for three servers, none of which can read it. With --wait a run that waits for
    approval is released as soon as it is there.

    Example: probity release latest --wait 3600
    """
    quiet()
    place = workspace_at(workspace)
    folder = place.find(run)
    if wait:
        from probity.platform.release.approval import await_reviews

        await_reviews(folder, seconds=wait)
    if encrypted:
        _release_in_shares(folder, place, as_json=as_json)
        return
    from probity.platform import pipeline
    from probity.platform.cli.progress import progress

    with progress() as observer:
        pipeline.release(folder, workspace=place, observer=observer)
    released = folder.release()
    if released is None:
        raise AssertionError("a release that raised nothing left no record")
    if as_json:
        typer.echo(json.dumps(released.to_json(), indent=1))
    else:
        from probity.platform.cli.summary import released_path

        where = released_path(folder, released)
        typer.echo(f"released {released.model_name} version {released.version} in {where}")


def _release_in_shares(folder: RunFolder, place: Workspace, *, as_json: bool) -> None:
    from probity.platform.shared_model import base_path_of, share_model

    version = share_model(folder, base_path=base_path_of(folder, place))
    if as_json:
        typer.echo(json.dumps({"run": folder.id, "path": str(version)}, indent=1))
    else:
        typer.echo(f"dealt shares of the model of {folder.id} in {version}")
        typer.echo(
            "move server0, server1 and server2 to three operators; whoever holds two of them can join the shares"
        )


def _exit_by_verdict(folder: RunFolder) -> None:
    from probity.runs import DECISION

    if (folder.path / DECISION).is_file() and folder.decision().verdict != "release":
        raise typer.Exit(HELD)


def _require_stage(until: str | None, known: tuple[str, ...]) -> None:
    from probity.errors import ConfigError

    if until is not None and until not in known:
        raise ConfigError("--until", seen=repr(until), allowed=", ".join(known), remedy="choose one of these stages")
