"""``AuditReport``s -> ``ModelCard``: every number is copied from a finding; none is computed here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping

from probity.canaries import Canaries
from probity.card import (
    CumulativeSpending,
    DataFacts,
    Definition,
    Factors,
    MetricsChoice,
    ModelCard,
    ModelDetails,
    NotAssessed,
    Numbers,
    PrivacySection,
    RiskAnswer,
    SchemaDeparture,
    Statement,
)
from probity.config import RunConfig
from probity.data import Anomalies, Dataset, Schema, Transform
from probity.findings import AuditReport, Finding, Subject
from probity.metric import METRICS
from probity.model import TrainedModel
from probity.model_cards.disclosure import Disclosure, disclosure_of
from probity.model_cards.federation import federation_facts
from probity.model_cards.trust import trust_rows
from probity.owner import RiskAnswers

__all__ = ["compose"]

_Gap = Statement | NotAssessed
_APART = ("mitigation",)
"""Settings that have a line of their own in the card."""


def compose(
    *,
    run: str,
    created_at: str,
    config: RunConfig,
    dataset: Dataset,
    split_rows: dict[str, int],
    schema: Schema,
    anomalies: Anomalies,
    transform: Transform,
    model: TrainedModel,
    reports: Mapping[str, AuditReport],
    cumulative: CumulativeSpending | None = None,
    canaries: Canaries | None = None,
) -> ModelCard:
    """Composes the card of one run.

    Guarantees: a report that is missing, failed, not applicable, or speaks of another model or other rows becomes a
    ``NotAssessed`` with the reason; numbers of small groups are withheld as :mod:`probity.model_cards.disclosure`
    says; equal arguments give an equal card.

    Args:
        run: Id of the run.
        created_at: UTC, ISO 8601.
        config: What was asked: the owner's statements, thresholds and gate rules.
        dataset: The data and its roles.
        split_rows: Rows per split.
        schema: The schema that the data was checked against.
        anomalies: What the check found.
        transform: Layout and constants of the transform graph.
        model: The trained model.
        reports: Reports by name of the audit: ``performance``, ``fairness``, ``privacy``, ``explanations``, ``data``,
            ``baseline``, ``attacks``, ``mitigation``, ``individuals``, ``regulatory``, ``federation``,
            ``edge_cases``.
        cumulative: What all trainings on the data spent together, if a ledger was read.
        canaries: What was planted in the training, if anything.
    """
    subject = _subject(model, reports)
    disclosure = disclosure_of(reports, minimum=config.audits.min_group_size)
    source = _Source(reports, subject=subject, model=model, disclosure=disclosure)
    return ModelCard(
        name=config.name,
        run=run,
        created_at=created_at,
        subject=subject,
        reports={name: reports[name].record_digest() for name in sorted(reports)},
        confidence=config.audits.confidence,
        min_group_size=config.audits.min_group_size,
        publication_notes=disclosure.notes(),
        details=_details(config, dataset, schema, model),
        intended_use=_said(config.card.intended_use, "card.intended_use"),
        out_of_scope=_said(config.card.out_of_scope, "card.out_of_scope"),
        factors=Factors(
            attributes=dataset.sensitive,
            intersections=dataset.intersections,
            proxies=source.proxies(),
        ),
        metrics=_metrics(config, reports),
        data=_data(dataset, split_rows, schema, anomalies, transform, model, source.numbers("data", _is_no_proxy)),
        overall=source.numbers("performance", lambda finding: not finding.slice),
        by_group=source.numbers("performance", lambda finding: bool(finding.slice)),
        disparities=source.numbers("fairness", _is_no_proxy),
        baseline=source.numbers("baseline"),
        mitigation=source.numbers("mitigation"),
        edge_cases=source.numbers("edge_cases")
        if "edge_cases" in reports
        else NotAssessed(reason="nobody named edge cases for this run"),
        federation=federation_facts(model, transform),
        clients=source.numbers("federation"),
        privacy=_privacy(model, transform, reports, source, cumulative, canaries),
        explanations=source.numbers("explanations"),
        individuals=source.numbers("individuals", lambda finding: not finding.slice),
        regulatory=source.numbers("regulatory", _is_of_a_rule),
        limitations=_said(config.card.limitations, "card.limitations"),
        trade_offs=_said(config.card.trade_offs, "card.trade_offs"),
        ethical_considerations=_said(config.card.ethical_considerations, "card.ethical_considerations"),
        harm_reports=_said(config.card.harm_reports, "card.harm_reports"),
        risks=tuple(_risks(config.card.risks)),
        contacts=config.card.contacts,
        registry=config.card.registry,
    )


class _Source:
    """The reports as the card may use them: those about this model and these rows, in their public form."""

    def __init__(
        self,
        reports: Mapping[str, AuditReport],
        *,
        subject: Subject | None,
        model: TrainedModel,
        disclosure: Disclosure,
    ) -> None:
        self._reports = reports
        self._subject = subject
        self._model = model
        self._disclosure = disclosure

    def gap(self, name: str) -> NotAssessed | None:
        """Returns why a report cannot be used, or ``None`` if it can."""
        report = self._reports.get(name)
        if report is None:
            return NotAssessed(reason=f"this run has no report of the audit {name}")
        if report.status != "complete":
            state = "failed" if report.status == "failed" else "is not applicable"
            notes = " ".join(self._disclosure.publish_note(reason) for reason in report.reasons)
            return NotAssessed(reason=f"the audit {name} {state}: {notes}")
        if report.subject.model not in (None, self._model.digest):
            return NotAssessed(reason=f"the report of the audit {name} speaks of another model")
        if self._subject is not None and report.subject.examples != self._subject.examples:
            return NotAssessed(reason=f"the report of the audit {name} speaks of other test rows")
        return None

    def numbers(self, name: str, wanted: Callable[[Finding], bool] = lambda finding: True) -> Numbers | NotAssessed:
        """Returns the wanted numbers of a report."""
        gap = self.gap(name)
        if gap is not None:
            return gap
        report = self._reports[name]
        found = tuple(self._disclosure.publish(finding) for finding in report.findings if wanted(finding))
        if not found:
            return NotAssessed(reason=f"the audit {name} found nothing to report here")
        notes = tuple(dict.fromkeys(self._disclosure.publish_note(reason) for reason in report.reasons))
        return Numbers(report=name, numbers=found, notes=notes)

    def proxies(self) -> Numbers | NotAssessed:
        """Returns the proxy strengths, from whichever audit measured them."""
        measuring = [
            name
            for name, report in self._reports.items()
            if any(finding.metric == "proxy_strength" for finding in report.findings)
        ]
        name = measuring[0] if measuring else "data"
        found = self.numbers(name, lambda finding: finding.metric == "proxy_strength")
        # The report's notes are printed where its other numbers are.
        return found.model_copy(update={"notes": ()}) if isinstance(found, Numbers) else found


def _is_of_a_rule(finding: Finding) -> bool:
    """Whether a finding of the regulatory tables is printed on the card; the page beside the report prints all."""
    return finding.metric in ("favourable_rate", "impact_ratio", "verified_reason_rate")


def _is_no_proxy(finding: Finding) -> bool:
    """Whether a finding is printed where its report is, and not among the factors."""
    return finding.metric != "proxy_strength"


def _subject(model: TrainedModel, reports: Mapping[str, AuditReport]) -> Subject | None:
    """Returns what the card speaks of: the model, and the test rows that the first report about it names."""
    for name in ("performance", "fairness", *sorted(reports)):
        report = reports.get(name)
        if report is not None and report.subject.model == model.digest:
            return Subject(model=model.digest, examples=report.subject.examples)
    return None


def _said(text: str | tuple[str, ...] | None, key: str) -> _Gap:
    lines = (text,) if isinstance(text, str) else text or ()
    lines = tuple(line for line in lines if line.strip())
    return Statement(text=lines) if lines else NotAssessed(reason=f"the owner said nothing under {key}")


def _risks(answers: RiskAnswers) -> Iterator[RiskAnswer]:
    """Yields every question with its answer or the gap; the questions are those of the config's reference."""
    for topic, field in RiskAnswers.model_fields.items():
        answer = _said(getattr(answers, topic), f"card.risks.{topic}")
        yield RiskAnswer(topic=topic, question=field.description or topic, answer=answer)


def _details(config: RunConfig, dataset: Dataset, schema: Schema, model: TrainedModel) -> ModelDetails:
    elsewhere = model.mechanism.kind == "unknown"
    kind = "not known: the model was trained elsewhere" if elsewhere else config.model.kind
    architecture: dict[str, str] = {"kind": kind or "the owner's build_model function"}
    if config.model.kind == "mlp" and not elsewhere:
        architecture["hidden units"] = ", ".join(str(units) for units in config.model.hidden)
        architecture["dropout"] = f"{config.model.dropout:g}"
    architecture |= {name: _plain(value) for name, value in sorted(model.settings.items()) if name not in _APART}
    return ModelDetails(
        owner=_said(config.card.owner, "card.owner"),
        contact=_said(config.card.contact, "card.contact"),
        licence=_said(config.card.licence, "card.licence"),
        trainer=model.trainer,
        mechanism=model.mechanism,
        architecture=architecture,
        num_parameters=model.num_parameters,
        num_train_examples=model.num_train_examples,
        steps=model.steps,
        epochs=model.epochs,
        best_epoch=model.best_epoch,
        seed=model.seed,
        digests={
            "model": model.digest,
            "weights": model.weights,
            "transform": model.transform,
            "training examples": model.train_examples,
            "data": dataset.content_digest,
            "schema": schema.digest,
        },
        environment=model.environment,
        warnings=model.warnings,
        mitigation=model.mitigation,
    )


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def _metrics(config: RunConfig, reports: Mapping[str, AuditReport]) -> MetricsChoice:
    used = {finding.metric for report in reports.values() for finding in report.findings}
    return MetricsChoice(
        task=config.data.task,
        decision_threshold=config.audits.decision_threshold,
        thresholds=config.audits.all_thresholds,
        confidence=config.audits.confidence,
        favourable_outcome=config.data.favourable_outcome,
        definitions=tuple(
            Definition(metric=entry.name, definition=entry.definition_for(config.data.task), direction=entry.direction)
            for entry in METRICS.values()
            if entry.name in used
        ),
        fairness_definition=_said(config.card.fairness_definition, "card.fairness_definition"),
        tolerances=config.gate.rules,
    )


def _data(
    dataset: Dataset,
    split_rows: dict[str, int],
    schema: Schema,
    anomalies: Anomalies,
    transform: Transform,
    model: TrainedModel,
    findings: Numbers | NotAssessed,
) -> DataFacts:
    served = () if model.mitigation is None else model.mitigation.served_columns
    return DataFacts(
        name=dataset.name,
        source=dataset.source,
        source_format=dataset.source_format,
        source_digest=dataset.source_digest,
        content_digest=dataset.content_digest,
        num_rows=dataset.num_rows,
        split_rows=split_rows,
        split_rule=dataset.split_rule,
        label=dataset.label,
        positive=dataset.positive,
        classes=dataset.classes,
        favourable=dataset.favourable,
        features=tuple(column.name for column in dataset.features),
        audited_only=tuple(
            entry.column for entry in dataset.sensitive if not entry.also_feature and entry.column not in served
        ),
        excluded=dataset.excluded,
        privacy_unit=dataset.privacy_unit,
        schema_curated=schema.curated,
        departures=tuple(
            SchemaDeparture(split=entry.split, feature=entry.feature, severity=entry.severity, reason=entry.reason)
            for entry in anomalies.anomalies
        ),
        constants=transform.constants,
        user_transform=transform.module,
        licence=_said(dataset.licence, "data.licence"),
        citation=_said(dataset.citation, "data.citation"),
        caveats=_said(dataset.caveats, "data.caveats"),
        findings=findings,
    )


def _privacy(
    model: TrainedModel,
    transform: Transform,
    reports: Mapping[str, AuditReport],
    source: _Source,
    cumulative: CumulativeSpending | None,
    canaries: Canaries | None,
) -> PrivacySection:
    statement = reports["privacy"].privacy_statement if "privacy" in reports else None
    gap = source.gap("privacy") or NotAssessed(reason="the report of the audit privacy holds no statement")
    usable = source.gap("privacy") is None
    attacks = source.numbers("attacks")
    if "attacks" not in reports:
        attacks = NotAssessed(reason="no privacy attack, such as membership inference, was run against this model")
    return PrivacySection(
        statement=statement if usable and statement is not None else gap,
        findings=source.numbers("privacy"),
        cumulative=cumulative
        or NotAssessed(
            reason="this card speaks of one training run; what all models trained on the same data, this one and "
            "earlier ones, reveal together was not added up"
        ),
        attacks=attacks,
        canaries=canaries,
        trust=tuple(trust_rows(model, transform)),
    )
