"""The REST wire: aiohttp's server without its router, since there are three addresses in all."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
import urllib.parse
import zlib
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from probity.platform.serving import json_answers, json_tensors, messages
from probity.platform.serving.catalogue import Target
from probity.platform.serving.inference import Inference
from probity.platform.serving.metrics import Metrics
from probity.platform.serving.options import Limits
from probity.platform.serving.prediction_log import TRACKING_HEADER
from probity.platform.serving.status import Code, ServingError

__all__ = ["RestServer"]

# The two expressions of tensorflow_serving/model_servers/http_rest_api_util.cc.
_MODEL = r"(?i)/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_PREDICTION = re.compile(_MODEL + r":(?P<verb>classify|regress|predict)")
_STATUS = re.compile(_MODEL + r"(?:/(?P<metadata>metadata))?")
_LARGEST_VERSION = (1 << 63) - 1

_JSON = {"Content-Type": "application/json"}
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class RestServer(web.Server):
    """Protocol factory of the REST port.

    Guarantees: a body is read only as far as the limits allow; a client that sends nothing, or too slowly, is sent
    away; whatever comes in, the answer is TensorFlow Serving's status code and, for an error, ``{"error": …}``.

    Args:
        inference: Answers.
        metrics: Counts, and is shown at ``monitoring_path``.
        limits: What a client may take.
        monitoring_path: Where the metrics are; ``None`` nowhere.
    """

    def __init__(
        self, inference: Inference, *, metrics: Metrics, limits: Limits, monitoring_path: str | None = None
    ) -> None:
        super().__init__(
            self._handle,
            request_factory=self._request,
            access_log=None,
            auto_decompress=False,  # it would have no limit
            keepalive_timeout=limits.idle_seconds,
            lingering_time=1.0,
        )
        self._inference = inference
        self._metrics = metrics
        self._limits = limits
        self._monitoring_path = monitoring_path
        self._pending_bytes = 0
        self._draining = False
        self._active: set[RequestHandler] = set()

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Takes a connection, or sends it away if there are too many."""
        super().connection_made(handler, transport)
        if len(self._connections) > self._limits.max_connections:
            transport.write(_FULL)
            self._loop.call_soon(transport.close)  # not at once: aiohttp is still setting the connection up

    async def drain(self, seconds: float) -> None:
        """Closes idle connections, and the others after their next answer; at the latest after ``seconds``, all."""
        self._draining = True
        for handler in self.connections:
            if handler not in self._active:
                handler.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._active:
                    await asyncio.sleep(0.01)
        await self.shutdown(1.0)

    def _request(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        return web.BaseRequest(
            message, payload, protocol, writer, task, self._loop, client_max_size=self._limits.max_request_bytes
        )

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        # aiohttp reads no further from a connection that it was told to close, so a drain must know who is busy.
        self._active.add(request.protocol)
        try:
            return await self._respond(request)
        finally:
            self._active.discard(request.protocol)

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        started = time.perf_counter()
        path = request.rel_url.raw_path
        if path == self._monitoring_path and request.method == "GET":
            return web.Response(body=self._metrics.page(), content_type="text/plain")
        seen = _Seen()
        try:
            body, tracking_id = await self._answer(request, path, seen)
            code, status = Code.OK, 200
        except ServingError as error:
            code, status, tracking_id = error.code, seen.status or error.code.http, None
            body = json_answers.encode_error(error.message)
        self._metrics.answered(
            seen.model, status=code.name, api=seen.api, entrypoint="REST", seconds=time.perf_counter() - started
        )
        headers = _JSON if tracking_id is None else {**_JSON, TRACKING_HEADER: tracking_id}
        response = web.Response(body=body, status=status, headers=headers)
        if self._draining or seen.status:
            response.force_close()
        return response

    async def _answer(self, request: web.BaseRequest, path: str, seen: _Seen) -> tuple[bytes, str | None]:
        """Returns the answer's body and, where predictions are logged, the request's tracking id."""
        match = (_PREDICTION if request.method == "POST" else _STATUS).fullmatch(path)
        if match is None or request.method not in ("GET", "POST"):
            raise ServingError(Code.INVALID_ARGUMENT, f"Malformed request: {request.method} {path}")
        target = _target(match)
        if request.method == "GET":
            return self._facts(target, metadata=match["metadata"] is not None, seen=seen), None
        seen.api = match["verb"].capitalize()
        body = await self._body(request, seen)
        try:
            async with asyncio.timeout(self._limits.request_seconds):
                return await self._infer(target, json_tensors.parse(body), request.headers.get(TRACKING_HEADER), seen)
        except TimeoutError as error:
            raise ServingError(Code.DEADLINE_EXCEEDED, "The model did not answer in time") from error
        finally:
            self._pending_bytes -= len(body)

    async def _infer(
        self, target: Target, body: dict[str, Any], tracking_id: str | None, seen: _Seen
    ) -> tuple[bytes, str | None]:
        name = json_tensors.signature_name(body)
        if seen.api == "Predict":
            model, signature = self._inference.signature(target, name, missing=Code.INVALID_ARGUMENT)
            seen.model = model.name
            arrays, by_row = json_tensors.decode_predict(body, signature)
            answer = await self._inference.predict(model, signature, arrays, tracking_id=tracking_id)
            return json_answers.encode_predict(answer.outputs, by_row=by_row), answer.tracking_id
        seen.model = self._inference.catalogue.find(target).name
        examples = json_tensors.decode_examples(body)
        if seen.api == "Classify":
            answer, classes = await self._inference.classify(target, name, examples, tracking_id=tracking_id)
            return json_answers.encode_classes(classes), answer.tracking_id
        answer, values = await self._inference.regress(target, name, examples, tracking_id=tracking_id)
        return json_answers.encode_regressions(values), answer.tracking_id

    def _facts(self, target: Target, *, metadata: bool, seen: _Seen) -> bytes:
        if metadata:
            seen.api = "GetModelMetadata"
            model = self._inference.catalogue.find(target)
            seen.model = model.name
            return messages.metadata_json(model)
        seen.api = "GetModelStatus"
        statuses = self._inference.catalogue.status(target)
        seen.model = target.name
        return messages.status_json(statuses)

    async def _body(self, request: web.BaseRequest, seen: _Seen) -> bytes:
        """Returns a request's body, which counts as pending until the caller has answered.

        Raises:
            ServingError: If it is too large, too slow, or too much is pending.
        """
        if self._pending_bytes + (request.content_length or 0) > self._limits.max_pending_bytes:
            seen.status = 429
            raise ServingError(Code.RESOURCE_EXHAUSTED, "Too many requests are being read")
        try:
            if request.content.is_eof():
                body = await request.read()
            else:
                async with asyncio.timeout(self._limits.request_seconds):
                    body = await request.read()
        except web.HTTPRequestEntityTooLarge as error:
            seen.status = 413
            raise ServingError(
                Code.RESOURCE_EXHAUSTED, f"The body is larger than {self._limits.max_request_bytes} bytes"
            ) from error
        except TimeoutError as error:
            seen.status = 408
            raise ServingError(Code.DEADLINE_EXCEEDED, "The body did not arrive in time") from error
        except ConnectionError as error:  # nobody reads the answer; aiohttp would log it as a fault of ours
            raise ServingError(Code.CANCELLED, "The client went away") from error
        if request.headers.get("Content-Encoding", "identity").lower() == "gzip":
            body = self._unzipped(body, seen)
        self._pending_bytes += len(body)
        return body

    def _unzipped(self, body: bytes, seen: _Seen) -> bytes:
        reader = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        try:
            plain = reader.decompress(body, self._limits.max_request_bytes)
        except zlib.error as error:
            raise ServingError(Code.INVALID_ARGUMENT, "The body is not gzip") from error
        if not reader.eof:
            seen.status = 413
            raise ServingError(Code.RESOURCE_EXHAUSTED, "The body is cut off, or too large once decompressed")
        return plain


@dataclass
class _Seen:
    """What is known of a request so far, for its metrics. ``model`` stays empty until there is such a model.

    ``status`` is set where HTTP has a word that the canonical codes lack; the connection is closed after it.
    """

    model: str = ""
    api: str = ""
    status: int = 0


def _target(match: re.Match[str]) -> Target:
    version = match["version"]
    if version is not None and int(version) > _LARGEST_VERSION:
        raise ServingError(Code.INVALID_ARGUMENT, "Failed to convert version to numeric.")
    label = match["label"]
    return Target(
        name=urllib.parse.unquote(match["name"]),
        version=None if version is None else int(version),
        label=None if label is None else urllib.parse.unquote(label),
    )
