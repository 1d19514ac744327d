"""The schemas that other projects publish for their cards, and what a document of ours breaks of them."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

__all__ = ["CYCLONEDX", "MODEL_CARD_TOOLKIT", "problems", "spdx_identifiers"]

CYCLONEDX = "bom-1.6.SNAPSHOT.schema.json"
MODEL_CARD_TOOLKIT = "model_card.v0.0.2.schema.json"
_SPDX = "spdx.SNAPSHOT.schema.json"
_REFERRED = (_SPDX, "jsf-0.82.SNAPSHOT.schema.json")
_MOST = 5
"""One mistake can break a schema in many places."""


def problems(document: object, schema: str) -> list[str]:
    """Returns where a JSON value breaks a published schema and which rule it breaks, without the values themselves.

    Args:
        document: The JSON value.
        schema: :data:`CYCLONEDX` or :data:`MODEL_CARD_TOOLKIT`.
    """
    found = sorted(_validator(schema).iter_errors(document), key=lambda error: list(map(str, error.absolute_path)))
    return [f"{error.json_path}: {error.validator}" for error in found[:_MOST]]


@cache
def spdx_identifiers() -> frozenset[str]:
    """Returns the licence identifiers that CycloneDX knows."""
    return frozenset(_read(_SPDX)["enum"])


@cache
def _validator(schema: str) -> Any:
    from jsonschema import Draft7Validator
    from referencing import Registry, Resource

    main = _read(schema)
    # A relative reference starts at the address of the schema that holds it.
    base = str(main["$id"]).rsplit("/", 1)[0]
    known = [(f"{base}/{name}", Resource.from_contents(_read(name))) for name in _REFERRED]
    return Draft7Validator(main, registry=Registry().with_resources(known))


def _read(name: str) -> dict[str, Any]:
    source = files("probity.model_cards").joinpath("published", name)
    value: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
    return value
