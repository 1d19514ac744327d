"""``runs`` and ``show``: looking at what is there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probity.platform.cli.options import JsonOption, RunArgument, WorkspaceOption, workspace_at

if TYPE_CHECKING:
    from probity.runs import RunFolder
    from probity.workspace import Workspace

__all__ = ["runs", "show"]


def runs(
    workspace: WorkspaceOption = None,
    waiting: Annotated[bool, typer.Option("--waiting", help="Only runs that wait for approval, and for whom.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the runs of the workspace, newest first.

    Example: probity runs --workspace examples/adult_income/.probity
    """
    place = workspace_at(workspace)
    rows = _waiting(place) if waiting else [_row(folder) for folder in place.runs()]
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    if not rows and waiting:
        typer.echo("no run waits for approval")
        return
    if waiting:
        _print_waiting(rows)
        return
    if not rows:
        typer.echo(f"no runs in {place.root}; start one with: probity run CONFIG")
        return
    from rich.table import Table

    from probity.platform.cli.summary import wide_console

    table = Table(header_style="bold")
    for name in rows[0]:
        table.add_column(name, no_wrap=name == "run")  # an id is there to be copied
    for row in rows:
        table.add_row(*(str(value or "-") for value in row.values()))
    wide_console().print(table)


def _waiting(place: Workspace) -> list[dict[str, Any]]:
    from probity.run_reviews import waiting_runs

    return [
        {
            "run": entry.run,
            "model": entry.model_name,
            "approved by": ", ".join(entry.approved_by),
            "needed": entry.quorum,
            "of": entry.of,
            "card": entry.card,
        }
        for entry in waiting_runs(place)
    ]


def _print_waiting(rows: list[dict[str, Any]]) -> None:
    """Prints a run a paragraph: the paths of cards are long, and have to be copied whole."""
    for row in rows:
        by = f", approved by {row['approved by']}" if row["approved by"] else ""
        what = " of its data" if row["of"] == "data" else ""
        typer.echo(f"{row['run']}  model {row['model']}, {row['needed']} approval(s){what} needed{by}")
        typer.echo(f"    {'look at' if what else 'card'}: {row['card']}")


def show(run: RunArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Show one run in full: data, model, stages, checks, who signed off, and the chain of digests back to the data.

    Example: probity show latest
    """
    place = workspace_at(workspace)
    folder = place.find(run)
    value = _whole(folder, place)
    if as_json:
        typer.echo(json.dumps(value, indent=1, allow_nan=False))
        return
    from probity.platform.cli.summary import print_decision
    from probity.runs import DECISION

    _print_facts(value)
    if (folder.path / DECISION).is_file():
        print_decision(folder, folder.decision())


def _row(folder: RunFolder) -> dict[str, Any]:
    from probity.errors import ProbityError
    from probity.runs import DECISION

    row: dict[str, Any] = {"run": folder.id, "status": "unreadable", "verdict": None, "trainer": None, "version": None}
    try:
        row["status"] = folder.status()
        row["verdict"] = folder.decision().verdict if (folder.path / DECISION).is_file() else None
        row["trainer"] = folder.config().trainer.name
        released = folder.release()
        row["version"] = released.version if released else None
    except (ProbityError, OSError, KeyError, TypeError):
        pass  # one broken run folder must not hide the others
    return row


def _whole(folder: RunFolder, place: Workspace) -> dict[str, Any]:
    """Everything about a run that is there, as one JSON value."""
    from probity.platform.cli.summary import run_json
    from probity.platform.lineage import Lineage
    from probity.runs import DATASET, MODEL

    value = run_json(folder)
    value["error"] = folder.error.to_json() if folder.error else None
    value["environment"] = folder.provenance()["environment"]
    value["config"] = folder.config().to_json()
    value["dataset"] = folder.dataset().to_json() if (folder.path / DATASET).is_file() else None
    value["model"] = folder.model().to_json() if (folder.path / MODEL / "model.json").is_file() else None
    value["lineage"] = Lineage(place.metadata).chain(folder.id) if place.metadata.is_file() else []
    return value


def _said(kind: str, facts: dict[str, Any]) -> str:
    """Returns in a line what somebody said about a run, as its lineage has it."""
    why = f": {facts['why']}" if facts.get("why") else ""
    if kind == "Review":
        return f"review     {facts['by']} {facts['outcome']} the {facts['of']} on {facts['at'][:19]}{why}"
    return f"expired    its evidence, as {facts['by']} said on {facts['at'][:19]}{why}"


def _print_facts(value: dict[str, Any]) -> None:
    from rich.table import Table

    from probity.platform.cli.summary import wide_console

    console = wide_console()
    console.print(f"run        {value['run']}", soft_wrap=True)
    console.print(f"status     {value['status']}")
    if value["error"]:
        console.print(f"error      in stage {value['error']['stage']}: {value['error']['message']}", soft_wrap=True)
    if value["dataset"]:
        dataset = value["dataset"]
        console.print(f"data       {dataset['source']}, {dataset['num_rows']:,} rows, {dataset['content_digest']}")
    if value["model"]:
        model = value["model"]
        console.print(
            f"model      {model['trainer']}, {model['num_parameters'] or 'unknown'} parameters, "
            f"mechanism {model['mechanism']['kind']}, {model['digest']}",
            soft_wrap=True,
        )
    for link in value["lineage"]:
        if link["type"] in ("Review", "EvidenceExpiry"):
            console.print(_said(link["type"], link["facts"]), soft_wrap=True, markup=False)
    stages = Table(header_style="bold")
    for name in ("stage", "seconds", "reused from"):
        stages.add_column(name, justify="right" if name == "seconds" else "left")
    for entry in value["stages"]:
        stages.add_row(entry["stage"], f"{entry['seconds']:.1f}", entry["reused_from"] or "")
    console.print(stages)
    for link in value["lineage"]:
        console.print(f"  {link['type']:<14} {link['digest']}  {link.get('uri', '')}", soft_wrap=True)
