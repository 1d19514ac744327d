"""One look at a version that serves: log, groups and feedback to a report, and to a request where limits are passed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from probity.audits.task_rows import read_rows
from probity.data import Dataset
from probity.decision import Release
from probity.errors import ConfigError
from probity.history import Moved
from probity.monitoring import Measure, MonitoringConfig, MonitoringReport, Trigger
from probity.platform.monitoring.answers import Answers
from probity.platform.monitoring.distances import as_trained, column_measures
from probity.platform.monitoring.feedback import Labelled, labels
from probity.platform.monitoring.prediction_log import read_log
from probity.platform.monitoring.server_metrics import ServerCounts, read_page, server_measures
from probity.platform.monitoring.tasks import answer_measures, quality_measures
from probity.platform.release.project import Project
from probity.platform.rollout.membership import Membership
from probity.runs import SCORED_ROWS, RunFolder

__all__ = ["Watched", "look", "watched"]

_DAY_SECONDS = 86_400.0
_DRIFT = frozenset({"skew", "drift", "score_drift", "missing"})
_OUTCOMES = frozenset({"selection", "quality"})
_COMPARISONS = _DRIFT | _OUTCOMES
"""Kinds of measures that set what was answered beside what was trained on, audited, or answered before."""


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What one look has to know."""

    run: RunFolder
    release: Release
    versions: tuple[int, ...]
    """Those that carry the run's model, lowest first."""
    log: pa.Table
    """Rows of the period."""
    answers: Answers
    """What was answered, by row of the log."""
    before: pa.Table
    """Rows of the period before, as long."""
    known: dict[str, Labelled]
    """What feedback says, by tracking id."""
    groups: tuple[frozenset[str], ...]
    """By row of the log; empty sets without a group table."""
    since: datetime
    until: datetime
    server: ServerCounts | None = None
    """What the server's metrics say, if they were asked."""


def watched(
    run: RunFolder,
    *,
    predictions: Path,
    feedback: pa.Table,
    membership: Membership | None,
    days: float,
    now: datetime,
    metrics: str | None = None,
) -> Watched:
    """Reads what the versions with a run's model answered, and joins it.

    A rollback publishes a model that was released before under another number. The model's signed history says which
    versions carry the model of this run, and the log of all of them is read.

    Args:
        run: The run that made the model.
        predictions: Folder of the prediction log.
        feedback: As :func:`probity.platform.monitoring.feedback.read_feedback` gives it.
        membership: The group table.
        days: Length of the period.
        now: Its end.
        metrics: Address of the server's metrics page.

    Raises:
        ConfigError: If the run has no release, or there is no metrics page.
        DataError: If the log cannot be read.
        SignatureError: If the model's history does not verify.
    """
    release, dataset = run.release(), run.dataset()
    if release is None:
        raise ConfigError(
            f"run {run.id}",
            seen="no release",
            allowed="a released run",
            remedy="name the run whose version serves: probity runs",
        )
    end, period = now.timestamp(), days * _DAY_SECONDS
    name, versions = release.model_name, _versions(run, release)
    log = read_log(predictions, name, versions, since=end - period, until=end)
    ids = log.column("tracking_id").to_pylist()
    answers = Answers.of(log, dataset, threshold=run.config().audits.decision_threshold)
    return Watched(
        run=run,
        release=release,
        versions=versions,
        log=log,
        answers=answers,
        before=read_log(predictions, name, versions, since=end - 2 * period, until=end - period),
        known=labels(feedback, dict(zip(ids, answers.predicted(), strict=True)), dataset),
        groups=membership.of(ids) if membership else tuple(frozenset() for _ in ids),
        since=now - timedelta(days=days),
        until=now,
        server=None if metrics is None else read_page(metrics, model_name=name),
    )


def _versions(run: RunFolder, release: Release) -> tuple[int, ...]:
    moves = [entry.event for entry in Project.of_run(run).verified_history() if isinstance(entry.event, Moved)]
    return tuple(sorted({release.version, *(move.version for move in moves if move.run == run.id)}))


def look(entry: Watched, config: MonitoringConfig, *, manual: str | None = None) -> MonitoringReport:
    """Measures a period against the limits.

    Args:
        entry: What was read.
        config: The limits.
        manual: Why a person asks for a retraining, if one does.

    Returns:
        The report. Too few rows are "insufficient", neither within nor beyond: new data asks for a retraining only
        where statistics or rates leave the limits. Where nothing could be compared, it is not conclusive.
    """
    dataset, log = entry.run.dataset(), entry.log
    measures = [
        *_age(entry, config),
        *_not_finite(entry.answers),
        *_of_inputs(entry, dataset, config),
        *_of_answers(entry, config),
        *([] if entry.server is None else server_measures(entry.server, config)),
    ]
    report = MonitoringReport(
        model_name=entry.release.model_name,
        version=entry.versions[-1],
        versions=entry.versions,
        run=entry.run.id,
        at=entry.until.isoformat(),
        since=entry.since.isoformat(),
        rows=log.num_rows,
        rows_with_inputs=_with_inputs(log).num_rows,
        rows_with_feedback=len(entry.known),
        measures=tuple(measures),
        conclusive=any(found.kind in _COMPARISONS and found.status != "insufficient" for found in measures),
    )
    return report.model_copy(update={"trigger": _trigger(report, manual)})


def _trigger(report: MonitoringReport, manual: str | None) -> Trigger | None:
    """Returns the most serious reason to train again, or else to look after the server."""
    if manual is not None:
        return "manual"
    kinds = {measure.kind for measure in report.beyond}
    if kinds & (_OUTCOMES | {"not_finite"}):
        return "degradation"
    if kinds & _DRIFT:
        return "drift"
    if "age" in kinds:
        return "schedule"
    return "operation" if kinds & {"error_rate", "latency"} else None


def _with_inputs(log: pa.Table) -> pa.Table:
    if "has_inputs" not in log.column_names:
        return log.slice(0, 0)
    return log.filter(log.column("has_inputs"))


def _age(entry: Watched, config: MonitoringConfig) -> list[Measure]:
    if config.retrain_after_days is None:
        return []
    days = (entry.until - datetime.fromisoformat(entry.release.released_at).astimezone(UTC)) / timedelta(days=1)
    status = "beyond" if days > config.retrain_after_days else "within"
    return [
        Measure(kind="age", of="days since the release", status=status, observed=days, limit=config.retrain_after_days)
    ]


def _not_finite(answers: Answers) -> list[Measure]:
    rows = len(answers.scores)
    if not rows:
        return []
    bad = int((~answers.finite).sum())
    status = "beyond" if bad else "within"
    return [Measure(kind="not_finite", of="score", status=status, observed=bad / rows, limit=0.0, n=rows)]


def _of_inputs(entry: Watched, dataset: Dataset, config: MonitoringConfig) -> list[Measure]:
    kept, earlier = _with_inputs(entry.log), _with_inputs(entry.before)
    if kept.num_rows < config.min_rows:
        reason = f"{kept.num_rows} rows with inputs, {config.min_rows} are needed"
        return [Measure(kind="skew", of="all columns", status="insufficient", n=kept.num_rows, reason=reason)]
    rows = as_trained(kept, dataset.features)
    train = entry.run.examples().table("train").select([feature.name for feature in dataset.features])
    found = column_measures("skew", rows, train, categorical=config.skew_l_infinity, numeric=config.skew_jensen_shannon)
    if earlier.num_rows >= config.min_rows:
        found += column_measures(
            "drift",
            rows,
            as_trained(earlier, dataset.features),
            categorical=config.drift_l_infinity,
            numeric=config.drift_jensen_shannon,
        )
    return [*found, *_missing(rows, entry.run)]


def _missing(rows: pa.Table, run: RunFolder) -> list[Measure]:
    """Compares columns that the schema requires with what was sent."""
    required = [spec.name for spec in run.schema().features if spec.required and spec.name in rows.column_names]
    shares = {name: rows.column(name).null_count / rows.num_rows for name in required}
    return [
        Measure(
            kind="missing",
            of=name,
            status="beyond" if share > 0 else "within",
            observed=share,
            limit=0.0,
            n=rows.num_rows,
            reason="the schema asks for a value in every row",
        )
        for name, share in shares.items()
    ]


def _of_answers(entry: Watched, config: MonitoringConfig) -> list[Measure]:
    answers, rows = entry.answers, np.flatnonzero(entry.answers.finite)
    if len(rows) < config.min_rows:
        reason = f"{len(rows)} scores, {config.min_rows} are needed"
        return [Measure(kind="score_drift", of="score", status="insufficient", n=len(rows), reason=reason)]
    audited = read_rows(entry.run.path / SCORED_ROWS, answers.dataset.task)
    found = answer_measures(answers.taken(rows), [entry.groups[row] for row in rows], audited, config)
    # What people clicked on is what they were shown; it measures the display, not the model.
    said = {name: known for name, known in entry.known.items() if known.source != "clicked"}
    ids = entry.log.column("tracking_id").to_pylist()
    labelled = np.array([row for row in rows if ids[row] in said], np.intp)
    if len(labelled):
        true = [said[ids[row]].label for row in labelled]
        groups = [entry.groups[row] for row in labelled]
        found += quality_measures(answers.taken(labelled), true, groups, audited, config)
    return found
