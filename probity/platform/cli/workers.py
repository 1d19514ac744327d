"""``workers``: the isolated environments of the federated and encrypted trainers."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from probity.platform.cli.options import JsonOption

__all__ = ["app"]

NOT_READY = 5
"""Exit code when a worker's environment is not ready."""

app = typer.Typer(no_args_is_help=True, help="Prepare and look at the isolated environments of the training workers.")

NamesArgument = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Workers; default: all.")]


@app.command()
def sync(names: NamesArgument = None) -> None:
    """Make the environment of each worker exactly what its lock file says.

    Example: probity workers sync federated
    """
    from probity.trainers.worker_environments import environment_of, environments
    from probity.trainers.worker_environments import sync as make

    for environment in [environment_of(name) for name in names] if names else environments():
        typer.echo(f"{environment.name}: making {environment.venv}", err=True)
        make(environment)
        typer.echo(f"{environment.name}: ready")


@app.command()
def status(as_json: JsonOption = False) -> None:
    """Say which worker environments are ready. Exit code 5 if one is not.

    Example: probity workers status
    """
    from probity.trainers.worker_environments import environments

    reasons = {environment: environment.why_not_ready() for environment in environments()}
    if as_json:
        rows = [
            {"worker": worker.name, "ready": reason is None, "reason": reason, "environment": str(worker.venv)}
            for worker, reason in reasons.items()
        ]
        typer.echo(json.dumps(rows, indent=1))
    else:
        for worker, reason in reasons.items():
            mending = "" if reason is None else f"; run: probity workers sync {worker.name}"
            typer.echo(f"{worker.name:<12} {reason or f'ready in {worker.venv}'}{mending}")
    if any(reason is not None for reason in reasons.values()):
        raise typer.Exit(NOT_READY)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def serve(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The worker.")],
) -> None:
    """Serve a worker's work to a training on another machine; everything after NAME goes to the worker's own program.

    Nothing on these ports is encrypted or authenticated: they are bound to this machine unless you say otherwise, and
    belong inside a mutually authenticated tunnel.

    Example: probity workers serve federated --port 8000
    """
    from probity.trainers.worker import become
    from probity.trainers.worker_environments import environment_of

    environment = environment_of(name)
    environment.require_ready()
    become(environment.command(*context.args, program="serve"))
