"""JSON to arrays and back, against Python's own reading of the same JSON and against numpy."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probity.platform.serving import json_answers, json_tensors
from probity.platform.serving.saved_model import Signature, TensorSpec
from probity.platform.serving.status import ServingError

FLOAT, DOUBLE, INT32, STRING, INT64, BOOL = 1, 2, 3, 7, 9, 10


def signature(**dtypes):
    specs = {name: TensorSpec(tensor=name, dtype=dtype, shape=None) for name, dtype in dtypes.items()}
    return Signature(name="s", method_name="", inputs=specs, outputs={})


def decode(body, **dtypes):
    return json_tensors.decode_predict(body, signature(**dtypes))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "b64"]), inner, max_size=3),
    max_leaves=12,
)


@settings(deadline=None, max_examples=200)
@given(
    value=json_values,
    key=st.sampled_from(["instances", "inputs"]),
    dtypes=st.sampled_from([{"a": FLOAT}, {"a": STRING}, {"a": INT64, "b": BOOL}, {"a": DOUBLE, "b": STRING}]),
)
def test_whatever_comes_is_decoded_or_refused(value, key, dtypes):
    try:
        arrays, by_row = decode({key: value}, **dtypes)
    except ServingError:
        return
    assert by_row == (key == "instances")
    assert arrays.keys() == dtypes.keys()


@settings(deadline=None, max_examples=100)
@given(body=st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_whatever_bytes_come_are_an_object_or_refused(body):
    try:
        found = json_tensors.parse(body)
    except ServingError:
        return
    assert isinstance(found, dict)


@settings(deadline=None, max_examples=100)
@given(values=st.lists(st.floats(width=32), min_size=1, max_size=20))
def test_floats_come_back_as_the_same_float32(values):
    array = np.array(values, np.float32)
    answer = json.loads(json_answers.encode_predict({"y": array}, by_row=True))["predictions"]
    np.testing.assert_array_equal(np.array(answer, np.float32), array)


@pytest.mark.parametrize("value", [0.2, 3.5, 1e-07, 0.1, 100000.0, 1e20])
def test_floats_are_written_as_short_as_they_can_be(value):
    answer = json_answers.encode_predict({"y": np.array([value], np.float32)}, by_row=True).decode()
    assert json.loads(answer)["predictions"][0] == value  # and not 0.20000000298023224


@settings(deadline=None, max_examples=100)
@given(rows=st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.booleans(), st.text(max_size=4)), min_size=1))
def test_rows_become_columns(rows):
    body = {"instances": [{"i": i, "b": b, "t": t} for i, b, t in rows]}
    try:
        arrays, _ = decode(body, i=INT64, b=BOOL, t=STRING)
    except ServingError:
        assert any("\ud800" <= letter <= "\udfff" for _, _, text in rows for letter in text)
        return
    assert list(zip(arrays["i"].tolist(), arrays["b"].tolist(), (t.decode() for t in arrays["t"]), strict=True)) == rows


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ([16_777_215, -16_777_215], FLOAT), ([2**53 - 1], DOUBLE), ([3.4028234e38], FLOAT), ([2**31 - 1], INT32),
        ([math.inf, math.nan], FLOAT), ([[1.5], [2]], FLOAT), (7, INT64), ([], FLOAT),
    ],
)  # fmt: skip
def test_what_fits_is_taken(value, dtype):
    arrays, _ = decode({"inputs": value}, x=dtype)
    np.testing.assert_array_equal(arrays["x"], np.array(value, arrays["x"].dtype))


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ([16_777_216], FLOAT), ([2**53], DOUBLE), ([3.5e38], FLOAT), ([2**31], INT32), ([True], FLOAT), ([1], BOOL),
        (["1"], INT64), ([1.0], INT64), ([None], FLOAT), ([[1], 2], FLOAT), ([1, [2]], FLOAT), ([[1], [2, 3]], FLOAT),
        ([{"b64": "YQ=="}], FLOAT), ([{"b64": "Y"}], STRING), ([{"b64": 1}], STRING), ([{"c": "YQ=="}], STRING),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(value, dtype):
    with pytest.raises(ServingError):
        decode({"inputs": value}, x=dtype)


def test_binary_values_are_base64_in_both_directions():
    arrays, _ = decode({"instances": [{"b64": "AP8="}]}, x=STRING)
    assert arrays["x"].tolist() == [b"\x00\xff"]
    answer = json_answers.encode_predict({"image_bytes": arrays["x"]}, by_row=True)
    assert json.loads(answer)["predictions"] == [{"b64": "AP8="}]


def test_examples_hold_one_kind_of_value_per_feature():
    from tensorflow.core.example import example_pb2

    body = {"context": {"c": "x"}, "examples": [{"f": [1.5, 2.0], "i": [1, True], "b": {"b64": "AP8="}, "e": []}]}
    feature = example_pb2.Example.FromString(json_tensors.decode_examples(body)[0]).features.feature
    assert list(feature["f"].float_list.value) == [1.5, 2.0]
    assert list(feature["i"].int64_list.value) == [1, 1]
    assert list(feature["b"].bytes_list.value) == [b"\x00\xff"]
    assert list(feature["c"].bytes_list.value) == [b"x"]
    assert feature["e"].WhichOneof("kind") is None


@pytest.mark.parametrize(
    "entry", [{"f": [1.5, "a"]}, {"f": [1, 1.5]}, {"f": [[1]]}, {"f": 2**63}, {"f": 1e39}, {"f": {"c": 1}}, 3]
)
def test_examples_that_cannot_be_are_refused(entry):
    with pytest.raises(ServingError):
        json_tensors.decode_examples({"examples": [entry]})


def test_outputs_by_row_need_equally_many_rows():
    two, three = np.zeros(2, np.float32), np.zeros(3, np.float32)
    with pytest.raises(ServingError):
        json_answers.encode_predict({"a": two, "b": three}, by_row=True)
    with pytest.raises(ServingError):
        json_answers.encode_predict({"a": np.float32(1).reshape(())}, by_row=True)
    assert json.loads(json_answers.encode_predict({"a": two, "b": three}, by_row=False))["outputs"]["a"] == [0.0, 0.0]
