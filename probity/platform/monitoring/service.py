"""A look with its consequences: the report is kept, a request is written, evidence expires, old rows are forgotten."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq

from probity.monitoring import MonitoringReport
from probity.platform.monitoring.feedback import read_feedback, training_rows
from probity.platform.monitoring.monitor import Watched, look, watched
from probity.platform.monitoring.prediction_log import forget
from probity.platform.monitoring.retraining import request
from probity.platform.rollout.membership import Membership
from probity.runs import RunFolder, Workspace
from probity.storage import write_record

__all__ = ["look_and_act", "reports_folder"]


def reports_folder(workspace: Workspace, model_name: str) -> Path:
    """Returns where the reports about a model lie, one file per look, named by its time."""
    return workspace.root / "monitoring" / model_name


def look_and_act(
    run: RunFolder,
    *,
    workspace: Workspace,
    predictions: Path,
    groups: Path | None,
    register: Path,
    days: float,
    manual: str | None = None,
    examples: Path | None = None,
    forget_after_days: float | None = None,
    now: datetime | None = None,
) -> tuple[MonitoringReport, Path | None]:
    """Looks at the version that a run made, and does what follows.

    Args:
        run: A released run.
        workspace: Where its report is kept.
        predictions: Folder of the prediction log.
        groups: The group table.
        register: Folder of the feedback register.
        days: Length of the period.
        manual: Why a person asks for another run.
        examples: Where to write new examples from feedback.
        forget_after_days: After how long files of the prediction log are removed.
        now: End of the period.

    Returns:
        The report, and the request for another run if there is one.
    """
    moment = now or datetime.now(UTC)
    entry = watched(
        run,
        predictions=predictions,
        feedback=read_feedback(register),
        membership=Membership.read(groups) if groups else None,
        days=days,
        now=moment,
    )
    report = look(entry, run.config().monitoring, manual=manual)
    write_record(reports_folder(workspace, report.model_name) / f"{moment:%Y%m%dT%H%M%SZ}.json", report)
    if examples is not None:
        _write_examples(entry, examples)
    root = (workspace.root / run.provenance()["config_folder"]).resolve()
    asked = None if report.trigger is None else request(report, run=run, folder=root, manual=manual)
    if forget_after_days is not None:
        forget(predictions, before=(moment - timedelta(days=forget_after_days)).timestamp())
    return report, asked


def _write_examples(entry: Watched, path: Path) -> None:
    dataset = entry.run.dataset()
    positive = str(dataset.positive)
    rows = training_rows(entry.log, entry.known, label=dataset.label, texts=(f"not {positive}", positive))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, path)
