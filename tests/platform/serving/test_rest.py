"""TensorFlow Serving's documented REST requests, and what only the embedded server promises about bad ones."""

import gzip
import http.client
import json
import math
from pathlib import Path

import pytest

REQUESTS = json.loads((Path(__file__).parent / "documented_requests.json").read_text(encoding="utf-8"))


def ask(server, method, path, data=None, headers=()):
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_api_port, timeout=20)
    try:
        connection.request(method, path, data, dict(headers))
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def predict(server, body, **headers):
    response, text = ask(server, "POST", "/v1/models/half_plus_three:predict", json.dumps(body), headers.items())
    return response.status, json.loads(text)


@pytest.mark.parametrize("request_", REQUESTS, ids=[entry["name"] for entry in REQUESTS])
def test_documented_requests(server, request_):
    data = request_.get("text", json.dumps(request_["body"]) if "body" in request_ else None)
    response, text = ask(server, request_["method"], request_["path"], data)
    assert response.status == request_["status"], text
    assert response.headers["Content-Type"].startswith("application/json")
    answer = json.loads(text)
    if "answer" in request_:
        assert answer == request_["answer"]
    else:
        assert list(answer) == ["error"]
        assert request_["error"] in answer["error"]


def test_metadata_names_every_signature_with_its_tensors(server):
    response, text = ask(server, "GET", "/v1/models/half_plus_three/metadata")
    found = json.loads(text)
    assert response.status == 200
    assert found["model_spec"] == {"name": "half_plus_three", "signature_name": "", "version": "123"}
    signatures = found["metadata"]["signature_def"]["signature_def"]
    default = signatures["serving_default"]
    assert default["method_name"] == "tensorflow/serving/predict"
    assert default["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert default["inputs"]["x"]["tensor_shape"] == {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
    assert signatures["classify_x_to_y"]["outputs"].keys() == {"classes", "scores"}


def test_numbers_that_json_lacks_come_and_go(server):
    status, answer = predict(server, {"instances": [math.nan, math.inf, -math.inf]})
    assert status == 200
    assert math.isnan(answer["predictions"][0])
    assert answer["predictions"][1:] == [math.inf, -math.inf]


def test_a_compressed_body_is_read(server):
    body = gzip.compress(json.dumps({"instances": [1.0]}).encode())
    response, text = ask(
        server, "POST", "/v1/models/half_plus_three:predict", body, {"Content-Encoding": "gzip"}.items()
    )
    assert (response.status, json.loads(text)) == (200, {"predictions": [3.5]})


def test_a_single_connection_takes_many_requests(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_api_port, timeout=20)
    for number in range(5):
        connection.request("POST", "/v1/models/half_plus_three:predict", json.dumps({"instances": [number]}))
        assert json.loads(connection.getresponse().read())["predictions"] == [number / 2 + 3]
    connection.close()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"instances": [' + "9" * 5000 + "]}", "digits"),  # more than Python's own limit for whole numbers
        ("[" * 200_000, "deep"),
        ('{"instances": ' + "[" * 500 + "1" + "]" * 500 + "}", "rank"),
        ('{"signature_name": "binary", "instances": ["\\ud800"]}', "half a character"),
        ('{"signature_name": "binary", "instances": [{"b64": "?"}]}', "no base64"),
        ('{"instances": [true]}', "a truth value"),
        ('{"instances": [null]}', "nothing"),
        ('{"instances": [1e39]}', "beyond float32"),
        ('{"signature_name": "whole", "instances": [9223372036854775808]}', "beyond int64"),
        ('{"signature_name": 3, "instances": [1.0]}', "a number for a name"),
        (b"\xff\xfe{", "no Unicode"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 20 else "",
)
def test_what_cannot_be_read_is_a_bad_request(embedded, text, reason):
    response, answer = ask(embedded, "POST", "/v1/models/half_plus_three:predict", text)
    assert response.status == 400, reason
    assert list(json.loads(answer)) == ["error"]


def test_an_error_quotes_no_value_of_the_request(embedded):
    for body in (
        {"instances": ["secret-41"]},
        {"signature_name": "named", "instances": [{"tag": "secret-41"}]},
        {"signature_name": "whole", "instances": [41.5]},
        {"inputs": "secret-41"},
    ):
        status, answer = predict(embedded, body)
        assert status == 400
        assert "41" not in answer["error"]


def test_what_the_graph_refuses_is_a_bad_request(embedded):
    body = {"signature_name": "tensorflow/serving/regress", "examples": [{"y": 1.0}]}  # x is required
    response, text = ask(embedded, "POST", "/v1/models/half_plus_three:regress", json.dumps(body))
    assert response.status == 400
    assert "does not accept" in json.loads(text)["error"]


def test_metrics_are_where_tensorflow_serving_has_them(server):
    predict(server, {"instances": [1.0]})
    response, text = ask(server, "GET", "/monitoring/prometheus/metrics")
    page = text.decode()
    assert response.status == 200
    assert ':tensorflow:serving:request_count{model_name="half_plus_three",status="OK"}' in page
    assert ':tensorflow:serving:request_latency_bucket{API="Predict",entrypoint="REST"' in page
    for name in ("core:graph_runs", "core:graph_run_time_usecs", "cc:saved_model:load_latency"):
        assert f"\n:tensorflow:{name}" in page


def test_what_models_cost_is_counted_where_they_are_run_and_loaded(embedded):
    predict(embedded, {"instances": [1.0]})
    _, text = ask(embedded, "GET", "/monitoring/prometheus/metrics")
    lines = dict(line.rsplit(" ", 1) for line in text.decode().splitlines() if not line.startswith("#"))
    assert float(lines[":tensorflow:core:graph_runs"]) >= 1
    assert float(lines[":tensorflow:core:graph_run_time_usecs"]) > 0
    loads = {name: number for name, number in lines.items() if "load_attempt_count{" in name}
    assert set(loads.values()) == {"1.0"}
    assert all('status="success"' in name for name in loads)
    assert float(lines['probity_loaded_versions{model_name="half_plus_three"}']) >= 1


def test_metrics_do_not_grow_with_names_that_clients_invent(embedded):
    for number in range(3):
        ask(embedded, "GET", f"/v1/models/invented{number}")
    _, text = ask(embedded, "GET", "/monitoring/prometheus/metrics")
    assert b"invented" not in text


def test_other_addresses_and_methods_are_bad_requests(embedded):
    for method, path in (("GET", "/"), ("PUT", "/v1/models/half_plus_three:predict"), ("GET", "/v1/models")):
        response, text = ask(embedded, method, path)
        assert response.status == 400
        assert "error" in json.loads(text)


def test_a_name_may_be_escaped_in_the_address(server):
    response, _ = ask(server, "GET", "/v1/models/half%5Fplus%5Fthree")
    assert response.status == 200


def test_a_version_beyond_int64_is_a_bad_request(embedded):
    response, _ = ask(embedded, "GET", f"/v1/models/half_plus/versions/{10**19}")
    assert response.status == 400
