"""The OpenAPI description against TensorFlow Serving's documented requests, and a server against the description."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from probity.platform.serving.openapi import openapi

REQUESTS = json.loads((Path(__file__).parent / "documented_requests.json").read_text(encoding="utf-8"))
DESCRIPTION = openapi()


def operation(request):
    """Returns the operation that describes a request, or ``None``."""
    for address, item in DESCRIPTION["paths"].items():
        pattern = re.sub(r"\\{version\\}", r"\\d+", re.escape(address))
        pattern = re.sub(r"\\{\w+\\}", r"[^/:]+", pattern)
        if re.fullmatch(pattern, request["path"], re.IGNORECASE) and request["method"].lower() in item:
            return item[request["method"].lower()]
    return None


def problems(schema, value):
    whole = {**schema, "components": DESCRIPTION["components"]}
    return [error.message for error in Draft202012Validator(whole).iter_errors(value)]


def schema_of(content):
    return content["content"]["application/json"]["schema"]


@pytest.mark.parametrize("request_", REQUESTS, ids=[entry["name"] for entry in REQUESTS])
def test_documented_requests_are_described(request_):
    found = operation(request_)
    if found is None:
        assert request_["status"] == 400  # an address that the API does not have
        return
    assert str(request_["status"]) in found["responses"]
    answer = request_.get("answer", {"error": request_.get("error")})
    assert problems(schema_of(found["responses"][str(request_["status"])]), answer) == []
    if "body" in request_ and request_["status"] == 200:
        assert problems(schema_of(found["requestBody"]), request_["body"]) == []


@pytest.mark.parametrize(
    "body",
    [{}, {"instances": [1.0], "inputs": [1.0]}, {"instances": []}, {"instances": 1}, {"inputs": None}, [1.0]],
    ids=lambda body: json.dumps(body),
)
def test_what_the_api_refuses_is_not_described(body):
    assert problems(schema_of(operation({"method": "POST", "path": "/v1/models/m:predict"})["requestBody"]), body)


def test_every_schema_is_a_schema():
    for name, schema in DESCRIPTION["components"]["schemas"].items():
        assert Draft202012Validator.check_schema(schema) is None, name


def narrowed():
    """Returns the description with what the toy models are called and take, so that not all is refused at the door."""
    description = json.loads(json.dumps(DESCRIPTION))
    known = {"model": ["half_plus", "half_plus_three", "absent"], "version": [1, 2, 123], "label": ["stable", "canary"]}
    for item in description["paths"].values():
        for parameter in item.get("parameters", ()):
            parameter["schema"] = {"enum": known[parameter["name"]]}
    schemas = description["components"]["schemas"]
    names = {"enum": ["serving_default", "named", "binary", "whole", "over_rows", "less_rows", "classify_x_to_y"]}
    x = {"type": "object", "required": ["x"], "properties": {"x": {"type": "number"}}, "additionalProperties": False}
    by_row, by_column = (shape["properties"] for shape in schemas["PredictRequest"]["oneOf"])
    for properties in (by_row, by_column, schemas["ExamplesRequest"]["properties"]):
        properties["signature_name"] = {"anyOf": [names, properties["signature_name"]]}
    by_row["instances"]["items"]["anyOf"] += [{"type": "number"}, x]
    schemas["ExamplesRequest"]["properties"]["examples"]["items"] = {"anyOf": [x, schemas["Named"]]}
    return description


@pytest.mark.heavy
@pytest.mark.timeout(1800)
def test_a_server_keeps_to_the_description_whatever_it_is_sent(embedded):
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis import GenerationMode, checks

    checked = [
        checks.not_a_server_error, checks.status_code_conformance, checks.content_type_conformance,
        checks.response_schema_conformance,
    ]  # fmt: skip
    schema = schemathesis.openapi.from_dict(narrowed())
    address = f"http://127.0.0.1:{embedded.rest_api_port}"
    fuzzed = settings(
        max_examples=25, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip

    def send_all(mode):
        seen = Counter()

        def send(case):
            response = case.call(base_url=address, timeout=30)
            case.validate_response(response, checks=checked)
            seen[response.status_code] += 1

        for found in schema.include(path_regex="/v1/").get_all_operations():
            fuzzed(given(case=found.ok().as_strategy(generation_mode=mode))(send))()
        return seen

    allowed, broken = send_all(GenerationMode.POSITIVE), send_all(GenerationMode.NEGATIVE)
    assert allowed[200] > 10  # it was not only refusals
    assert broken[400] > 20
    assert {*allowed, *broken} <= {200, 400, 404, 408, 411, 413, 501}
