"""The card as a CycloneDX 1.6 bill of materials: the model with its ``modelCard``, its data and its libraries.

CycloneDX's Python library has no class for ``modelCard``, so the JSON is written here and checked against the published
schema. What CycloneDX has a place for stands there. What it has none for stands in ``properties``, which is where the
standard puts it, as ``probity:<path in the card>`` with a JSON value; among these is the rest of every number, with the
id of its finding. Gaps stand there too.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from importlib.metadata import version
from operator import attrgetter
from typing import Any

from probity.card import CardNumber, ModelCard, NotAssessed, Numbers, Statement
from probity.findings import slice_name
from probity.model_cards.losses import Loss
from probity.model_cards.publication import Publication
from probity.model_cards.published_schemas import CYCLONEDX, problems, spdx_identifiers
from probity.model_cards.wording import mitigation_words

__all__ = ["CYCLONEDX_LOSES", "PREFIX", "STATEMENTS", "cyclonedx_problems", "to_cyclonedx"]

PREFIX = "probity:"
_SECTIONS = ("overall", "by_group", "disparities", "clients", "privacy.findings", "privacy.attacks")
"""Sections whose numbers are performance metrics."""
_ELSEWHERE = (
    "baseline", "mitigation", "edge_cases", "individuals", "regulatory", "explanations", "data.findings",
    "factors.proxies",
)  # fmt: skip
"""Sections whose numbers are not carried; their gaps are."""
STATEMENTS = {
    "intended_use": "useCases",
    "limitations": "technicalLimitations",
    "trade_offs": "performanceTradeoffs",
}
"""What the owner said, and the list of ``considerations`` that it stands in."""
_PROPERTIES = (
    "schema_version", "run", "subject", "confidence", "min_group_size", "publication_notes", "out_of_scope",
    "harm_reports", "risks", "contacts", "registry", "metrics", "factors.attributes", "factors.intersections",
    "privacy.statement", "privacy.cumulative", "privacy.canaries", "privacy.trust", "details.trainer",
    "details.mechanism", "details.architecture", "details.num_parameters", "details.num_train_examples",
    "details.steps", "details.epochs", "details.best_epoch", "details.seed", "details.digests", "details.warnings",
    "details.mitigation", "federation",
)  # fmt: skip
"""Parts of the card that have no place in CycloneDX, carried as properties."""


def _is_measured(section: dict[str, Any], card: dict[str, Any]) -> bool:
    return bool(section["kind"] == "numbers")


CYCLONEDX_LOSES = (
    *(
        Loss(path=path, why="numbers about the data and of single columns; the JSON card has them", which=_is_measured)
        for path in _ELSEWHERE
    ),
    *(
        Loss(path=f"{path}.notes", why="what a report says about its numbers; the JSON card has it")
        for path in _SECTIONS
    ),
)
"""What :func:`probity.model_cards.cyclonedx_reader.read_cyclonedx` does not give back."""


def to_cyclonedx(publication: Publication) -> str:
    """Returns the bill of materials as JSON text; equal publications give equal text."""
    card = publication.card
    value = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, card.record_digest()).urn,
        "version": 1,
        "metadata": {
            "timestamp": card.created_at,
            "tools": {"components": [{"type": "application", "name": "probity", "version": version("probity")}]},
            "component": _model(publication),
        },
        "components": [_data(card), *_libraries(card)],
        "dependencies": [{"ref": "model", "dependsOn": ["data"]}],
    }
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def cyclonedx_problems(text: str) -> list[str]:
    """Returns where a bill of materials breaks the published schema of CycloneDX 1.6."""
    return problems(json.loads(text), CYCLONEDX)


def _model(publication: Publication) -> dict[str, Any]:
    card = publication.card
    details = card.details
    model: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": card.name,
        "version": publication.version,
        "hashes": [_hash(details.digests["model"])] if "model" in details.digests else [],
        "modelCard": _model_card(publication),
        "externalReferences": [
            {"type": "evidence", "url": f"urn:probity:report:{digest}", "comment": name, "hashes": [_hash(digest)]}
            for name, digest in card.reports.items()
        ],
    }
    if isinstance(details.owner, Statement):
        model["authors"] = [{"name": line} for line in details.owner.text]
    if isinstance(details.contact, Statement):
        model["supplier"] = {"contact": [{"name": line} for line in details.contact.text]}
    if isinstance(details.licence, Statement):
        known = spdx_identifiers()
        model["licenses"] = [{"license": {"id" if line in known else "name": line}} for line in details.licence.text]
    return model


def _model_card(publication: Publication) -> dict[str, Any]:
    card = publication.card
    numbers = [number for _, number in _numbers(card)]
    analysis: dict[str, Any] = {"performanceMetrics": [_metric(n) for n in numbers if n.value is not None]}
    if publication.pictures:
        analysis["graphics"] = {
            "collection": [
                {"name": picture.title, "image": _attachment(picture.svg)} for picture in publication.pictures
            ]
        }
    return {
        "bom-ref": "model-card",
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": card.metrics.task,
            "architectureFamily": card.details.architecture.get("kind", "not known"),
            "datasets": [{"ref": "data"}],
            "inputs": [{"format": f"column {name}"} for name in card.data.features],
            "outputs": [{"format": "scores"}],
        },
        "quantitativeAnalysis": analysis,
        "considerations": _considerations(card),
        "properties": [*_properties(card), *_decision(publication), *_number_properties(card)],
    }


def _considerations(card: ModelCard) -> dict[str, Any]:
    said = {path: getattr(card, path) for path in STATEMENTS}
    value: dict[str, Any] = {
        STATEMENTS[path]: list(part.text) for path, part in said.items() if isinstance(part, Statement)
    }
    if isinstance(card.ethical_considerations, Statement):
        value["ethicalConsiderations"] = [{"name": line} for line in card.ethical_considerations.text]
    mitigation = card.details.mitigation
    value["fairnessAssessments"] = [
        {
            "groupAtRisk": f"{entry.name}: {', '.join(entry.groups)}",
            **(
                {"mitigationStrategy": "; ".join(mitigation_words(mitigation))}
                if mitigation is not None and entry.name in mitigation.across
                else {}
            ),
        }
        for entry in card.factors.attributes
    ]
    return value


def _metric(number: CardNumber) -> dict[str, Any]:
    value = number.to_json()
    metric: dict[str, Any] = {
        "type": number.metric,
        "value": _text(value["value"]),
        "slice": slice_name(number.slice) if number.slice or not number.across else "*".join(number.across),
    }
    if number.lower is not None and number.upper is not None:
        ends = {"lowerBound": _text(value["lower"]), "upperBound": _text(value["upper"])}
        metric["confidenceInterval"] = ends
    return metric


def _number_properties(card: ModelCard) -> Iterator[dict[str, str]]:
    """Yields, in the order of the metrics, what of each number a metric has no place for; one without a value whole."""
    for path, number in _numbers(card):
        value = number.to_json()
        told = ("metric", "value", "lower", "upper") if number.value is not None else ()
        rest = {key: entry for key, entry in value.items() if key not in told and entry not in (None, [], {})}
        yield _property(f"number:{path}", rest)


def _properties(card: ModelCard) -> Iterator[dict[str, str]]:
    value = card.to_json()
    for path in _PROPERTIES:
        yield _property(path, _at(value, path))
    told = (*STATEMENTS, "ethical_considerations", "details.owner", "details.contact", "details.licence")
    for path in (*told, *_SECTIONS, *_ELSEWHERE):
        if isinstance(attrgetter(path)(card), NotAssessed):
            yield _property(path, _at(value, path))


def _decision(publication: Publication) -> Iterator[dict[str, str]]:
    decision = publication.decision
    if decision is not None:
        yield _property("decision", {"verdict": decision.verdict, "digest": decision.record_digest()})


def _data(card: ModelCard) -> dict[str, Any]:
    value = card.data.to_json()
    properties = [_property(f"data.{name}", entry) for name, entry in value.items() if name != "findings"]
    return {
        "type": "data",
        "bom-ref": "data",
        "name": card.data.name,
        "hashes": [_hash(card.data.content_digest)],
        "data": [
            {
                "type": "dataset",
                "name": card.data.name,
                "contents": {"properties": properties},
                "sensitiveData": [entry.column for entry in card.factors.attributes],
            }
        ],
    }


def _libraries(card: ModelCard) -> Iterator[dict[str, str]]:
    for name, installed in card.details.environment.items():
        yield {"type": "platform" if name == "python" else "library", "name": name, "version": installed}


def _numbers(card: ModelCard) -> Iterator[tuple[str, CardNumber]]:
    for path in _SECTIONS:
        part = attrgetter(path)(card)
        if isinstance(part, Numbers):
            yield from ((path, number) for number in part.numbers)


def _property(path: str, value: object) -> dict[str, str]:
    return {"name": f"{PREFIX}{path}", "value": json.dumps(value, ensure_ascii=False, sort_keys=True)}


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _hash(digest: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": digest.removeprefix("sha256:")}


def _attachment(svg: str) -> dict[str, str]:
    content = base64.b64encode(svg.encode()).decode("ascii")
    return {"contentType": "image/svg+xml", "encoding": "base64", "content": content}


def _at(value: dict[str, Any], path: str) -> Any:
    for key in path.split("."):
        value = value[key]
    return value
