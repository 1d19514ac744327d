"""The JSON Schema of the config file, with the settings of every installed trainer in it."""

from __future__ import annotations

from typing import Any

from probity.config import RunConfig
from probity.trainers import registry

__all__ = ["config_schema"]


def config_schema() -> dict[str, Any]:
    """Returns a draft 2020-12 schema for editors and for checking configs without running anything."""
    schema = RunConfig.model_json_schema(by_alias=True)
    definitions = schema["$defs"]
    branches = []
    for name in registry.names():
        settings = registry.load(name).settings_type.model_json_schema()
        definitions.update(settings.pop("$defs", {}))
        properties = {"name": {"const": name}, **settings.get("properties", {})}
        branches.append({**settings, "title": name, "properties": properties, "additionalProperties": False})
    definitions["TrainerConfig"] = {"oneOf": branches, "description": "A trainer by name, and its settings."}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
