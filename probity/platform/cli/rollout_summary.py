"""What ``probity rollout`` tells: each step while it routes, where a rollout stands, and the objects of each stage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from probity.platform.rollout.routing import Listening
    from probity.rollout import RolloutPlan, RolloutState

__all__ = ["print_manifests", "reporter", "show_state"]


def print_manifests(plan: RolloutPlan, *, kind: str, storage: str) -> None:
    """Prints the objects of each stage for ``kserve`` or ``istio``.

    Raises:
        ConfigError: If ``kind`` is neither.
    """
    from probity.errors import ConfigError
    from probity.platform.rollout.manifests import manifest

    if kind not in ("kserve", "istio"):
        raise ConfigError(
            "--manifests", seen=repr(kind), allowed="kserve, istio", remedy="choose whose objects to write"
        )
    for step, stage in enumerate(plan.steps):
        text = manifest(plan, step, kind="kserve" if kind == "kserve" else "istio", storage=storage)
        typer.echo(f"# stage {stage}\n---\n{text}")


def reporter() -> Callable[[RolloutState, Listening], None]:
    """Returns who tells on standard error where the router listens, and each step of the rollout once."""
    told: list[str] = []

    def report(state: RolloutState, where: Listening) -> None:
        if not told:
            grpc = "" if where.grpc_port is None else f", gRPC on {where.host}:{where.grpc_port}"
            scheme = "https" if where.encrypted else "http"
            typer.echo(f"routing {state.plan.model_name} on {scheme}://{where.host}:{where.port}{grpc}", err=True)
        for entry in state.transitions[len(told) :]:
            told.append(entry.to)
            typer.echo(f"{entry.at[:19]}  {entry.to}: {entry.reason}", err=True)

    return report


def show_state(path: Path, *, as_json: bool) -> None:
    """Prints where a rollout stands, from the file that it keeps its state in."""
    from probity.rollout import RolloutState
    from probity.storage import read_record

    state = read_record(path, RolloutState)
    if as_json:
        typer.echo(json.dumps(state.to_json(), indent=1))
        return
    from rich.table import Table

    from probity.platform.cli.summary import number, wide_console
    from probity.platform.rollout.stages import waiting_for

    plan, console = state.plan, wide_console()
    console.print(
        f"{plan.model_name}: version {plan.incumbent} to {plan.candidate}, {state.status}, stage {state.stage}, "
        f"{state.candidate_share:.0%} of the requests answered by version {plan.candidate}",
        highlight=False,
    )
    for entry in state.transitions:
        console.print(f"{entry.at[:19]}  {entry.to}: {entry.reason}", highlight=False)
    table = Table("comparison", "candidate", "incumbent", "difference", "bounds", "tolerated", header_style="bold")
    for item in state.evidence[-1].comparisons:
        bounds = f"[{number(item.lower)}, {number(item.upper)}]"
        counts = (str(item.candidate_requests), str(item.incumbent_requests))
        table.add_row(item.name, *counts, number(item.running.mean), bounds, number(plan.tolerance.of(item.metric)))
    console.print(table)
    if state.status == "running":
        for missing in waiting_for(state):
            console.print(f"waits for: {missing}", highlight=False)
