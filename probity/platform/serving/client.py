"""The other side of both wires: one client for REST and gRPC, with equal answers.

It speaks TensorFlow Serving's API and nothing else, so it works with the real server as well.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from probity.platform.serving.catalogue import State, VersionStatus
from probity.platform.serving.options import ModelSource
from probity.platform.serving.prediction_log import TRACKING_HEADER
from probity.platform.serving.status import Code, ServingError
from probity.platform.serving.tls import ClientTls, client_context

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

__all__ = ["Client", "ClientTls", "Reply"]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a server said to a prediction.

    Attributes:
        outputs: Arrays by output name. REST omits the name of a single output; it is ``""`` then.
        tracking_id: Names the request in the server's prediction log, if it keeps one.
        version: The version that answered; REST does not say.
    """

    outputs: Mapping[str, Array]
    tracking_id: str | None = None
    version: int | None = None

    @property
    def output(self) -> Array:
        """The only output.

        Raises:
            ValueError: If there are several.
        """
        (only,) = self.outputs.values()
        return only


class _Wire(Protocol):
    def predict(self, spec: _Spec, inputs: Mapping[str, Array], tracking_id: str | None) -> Reply: ...
    def examples(self, spec: _Spec, verb: str, examples: Sequence[bytes]) -> Any: ...
    def status(self, spec: _Spec) -> dict[int, VersionStatus]: ...
    def metadata(self, spec: _Spec) -> dict[str, Any]: ...
    def reload(self, models: Sequence[ModelSource]) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class _Spec:
    name: str
    version: int | None = None
    label: str | None = None
    signature_name: str = ""

    @property
    def path(self) -> str:
        from urllib.parse import quote

        chosen = f"/versions/{self.version}" if self.version is not None else ""
        chosen = f"/labels/{quote(self.label, safe='')}" if self.label is not None else chosen
        return f"/v1/models/{quote(self.name, safe='')}{chosen}"


class Client:
    """Asks a model server. One connection; not to be shared between threads over REST.

    Args:
        host: Where it is.
        port: Of gRPC. Give this or ``rest_api_port``.
        rest_api_port: Of REST.
        tls: ``None`` speaks in clear.
        timeout_seconds: For an answer.

    Every method raises :class:`ServingError` with the server's code, or ``UNAVAILABLE`` if there is no answer.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        *,
        port: int | None = None,
        rest_api_port: int | None = None,
        tls: ClientTls | None = None,
        timeout_seconds: float = 10.0,
    ) -> None:
        if (port is None) == (rest_api_port is None):
            raise ValueError("give either port (gRPC) or rest_api_port")
        self._wire: _Wire
        if rest_api_port is not None:
            self._wire = _Rest(host, rest_api_port, tls, timeout_seconds)
        else:
            from probity.platform.serving.grpc_client import GrpcWire

            self._wire = GrpcWire(f"{host}:{port}", tls, timeout_seconds)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._wire.close()

    def predict(
        self,
        name: str,
        inputs: Mapping[str, Any],
        *,
        signature_name: str = "",
        version: int | None = None,
        label: str | None = None,
        tracking_id: str | None = None,
    ) -> Reply:
        """Returns a model's outputs.

        Args:
            name: The model.
            inputs: An array, or nested lists, for every input of the signature; text as str or bytes.
            signature_name: The signature; empty for the default one.
            version: A version instead of the newest.
            label: A label instead of a version.
            tracking_id: Names the request in the prediction log.
        """
        spec = _Spec(name=name, version=version, label=label, signature_name=signature_name)
        return self._wire.predict(spec, {key: np.asarray(value) for key, value in inputs.items()}, tracking_id)

    def classify(
        self, name: str, examples: Sequence[bytes], *, signature_name: str = "", version: int | None = None
    ) -> list[list[tuple[str, float]]]:
        """Returns label and score of each class of each serialized ``tf.Example``."""
        spec = _Spec(name=name, version=version, signature_name=signature_name)
        return [[(label, score) for label, score in row] for row in self._wire.examples(spec, "classify", examples)]

    def regress(
        self, name: str, examples: Sequence[bytes], *, signature_name: str = "", version: int | None = None
    ) -> list[float]:
        """Returns the value of each serialized ``tf.Example``."""
        spec = _Spec(name=name, version=version, signature_name=signature_name)
        return list(self._wire.examples(spec, "regress", examples))

    def status(self, name: str, *, version: int | None = None) -> dict[int, VersionStatus]:
        """Returns the states of a model's versions."""
        return self._wire.status(_Spec(name=name, version=version))

    def metadata(self, name: str, *, version: int | None = None) -> dict[str, Any]:
        """Returns a model's signatures: ``{"inputs": …, "outputs": …, "method_name": …}`` by name."""
        return self._wire.metadata(_Spec(name=name, version=version))

    def reload(self, models: Sequence[ModelSource]) -> None:
        """Has the server serve these models and no others (gRPC only)."""
        self._wire.reload(models)

    def wait_until_available(self, name: str, *, version: int | None = None, timeout_seconds: float = 60.0) -> None:
        """Returns once a version answers.

        Raises:
            ServingError: ``DEADLINE_EXCEEDED`` if none does in time; at once if ``version`` cannot be loaded.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                statuses = self.status(name, version=version)
            except ServingError as error:
                if error.code not in (Code.NOT_FOUND, Code.UNAVAILABLE):
                    raise
                statuses = {}
            if any(status.state is State.AVAILABLE for status in statuses.values()):
                return
            failed = [status for status in statuses.values() if status.code is not Code.OK]
            if version is not None and failed:
                raise ServingError(failed[0].code, failed[0].message)
            if time.monotonic() > deadline:
                raise ServingError(Code.DEADLINE_EXCEEDED, f"No version of {name} is available")
            time.sleep(0.1)

    def warm_up(self, name: str, inputs: Mapping[str, Any], *, signature_name: str = "", times: int = 20) -> float:
        """Asks ``times`` times, as the first calls of a version are slow, and returns the seconds of the last."""
        seconds = 0.0
        for _ in range(times):
            started = time.perf_counter()
            self.predict(name, inputs, signature_name=signature_name)
            seconds = time.perf_counter() - started
        return seconds


class _Rest:
    """The REST wire."""

    def __init__(self, host: str, port: int, tls: ClientTls | None, timeout_seconds: float) -> None:
        import http.client

        if tls is None:
            self._connection = http.client.HTTPConnection(host, port, timeout=timeout_seconds)
        else:
            self._connection = http.client.HTTPSConnection(
                host, port, timeout=timeout_seconds, context=client_context(tls)
            )

    def predict(self, spec: _Spec, inputs: Mapping[str, Array], tracking_id: str | None) -> Reply:
        body: dict[str, Any] = {"inputs": {key: _jsonable(array) for key, array in inputs.items()}}
        if spec.signature_name:
            body["signature_name"] = spec.signature_name
        value, headers = self._ask("POST", f"{spec.path}:predict", body, tracking_id)
        outputs = value["outputs"]
        named = outputs if isinstance(outputs, dict) else {"": outputs}
        return Reply(
            outputs={key: np.asarray(entry) for key, entry in named.items()},
            tracking_id=headers.get(TRACKING_HEADER),
        )

    def examples(self, spec: _Spec, verb: str, examples: Sequence[bytes]) -> Any:
        body: dict[str, Any] = {"examples": [_features(example) for example in examples]}
        if spec.signature_name:
            body["signature_name"] = spec.signature_name
        return self._ask("POST", f"{spec.path}:{verb}", body)[0]["results"]

    def status(self, spec: _Spec) -> dict[int, VersionStatus]:
        listed = self._ask("GET", spec.path)[0]["model_version_status"]
        return {
            int(entry["version"]): VersionStatus(
                state=State[entry["state"]],
                code=Code[entry["status"]["error_code"]],
                message=entry["status"]["error_message"],
            )
            for entry in listed
        }

    def metadata(self, spec: _Spec) -> dict[str, Any]:
        found: dict[str, Any] = self._ask("GET", f"{spec.path}/metadata")[0]
        signatures: dict[str, Any] = found["metadata"]["signature_def"]["signature_def"]
        return signatures

    def reload(self, models: Sequence[ModelSource]) -> None:
        raise ServingError(Code.UNIMPLEMENTED, "TensorFlow Serving's REST API has no reload; use gRPC")

    def close(self) -> None:
        self._connection.close()

    def _ask(
        self, method: str, path: str, body: object = None, tracking_id: str | None = None
    ) -> tuple[dict[str, Any], Any]:
        import http.client

        headers = {} if tracking_id is None else {TRACKING_HEADER: tracking_id}
        data = None if body is None else json.dumps(body).encode()
        try:
            self._connection.request(method, path, data, headers)
            response = self._connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()  # the next request opens another
            raise ServingError(Code.UNAVAILABLE, f"The server did not answer ({type(error).__name__})") from error
        try:
            value: dict[str, Any] = json.loads(text)
        except ValueError as error:
            code = Code.INTERNAL if response.status == 200 else _code(response.status)
            raise ServingError(code, f"HTTP status {response.status} without JSON") from error
        if response.status != 200:
            raise ServingError(_code(response.status), str(value.get("error", "")))
        return value, response.headers


def _code(status: int) -> Code:
    """Returns the first canonical code of an HTTP status; some codes share one."""
    return next((code for code in Code if code.http == status), Code.UNKNOWN)


def _jsonable(array: Array) -> Any:
    if array.dtype.kind not in "OS":
        return array.tolist()
    flat = np.empty(array.size, object)
    flat[:] = [_text(value) for value in array.ravel().tolist()]
    return flat.reshape(array.shape).tolist()


def _text(value: Any) -> Any:
    import base64

    return {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _features(example: bytes) -> dict[str, Any]:
    """Returns the JSON object of a serialized ``tf.Example``."""
    from tensorflow.core.example import example_pb2

    found = example_pb2.Example.FromString(example).features.feature
    values: dict[str, Any] = {}
    for name, feature in found.items():
        kind = feature.WhichOneof("kind")
        listed = list(getattr(feature, kind).value) if kind else []
        values[name] = [_text(value) for value in listed]
    return values
