"""``budget``: what may be spent on a data set, what was spent, and by which run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probity.platform.cli.options import JsonOption, WorkspaceOption, quiet, workspace_at

if TYPE_CHECKING:
    from probity.platform.budget.balance import Balance
    from probity.platform.budget.entries import Entry
    from probity.platform.budget.ledger import Ledger
    from probity.workspace import Workspace

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="The privacy budget of a data set: grant a cap, show what is left, list who spent what.",
)

DatasetArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[DATASET]",
        help="A budget id, a data digest or its beginning, a config file, a run id or latest. Default: the only one.",
    ),
]
UrlOption = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="The ledger's database. Default: the workspace's own file.")
]
ByOption = Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who decides. Default: the current user.")]
CommentOption = Annotated[str | None, typer.Option("--comment", metavar="TEXT", help="Why; kept in the history.")]


@app.command()
def show(
    dataset: DatasetArgument = None,
    workspace: WorkspaceOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what is granted, reserved, spent and left.

    Example: probity budget show examples/adult_income/dp.yaml
    """
    ledger, account, _ = _find(dataset, workspace, url)
    balance = ledger.balance(account)
    if as_json:
        typer.echo(json.dumps(balance.to_json(), indent=1, allow_nan=False))
        return
    from rich.table import Table

    from probity.platform.cli.summary import number, wide_console

    table = Table(show_header=False)
    for label, value in _lines(balance, number):
        table.add_row(label, value)
    console = wide_console()
    console.print(table)
    for entry in balance.open:
        event: Any = entry.event
        console.print(
            f"open since {entry.at}: reservation {event.reservation} of run {event.run}. If that run is gone: "
            f"probity budget resolve {event.reservation} --commit (something of it was seen) or --refund (nothing was)",
            highlight=False,
        )
    if balance.non_private:
        console.print(
            f"{balance.non_private} trainings without differential privacy read this data as well. No epsilon "
            "bounds their models; only the gate keeps them from being released.",
            highlight=False,
        )


@app.command()
def grant(
    dataset: DatasetArgument = None,
    *,
    epsilon: Annotated[float, typer.Option("--epsilon", help="The cap, on everything composed.")],
    delta: Annotated[float, typer.Option("--delta", help="The delta at which it holds.")] = 1e-5,
    unit: Annotated[
        str | None,
        typer.Option("--unit", help="row, or the privacy-unit column. Default: what the config or run declares."),
    ] = None,
    forbid_non_private: Annotated[
        bool, typer.Option("--forbid-non-private", help="Refuse trainings without differential privacy as well.")
    ] = False,
    by: ByOption = None,
    comment: CommentOption = None,
    workspace: WorkspaceOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set the cap of a data set's privacy budget; a later grant replaces an earlier one.

    Example: probity budget grant examples/adult_income/dp.yaml --epsilon 3 --delta 1e-5
    """
    from probity.errors import ConfigError
    from probity.platform.budget.account import unit_named
    from probity.platform.budget.statement import leave_statement
    from probity.platform.cli.summary import number

    if not 0 < epsilon < float("inf"):
        raise ConfigError(
            "--epsilon",
            seen=f"{epsilon:g}",
            allowed="a finite number greater than 0",
            remedy="0 would allow no training at all; it never means without a limit, which is what no grant means",
        )
    if not 0 < delta < 1:
        raise ConfigError(
            "--delta",
            seen=f"{delta:g}",
            allowed="a number between 0 and 1",
            remedy="use one far below one over the units",
        )
    ledger, account, place = _find(dataset, workspace, url, by=by, new=True)
    unit = unit or unit_named(dataset, workspace=place) or "row"
    entry = ledger.grant(
        account,
        epsilon=epsilon,
        delta=delta,
        unit=unit,
        forbid_non_private=forbid_non_private,
        comment=comment,
    )
    leave_statement(ledger, account, place)
    if as_json:
        typer.echo(json.dumps(entry.to_json(), indent=1, allow_nan=False))
    else:
        left = ledger.balance(account).left
        typer.echo(f"granted epsilon {epsilon:g} at delta {delta:g} per {unit} on {account}; {number(left)} left")


@app.command()
def history(
    dataset: DatasetArgument = None,
    workspace: WorkspaceOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List every grant, reservation, payment and refund of a data set, oldest first.

    Example: probity budget history latest --json
    """
    ledger, account, _ = _find(dataset, workspace, url)
    entries = ledger.history(account)
    if as_json:
        typer.echo(json.dumps([entry.to_json() for entry in entries], indent=1, allow_nan=False))
        return
    from rich.table import Table

    from probity.platform.cli.summary import wide_console

    table = Table(header_style="bold")
    for name in ("number", "at", "by", "what", "reservation", "run", "what of", "comment"):
        table.add_column(name, no_wrap=name in ("at", "run", "reservation"))
    for entry in entries:
        table.add_row(*_cells(entry))
    wide_console().print(table)


@app.command()
def resolve(
    reservation: Annotated[str, typer.Argument(metavar="RESERVATION", help="Its id, as budget show prints it.")],
    *,
    refund: Annotated[
        bool,
        typer.Option("--refund/--commit", help="Nothing came of it that anybody saw; or it was spent."),
    ],
    by: ByOption = None,
    comment: CommentOption = None,
    workspace: WorkspaceOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decide about a reservation whose process is gone; until then it stays counted.

    Example: probity budget resolve 3f9c2a71b0de --refund --comment "killed before its first step"
    """
    from probity.platform.budget.entries import Refunded
    from probity.platform.budget.statement import leave_statement

    ledger, place = _ledger(workspace, url, by=by)
    entry = ledger.resolve(reservation, Refunded(reservation=reservation) if refund else None, comment=comment)
    leave_statement(ledger, entry.account, place)
    if as_json:
        typer.echo(json.dumps(entry.to_json(), indent=1, allow_nan=False))
    else:
        typer.echo(f"{'refunded' if refund else 'committed'}: reservation {reservation} of {entry.account}")


def _ledger(workspace: Path | None, url: str | None, *, by: str | None = None) -> tuple[Ledger, Workspace]:
    quiet()
    from probity.platform.budget.ledger import ledger_at

    place = workspace_at(workspace)
    return ledger_at(url, place, by=by), place


def _find(
    dataset: str | None, workspace: Path | None, url: str | None, *, by: str | None = None, new: bool = False
) -> tuple[Ledger, str, Workspace]:
    """Returns the ledger, the account and the workspace. A config names all: its workspace lies beside it."""
    from probity.config_file import load_config
    from probity.platform.budget.account import account_named

    if dataset is not None and Path(dataset).is_file():
        workspace = workspace or Path(dataset).resolve().parent / ".probity"
        url = url or load_config(Path(dataset)).budget.url
    ledger, place = _ledger(workspace, url, by=by)
    return ledger, account_named(dataset, ledger=ledger, workspace=place, new=new), place


def _lines(balance: Balance, number: Any) -> list[tuple[str, str]]:
    cap = balance.granted
    at = f" at delta {balance.delta:g}" if balance.delta is not None else ""
    return [
        ("data set", balance.account),
        ("unit", balance.unit),
        (
            "granted",
            "no cap: spending is recorded and not limited"
            if cap is None
            else f"epsilon {number(cap.epsilon)}{at}{', private training only' if cap.forbid_non_private else ''}",
        ),
        ("spent", f"epsilon {number(balance.spent)}{at}, {balance.payments} mechanisms composed"),
        ("", f"(the plain sum of their epsilons would be {number(balance.plain_sum)})"),
        ("reserved", f"epsilon {number(balance.reserved)} more, {len(balance.open)} open reservations"),
        ("left", "-" if balance.left is None else f"epsilon {number(balance.left)}"),
    ]


def _cells(entry: Entry) -> list[str]:
    from probity.platform.budget.statement import spending_words

    event: Any = entry.event
    spending = getattr(event, "spending", None)
    if event.kind == "granted":
        what = f"epsilon {event.epsilon:g}, delta {event.delta:g}, per {event.unit}"
    else:
        what = "" if spending is None else spending_words(spending)
    return [
        str(entry.number),
        entry.at,
        entry.by,
        event.kind,
        getattr(event, "reservation", ""),
        getattr(event, "run", ""),
        what,
        entry.comment or "",
    ]
