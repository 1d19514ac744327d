"""``monitor`` and ``feedback``: what a released version answers, against what it was audited for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from probity.platform.cli.options import JsonOption, RunArgument, WorkspaceOption, quiet, workspace_at

if TYPE_CHECKING:
    from probity.errors import DataError
    from probity.monitoring import MonitoringReport
    from probity.runs import RunFolder

__all__ = ["feedback", "monitor"]

ASKED = 3
"""Exit code of a look that found a limit passed: the evidence of this run does not cover what is served, or how."""

FeedbackOption = Annotated[
    Path | None, typer.Option("--feedback", metavar="DIR", help="The feedback register. Default: in the workspace.")
]


def monitor(
    run: RunArgument,
    *,
    predictions: Annotated[
        Path, typer.Option("--predictions", metavar="DIR", help="The prediction log that the server writes.")
    ],
    groups: Annotated[
        Path | None, typer.Option("--groups", metavar="FILE", help="Table of tracking_id and groups; CSV or Parquet.")
    ] = None,
    register: FeedbackOption = None,
    days: Annotated[float, typer.Option("--days", min=0.001, help="Length of the period.")] = 7.0,
    request_retraining: Annotated[
        str | None, typer.Option("--request-retraining", metavar="WHY", help="Ask for another run whatever is seen.")
    ] = None,
    examples: Annotated[
        Path | None, typer.Option("--write-examples", metavar="FILE", help="New examples from feedback, as Parquet.")
    ] = None,
    forget_after_days: Annotated[
        float | None, typer.Option("--forget-after-days", help="Remove older files of the prediction log.")
    ] = None,
    metrics: Annotated[
        str | None, typer.Option("--metrics", metavar="URL", help="The server's metrics page: errors and latency.")
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare what a released version answered with what it was trained on and audited for.

    Exit code 0: within the limits of the config's monitoring section. 3: beyond one; a request for another run is
    written in the config's folder, and the evidence of this run expires (what only the server's metrics show does
    neither). 2: too little was logged to compare anything.

    Example: probity monitor latest --predictions predictions --groups groups.parquet
    """
    quiet()
    from probity.platform.monitoring.service import look_and_act

    place = workspace_at(workspace)
    folder = place.find(run)
    report, request = look_and_act(
        folder,
        workspace=place,
        predictions=predictions,
        groups=groups,
        register=register or place.root / "feedback",
        days=days,
        manual=request_retraining,
        examples=examples,
        forget_after_days=forget_after_days,
        metrics=metrics,
    )
    if as_json:
        typer.echo(json.dumps(report.to_json(), indent=1, allow_nan=False))
    else:
        _print(folder, report)
    if report.trigger is not None:
        asked = f"asked for another run ({report.trigger}): probity run {request}"
        typer.echo(asked if request else "the server is beyond a limit; no other run is asked for", err=as_json)
        if not report.conclusive:
            typer.echo(f"warning: {_inconclusive(report, predictions)}", err=True)
        raise typer.Exit(ASKED)
    if not report.conclusive:
        raise _inconclusive(report, predictions)


def feedback(
    source: Annotated[
        Path, typer.Argument(metavar="FILE", help="tracking_id, and label, verdict or clicked; CSV or Parquet.")
    ],
    register: FeedbackOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Add feedback on predictions to the register, from where monitor joins it by tracking id.

    Example: probity feedback answers.csv
    """
    from probity.platform.monitoring.feedback import add_feedback

    count = add_feedback(source, register or workspace_at(workspace).root / "feedback")
    typer.echo(f"added feedback on {count} predictions")


def _inconclusive(report: MonitoringReport, predictions: Path) -> DataError:
    from probity.errors import DataError

    few = f"{report.rows} predictions" if report.rows else "no prediction"
    return DataError(
        f"--predictions {predictions}",
        seen=f"{few} of {_versions(report)} since {report.since[:19]}, too few to compare anything",
        allowed="a log with monitoring.min_rows rows of the period; without them nothing is known about what is served",
        remedy="see that the server writes its --prediction-log there, lengthen the period with --days, or name the "
        "run that is live: probity releases MODEL",
    )


def _versions(report: MonitoringReport) -> str:
    return f"{report.model_name} version {', '.join(map(str, report.versions or (report.version,)))}"


def _print(folder: RunFolder, report: MonitoringReport) -> None:
    from rich.table import Table

    from probity.platform.cli.summary import number, wide_console

    console = wide_console()
    console.print(
        f"{_versions(report)} (run {folder.id}): {report.rows} predictions since "
        f"{report.since[:19]}, {report.rows_with_inputs} with inputs, {report.rows_with_feedback} with feedback",
        highlight=False,
    )
    table = Table("what", "of", "status", "observed", "interval", "limit", "rows", "reason", header_style="bold")
    for entry in sorted(report.measures, key=lambda measure: measure.status != "beyond"):
        interval = f"[{number(entry.lower)}, {number(entry.upper)}]" if entry.lower is not None else ""
        numbers = (number(entry.observed), interval, number(entry.limit), str(entry.n))
        table.add_row(entry.kind, entry.of, entry.status, *numbers, entry.reason)
    console.print(table)
