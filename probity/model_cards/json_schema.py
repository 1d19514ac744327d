"""JSON Schema of the model card, generated from the noun."""

from __future__ import annotations

from typing import Any

from probity.card import ModelCard

__all__ = ["card_schema"]


def card_schema() -> dict[str, Any]:
    """Returns the JSON Schema (draft 2020-12) that every ``card.json`` follows.

    It describes what is written: infinities are the strings ``"Infinity"`` and ``"-Infinity"``; no field is left out.
    """
    schema = ModelCard.model_json_schema(mode="serialization", by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:probity:model-card:1",
        "title": "probity model card",
        **{key: value for key, value in schema.items() if key != "title"},
    }
