"""The REST API as an OpenAPI document: for generated clients, gateways, and tests that send what it does not allow.

It describes what TensorFlow Serving's documentation says of every model. What a model's inputs are called, and of which
type they are, is in the answer of ``/metadata``.

References: "RESTful API" of TensorFlow Serving's documentation; OpenAPI Specification 3.1.0.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

__all__ = ["openapi"]

_PLACES = {"": (), "/versions/{version}": ("version",), "/labels/{label}": ("label",)}
_PARAMETERS: dict[str, dict[str, Any]] = {
    "model": {"description": "The model's name.", "schema": {"type": "string", "minLength": 1}},
    "version": {"description": "A version of it.", "schema": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}},
    "label": {"description": "The label of a version.", "schema": {"type": "string", "minLength": 1}},
}
_REFUSALS = {
    "400": "The request cannot be read, or does not fit the model.",
    "404": "There is no such model, or no such version of it.",
    "408": "The body did not arrive in time.",
    "413": "The body is too large.",
    "429": "Too much is being read at once.",
    "501": "JSON cannot say a tensor of this type.",
    "503": "Too many requests are waiting, or too many connections are open.",
    "504": "The model did not answer in time.",
}


def openapi() -> dict[str, Any]:
    """Returns the description, a JSON object."""
    paths: dict[str, Any] = {"/monitoring/prometheus/metrics": {"get": _metrics()}}
    for place, parameters in _PLACES.items():
        address = f"/v1/models/{{model}}{place}"
        shared = [_parameter(name) for name in ("model", *parameters)]
        which = " of a version" if "version" in parameters else " of a label's version" if parameters else ""
        paths[address] = {"parameters": shared, "get": _get(f"State{which}", "Status")}
        paths[f"{address}/metadata"] = {"parameters": shared, "get": _get(f"Signatures{which}", "Metadata")}
        for verb, (body, answer) in _VERBS.items():
            summary = f"{verb.capitalize()} by a model" + which.replace(" of", ", of")
            paths[f"{address}:{verb}"] = {"parameters": shared, "post": _post(summary, body, answer)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Model server",
            "version": version("probity"),
            "description": "The REST API of TensorFlow Serving, as the embedded server has it.",
        },
        "paths": paths,
        "components": {"schemas": _SCHEMAS},
    }


def _parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, **_PARAMETERS[name]}


def _get(summary: str, answer: str) -> dict[str, Any]:
    return {"summary": summary, "responses": _responses(answer, ("400", "404"))}


def _post(summary: str, body: str, answer: str) -> dict[str, Any]:
    content = {"application/json": {"schema": _ref(body)}}
    return {
        "summary": summary,
        "parameters": [
            {
                "name": "x-tracking-id",
                "in": "header",
                "description": "Names the request in the log of predictions.",
                "schema": {"type": "string", "pattern": "^[!-~]*$"},
            }
        ],
        "requestBody": {"required": True, "content": content},
        "responses": _responses(answer, tuple(_REFUSALS)),
    }


def _metrics() -> dict[str, Any]:
    content = {"text/plain": {"schema": {"type": "string"}}}
    return {"summary": "Metrics", "responses": {"200": {"description": "For Prometheus.", "content": content}}}


def _responses(answer: str, refusals: tuple[str, ...]) -> dict[str, Any]:
    refused = {"application/json": {"schema": _ref("Error")}}
    return {
        "200": {"description": "The answer.", "content": {"application/json": {"schema": _ref(answer)}}},
        **{status: {"description": _REFUSALS[status], "content": refused} for status in refusals},
    }


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties}


_SIGNATURE = {"type": "string", "description": "Which signature; by default serving_default."}
_LIST = {"type": "array", "minItems": 1}
_VERBS = {
    "predict": ("PredictRequest", "Predictions"),
    "classify": ("ExamplesRequest", "Results"),
    "regress": ("ExamplesRequest", "Results"),
}
_SCHEMAS: dict[str, Any] = {
    "Error": {**_object(["error"], error={"type": "string"}), "additionalProperties": False},
    "Status": _object(
        ["model_version_status"],
        model_version_status={
            "type": "array",
            "items": _object(
                ["version", "state", "status"],
                version={"type": "string"},
                state={"enum": ["UNKNOWN", "START", "LOADING", "AVAILABLE", "UNLOADING", "END"]},
                status=_object(
                    ["error_code", "error_message"], error_code={"type": "string"}, error_message={"type": "string"}
                ),
            ),
        },
    ),
    "Metadata": _object(
        ["model_spec", "metadata"],
        model_spec=_object(["name", "version"], name={"type": "string"}, version={"type": "string"}),
        metadata=_object(["signature_def"], signature_def={"type": "object"}),
    ),
    "Value": {
        "description": 'A number, truth value, text, {"b64": bytes}, or a list of such. The bare words NaN, Infinity '
        "and -Infinity are numbers here, though JSON does not know them.",
        "anyOf": [
            {"type": ["number", "boolean", "string"]},
            {**_object(["b64"], b64={"type": "string", "contentEncoding": "base64"}), "additionalProperties": False},
            {"type": "array", "items": _ref("Value")},
        ],
    },
    "Named": {"type": "object", "additionalProperties": _ref("Value"), "description": "A value for every input."},
    "PredictRequest": {
        "oneOf": [
            _object(
                ["instances"],
                signature_name=_SIGNATURE,
                instances={**_LIST, "items": {"anyOf": [_ref("Named"), _ref("Value")]}, "description": "Row by row."},
                inputs=False,
            ),
            _object(
                ["inputs"],
                signature_name=_SIGNATURE,
                inputs={"anyOf": [_ref("Named"), _ref("Value")], "description": "Column by column."},
                instances=False,
            ),
        ]
    },
    "Predictions": {
        "oneOf": [
            {**_object(["predictions"], predictions={"type": "array"}), "additionalProperties": False},
            {**_object(["outputs"], outputs={}), "additionalProperties": False},
        ]
    },
    "ExamplesRequest": _object(
        ["examples"],
        signature_name=_SIGNATURE,
        context={**_ref("Named"), "description": "Features that all examples share."},
        examples={**_LIST, "items": _ref("Named"), "description": "Features of each example, by name."},
    ),
    "Results": {**_object(["results"], results={"type": "array"}), "additionalProperties": False},
}
