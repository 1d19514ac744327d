"""``thresholds``: which decision threshold would satisfy the gate's rules, and at what cost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from probity.platform.cli.options import JsonOption, RunArgument, WorkspaceOption, quiet, workspace_at

if TYPE_CHECKING:
    from probity.platform.thresholds import Candidate, Search

__all__ = ["thresholds"]


def thresholds(run: RunArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Find decision thresholds that would satisfy the gate's rules on rates, and say what they would cost.

    They are looked for on the eval split. To see whether one holds on the test split, run with it:
    probity run CONFIG --set audits.decision_threshold=0.35

    Example: probity thresholds latest
    """
    quiet()
    from probity.platform.thresholds import search
    from probity.platform.verdict import policy_of

    folder = workspace_at(workspace).find(run)
    found = search(folder, policy=policy_of(folder))
    if as_json:
        value = {
            "split": found.split,
            "rows": found.rows,
            "current": asdict(found.current),
            "proposal": asdict(found.proposal),
            "satisfying": [candidate.threshold for candidate in found.satisfying],
            "candidates": [asdict(candidate) for candidate in found.candidates],
            "untouched": list(found.untouched),
        }
        typer.echo(json.dumps(value, indent=1, allow_nan=False))
        return
    _print(found)


def _print(found: Search) -> None:
    from rich.table import Table

    from probity.platform.cli.summary import wide_console

    console, proposal = wide_console(), found.proposal
    ranges = ", ".join(_ranges([candidate.threshold for candidate in found.satisfying]))
    console.print(f"on {found.rows:,} rows of the {found.split} split")
    console.print(f"thresholds that satisfy every rule on a rate: {ranges or 'none'}")
    table = Table(header_style="bold")
    table.add_column("")
    for title in ("now", "proposed" if proposal.satisfies else "nearest"):
        table.add_column(title, justify="right")
    table.add_row("threshold", *(f"{candidate.threshold:g}" for candidate in (found.current, proposal)))
    for name in found.current.costs:
        table.add_row(name, *(_number(candidate, name) for candidate in (found.current, proposal)))
    for name in found.current.outcomes:
        table.add_row(name, *(candidate.outcomes[name].replace("_", " ") for candidate in (found.current, proposal)))
    console.print(table)
    if found.untouched:
        console.print(f"not a question of the threshold: {', '.join(found.untouched)}", soft_wrap=True)
    if proposal.threshold != found.current.threshold:
        change = f"audits.decision_threshold={proposal.threshold:g}"
        console.print(f"to measure it on the test split: probity run CONFIG --set {change}", soft_wrap=True)


def _number(candidate: Candidate, name: str) -> str:
    value = candidate.costs[name]
    return "-" if value is None else f"{value:.4f}"


def _ranges(values: Sequence[float]) -> Iterator[str]:
    """Joins neighbouring steps of the grid into ranges."""
    start = last = None
    for value in (*values, None):
        if last is not None and (value is None or value - last > 0.0101):
            yield f"{start:g}" if start == last else f"{start:g} to {last:g}"
            start = value
        elif start is None:
            start = value
        last = value
