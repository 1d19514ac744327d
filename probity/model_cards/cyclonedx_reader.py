"""A CycloneDX bill of materials that probity wrote -> what it holds of the card."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from probity.card import CardNumber
from probity.model_cards.cyclonedx import PREFIX, STATEMENTS
from probity.model_cards.published_schemas import CYCLONEDX, problems

__all__ = ["read_cyclonedx"]


def read_cyclonedx(text: str) -> dict[str, Any]:
    """Returns what a bill of materials holds of a card, as part of the card's JSON value.

    Raises:
        ValueError: If it breaks the published schema, or holds no model that probity described.
    """
    value = json.loads(text)
    broken = problems(value, CYCLONEDX)
    if broken:
        raise ValueError(f"no CycloneDX 1.6 document: {broken[0]}")
    model = value["metadata"].get("component", {})
    if "modelCard" not in model:
        raise ValueError("no model card in metadata.component")
    properties = model["modelCard"]["properties"]
    card: dict[str, Any] = {"name": model["name"], "created_at": value["metadata"]["timestamp"]}
    for path, entry in _read_properties(properties):
        _place(card, path, entry)
    for path, entry in _read_properties(value["components"][0]["data"][0]["contents"]["properties"]):
        _place(card, path, entry)
    for path, entry in _read_statements(model):
        _place(card, path, entry)
    for path, numbers in _read_numbers(model["modelCard"], properties).items():
        report = numbers[0]["finding"].split("/")[0]
        _place(card, path, {"kind": "numbers", "report": report, "numbers": numbers})
    reports = model.get("externalReferences", [])
    card["reports"] = {entry["comment"]: f"sha256:{entry['hashes'][0]['content']}" for entry in reports}
    libraries = value["components"][1:]
    _place(card, "details.environment", {entry["name"]: entry["version"] for entry in libraries})
    return card


def _read_properties(properties: list[dict[str, str]]) -> Iterator[tuple[str, Any]]:
    for entry in properties:
        path = entry["name"].removeprefix(PREFIX)
        if path != entry["name"] and not path.startswith("number:") and path != "decision":
            yield path, json.loads(entry["value"])


def _read_statements(model: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    considerations = model["modelCard"]["considerations"]
    told = {path: considerations.get(name) for path, name in STATEMENTS.items()}
    told["ethical_considerations"] = _names(considerations.get("ethicalConsiderations"))
    told["details.owner"] = _names(model.get("authors"))
    told["details.contact"] = _names(model.get("supplier", {}).get("contact"))
    licences = [entry["license"] for entry in model.get("licenses", [])]
    told["details.licence"] = [entry.get("id") or entry["name"] for entry in licences]
    for path, lines in told.items():
        if lines:
            yield path, {"kind": "statement", "text": lines}


def _names(entries: list[dict[str, str]] | None) -> list[str]:
    return [entry["name"] for entry in entries or []]


def _read_numbers(model_card: dict[str, Any], properties: list[dict[str, str]]) -> dict[str, list[dict[str, Any]]]:
    metrics = iter(model_card["quantitativeAnalysis"]["performanceMetrics"])
    found: dict[str, list[dict[str, Any]]] = {}
    for entry in properties:
        path = entry["name"].removeprefix(f"{PREFIX}number:")
        if path == entry["name"]:
            continue
        number = json.loads(entry["value"])
        if "metric" not in number:
            metric = next(metrics)
            ends = metric.get("confidenceInterval", {})
            number |= {"metric": metric["type"], "value": _number(metric["value"])}
            number |= {"lower": _number(ends.get("lowerBound")), "upper": _number(ends.get("upperBound"))}
        found.setdefault(path, []).append(CardNumber.from_json(number).to_json())
    return found


def _number(text: str | None) -> object:
    return text if text is None or text.endswith("Infinity") else json.loads(text)


def _place(card: dict[str, Any], path: str, value: object) -> None:
    *parents, last = path.split(".")
    for key in parents:
        card = card.setdefault(key, {})
    card[last] = value
