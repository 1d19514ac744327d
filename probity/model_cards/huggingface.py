"""The card as a README of the Hugging Face Hub: a metadata block with a model index, and the Markdown card below it.

The block is built and parsed by ``huggingface_hub`` itself, so it is what the Hub's own library understands. Numbers
over all rows, of groups and of comparisons stand in the model index at the decision threshold, each with its interval
and the id of its finding; every other word and number is in the text.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from probity.card import CardNumber, ModelCard, NotAssessed, Numbers
from probity.model_cards.losses import Loss
from probity.model_cards.publication import Publication
from probity.model_cards.render import to_markdown
from probity.model_cards.wording import comparison_title, metric_title, table_title

__all__ = ["HUGGING_FACE_LOSES", "huggingface_problems", "read_huggingface", "to_huggingface"]

_SECTIONS = ("overall", "by_group", "disparities", "clients", "privacy.findings")
"""Sections whose numbers stand in the model index."""
_HEAD = ("name", "run", "created_at", "subject", "reports", "confidence", "min_group_size")
"""Fields of the card that stand in the block as they are."""
_OURS = "probity"
"""Key of the block under which they stand; the Hub ignores keys that it does not know."""
_LICENCES = frozenset({
    "apache-2.0", "mit", "openrail", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "cc", "cc0-1.0",
    "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "cc-by-nd-4.0", "afl-3.0",
    "agpl-3.0", "artistic-2.0", "bsl-1.0", "ecl-2.0", "epl-1.0", "epl-2.0", "eupl-1.1", "eupl-1.2", "gpl", "gpl-2.0",
    "gpl-3.0", "isc", "lgpl", "lgpl-2.1", "lgpl-3.0", "mpl-2.0", "ms-pl", "ncsa", "odbl", "osl-3.0", "postgresql",
    "unlicense", "wtfpl", "zlib",
})  # fmt: skip
"""Licences that the Hub knows by name (its documentation, "Licenses"); any other is ``other`` with a name."""
_IN_THE_TEXT = "no place in the Hub's metadata; printed in the text"


_ONLY_IN_THE_TEXT = (
    "schema_version", "publication_notes", "intended_use", "out_of_scope", "factors", "metrics", "data", "baseline",
    "mitigation", "individuals", "regulatory", "explanations", "limitations", "trade_offs", "ethical_considerations",
    "edge_cases", "harm_reports", "risks", "contacts", "registry", "details", "federation", "privacy.statement",
    "privacy.cumulative", "privacy.attacks", "privacy.canaries", "privacy.trust",
)  # fmt: skip


def _has_no_result(number: dict[str, Any], card: dict[str, Any]) -> bool:
    """Whether a number is not in the model index: it has no value, or is a rate at a threshold that is not served."""
    return number["value"] is None or number["threshold"] not in (None, card["metrics"]["decision_threshold"])


HUGGING_FACE_LOSES = (
    *(
        Loss(
            path=f"{section}.numbers",
            why="a result of the model index has a value, and the Hub shows one decision: printed in the text",
            which=_has_no_result,
        )
        for section in _SECTIONS
    ),
    *(Loss(path=f"{section}.notes", why=_IN_THE_TEXT) for section in _SECTIONS),
    *(Loss(path=path, why=_IN_THE_TEXT) for path in _ONLY_IN_THE_TEXT),
)
"""What :func:`read_huggingface` does not give back."""


def to_huggingface(publication: Publication) -> str:
    """Returns the text of a ``README.md`` for the Hub."""
    from huggingface_hub import ModelCardData

    card = publication.card
    data = ModelCardData(
        model_name=card.name,
        eval_results=[_result(card, path, number) for path, number in _numbers(card) if _is_result(card, number)]
        or None,
        pipeline_tag=_task(card),
        tags=["tabular", "tensorflow", "probity", card.details.trainer],
        **_licence(card),
        **{_OURS: _head(publication)},
    )
    return f"---\n{data.to_yaml()}\n---\n\n{to_markdown(publication)}"


def read_huggingface(text: str) -> dict[str, Any]:
    """Returns what the metadata block holds of a card, as part of the card's JSON value.

    Raises:
        ValueError: If it is no card of the Hub, or not one of ours.
    """
    data = _parsed(text).data
    ours = getattr(data, _OURS, None)
    if not isinstance(ours, dict):
        raise ValueError("no block of metadata that probity wrote")
    card: dict[str, Any] = {name: ours[name] for name in _HEAD}
    for path, gap in ours["gaps"].items():
        _place(card, path, gap)
    for result in data.eval_results or []:
        arguments = dict(result.metric_args)
        path = arguments.pop("section")
        number = {"metric": result.metric_type, "value": result.metric_value, **arguments}
        section = _place(card, path, {"kind": "numbers", "report": number["finding"].split("/")[0], "numbers": []})
        section["numbers"].append(CardNumber.from_json(number).to_json())
    return card


def huggingface_problems(text: str) -> list[str]:
    """Returns why ``huggingface_hub`` does not accept a README, or nothing. The Hub itself checks again when asked."""
    try:
        data = _parsed(text).data
    except ValueError as error:
        return [f"metadata: {type(error).__name__}"]
    index = data.to_dict().get("model-index")
    return [] if index is None or index[0]["name"] else ["model-index: no name"]


def _parsed(text: str) -> Any:
    from huggingface_hub import ModelCard as HubCard

    return HubCard(text)


def _numbers(card: ModelCard) -> list[tuple[str, CardNumber]]:
    parts = {path: attrgetter(path)(card) for path in _SECTIONS}
    return [(path, number) for path, part in parts.items() if isinstance(part, Numbers) for number in part.numbers]


def _is_result(card: ModelCard, number: CardNumber) -> bool:
    return number.value is not None and number.threshold in (None, card.metrics.decision_threshold)


def _result(card: ModelCard, path: str, number: CardNumber) -> Any:
    from huggingface_hub import EvalResult

    value = number.to_json()
    rest = {
        key: entry for key, entry in value.items() if key not in ("metric", "value") and entry not in (None, [], {})
    }
    words = [metric_title(number.metric), comparison_title(number)]
    return EvalResult(
        task_type=_task(card),
        dataset_type=card.data.name,
        dataset_name=card.data.name,
        dataset_split="test",
        dataset_revision=card.data.content_digest,
        metric_type=number.metric,
        metric_value=value["value"],
        metric_name=", ".join([" ".join(word for word in words if word), *_where(number)]),
        metric_args={"section": path, **rest},
    )


def _where(number: CardNumber) -> list[str]:
    groups = [f"{name} = {group}" for name, group in number.slice.items()]
    return groups or ([table_title(number.across)] if number.across else [])


def _task(card: ModelCard) -> str:
    return "tabular-regression" if card.metrics.task == "regression" else "tabular-classification"


def _licence(card: ModelCard) -> dict[str, str]:
    licence = card.details.licence
    if isinstance(licence, NotAssessed):
        return {}
    known = " ".join(licence.text).lower()
    return {"license": known} if known in _LICENCES else {"license": "other", "license_name": " ".join(licence.text)}


def _head(publication: Publication) -> dict[str, Any]:
    value = publication.card.to_json()
    sections = {path: attrgetter(path)(publication.card) for path in _SECTIONS}
    gaps = {path: part.to_json() for path, part in sections.items() if isinstance(part, NotAssessed)}
    decision = publication.decision
    return {
        **{name: value[name] for name in _HEAD},
        "version": publication.version,
        "verdict": decision.verdict if decision is not None else None,
        "gaps": gaps,
    }


def _place(card: dict[str, Any], path: str, value: dict[str, Any]) -> dict[str, Any]:
    """Puts a part where its path says, unless there is one, and returns what is there."""
    *parents, last = path.split(".")
    for key in parents:
        card = card.setdefault(key, {})
    placed: dict[str, Any] = card.setdefault(last, value)
    return placed
