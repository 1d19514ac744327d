"""What the terminal shows of a finished run. Reads the run folder; computes nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from probity.data import Dataset
from probity.decision import Check, GateDecision, Release
from probity.findings import Estimate, finding_id
from probity.metric import METRICS
from probity.record import Record
from probity.runs import CARD, DECISION, RunFolder
from probity.task import Task

__all__ = ["number", "print_decision", "print_run", "released_path", "run_json", "wide_console"]

EVIDENCE = "evidence:"
"""How the gate names its checks that a report or the card is there."""

_OUTCOME_STYLES = {"pass": "green", "fail": "bold red", "insufficient_evidence": "yellow", "error": "bold red"}


def number(value: float | None) -> str:
    """Returns a number as people read it: four significant digits, the infinity sign, a dash for "none"."""
    if value is None:
        return "-"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:.4g}"


def interval(value: Estimate | Check) -> str:
    """Returns ``[lower, upper]``, or nothing where there is no interval."""
    return f"[{number(value.lower)}, {number(value.upper)}]" if value.lower is not None else ""


def run_json(folder: RunFolder) -> dict[str, Any]:
    """Returns the end of a run as a JSON value."""
    decided = (folder.path / DECISION).is_file()
    released = folder.release()
    return {
        "run": folder.id,
        "path": str(folder.path),
        "status": folder.status(),
        "decision": folder.decision().to_json() if decided else None,
        "release": released.to_json() if released else None,
        "card": str(folder.path / CARD / "card.html") if decided else None,
        "stages": [_shown(receipt) for receipt in folder.receipts()],
    }


def print_run(folder: RunFolder) -> None:
    """Prints the summary of a run: the main numbers, every check, and where to look next."""
    console = wide_console()
    if not (folder.path / DECISION).is_file():
        console.print(f"Run [bold]{folder.id}[/] stopped before a decision; it is in {escape(str(folder.path))}")
        return
    console.print(_numbers(folder))
    print_decision(folder, folder.decision(), console=console)
    released = folder.release()
    if released is not None:
        where = released_path(folder, released)
        console.print(f"released   {released.model_name} version {released.version} in {escape(where)}", soft_wrap=True)
    console.print(f"card       {escape(str(folder.path / CARD / 'card.html'))}", soft_wrap=True)
    console.print(f"run        {folder.id}", soft_wrap=True)


def released_path(folder: RunFolder, released: Release) -> str:
    """Returns where a release lies, relative to the current folder where it is below it."""
    workspace = folder.path.parents[1]
    config_folder = str(folder.provenance()["config_folder"])
    where = (workspace / config_folder / released.path).resolve()
    here = Path.cwd()
    return str(where.relative_to(here) if where.is_relative_to(here) else where)


def print_decision(folder: RunFolder, decision: GateDecision, *, console: Console | None = None) -> None:
    """Prints every check with what it required, what was observed, and why it came out as it did.

    Checks that evidence is there are counted while they pass; a reader of a good run looks for the rules.
    """
    console = console or wide_console()
    table = Table(title=f"Gate - run {folder.id}", title_justify="left", header_style="bold")
    for heading in ("check", "outcome", "required", "observed", "interval"):
        table.add_column(heading, justify="right" if heading in ("observed", "interval") else "left")
    routine = [check for check in decision.checks if check.rule.startswith(EVIDENCE) and check.outcome == "pass"]
    for check in decision.checks:
        if check in routine:
            continue
        style = _OUTCOME_STYLES[check.outcome]
        table.add_row(
            escape(check.rule),
            f"[{style}]{check.outcome.replace('_', ' ')}[/]{_let_go(check)}",
            escape(check.required),
            number(check.observed),
            interval(check),
        )
    names = ", ".join(check.rule.removeprefix(EVIDENCE).strip() for check in routine)
    table.caption = f"evidence present, complete and about this model: {escape(names) or 'none'}"
    table.caption_justify = "left"
    console.print(table)
    for check in decision.blocking:
        console.print(f"  [bold]{escape(check.rule)}[/]: {escape(check.reason)}")
    style = "bold green" if decision.verdict == "release" else "bold red"
    console.print(f"verdict    [{style}]{decision.verdict}[/]")


def _let_go(check: Check) -> str:
    """Says why a check that did not pass holds nothing."""
    if check.outcome == "pass" or check.blocks:
        return ""
    return " (warns only)" if check.lifted_by is None else f" ({check.lifted_by})"


def wide_console() -> Console:
    """Returns a console for stdout; where it is no terminal, lines are long enough for a log."""
    console = Console()
    return console if console.is_terminal else Console(width=120)


def _numbers(folder: RunFolder) -> Table:
    """The main numbers of a run: overall performance, the gaps, epsilon."""
    config, reports = folder.config(), folder.reports()
    at = config.audits.decision_threshold
    task = config.data.task
    title = f"{config.name} - trainer {folder.model().trainer}" + ("" if task == "binary" else f" - {task}")
    table = Table(title=title, title_justify="left", header_style="bold")
    for heading in ("metric", "value", "interval", "n"):
        table.add_column(heading, justify="left" if heading == "metric" else "right")
    for audit, metric, across, threshold in _wanted(folder.dataset(), at):
        report = reports.get(audit)
        comparison = "gap" if across else None
        found = report and report.find(
            finding_id(audit, metric, across=across, comparison=comparison, threshold=threshold)
        )
        unit = _unit(metric, folder.dataset())
        label = f"{metric} gap across {' x '.join(across)}{unit}" if across else f"{metric}{unit}"
        if found:
            estimate = found.estimate
            mark = "" if found.evidence == "sufficient" else " (insufficient evidence)"
            table.add_row(label + mark, number(estimate.value), interval(estimate), f"{estimate.n:,}")
        else:
            table.add_row(label, "not assessed", "", "")
    return table


_Wanted = tuple[str, str, tuple[str, ...], float | None]
_OF_TASK: dict[Task, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "multiclass": (("accuracy", "auc", "log_loss"), ("accuracy", "log_loss")),
    "regression": (
        ("mean_absolute_error", "root_mean_squared_error", "r_squared", "mean_residual"),
        ("mean_absolute_error", "mean_residual"),
    ),
}
"""What is shown of all rows, and of which metrics the gaps between groups."""


def _wanted(dataset: Dataset, at: float) -> Iterator[_Wanted]:
    """Yields audit, metric, attributes and threshold of the main numbers, as the task has them."""
    groupings = dataset.slices()[1:]
    if dataset.task == "binary":
        yield from (("performance", "auc", (), None), ("performance", "accuracy", (), at))
        yield "performance", "selection_rate", (), at
        for names in groupings:
            yield from (("fairness", "true_positive_rate", names, at), ("fairness", "selection_rate", names, at))
    else:
        overall, gaps = _OF_TASK[dataset.task]
        yield from (("performance", name, (), None) for name in overall)
        yield from (("fairness", name, names, None) for names in groupings for name in gaps)
    yield "privacy", "epsilon", (), None
    if dataset.task == "binary":
        yield from (("attacks", "audited_epsilon_lower_bound", (), None), ("attacks", "membership_auc", (), None))


def _unit(metric: str, dataset: Dataset) -> str:
    words = {"label": f", units of {dataset.label}", "label squared": f", squared units of {dataset.label}"}
    return words.get(METRICS[metric].unit, "")


def _shown(record: Record) -> dict[str, Any]:
    value = record.to_json()
    return {name: value[name] for name in ("stage", "seconds", "reused_from", "finished_at")}
