"""A look with its consequences: the report is kept, a request is written, evidence expires, old rows are forgotten.

What only the server's metrics show is no matter of the model: nobody trains again for it, and its evidence stays.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq

from probity.errors import TrackingError
from probity.history import EvidenceExpired
from probity.monitoring import MonitoringReport, reports_folder
from probity.platform.lineage_words import keep_words
from probity.platform.monitoring.feedback import read_feedback, training_rows
from probity.platform.monitoring.monitor import Watched, look, watched
from probity.platform.monitoring.prediction_log import forget
from probity.platform.monitoring.retraining import reasons, request
from probity.platform.person import current_user
from probity.platform.release.history import NO_MODEL, add_event
from probity.platform.release.project import Project
from probity.platform.release.webhook import announce
from probity.platform.rollout.membership import Membership
from probity.runs import RunFolder
from probity.storage import write_record
from probity.workspace import Workspace

__all__ = ["alert", "expire", "look_and_act"]

_LOG = logging.getLogger(__name__)


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
    metrics: str | None = None,
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
        metrics: Address of the server's metrics page.
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
        metrics=metrics,
    )
    report = look(entry, run.config().monitoring, manual=manual)
    write_record(reports_folder(workspace.root, report.model_name) / f"{moment:%Y%m%dT%H%M%SZ}.json", report)
    if examples is not None:
        _write_examples(entry, examples)
    root = (workspace.root / run.provenance()["config_folder"]).resolve()
    trains = report.trigger not in (None, "operation")
    asked = request(report, run=run, folder=root, manual=manual) if trains else None
    if report.trigger in ("drift", "degradation"):
        expire(run, report)
        _keep_in_lineage(run)
    if report.trigger is not None:
        alert(report, asked, variable=run.config().monitoring.webhook_variable)
    if forget_after_days is not None:
        forget(predictions, before=(moment - timedelta(days=forget_after_days)).timestamp())
    return report, asked


def expire(run: RunFolder, report: MonitoringReport) -> None:
    """Writes into the model's signed history that what audits found about a run no longer counts; once for a run.

    What was audited is not what is met any more, so the gate holds the run from now on. The version that serves goes on
    serving: whether to take it back is a person's decision.

    Raises:
        SignatureError: If the history does not verify, or there is no key.
        ReleaseError: If it cannot be written.
    """
    project, release = Project.of_run(run), run.release()
    entries = project.history()[0]
    if any(isinstance(entry.event, EvidenceExpired) and entry.event.run == run.id for entry in entries):
        return
    event = EvidenceExpired(at=report.at, by=current_user(), why="; ".join(reasons(report, manual=None)), run=run.id)
    keys = project.keys()
    add_event(
        project.base_path,
        project.model_name,
        event,
        model=release.model if release else NO_MODEL,
        keys=project.writers(),
        signer=keys.signer,
    )


def _keep_in_lineage(run: RunFolder) -> None:
    try:
        keep_words(run, Project.of_run(run))
    except TrackingError as error:
        _LOG.warning("not in the lineage yet: %s", error)


def alert(report: MonitoringReport, asked: Path | None, *, variable: str | None) -> None:
    """Tells a webhook what passed its limit, and which run was asked for; a message that does not arrive is logged.

    Args:
        report: A report with a trigger.
        asked: The request; ``None`` where somebody has to look after the server.
        variable: Environment variable that holds the address; ``None``: nobody is told.
    """
    measures = "; ".join(reasons(report, manual=None))
    why = f"{measures}. " if measures else ""
    words = (
        f"another run is asked for ({report.trigger}). {why}Start it with: probity run {asked.name}"
        if asked
        else f"its server is beyond a limit. {why}Mend or scale it; no other run is asked for"
    )
    problem = announce(variable, f"Model {report.model_name}, version {report.version}: {words}")
    if problem is not None:
        _LOG.warning("nobody was told: %s", problem)


def _write_examples(entry: Watched, path: Path) -> None:
    rows = training_rows(entry.log, entry.known, entry.run.dataset())
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, path)
