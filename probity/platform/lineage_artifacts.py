"""What a finished stage left, as typed artifacts of the lineage: which noun, which digest, which facts about it.

An artifact's digest is the one by which other records cite the noun - the model's digest in a release, the content
digest of the data in a decision - so that a digest found anywhere can be looked up. Facts are names, counts, digests
and verdicts; no data value and nothing marked sensitive is among them, and group names only where a person or the
watch over a released version gave them as a reason, in words that stand in the model's history too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from probity import runs
from probity.data import Dataset
from probity.decision import Check, GateDecision
from probity.digest import digest_json
from probity.findings import AuditReport
from probity.model import TrainedModel
from probity.run_publication import waivers_of
from probity.runs import Receipt, RunFolder
from probity.storage import read_record

__all__ = ["FLOW", "ArtifactRef", "Fact", "Word", "outputs_of", "sources_of"]

Fact = str | int | float

FLOW = (
    "Output",
    "DataFile",
    "Dataset",
    "Examples",
    "Statistics",
    "Schema",
    "Anomalies",
    "EdgeCases",
    "Transform",
    "Canaries",
    "TrainedModel",
    "ScoredRows",
    "AuditReport",
    "ModelCard",
    "GateDecision",
    "Review",
    "Release",
    "EvidenceExpiry",
)
"""The types in the order in which they arise; first ``Output``, whatever a stage unknown to this list leaves."""

_TYPES = {
    runs.DATASET: "Dataset",
    runs.EXAMPLES: "Examples",
    runs.STATISTICS: "Statistics",
    runs.SCHEMA: "Schema",
    runs.SCHEMA_RECORD: "Schema",
    runs.ANOMALIES: "Anomalies",
    runs.EDGE_CASES: "EdgeCases",
    runs.TRANSFORM: "Transform",
    runs.CANARIES: "Canaries",
    runs.MODEL: "TrainedModel",
    runs.SCORED_ROWS: "ScoredRows",
    runs.CARD: "ModelCard",
    runs.DECISION: "GateDecision",
    runs.RELEASE: "Release",
    runs.RELEASE_DECISION: "GateDecision",
}


@dataclass(frozen=True, kw_only=True)
class ArtifactRef:
    """One artifact: what it is, which bytes, where, and what else the audit trail should say about it."""

    type: str
    """One of :data:`FLOW`."""
    digest: str
    """Its identity: equal digests of one type are one artifact."""
    uri: str
    """Relative to the workspace; for a data file, the source as the config gives it."""
    facts: Mapping[str, Fact] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Word:
    """What was said about a run after its stages, and about which of them."""

    stage: str
    """What its execution is called."""
    reference: ArtifactRef
    about: tuple[str, ...]
    """Stages of the run whose outputs it is about, as far as the run has them."""
    reused_from: str | None = None
    """The run that it was said about, if it holds for this one because both have it in common."""


def outputs_of(folder: RunFolder, receipt: Receipt) -> tuple[ArtifactRef, ...]:
    """Returns the artifacts of a finished stage, from its receipt and the published files."""
    grouped: dict[tuple[str, str], dict[str, str]] = {}
    for name, digest in receipt.outputs.items():
        grouped.setdefault(_artifact(name), {})[name] = digest
    return tuple(_reference(folder, kind, place, files) for (kind, place), files in grouped.items())


def sources_of(folder: RunFolder, receipt: Receipt) -> tuple[ArtifactRef, ...]:
    """Returns what a stage read from outside the run: the data file, for the stage that made the dataset."""
    if runs.DATASET not in receipt.outputs:
        return ()
    dataset = folder.dataset()
    facts: dict[str, Fact] = {"format": dataset.source_format}
    return (ArtifactRef(type="DataFile", digest=dataset.source_digest, uri=dataset.source, facts=facts),)


def _artifact(name: str) -> tuple[str, str]:
    """Returns type and place of the artifact that a file belongs to."""
    first, _, rest = name.partition("/")
    if name in _TYPES:
        return _TYPES[name], name if _TYPES[name] != "Schema" else runs.SCHEMA
    if first in _TYPES:
        return _TYPES[first], first
    if first == runs.AUDITS and rest:
        audit = rest.partition("/")[0].removesuffix(".json")
        return "AuditReport", f"{runs.AUDITS}/{audit}.json"
    return "Output", first


def _reference(folder: RunFolder, kind: str, place: str, files: Mapping[str, str]) -> ArtifactRef:
    digest = files.get(place) or digest_json(dict(files))
    facts: dict[str, Fact] = {}
    if kind == "Dataset":
        dataset = folder.dataset()
        digest, facts = dataset.content_digest, dict(_dataset_facts(dataset))
    elif kind == "Examples":
        facts = {f"rows: {split}": entry.num_rows for split, entry in folder.examples().files.items()}
        facts["test_digest"] = folder.examples().files["test"].digest
    elif kind == "Schema":
        facts = {"curated": str(folder.schema().curated).lower()}
        digest = folder.schema().digest
    elif kind == "Anomalies":
        found = folder.anomalies()
        facts = {"errors": len(found.errors), "warnings": len(found.anomalies) - len(found.errors)}
    elif kind == "Transform":
        transform = folder.transform()
        digest = transform.digest
        facts = {"depends_on_private_data": str(transform.depends_on_private_data).lower(), "width": transform.width}
    elif kind == "Canaries":
        canaries = folder.canaries()
        facts = {} if canaries is None else {"rows": canaries.rows_planted, "gradients": canaries.gradients_planted}
    elif kind == "TrainedModel":
        model = folder.model()
        digest, facts = model.digest, dict(_model_facts(model))
    elif kind == "AuditReport":
        report = folder.reports().get(place.removeprefix(f"{runs.AUDITS}/").removesuffix(".json"))
        facts = {} if report is None else dict(_report_facts(report))
    elif kind == "ModelCard":
        digest = files.get(f"{runs.CARD}/card.json", digest)
    elif kind == "GateDecision":
        decision = read_record(folder.path / place, GateDecision)
        digest, facts = decision.record_digest(), dict(_decision_facts(decision, folder))
    elif kind == "Release":
        release = folder.release()
        if release is not None:
            digest = release.record_digest()
            facts = {"model_name": release.model_name, "version": str(release.version), "path": release.path}
            facts["released_at"] = release.released_at
            facts |= {} if release.number is None else {"number": release.number}
    return ArtifactRef(type=kind, digest=digest, uri=f"runs/{folder.id}/{place}", facts=facts)


def _dataset_facts(dataset: Dataset) -> Iterator[tuple[str, Fact]]:
    yield "source", dataset.source
    yield "source_digest", dataset.source_digest
    yield "rows", dataset.num_rows
    yield "privacy_unit", dataset.privacy_unit
    yield "sensitive", ", ".join(attribute.name for attribute in dataset.sensitive) or "none declared"
    yield "licence", dataset.licence or "not stated"


def _model_facts(model: TrainedModel) -> Iterator[tuple[str, Fact]]:
    yield "trainer", model.trainer
    yield "mechanism", json.dumps(model.mechanism.to_json(), sort_keys=True)
    yield "settings", json.dumps(model.settings, sort_keys=True, default=str)
    yield "seed", model.seed
    if model.num_parameters is not None:
        yield "parameters", model.num_parameters
    yield "train_rows", model.num_train_examples
    if model.steps is not None:
        yield "steps", model.steps
    yield "weights", model.weights
    yield "environment", json.dumps(model.environment, sort_keys=True)


def _report_facts(report: AuditReport) -> Iterator[tuple[str, Fact]]:
    yield "audit", report.audit
    yield "status", report.status
    yield "findings", len(report.findings)
    yield "insufficient", sum(finding.evidence == "insufficient" for finding in report.findings)
    statement = report.privacy_statement
    if statement is not None:
        # ML Metadata cannot write an infinity to SQLite, so it is a word here as it is in JSON.
        yield "epsilon", statement.epsilon if math.isfinite(statement.epsilon) else "Infinity"
        yield "delta", statement.delta
        yield "unit", statement.unit
        yield "accountant", statement.accountant


def _reason(check: Check) -> str:
    if check.observed is None:
        return f"{check.required}; nothing observed"
    between = "" if check.lower is None or check.upper is None else f" [{check.lower:.4g}, {check.upper:.4g}]"
    return f"{check.required}; observed {check.observed:.4g}{between}"


def _waived(decision: GateDecision) -> bool:
    return any(check.lifted_by == "waiver" for check in decision.checks)


_WORST_FIRST = ("error", "fail", "insufficient_evidence", "pass")


def _decision_facts(decision: GateDecision, folder: RunFolder) -> Iterator[tuple[str, Fact]]:
    yield "verdict", decision.verdict
    yield "policy", decision.policy
    yield "model", decision.model or "none"
    yield "card", decision.card or "none"
    for check in decision.checks:
        yield f"check: {check.rule}", check.outcome
        if check.outcome != "pass":
            # The gate's own words may name a group; these do not.
            yield f"reason: {check.rule}", _reason(check)
    owners = {sealed.waiver.rule: sealed.waiver.owner for sealed in waivers_of(folder)} if _waived(decision) else {}
    for check in decision.checks:
        if check.lifted_by is not None:
            yield f"lifted: {check.rule}", f"{check.lifted_by} {owners.get(check.rule, '')}".strip()
    yield "held_by", ", ".join(check.rule for check in decision.blocking) or "nothing"
    comparing = {rule.name for rule in folder.config().gate.rules if rule.across}
    outcomes = {check.outcome for check in decision.checks if check.rule in comparing}
    yield "fairness", next((outcome for outcome in _WORST_FIRST if outcome in outcomes), "no rule")
