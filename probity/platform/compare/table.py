"""From finished runs to one table: what their reports say, with mean and interval over seeds. Computes no metric."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probity.config import RunConfig
from probity.findings import AuditReport, Finding, slice_name
from probity.platform.compare.processes import CellResult
from probity.runs import RunFolder
from probity.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["GAPS", "GROUP_METRICS", "cell_rows", "summarize", "to_markdown", "write_tables"]

OVERALL = ("auc", "accuracy", "log_loss", "calibration_error")
GROUP_METRICS = ("auc", "accuracy", "selection_rate", "true_positive_rate")
GAPS = ("selection_rate", "true_positive_rate", "false_positive_rate")
_KEYS = ["trainer", "target_epsilon"]


def cell_rows(results: Sequence[CellResult], workspace: Workspace, config: RunConfig) -> pd.DataFrame:
    """Returns one row per cell, with the values of its run's reports.

    Columns: the cell, its outcome, ``epsilon`` and ``delta`` as found, overall metrics, ``worst_auc`` and
    ``worst_auc_group`` over the groups of single attributes, ``gap:METRIC:ATTRIBUTE`` and ``group:METRIC:SLICE``,
    ``train_seconds``, ``seconds``, ``peak_memory_bytes``. A number that an audit would not vouch for is missing.
    """
    import pandas as pd

    rows = []
    for result in sorted(results, key=lambda entry: entry.cell.name):
        row: dict[str, Any] = {
            "trainer": result.cell.trainer,
            "target_epsilon": result.cell.target_epsilon,
            "seed": result.cell.seed,
            "status": result.status,
            "run": result.run,
            "reason": result.reason,
        }
        if result.run is not None and result.status == "complete":
            folder = RunFolder(workspace.root / "runs" / result.run)
            row |= _measured(folder, config)
            row |= {
                "verdict": folder.decision().verdict,
                "train_seconds": _train_seconds(folder, workspace),
                "seconds": result.seconds,
                "peak_memory_bytes": result.peak_memory_bytes,
            }
        rows.append(row)
    return pd.DataFrame(rows)


def summarize(cells: pd.DataFrame, *, confidence: float) -> pd.DataFrame:
    """Returns one row per trainer and asked epsilon: mean, and Student's interval over the seeds.

    Columns ``NAME``, ``NAME_lower`` and ``NAME_upper``; with one seed there is no interval. ``seeds`` is the number of
    complete cells.
    """
    import pandas as pd

    numeric = [
        name
        for name in cells.columns
        if name not in (*_KEYS, "seed") and pd.api.types.is_numeric_dtype(cells[name]) and cells[name].notna().any()
    ]
    rows = []
    for key, group in cells.groupby(_KEYS, dropna=False, sort=False):
        done = group[group["status"] == "complete"]
        row: dict[str, Any] = {**dict(zip(_KEYS, key, strict=True)), "seeds": len(done)}
        for name in numeric:
            row |= _with_interval(name, done[name].dropna().to_numpy(float), confidence)
        row["worst_auc_group"] = _most_common(done.get("worst_auc_group"))
        rows.append(row)
    return pd.DataFrame(rows)


def write_tables(cells: pd.DataFrame, summary: pd.DataFrame, *, folder: Path) -> None:
    """Writes ``cells.parquet``, ``table.parquet``, ``table.csv`` and ``table.md``."""
    cells.to_parquet(folder / "cells.parquet")
    summary.to_parquet(folder / "table.parquet")
    summary.to_csv(folder / "table.csv", index=False)
    (folder / "table.md").write_text(to_markdown(summary), encoding="utf-8")


def to_markdown(summary: pd.DataFrame) -> str:
    """Returns the table for reading: means with their intervals."""
    gaps = [name for name in summary.columns if name.startswith("gap:") and not name.endswith(("_lower", "_upper"))]
    shown = {
        "epsilon": "epsilon",
        "delta": "delta",
        "accuracy": "accuracy",
        "auc": "AUC",
        "worst_auc": "worst group's AUC",
        **{name: f"gap in {name.split(':')[1]} by {name.split(':')[2]}" for name in gaps},
        "train_seconds": "training, s",
        "seconds": "run, s",
        "peak_memory_bytes": "peak memory, GiB",
    }
    head = ["trainer", "asked epsilon", "seeds", *shown.values()]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in summary.to_dict("records"):
        cells = [row["trainer"], _plain(row["target_epsilon"]), str(row["seeds"])]
        for name in shown:
            scale = 2.0**30 if name == "peak_memory_bytes" else 1.0
            group = f" ({row['worst_auc_group']})" if name == "worst_auc" and row["worst_auc_group"] else ""
            cells.append(_cell(row, name, scale) + group)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _measured(folder: RunFolder, config: RunConfig) -> dict[str, Any]:
    reports = folder.reports()
    row: dict[str, Any] = {}
    statement = (report := reports.get("privacy")) and report.privacy_statement
    if statement:
        row |= {"epsilon": statement.epsilon, "delta": statement.delta}
    at = config.audits.decision_threshold
    worst = (math.inf, "")
    for finding in _usable(reports.get("performance"), at):
        value = finding.estimate.value
        if value is None:
            continue
        if not finding.slice and finding.metric in OVERALL:
            row[finding.metric] = value
        elif finding.slice and finding.metric in GROUP_METRICS:
            row[f"group:{finding.metric}:{slice_name(finding.slice)}"] = value
        if len(finding.slice) == 1 and finding.metric == "auc" and value < worst[0]:
            worst = (value, slice_name(finding.slice))
    if worst[1]:
        row |= {"worst_auc": worst[0], "worst_auc_group": worst[1]}
    for finding in _usable(reports.get("fairness"), at):
        if finding.comparison == "gap" and finding.metric in GAPS and len(finding.across) == 1:
            row[f"gap:{finding.metric}:{finding.across[0]}"] = finding.estimate.value
    return row


def _usable(report: AuditReport | None, threshold: float) -> Iterable[Finding]:
    if report is None or report.status != "complete":
        return
    for finding in report.findings:
        if finding.evidence == "sufficient" and finding.threshold in (None, threshold):
            yield finding


def _train_seconds(folder: RunFolder, workspace: Workspace) -> float | None:
    """Returns how long training took, in the run that did it."""
    receipt = folder.receipt("train")
    if receipt is not None and receipt.reused_from is not None:
        receipt = RunFolder(workspace.root / "runs" / receipt.reused_from).receipt("train")
    return None if receipt is None else receipt.seconds


def _with_interval(name: str, values: np.ndarray[Any, Any], confidence: float) -> dict[str, float | None]:
    import numpy as np
    from scipy import stats

    if not len(values):
        return {name: None, f"{name}_lower": None, f"{name}_upper": None}
    mean = float(values.mean())
    if len(values) < 2 or not np.isfinite(values).all():
        return {name: mean, f"{name}_lower": None, f"{name}_upper": None}
    half = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return {name: mean, f"{name}_lower": mean - half, f"{name}_upper": mean + half}


def _most_common(names: pd.Series | None) -> str | None:
    given = [] if names is None else list(names.dropna())
    return max(sorted(set(given)), key=given.count) if given else None


def _cell(row: dict[str, Any], name: str, scale: float) -> str:
    found = [row.get(f"{name}{end}") for end in ("", "_lower", "_upper")]
    value, lower, upper = (math.nan if entry is None else float(entry) for entry in found)
    if math.isnan(value):
        return "-"
    if math.isnan(lower) or lower == upper:
        return _plain(value / scale)
    return f"{_plain(value / scale)} [{_plain(lower / scale)}, {_plain(upper / scale)}]"


def _plain(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "-"
    return "∞" if math.isinf(value) else f"{value:.4g}"
