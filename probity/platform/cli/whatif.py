"""``whatif``: one row with other values, and the nearest row with the other decision. Internal."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from probity.platform.cli.options import JsonOption, RunArgument, WorkspaceOption, quiet, workspace_at

__all__ = ["whatif"]


class Split(StrEnum):
    """The splits of a run."""

    TRAIN = "train"
    EVAL = "eval"
    TEST = "test"


def whatif(
    run: RunArgument,
    row: Annotated[int, typer.Option("--row", help="Position of the row in the split, from 0.")],
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="COLUMN=VALUE", help="A value to try; repeatable; empty: missing."),
    ] = None,
    split: Annotated[Split, typer.Option("--split", help="The split that the row is in.")] = Split.TEST,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the model of a run about one row, as it is and with other values. For internal use: it speaks of one person.

    Also names the nearest row with the other decision and the columns in which it differs. Not causal: it says what the
    model answers, not what would happen.

    Example: probity whatif latest --row 17 --set education_num=13 --set hours_per_week=45
    """
    quiet()
    from probity.platform.whatif import nearest_counterfactual, what_if

    folder = workspace_at(workspace).find(run)
    answer = what_if(folder, row=row, split=split.value, assignments=assignments or [])
    other = nearest_counterfactual(folder, row=row, split=split.value)
    if as_json:
        value = {"answer": asdict(answer), "nearest_counterfactual": None if other is None else asdict(other)}
        typer.echo(json.dumps(value, indent=1, allow_nan=False))
        return
    words = {True: "positive", False: "negative"}
    typer.echo(f"row {answer.row} of {answer.split}, decision threshold {answer.threshold:g}")
    typer.echo(f"  as it is        score {answer.score_before:.4f}  {words[answer.decision_before]}")
    if answer.set_to:
        flip = "  <- the decision flips" if answer.decision_after != answer.decision_before else ""
        typer.echo(f"  with the change score {answer.score_after:.4f}  {words[answer.decision_after]}{flip}")
    if other is None:
        typer.echo("  no row has the other decision")
    else:
        typer.echo(
            f"  nearest row with the other decision: {other.row} (score {other.score:.4f}, distance "
            f"{other.distance:.3g}); it differs in {', '.join(other.differs_in) or 'nothing that the model sees'}"
        )
