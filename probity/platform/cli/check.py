"""``doctor`` and ``schema``: what works here, and what the files look like."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probity.platform.cli.options import JsonOption, WorkspaceOption, quiet, workspace_at

if TYPE_CHECKING:
    from probity.platform.diagnosis import Diagnosis

__all__ = ["doctor", "schema"]


class SchemaKind(StrEnum):
    """What is described: documents by JSON Schema, the model server's REST API by OpenAPI."""

    CONFIG = "config"
    REPORT = "report"
    DECISION = "decision"
    CARD = "card"
    SERVING = "serving"


def doctor(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Say what works here, what does not, and how to mend it. Exit code 2 if something needed is missing.

    Example: probity doctor
    """
    quiet()
    from probity.platform.diagnosis import diagnose

    checks = diagnose(workspace_at(workspace).root)
    if as_json:
        typer.echo(json.dumps([check.to_json() for check in checks], indent=1))
    else:
        for check in checks:
            typer.echo(f"{_mark(check)}  {check.name:<32} {check.found}")
            if not check.works:
                typer.echo(f"      mend it: {check.remedy}")
    if not all(check.works for check in checks if check.needed):
        raise typer.Exit(2)


def _mark(check: Diagnosis) -> str:
    return "ok  " if check.works else "FAIL" if check.needed else "-   "


def schema(kind: Annotated[SchemaKind, typer.Argument(help="What to describe.")]) -> None:
    """Print the JSON Schema of a document, or (serving) the OpenAPI description of the model server's REST API.

    Example: probity schema config > probity.schema.json
    """
    typer.echo(json.dumps(_schema(kind), indent=1))


def _schema(kind: SchemaKind) -> dict[str, Any]:
    if kind is SchemaKind.CONFIG:
        from probity.platform.config_schema import config_schema

        return config_schema()
    if kind is SchemaKind.CARD:
        from probity.model_cards.json_schema import card_schema

        return card_schema()
    if kind is SchemaKind.SERVING:
        from probity.platform.serving.openapi import openapi

        return openapi()
    from probity.decision import GateDecision
    from probity.findings import AuditReport

    noun = AuditReport if kind is SchemaKind.REPORT else GateDecision
    draft = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {**draft, **noun.model_json_schema(mode="serialization")}
