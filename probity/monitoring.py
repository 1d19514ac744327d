"""The nouns of watching a model that serves: what was asked, what was measured, and the request to train again."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from probity.record import Record

__all__ = ["Measure", "MonitoringConfig", "MonitoringReport", "Retraining", "Trigger", "reports_folder"]

Trigger = Literal["schedule", "drift", "degradation", "manual", "operation"]
"""Why a model is to be trained again; ``operation`` asks for no training, but for somebody who minds the server."""


class MonitoringConfig(Record):
    """The limits within which a model goes on serving without being asked about."""

    min_rows: int = Field(default=500, ge=1)
    """Logged rows below which distributions are not compared."""
    min_group_size: int = Field(default=100, ge=1)
    """Rows of a group below which its rates are not judged."""
    skew_l_infinity: float = Field(default=0.1, gt=0.0, le=1.0)
    """Categorical columns: largest difference of a value's share between training and serving."""
    skew_jensen_shannon: float = Field(default=0.1, gt=0.0, le=1.0)
    """Numeric columns: Jensen-Shannon divergence between training and serving, in bits."""
    drift_l_infinity: float = Field(default=0.1, gt=0.0, le=1.0)
    """As ``skew_l_infinity``, between the period before and this one."""
    drift_jensen_shannon: float = Field(default=0.1, gt=0.0, le=1.0)
    """As ``skew_jensen_shannon``, between the period before and this one."""
    score_jensen_shannon: float = Field(default=0.1, gt=0.0, le=1.0)
    """Scores: the same between the audited test rows and serving."""
    selection_drop: float = Field(default=0.05, ge=0.0, lt=1.0)
    """Drop of the share of favourable outcomes below that of the audited test rows, overall and in a group."""
    quality_drop: float = Field(default=0.05, ge=0.0, lt=1.0)
    """Drop of accuracy or true positive rate below that of the audited test rows, overall and in a group; of a number,
    the rise of the mean absolute error as a share of the audited one."""
    confidence: float = Field(default=0.95, gt=0.0, lt=1.0)
    """Joint level of all rates of one report; a limit counts as passed when the whole interval lies beyond it."""
    retrain_after_days: int | None = Field(default=None, ge=1)
    """Age of a release at which it is trained again in any case."""
    error_rate: float = Field(default=0.01, ge=0.0, lt=1.0, exclude_if=lambda rate: rate == 0.01)
    """Largest share of requests that fail, where the server's metrics are asked."""
    latency_p95_ms: float | None = Field(default=None, gt=0.0, exclude_if=lambda limit: limit is None)
    """Largest 95th percentile of the time to an answer in milliseconds, likewise; null: not judged."""
    webhook_variable: str | None = Field(default=None, exclude_if=lambda name: name is None)
    """Name of the environment variable that holds the address of a webhook, which is told when another run is asked for
    (the JSON that Slack's incoming webhooks take). The address is a secret and never stands in a config."""


class Measure(Record):
    """One thing that was measured on what was logged, against its limit."""

    kind: Literal[
        "skew", "drift", "score_drift", "missing", "selection", "quality", "not_finite", "age", "error_rate", "latency"
    ]
    of: str
    """The column, the rate and group, or what else it is about; never a data value."""
    status: Literal["within", "beyond", "insufficient"]
    observed: float | None = None
    lower: float | None = None
    upper: float | None = None
    reference: float | None = None
    """What it is compared with, where that is a number."""
    limit: float | None = None
    n: int = Field(default=0, ge=0)
    """Logged rows that it rests on; 0 where a group is too small for a verdict, whose size is not told."""
    reason: str = ""


class MonitoringReport(Record):
    """One look at what a version answered."""

    schema_version: Literal[1] = 1
    model_name: str
    version: int
    """The newest version that carries the run's model."""
    versions: tuple[int, ...] = ()
    """All of them, lowest first: a rollback publishes the same model under another number."""
    run: str
    """The run that made the version."""
    at: str
    """UTC, ISO 8601."""
    since: str
    """Beginning of the period, likewise."""
    rows: int = Field(ge=0)
    """Logged rows of the period."""
    rows_with_inputs: int = Field(ge=0)
    """Those whose inputs were kept, by the consent policy."""
    rows_with_feedback: int = Field(ge=0)
    measures: tuple[Measure, ...]
    trigger: Trigger | None = None
    """Why a retraining was asked for, if it was."""
    conclusive: bool | None = None
    """Whether anything that was answered could be compared with training, audits or the period before. Where it could
    not, "nothing is beyond its limit" says nothing. Null in reports that are older than this field."""

    @property
    def beyond(self) -> tuple[Measure, ...]:
        """The measures beyond their limits."""
        return tuple(entry for entry in self.measures if entry.status == "beyond")


class Retraining(Record):
    """Why a run was asked for by the watch over an earlier one; part of the config that ``probity run`` takes."""

    trigger: Trigger
    """What asked for it."""
    of_run: str
    """The run whose model was watched."""
    of_version: int
    """The version that served."""
    requested_at: str
    """UTC, ISO 8601."""
    reasons: tuple[str, ...] = Field(min_length=1)
    """In words, without data values."""


def reports_folder(workspace: Path, model_name: str) -> Path:
    """Returns where the reports about a model lie in a workspace, one file per look, named by its time."""
    return workspace / "monitoring" / model_name
