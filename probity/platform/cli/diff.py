"""``diff``: finished runs against a reference, on the same test rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from probity.platform.cli.options import JsonOption, WorkspaceOption, quiet, workspace_at

if TYPE_CHECKING:
    from probity.findings import AuditReport
    from probity.platform.diff import Judged
    from probity.runs import RunFolder

__all__ = ["diff"]


def diff(
    reference: Annotated[str, typer.Argument(metavar="REFERENCE", help="The run that others are compared with.")],
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Runs on the same test rows.")],
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw the changes with their intervals, as SVG.")
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare finished runs with a reference, whatever their trainers and epsilons, on the test rows of both.

    Differences are paired: what the two models have in common cancels. Groups that gained or lost by more than chance
    are listed; --json has every change in every group.

    Example: probity diff 20261121T1032 latest --plot changes.svg
    """
    quiet()
    from probity.platform import diff as differences

    place = workspace_at(workspace)
    base = place.find(reference)
    found = [(folder, differences.diff(folder, reference=base)) for folder in map(place.find, runs)]
    judged = {
        folder.id: differences.judge(report, threshold=folder.config().audits.decision_threshold)
        for folder, report in found
    }
    if plot is not None:
        from probity.platform.diff_plot import draw

        draw(plot, judged, reference=base.id)
    if as_json:
        value = {"reference": base.id, "comparisons": {folder.id: report.to_json() for folder, report in found}}
        typer.echo(json.dumps(value, indent=1, allow_nan=False))
        return
    for folder, report in found:
        _print(base, folder, report, judged[folder.id])
    if plot is not None:
        typer.echo(f"plot       {plot}")


def _print(base: RunFolder, folder: RunFolder, report: AuditReport, judged: list[Judged]) -> None:
    from rich.table import Table

    from probity.platform.cli.summary import interval, number, wide_console
    from probity.platform.diff import words

    console = wide_console()
    console.print(f"{folder.id} ({_kind(folder)})", soft_wrap=True)
    console.print(f"  minus {base.id} ({_kind(base)})", soft_wrap=True)
    table = Table(header_style="bold")
    for title, right in (("what", False), ("change", True), ("interval", True), ("n", True), ("", False)):
        table.add_column(title, justify="right" if right else "left", no_wrap=right)
    for entry in judged:
        estimate = entry.finding.estimate
        table.add_row(
            words(entry.finding), number(estimate.value), interval(estimate), f"{estimate.n:,}", entry.verdict
        )
    console.print(table)
    tested = [finding for finding in report.findings if finding.metric == "mcnemar_p_value" and not finding.slice]
    for finding in tested:
        console.print(f"accuracy, McNemar's exact test: p = {number(finding.estimate.value)} ({finding.reason})")


def _kind(folder: RunFolder) -> str:
    """Returns trainer and epsilon of a run."""
    from probity.platform.cli.summary import number

    report = folder.reports().get("privacy")
    statement = None if report is None else report.privacy_statement
    epsilon = "" if statement is None else f", epsilon {number(statement.epsilon)}"
    return f"{folder.model().trainer}{epsilon}"
