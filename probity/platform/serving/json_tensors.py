"""Requests of TensorFlow Serving's REST API: JSON to tensors and examples.

References: "RESTful API" of TensorFlow Serving's documentation, and ``tensorflow_serving/util/json_tensor.cc``, whose
conversions and refusals these are. Whole columns are converted at once: the types of all values are looked at first,
since numpy would take the text ``"1"`` or a truth value for a number. orjson reads what is JSON; Python's own reader,
three times slower, what is not quite: ``NaN`` and infinities, and whatever an error is to be named for.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from probity.platform.serving.saved_model import Signature, TensorSpec
from probity.platform.serving.status import Code, ServingError

__all__ = ["decode_examples", "decode_predict", "parse", "signature_name"]

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

_NUMPY = {
    number: np.dtype(name)
    for number, name in {
        1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "object", 9: "int64", 10: "bool",
        17: "uint16", 19: "float16", 22: "uint32", 23: "uint64",
    }.items()
}  # fmt: skip
"""numpy type of each ``DataType`` that JSON can say."""

_STRING = 7
_WHOLE_FLOAT32 = (1 << 24) - 1
_WHOLE_FLOAT64 = (1 << 53) - 1


def _refuse(message: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, message)


def parse(body: bytes) -> dict[str, Any]:
    """Returns the object of a request's body. ``NaN``, ``Infinity`` and ``-Infinity`` are numbers here.

    Raises:
        ServingError: If it is no JSON object.
    """
    if not body:
        raise _refuse("JSON Parse error: The document is empty")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = _parse_slowly(body)
    if not isinstance(value, dict):
        raise _refuse(f"JSON Value of type {_kind(value)} Is not object")
    return value


def _parse_slowly(body: bytes) -> Any:
    try:
        return json.loads(body)
    except json.JSONDecodeError as error:
        raise _refuse(f"JSON Parse error: {error.msg} at offset: {error.pos}") from error
    except (ValueError, RecursionError) as error:
        raise _refuse(f"JSON Parse error: not UTF-8, or nested too deeply ({type(error).__name__})") from error


def signature_name(request: Mapping[str, Any]) -> str:
    """Returns the name of the signature that a request asks for, empty for the default one."""
    name = request.get("signature_name", "")
    if not isinstance(name, str):
        raise _refuse("JSON Value not formatted correctly. 'signature_name' key must be a string value.")
    return name


# --- predict --------------------------------------------------------------------------------------------------------


def decode_predict(request: Mapping[str, Any], signature: Signature) -> tuple[dict[str, Array], bool]:
    """Returns the arrays of a ``:predict`` request by input name, and whether it was in row format.

    Raises:
        ServingError: If the request does not fit the signature.
    """
    if ("instances" in request) == ("inputs" in request):
        if "inputs" in request:
            raise _refuse("Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist")
        raise _refuse("Missing 'inputs' or 'instances' key")
    if "inputs" in request:
        return _columns(request["inputs"], signature), False
    instances = request["instances"]
    if not isinstance(instances, list):
        raise _refuse("Excepting 'instances' to be an list/array")
    if not instances:
        raise _refuse("No values in 'instances' array")
    return _rows(instances, signature), True


def _rows(instances: list[Any], signature: Signature) -> dict[str, Array]:
    specs = signature.inputs
    if not _is_object(instances[0]):
        if len(specs) > 1:
            raise _refuse("instances is a plain list, but expecting list of objects as multiple input tensors required")
        if any(map(_is_object, instances)):
            raise _refuse("Expecting value/list but got object in 'instances' list")
        ((name, spec),) = specs.items()
        return {name: _dense(instances, spec, name)}
    by_name = _transposed(instances, specs)
    return {name: _dense(by_name[name], spec, name) for name, spec in specs.items()}


def _transposed(instances: list[Any], specs: Mapping[str, TensorSpec]) -> dict[str, list[Any]]:
    """Returns the values of each input, row by row; every row must name every input and nothing else."""
    names = list(specs)
    if set(map(type, instances)) == {dict} and set(map(len, instances)) == {len(names)}:
        try:
            columns = [list(map(itemgetter(name), instances)) for name in names]
        except KeyError:
            pass  # told below
        else:
            return dict(zip(names, columns, strict=True))
    for i, row in enumerate(instances):
        if not _is_object(row):
            raise _refuse(f"Expecting object but got list at item {i} of input list")
        if row.keys() != specs.keys():
            break
    raise _refuse(
        f"Failed to process element: {i} of 'instances' list. JSON object keys must be equal to: {','.join(names)}"
    )


def _columns(inputs: Any, signature: Signature) -> dict[str, Array]:
    specs = signature.inputs
    if not _is_object(inputs):
        if len(specs) > 1:
            raise _refuse("inputs is a plain value/list, but expecting an object as multiple input tensors required")
        ((name, spec),) = specs.items()
        return {name: _dense(inputs, spec, name)}
    missing = [name for name in specs if name not in inputs]
    if missing:
        raise _refuse(f"Missing named input: {missing[0]} in 'inputs' object.")
    return {name: _dense(inputs[name], spec, name) for name, spec in specs.items()}


def _dense(value: Any, spec: TensorSpec, name: str) -> Array:
    """Returns nested lists as an array; every list of a level must be as long as the first."""
    if type(value) is list and value:
        kinds = set(map(type, value))
        if list not in kinds:  # a column of single values, which most requests are made of
            return _typed(value, kinds, spec, name)
    level: list[Any] = [value]
    shape: list[int] = []
    while isinstance(level[0], list):
        size = len(level[0])
        if set(map(type, level)) != {list} or set(map(len, level)) != {size}:
            raise _refuse(f"Input {name}: Encountered list at unexpected size at level: {len(shape)}")
        shape.append(size)
        level = [entry for entries in level for entry in entries] if len(level) > 1 else level[0]
        if not level:
            break
        if len(shape) > 254:
            raise _refuse(f"Input {name}: nested too deeply for a tensor")
    return _typed(level, set(map(type, level)), spec, name).reshape(shape)


def _typed(values: list[Any], kinds: set[type], spec: TensorSpec, name: str) -> Array:
    """Returns values as a flat array of the input's type, or says which JSON type does not fit."""
    wanted = _NUMPY.get(spec.dtype)
    if wanted is None:
        raise ServingError(Code.UNIMPLEMENTED, f"Input {name}: conversion of JSON to this tensor type")
    if spec.dtype == _STRING:
        return _text(values, kinds, name)
    allowed = _ALLOWED[wanted.kind]
    if not kinds <= allowed:
        found = sorted(_KINDS.get(kind, "Object") for kind in kinds - allowed)
        raise _refuse(f"JSON Value of input {name}, Type: {found[0]} is not of expected type: {wanted.name}")
    if wanted.kind in "iu":
        _require_in_range(values, np.iinfo(wanted), name)
    try:
        if wanted == np.float64:
            array = np.array(values, wanted)
        else:
            with np.errstate(over="ignore"):  # what became infinite is refused below
                array = np.array(values, wanted)
    except (OverflowError, ValueError) as error:
        raise _refuse(f"Cannot convert JSON value of input {name} to {wanted.name}") from error
    if wanted.kind == "f":
        _require_lossless(values, array, kinds=kinds, name=name)
    return array


_ALLOWED: dict[str, set[type]] = {"f": {int, float}, "i": {int}, "u": {int}, "b": {bool}}
_KINDS = {
    type(None): "Null", bool: "Bool", dict: "Object", list: "Array", str: "String", int: "Number", float: "Number",
}  # fmt: skip


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "Object")


def _require_in_range(values: list[Any], limits: Any, name: str) -> None:
    # numpy 1 wraps what is too large for an int32 around, with no more than a warning.
    if values and (min(values) < limits.min or max(values) > limits.max):
        raise _refuse(f"Cannot convert JSON value of input {name} to {limits.dtype.name}")


def _require_lossless(values: list[Any], array: Array, *, kinds: set[type], name: str) -> None:
    lossy = False
    if int in kinds:
        limit = _WHOLE_FLOAT64 if array.dtype == np.float64 else _WHOLE_FLOAT32
        whole = values if kinds == {int} else [value for value in values if type(value) is int]
        lossy = max(whole) > limit or min(whole) < -limit
    if array.dtype != np.float64 and np.isinf(array).any():
        lossy = lossy or bool((np.isinf(array) & np.isfinite(np.array(values, np.float64))).any())
    if lossy:
        raise _refuse(f"Cannot convert JSON value of input {name} to {array.dtype.name} without loss of precision.")


def _text(values: list[Any], kinds: set[type], name: str) -> Array:
    if not kinds <= {str, dict}:
        found = sorted(_KINDS.get(kind, "Object") for kind in kinds - {str, dict})
        raise _refuse(f"JSON Value of input {name}, Type: {found[0]} is not of expected type: string")
    array = np.empty(len(values), object)
    try:
        array[:] = list(map(str.encode, values)) if kinds == {str} else [_bytes(value, name) for value in values]
    except UnicodeError as error:
        raise _refuse(f"{name}: no Unicode text") from error
    return array


def _bytes(value: Any, name: str) -> bytes:
    try:
        if isinstance(value, str):
            return value.encode()
        if not _is_base64(value):
            raise _refuse(f"JSON Value of {name} not formatted correctly for base64 data")
        return base64.b64decode(value["b64"], validate=True)
    except (UnicodeError, binascii.Error, ValueError) as error:
        raise _refuse(f"{name}: Unable to base64 decode, or no Unicode text") from error


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def _is_object(value: Any) -> bool:
    """Whether a value is an object that holds named inputs; ``{"b64": …}`` is a value."""
    return isinstance(value, dict) and not _is_base64(value)


# --- classify and regress -------------------------------------------------------------------------------------------


def decode_examples(request: Mapping[str, Any]) -> list[bytes]:
    """Returns the serialized ``tf.Example`` of each entry of ``examples``, the common ``context`` merged in.

    Raises:
        ServingError: If there are none, or a feature holds what a ``tf.Example`` cannot.
    """
    examples = request.get("examples")
    if examples is None:
        raise _refuse("When method is classify, key 'examples' is expected and was not found")
    if not isinstance(examples, list):
        raise _refuse("Expecting 'examples' value to be an list/array")
    if not examples:
        raise _refuse("'examples' value is an empty array")
    # Serialized messages that are joined are merged, and a feature that both have is the later one's.
    context = _example(request["context"]) if "context" in request else b""
    return [context + _example(entry) for entry in examples]


def _example(entry: Any) -> bytes:
    from tensorflow.core.example import example_pb2

    if not isinstance(entry, dict):
        raise _refuse(f"Example must be JSON object but got JSON {_kind(entry)}")
    example = example_pb2.Example()
    for name, content in entry.items():
        values = content if isinstance(content, list) else [content]
        try:
            _fill(example.features.feature[name], values, name)
        except (OverflowError, ValueError, UnicodeError) as error:
            raise _refuse("A feature has a name or a number that a tf.Example cannot hold") from error
    serialized: bytes = example.SerializeToString()
    return serialized


def _fill(feature: Any, values: Sequence[Any], name: str) -> None:
    kinds = {_FEATURES.get(type(value)) for value in values}
    if None in kinds:
        found = sorted(_kind(value) for value in values if type(value) not in _FEATURES)
        raise _refuse(f"Feature: {name} has element with unexpected JSON type: {found[0]}")
    if len(kinds) > 1:
        raise _refuse(f"Unexpected element type in feature: {name} expecting one type, found {len(kinds)}")
    if not kinds:
        return
    kind = kinds.pop()
    if kind == "bytes":
        feature.bytes_list.value.extend(_bytes(value, f"Feature: {name}") for value in values)
    elif kind == "float":
        flat = np.array(values, np.float64)
        with np.errstate(over="ignore"):
            single = flat.astype(np.float32)
        _require_lossless(list(values), single, kinds={float}, name=name)
        feature.float_list.value.extend(values)
    else:
        feature.int64_list.value.extend(int(value) for value in values)


_FEATURES = {str: "bytes", dict: "bytes", float: "float", int: "int64", bool: "int64"}
