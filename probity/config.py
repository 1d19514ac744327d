"""``RunConfig``: what was asked, as a frozen value that cannot hold a wrong combination.

The YAML form is the contract with the user (``docs/reference/config.md`` is generated from these classes). Settings of
a trainer belong to the trainer: they stay an open mapping here and are parsed by the chosen trainer's own class
before anything runs.
"""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import Field, field_validator, model_validator

from probity.alerts import AlertConfig
from probity.audit_plan import AuditsConfig
from probity.data_source import DataConfig
from probity.metric import METRICS, MetricKind
from probity.monitoring import MonitoringConfig, Retraining
from probity.owner import CardConfig
from probity.recipe import ModelConfig, TrainerConfig, TransformConfig
from probity.record import Record, Slug
from probity.release_policy import SigningConfig
from probity.rule import GateConfig, Rule
from probity.serving_policy import ServingConfig
from probity.suggestion import did_you_mean

__all__ = ["BudgetConfig", "RunConfig", "TrackingConfig"]


def _may_be_a_file(schema: dict[str, Any]) -> None:
    """Tells editors of the other form: the name of a file that holds the mapping."""
    schema["anyOf"] = [{"$ref": schema.pop("$ref")}, {"type": "string"}]


class BudgetConfig(Record):
    """The ledger in which the privacy spent on data sets adds up."""

    url: str | None = None
    """SQLAlchemy URL of a database that a team shares, without a password; a relative SQLite path starts in the
    workspace. Absent: a SQLite file there."""

    @field_validator("url")
    @classmethod
    def _no_password(cls, url: str | None) -> str | None:
        parts = urlsplit(url or "")
        if parts.password is not None or "password" in parse_qs(parts.query):
            raise ValueError("a config is recorded and shared: keep the password in PGPASSWORD or ~/.pgpass")
        return url


class TrackingConfig(Record):
    """MLflow."""

    uri: str | None = None
    """Tracking URI; absent: a SQLite file inside the workspace."""


class RunConfig(Record):
    """One run: data, architecture, trainer, audits, gate, serving."""

    schema_version: Literal[1] = 1
    """Version of this format."""
    name: Slug
    """Name of the project; part of every run id and the MLflow experiment."""
    seed: int = Field(default=7, ge=0, lt=2**31)
    """Seed of everything random: initial weights, batch order, resampling, the choice of explained rows."""
    data: DataConfig
    """Where the data is and what each column means."""
    schema_file: str | None = Field(default=None, alias="schema")
    """A curated schema (TFDV text format); public bounds and vocabularies live here."""
    transform: TransformConfig = TransformConfig()
    """How raw columns become model inputs."""
    model: ModelConfig
    """The architecture."""
    trainer: TrainerConfig = TrainerConfig()
    """The trainer and its settings."""
    audits: AuditsConfig = AuditsConfig()
    """What is measured on the test split."""
    gate: GateConfig = GateConfig()
    """The release policy."""
    serving: ServingConfig
    """Where a released model goes."""
    signing: SigningConfig = SigningConfig()
    """Whose key signs it."""
    tracking: TrackingConfig = TrackingConfig()
    """Where MLflow records the run."""
    budget: BudgetConfig = BudgetConfig()
    """Where the privacy spent on the data is added up."""
    card: CardConfig = Field(default=CardConfig(), json_schema_extra=_may_be_a_file)
    """What only the owner of the model can say. The config file may give the name of a YAML file with these keys
    instead, relative to itself."""
    monitoring: MonitoringConfig = MonitoringConfig()
    """The limits within which a released model goes on serving without being asked about."""
    alerts: AlertConfig = Field(default=AlertConfig(), exclude_if=lambda alerts: alerts == AlertConfig())
    """Who is told of a run that failed or is held, and of a rollout that was taken back."""
    retraining: Retraining | None = None
    """Why the watch over an earlier model asks for this run; written by ``probity monitor``."""

    @model_validator(mode="after")
    def _gate_names_what_is_audited(self) -> RunConfig:
        for rule in self.gate.rules:
            rule.require_reported(self.data.task)
            _require_declared(rule, self.data)
            _require_measured(rule, self.audits)
        return self

    @model_validator(mode="after")
    def _architecture_fits_the_task(self) -> RunConfig:
        kind, numbers = self.model.kind, self.data.task == "regression"
        if kind is not None and (kind, numbers) in (("logistic", True), ("linear", False)):
            instead = "linear" if numbers else "logistic"
            raise ValueError(f"model.kind {kind} does not predict for task {self.data.task}; use kind {instead}")
        return self

    @model_validator(mode="after")
    def _cases_need_outcomes(self) -> RunConfig:
        if self.audits.edge_cases is not None and self.data.task == "regression":
            raise ValueError(
                "audits.edge_cases names outcomes that must come out, and a regression predicts a number; remove it"
            )
        return self

    @model_validator(mode="after")
    def _attacks_need_a_binary_label(self) -> RunConfig:
        if self.data.task == "binary":
            return self
        if self.audits.canaries is not None or self.audits.shadow_models:
            raise ValueError(
                f"audits.canaries and audits.shadow_models serve attacks on binary decisions, and this is task "
                f"{self.data.task}; remove them"
            )
        return self


def _require_declared(rule: Rule, data: DataConfig) -> None:
    """Refuses a rule about a class, a group or a share that the data section does not declare."""
    attributes = [entry.attribute for entry in data.sensitive]
    audited = [{name} for name in attributes] + [set(names) for names in data.intersections]
    classes = data.label.classes
    if rule.label_class is not None and classes is not None and rule.label_class not in classes:
        raise ValueError(
            f"gate rule {rule.name!r} names class {rule.label_class!r}, which data.label.classes does not"
            f"{did_you_mean(rule.label_class, classes)}"
        )
    named = tuple(rule.slice) or rule.across
    for name in named:
        if name not in attributes:
            raise ValueError(
                f"gate rule {rule.name!r} names {name!r}, which data.sensitive does not declare"
                f"{did_you_mean(name, attributes)}"
            )
    if named and set(named) not in audited:
        raise ValueError(f"gate rule {rule.name!r} needs the intersection {list(named)}; add it to data.intersections")
    if rule.metric == "representation_ratio":
        shares = {entry.attribute: entry.reference or {} for entry in data.sensitive}
        without = [name for name, group in rule.slice.items() if group not in shares[name]]
        if without or len(rule.slice) > 1:
            raise ValueError(f"gate rule {rule.name!r} needs one group with a share in data.sensitive's reference")


def _require_measured(rule: Rule, audits: AuditsConfig) -> None:
    """Refuses a rule about a number that the audits, as they are asked for, do not give."""
    if METRICS[rule.metric].kind is MetricKind.EDGE_CASES and audits.edge_cases is None:
        raise ValueError(f"gate rule {rule.name!r} needs a list of cases; name it under audits.edge_cases")
    if rule.threshold is not None and rule.threshold not in audits.all_thresholds:
        raise ValueError(f"gate rule {rule.name!r} needs threshold {rule.threshold} in audits.thresholds")
