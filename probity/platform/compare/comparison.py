"""A comparison from start to end: what it will cost, its cells, its table, its plots.

::

    .probity/comparisons/<id>/
    ├── comparison.json         config, grid
    ├── cells/<cell>.json       one finished cell; appears by rename, and is not computed again
    ├── cells.parquet           one row per cell
    ├── table.{parquet,csv,md}  mean and interval over seeds
    ├── *.svg                   plots
    └── index.html              table and plots on one page
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from probity.config import RunConfig
from probity.data import Dataset
from probity.errors import ConfigError, DataError, TrackingError
from probity.platform import canaries, pipeline, tracking, training
from probity.platform.budget.ledger import account_of, open_ledger
from probity.platform.compare.grid import Cell, cell_config, cells_of, comparison_id
from probity.platform.compare.plots import write_plots
from probity.platform.compare.processes import CellResult, Job, perform
from probity.platform.compare.table import cell_rows, summarize, to_markdown, write_tables
from probity.platform.plan import Plan, make_plan
from probity.platform.stages import Observer
from probity.record import Record
from probity.storage import read_record, write_atomically, write_record
from probity.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Comparison", "compare"]

Report = Callable[[int, int, str], None]
"""Called with the number of finished cells, of all cells, and a line about the last one; empty before the first."""


class _Asked(Record):
    """What is being compared (``comparison.json``)."""

    schema_version: Literal[1] = 1
    config: RunConfig
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What came out.

    Attributes:
        folder: Where everything lies.
        results: One per cell.
        summary: The table.
    """

    folder: Path
    results: tuple[CellResult, ...]
    summary: pd.DataFrame

    @property
    def markdown(self) -> str:
        """The table for reading."""
        return to_markdown(self.summary)


def compare(
    config: RunConfig,
    *,
    root: Path,
    workspace: Workspace,
    trainers: Sequence[str],
    epsilons: Sequence[float],
    seeds: int,
    jobs: int,
    observer: Observer,
    report: Report,
    settings_of: Mapping[str, Mapping[str, Any]] | None = None,
    run: Callable[[Job], CellResult] | None = None,
) -> Comparison:
    """Runs what is missing of a grid and writes its table and plots.

    Guarantees: a cell that is finished is not run again; all cells see the same rows in the same splits; if the privacy
    budget does not allow all missing cells together, none is trained; a cell that fails is a row with its reason.

    Args:
        config: What the cells have in common.
        root: The config file's folder.
        workspace: Where runs and comparisons lie.
        trainers: Names of trainers.
        epsilons: Asked epsilons, for trainers that take one.
        seeds: Number of seeds, from the config's own on.
        jobs: Number of cells to run at once.
        observer: Told about the reading of the data.
        report: Told about finished cells.
        settings_of: Settings of single trainers, beside those of the config.
        run: Runs one cell, in a process of its own; an ordinary run by default.

    Raises:
        ConfigError: If the grid or a cell's config cannot be built.
        BudgetExceededError: If the budget does not allow the cells together.
    """
    if config.data.task != "binary":
        raise ConfigError(
            "data.task",
            seen=config.data.task,
            allowed="binary: the table and the plots of a comparison are about binary decisions",
            remedy="run each trainer by itself with probity run",
        )
    cells = cells_of(config, trainers=trainers, epsilons=epsilons, seeds=seeds)
    configs = {cell.name: cell_config(config, cell, settings_of=settings_of or {}) for cell in cells}
    plans = {name: make_plan(entry, root=root) for name, entry in configs.items()}
    folder = workspace.root / "comparisons" / comparison_id(configs)
    write_record(folder / "comparison.json", _Asked(config=config, cells=cells))
    done = {cell.name: found for cell in cells if (found := _finished(folder, cell, workspace)) is not None}
    missing = [cell for cell in cells if cell.name not in done]
    if missing:
        _require_budget([plans[cell.name] for cell in missing], workspace, observer)
    parent = _parent(config, workspace, folder, cells)
    report(len(done), len(cells), "")
    for batch, at_once in _batches(missing, jobs):
        work = [
            Job(cell=cell, config=plans[cell.name].config, root=root, workspace=workspace.root, parent=parent)
            for cell in batch
        ]
        for result in perform(work, at_once=at_once, **({} if run is None else {"run": run})):
            done[result.cell.name] = result
            if result.status == "complete":
                write_record(_path(folder, result.cell), result)
            report(len(done), len(cells), _line(result))
    results = tuple(done[cell.name] for cell in cells)
    table = cell_rows(results, workspace, config)
    summary = summarize(table, confidence=config.audits.confidence)
    write_tables(table, summary, folder=folder)
    plots = write_plots(summary, folder=folder)
    write_atomically(folder / "index.html", _page(config.name, summary, results, folder, plots).encode())
    _parent(config, workspace, folder, cells)
    return Comparison(folder=folder, results=results, summary=summary)


def _batches(missing: Sequence[Cell], jobs: int) -> list[tuple[Sequence[Cell], int]]:
    """Returns cells to run, with how many at once: first one per trainer, whose early stages the others take over."""
    if jobs == 1:
        return [(missing, 1)]
    first = {cell.trainer: cell for cell in reversed(missing)}
    pioneers = [cell for cell in missing if first[cell.trainer] is cell]
    return [(pioneers, 1), ([cell for cell in missing if cell not in pioneers], jobs)]


def _require_budget(plans: Sequence[Plan], workspace: Workspace, observer: Observer) -> None:
    """Raises if the cells together would pass the cap, before any of them is trained."""
    from probity.audits.accounting import default_delta
    from probity.audits.privacy_events import Spent

    first = plans[0]
    if open_ledger(first.config, workspace).is_unlimited():
        return
    read = pipeline.run(first, workspace=workspace, observer=observer, until="ingest", push_release=False)
    dataset: Dataset = read.dataset()
    examples = read.examples()
    units = training.units_of(dataset, examples)
    asked: list[Spent] = []
    for plan in plans:
        coins = canaries.coins_for(
            plan.config.audits.canaries, plants_gradients=plan.plants_gradients, seed=plan.config.seed
        )
        population = training.population_of(dataset, examples, units, planted=coins.planted)
        proposal = plan.trainer.propose(plan.settings, population)
        delta = training.target_delta(proposal) or default_delta(population.num_units)
        asked.append(training.settle(proposal, delta=delta))
    open_ledger(first.config, workspace).require(account_of(first.config, dataset), asked)


def _finished(folder: Path, cell: Cell, workspace: Workspace) -> CellResult | None:
    """Returns the result of a cell that was run before and whose run is still there."""
    path = _path(folder, cell)
    if not path.is_file():
        return None
    try:
        result = read_record(path, CellResult)
    except DataError:
        return None
    return result if result.run is not None and (workspace.root / "runs" / result.run).is_dir() else None


def _path(folder: Path, cell: Cell) -> Path:
    return folder / "cells" / f"{cell.name}.json"


def _parent(config: RunConfig, workspace: Workspace, folder: Path, cells: Sequence[Cell]) -> str | None:
    """Tracks the comparison as the MLflow run that its cells are shown under, and returns that run's id."""
    marker = folder / "mlflow"
    try:
        key = tracking.track(
            uri=config.tracking.uri or tracking.default_uri(workspace.root),
            experiment=config.name,
            run_name=f"comparison {folder.name}",
            status="FINISHED",
            params={"cells": str(len(cells)), "trainers": ", ".join(dict.fromkeys(cell.trainer for cell in cells))},
            metrics={},
            tags={"probity.comparison": folder.name},
            artifacts={
                path.name: path for path in sorted(folder.glob("*.*")) if path.suffix in (".md", ".csv", ".svg")
            },
            history={},
            resume=marker.read_text(encoding="utf-8") if marker.is_file() else None,
        )
    except TrackingError:
        return None
    write_atomically(marker, key.encode())
    return key


def _line(result: CellResult) -> str:
    if result.status == "complete":
        return f"{result.cell.name}: {result.seconds:.0f} s, run {result.run}"
    return f"{result.cell.name}: {result.status} - {result.reason}"


def _page(name: str, summary: pd.DataFrame, results: Sequence[CellResult], folder: Path, plots: Sequence[str]) -> str:
    """Returns one page without scripts: the table, the plots, and the cells without a result."""
    head, _, *rows = [line.strip("| ").split(" | ") for line in to_markdown(summary).splitlines()]
    table = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    without = [result for result in results if result.status != "complete"]
    failures = "".join(f"<li>{escape(_line(result))}</li>" for result in without)
    svgs = [(folder / plot).read_text(encoding="utf-8").partition("<svg") for plot in plots]
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{escape(name)}: privacy budgets "
        "compared</title>"
        "<style>body{font:15px/1.5 system-ui,sans-serif;margin:2rem;max-width:90rem}table{border-collapse:collapse}"
        "td,th{border:1px solid #bbb;padding:.3rem .6rem;text-align:left;font-variant-numeric:tabular-nums}"
        "svg{max-width:100%;height:auto}</style></head><body>"
        f"<h1>{escape(name)}: trainers and privacy budgets compared</h1>"
        "<p>Means over seeds with Student's intervals. Every cell is a run of its own on the same rows in the same "
        "splits."
        "</p>"
        "<div style='overflow-x:auto'><table>"
        f"<tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr>{table}</table></div>"
        + (f"<h2>Cells without a result</h2><ul>{failures}</ul>" if failures else "")
        + "".join(
            f"<h2>{escape(plot.removesuffix('.svg'))}</h2>{tag}{svg}"
            for plot, (_, tag, svg) in zip(plots, svgs, strict=True)
        )
        + "</body></html>\n"
    )
