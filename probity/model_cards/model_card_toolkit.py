"""The card as Model Card Toolkit JSON, schema v0.0.2 as the toolkit's last release (2.0.0) ships it.

That schema knows a metric by a type, a value, a slice and an interval: no count, no status, no reference. So a metric's
type is the id of the finding that it repeats, and what was withheld, or rests on insufficient evidence, is not a metric
here but a sentence among the limitations.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from operator import attrgetter
from typing import Any

from probity.card import CardNumber, ModelCard, NotAssessed, Numbers, Statement
from probity.findings import PrivacyStatement, slice_name
from probity.model_cards.federation import federation_words
from probity.model_cards.losses import Loss
from probity.model_cards.publication import Publication
from probity.model_cards.published_schemas import MODEL_CARD_TOOLKIT, problems, spdx_identifiers
from probity.model_cards.wording import table_title

__all__ = ["MODEL_CARD_TOOLKIT_LOSES", "model_card_toolkit_problems", "to_model_card_toolkit"]

_SECTIONS = ("overall", "by_group", "disparities", "clients", "privacy.findings", "privacy.attacks")
_GAPS = (
    "details.owner", "details.contact", "details.licence", "intended_use", "out_of_scope", "limitations", "trade_offs",
    "ethical_considerations", "overall", "by_group", "disparities", "baseline", "mitigation", "individuals",
    "edge_cases", "regulatory", "explanations", "clients", "privacy.statement", "privacy.findings", "privacy.attacks",
    "privacy.cumulative",
)  # fmt: skip

MODEL_CARD_TOOLKIT_LOSES = (
    Loss(path="overall.numbers", why="counts, methods, confidence, direction and status have no place in v0.0.2"),
    Loss(path="by_group.numbers", why="the same; withheld numbers are counted in words"),
    Loss(path="disparities.numbers", why="the same; numbers on insufficient evidence are counted in words"),
    Loss(path="federation", why="stands in the overview in words; whatever was separate or not has no place in v0.0.2"),
    Loss(path="clients.numbers", why="as those of the other sections"),
    Loss(path="privacy", why="the statement stands in the overview in words; the rest has no place in v0.0.2"),
    Loss(path="explanations", why="no place in v0.0.2"),
    Loss(path="individuals", why="no place in v0.0.2"),
    Loss(path="edge_cases", why="no place in v0.0.2"),
    Loss(path="regulatory", why="no place in v0.0.2"),
    Loss(path="baseline", why="no place in v0.0.2"),
    Loss(path="mitigation", why="no place in v0.0.2"),
    Loss(path="factors", why="attributes stand as the sensitive data of the data set"),
    Loss(path="metrics", why="no place in v0.0.2"),
    Loss(path="reports", why="no place in v0.0.2"),
    Loss(path="risks", why="no place in v0.0.2"),
    Loss(path="contacts", why="no place in v0.0.2"),
    Loss(path="registry", why="no place in v0.0.2"),
)
"""What a reader of this form does not learn. It is not read back."""


def to_model_card_toolkit(publication: Publication) -> str:
    """Returns Model Card Toolkit JSON."""
    card = publication.card
    value = {
        "schema_version": "0.0.2",
        "model_details": _details(publication),
        "model_parameters": {
            "model_architecture": ", ".join(f"{name} {value}" for name, value in card.details.architecture.items()),
            "data": [_data(card)],
            "input_format": ", ".join(card.data.features),
            "output_format": "scores of shape (batch, 1)" if card.metrics.task != "multiclass" else "scores by class",
        },
        "quantitative_analysis": {"performance_metrics": [_metric(number) for number in _metrics(card)]},
        "considerations": {
            "use_cases": _described(card.intended_use),
            "limitations": [*_described(card.limitations), *({"description": line} for line in _gaps(card))],
            "tradeoffs": _described(card.trade_offs),
            "ethical_considerations": [{"name": line} for line in _lines(card.ethical_considerations)],
        },
    }
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def model_card_toolkit_problems(text: str) -> list[str]:
    """Returns where a document breaks the published schema v0.0.2."""
    return problems(json.loads(text), MODEL_CARD_TOOLKIT)


def _details(publication: Publication) -> dict[str, Any]:
    card = publication.card
    details = card.details
    owner, contact = " ".join(_lines(details.owner)), " ".join(_lines(details.contact))
    known = spdx_identifiers()
    decision = publication.decision
    verdict = "" if decision is None else f" The gate says {decision.verdict}."
    trained = "" if card.federation is None else f" {federation_words(card.federation)}"
    return {
        "name": card.name,
        "overview": f"Trained by {details.trainer}; run {card.run}.{verdict}{trained} {_privacy(card)}".strip(),
        "documentation": "\n".join(_lines(card.out_of_scope)),
        "owners": [{key: text for key, text in (("name", owner), ("contact", contact)) if text}],
        "version": {"name": publication.version, "date": card.created_at[:10]},
        "licenses": [{"identifier" if line in known else "custom_text": line} for line in _lines(card.details.licence)],
        "references": [{"reference": f"urn:probity:model:{details.digests['model']}"}] if details.digests else [],
        "citations": [{"citation": line} for line in _lines(card.data.citation)],
    }


def _privacy(card: ModelCard) -> str:
    statement = card.privacy.statement
    return statement.text if isinstance(statement, PrivacyStatement) else f"Privacy not assessed: {statement.reason}."


def _data(card: ModelCard) -> dict[str, Any]:
    data = card.data
    words = [f"{data.num_rows:,} rows, {', '.join(f'{name} {rows:,}' for name, rows in data.split_rows.items())}"]
    words += [data.content_digest, *_lines(data.caveats)]
    return {
        "name": data.name,
        "sensitive": {"sensitive_data": [entry.column for entry in card.factors.attributes]},
        "description": "; ".join(words),
    }


def _metrics(card: ModelCard) -> Iterator[CardNumber]:
    for path in _SECTIONS:
        part = attrgetter(path)(card)
        if isinstance(part, Numbers):
            yield from (number for number in part.numbers if number.status == "measured")


def _metric(number: CardNumber) -> dict[str, Any]:
    value = number.to_json()
    where = slice_name(number.slice) if number.slice or not number.across else table_title(number.across)
    metric: dict[str, Any] = {"type": number.finding, "value": str(value["value"]), "slice": where}
    if number.lower is not None and number.upper is not None:
        ends = {"lower_bound": str(value["lower"]), "upper_bound": str(value["upper"])}
        metric["confidence_interval"] = ends
    return metric


def _gaps(card: ModelCard) -> Iterator[str]:
    for path in _GAPS:
        part = attrgetter(path)(card)
        if isinstance(part, NotAssessed):
            yield f"{path} not assessed: {part.reason}"
    unpublished = [number for number in card.numbers() if number.status != "measured"]
    if unpublished:
        yield (
            f"{len(unpublished)} numbers are withheld because they speak of too few rows, or rest on insufficient "
            "evidence; the JSON card names each"
        )
    yield from card.publication_notes


def _described(part: Statement | NotAssessed) -> list[dict[str, str]]:
    return [{"description": line} for line in _lines(part)]


def _lines(part: Statement | NotAssessed) -> tuple[str, ...]:
    return part.text if isinstance(part, Statement) else ()
