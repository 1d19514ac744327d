"""Answers of TensorFlow Serving's REST API: tensors, classes and values to JSON.

References: "RESTful API" of TensorFlow Serving's documentation, and ``tensorflow_serving/util/json_tensor.cc``.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from probity.platform.serving.saved_model import Arrays
from probity.platform.serving.status import Code, ServingError

__all__ = ["encode_classes", "encode_error", "encode_predict", "encode_regressions"]

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]


def encode_predict(outputs: Arrays, *, by_row: bool) -> bytes:
    """Returns the body of a ``:predict`` answer.

    Raises:
        ServingError: If outputs of a request in row format differ in their number of rows.
    """
    if not by_row:
        return _body("outputs", _named({name: _values(name, array) for name, array in outputs.items()}))
    sizes = {array.shape[0] if array.ndim else None for array in outputs.values()}
    if len(sizes) != 1 or None in sizes:
        raise ServingError(Code.INVALID_ARGUMENT, "Tensors have inconsistent batch sizes, or no shape information")
    columns = {name: _values(name, array) for name, array in outputs.items()}
    if len(columns) == 1:
        return _body("predictions", next(iter(columns.values())))
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return _body("predictions", rows)


def encode_classes(results: Sequence[Sequence[tuple[str, float]]]) -> bytes:
    """Returns the body of a ``:classify`` answer from pairs of label and score."""
    return _body("results", [[list(pair) for pair in row] for row in results])


def encode_regressions(results: Array) -> bytes:
    """Returns the body of a ``:regress`` answer."""
    return _body("results", _values("", results))


def encode_error(message: str) -> bytes:
    """Returns the body of an error."""
    return _body("error", message)


def _named(values: dict[str, Any]) -> Any:
    return next(iter(values.values())) if len(values) == 1 else values


def _values(name: str, array: Array) -> Any:
    """Returns an array as nested lists of what JSON can say."""
    if array.dtype == np.float32 or array.dtype == np.float16:
        return _nested(_short(array.ravel()), array.shape)
    if array.dtype != object:
        return array.tolist()
    flat = np.empty(array.size, object)
    as_bytes = name.endswith("_bytes")
    flat[:] = [_spoken(value, as_bytes=as_bytes) for value in array.ravel()]
    return flat.reshape(array.shape).tolist()


def _nested(flat: list[float], shape: tuple[int, ...]) -> Any:
    if len(shape) == 2 and shape[1] == 1:
        return [[number] for number in flat]  # one score for a row, which most models answer
    return np.array(flat).reshape(shape).tolist()


def _short(flat: Array) -> list[float]:
    """Returns the decimals by which TensorFlow Serving writes floats: 0.2 and not 0.20000000298023224.

    Six digits where they are read back as the same number, else nine, which always are.
    """
    exact = flat.tolist()
    numbers = _written(exact, "%.6g ")
    longer = np.flatnonzero(np.array(numbers).astype(flat.dtype) != flat).tolist()
    for i, number in zip(longer, _written([exact[i] for i in longer], "%.9g "), strict=True):
        numbers[i] = number
    return numbers


def _written(numbers: list[float], form: str) -> list[float]:
    return list(map(float, (form * len(numbers) % tuple(numbers)).split()))


def _spoken(value: bytes, *, as_bytes: bool) -> Any:
    if as_bytes:
        return {"b64": base64.b64encode(value).decode()}
    return value.decode(errors="replace")


def _body(key: str, value: Any) -> bytes:
    written = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    if b"null" in written:  # what orjson writes for NaN and infinities, and we never mean
        written = json.dumps(value).encode()
    return b'{\n    "%s": %s\n}' % (key.encode(), written)
