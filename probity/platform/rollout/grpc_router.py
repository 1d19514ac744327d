"""The router's gRPC wire: ``PredictionService`` as before, and the rollout decides which version answers.

``Predict``, ``Classify``, ``Regress`` and ``MultiInference`` on the model without a version or label are divided, as
the REST wire divides them and with the same evidence. Whatever else comes - other models, a version by name, metadata,
status, methods that this module never heard of - goes to the incumbent's server byte for byte.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from probity.errors import ConfigError
from probity.platform.rollout.answers import judged
from probity.platform.rollout.comparison import Answer
from probity.platform.rollout.division import TRACKING_HEADER, VERSION_HEADER, Division, tracking_ids_of
from probity.platform.serving.options import Tls
from probity.platform.serving.tls import ClientTls, channel_credentials, server_credentials, tls_of

__all__ = ["GrpcRouter"]

_SERVICE = "/tensorflow.serving.PredictionService/"
_UNLIMITED = (("grpc.max_send_message_length", -1),)
_LIMITED = (*_UNLIMITED, ("grpc.max_receive_message_length", 16 << 20))
_GRACE_SECONDS = 5.0

_Metadata = Sequence[tuple[str, str | bytes]]


@dataclass(frozen=True, kw_only=True)
class _Reply:
    code: Any
    """``grpc.StatusCode``; ``None`` for an answer."""
    details: str
    body: bytes
    milliseconds: float

    @property
    def refused(self) -> bool:
        """Whether it is no answer of the model."""
        return self.code is not None


class GrpcRouter:
    """Routes gRPC for a rollout that a :class:`~probity.platform.rollout.router.Router` decides.

    Args:
        division: Of that router.
        incumbent: Address of the server that holds the incumbent: ``host:port``, in clear, or ``https://host:port``.
        candidate: Address of the one that holds the candidate; often the same.
        tls: How to speak to addresses with ``https://``; ``None``: as this machine trusts.
        timeout_seconds: Until a version counts as not answering, where the caller does not say less.

    Raises:
        ConfigError: If ``tls`` is given and an address is in clear, or its texts are no keys and certificates.
    """

    def __init__(
        self,
        division: Division,
        *,
        incumbent: str,
        candidate: str,
        tls: ClientTls | None = None,
        timeout_seconds: float = 10.0,
    ) -> None:
        self._division = division
        self._servers = {
            True: _server(candidate, tls, option="--candidate-grpc-server"),
            False: _server(incumbent, tls, option="--grpc-server"),
        }
        self._timeout_seconds = timeout_seconds
        self._channels: dict[bool, Any] = {}
        self._server: Any = None

    async def start(self, host: str, port: int, *, tls: Tls | None = None) -> int:
        """Listens, in clear without ``tls``, and returns the port.

        Raises:
            ConfigError: If the port cannot be had, or key and certificate cannot be used.
        """
        import grpc

        self._channels = {
            which: grpc.aio.insecure_channel(address, options=_UNLIMITED)
            if credentials is None
            else grpc.aio.secure_channel(address, credentials, options=_UNLIMITED)
            for which, (address, credentials) in self._servers.items()
        }
        self._server = grpc.aio.server(options=(*_LIMITED, ("grpc.so_reuseport", 0)), maximum_concurrent_rpcs=1024)
        self._server.add_generic_rpc_handlers((_every_method(self._routed),))
        address, credentials = f"{host}:{port}", None if tls is None else server_credentials(tls)
        try:
            found: int = (
                self._server.add_insecure_port(address)
                if credentials is None
                else self._server.add_secure_port(address, credentials)
            )
        except RuntimeError as error:
            raise ConfigError(
                "--grpc-port",
                seen=f"{port} cannot be listened on",
                allowed="a free port",
                remedy="choose another one, or 0 for any",
            ) from error
        await self._server.start()
        return found

    async def stop(self) -> None:
        """Answers what has been taken, and closes."""
        if self._server is not None:
            await self._server.stop(_GRACE_SECONDS)
        for channel in self._channels.values():
            await channel.close()

    async def _routed(self, method: str, body: bytes, context: Any) -> bytes:
        told = [(key, entry) for key, entry in context.invocation_metadata() or () if _is_forwarded(key)]
        request = self._divisible(method, body)
        if request is None:
            reply = await self._send(False, method, body, told, context)
            return await _answered(reply, context, ())
        named = [str(entry) for key, entry in told if key == TRACKING_HEADER]
        tracking_ids = tracking_ids_of(",".join(named))
        ids = (TRACKING_HEADER, ",".join(tracking_ids))
        sent = [*((key, entry) for key, entry in told if key != TRACKING_HEADER), ids]
        plan = self._division.rollout.state.plan

        async def ask(candidate: bool) -> _Reply:
            for spec in _specs(request):
                spec.version.value = plan.candidate if candidate else plan.incumbent
            return await self._send(candidate, method, request.SerializeToString(), sent, context)

        reply, version = await self._division.answer(tracking_ids, ask, partial(self._read, method))
        return await _answered(reply, context, (ids, (VERSION_HEADER, str(version))))

    def _divisible(self, method: str, body: bytes) -> Any:
        """Returns a request that is to be divided, else ``None``."""
        from google.protobuf.message import DecodeError

        messages = _messages().get(method)
        if messages is None:
            return None
        try:
            request = messages[0].FromString(body)
        except DecodeError:
            return None  # the server says so
        name, specs = self._division.rollout.state.plan.model_name, _specs(request)
        ours = all(spec.name == name and spec.WhichOneof("version_choice") is None for spec in specs)
        return request if specs and ours else None

    async def _send(self, candidate: bool, method: str, body: bytes, metadata: _Metadata, context: Any) -> _Reply:
        import grpc

        begun = time.perf_counter()
        left = context.time_remaining()
        timeout = self._timeout_seconds if left is None else min(left, self._timeout_seconds)
        code, details, answer = None, "", b""
        try:
            answer = await self._channels[candidate].unary_unary(method)(body, timeout=timeout, metadata=metadata)
        except grpc.RpcError as error:
            code, details = error.code(), error.details() or ""
        except grpc.aio.UsageError:  # the channel was closed meanwhile
            code = grpc.StatusCode.UNAVAILABLE
        return _Reply(code=code, details=details, body=answer, milliseconds=(time.perf_counter() - begun) * 1000)

    def _read(self, method: str, reply: _Reply) -> Answer:
        scores = None if reply.refused else _scores(_messages()[method][1].FromString(reply.body))
        plan = self._division.rollout.state.plan
        return judged(plan, scores, failed=reply.refused, milliseconds=reply.milliseconds)


def _every_method(routed: Any) -> Any:
    """Returns a handler of every method there is, from bytes to bytes."""
    import grpc

    class EveryMethod(grpc.GenericRpcHandler):  # type: ignore[misc] # grpc has no types
        def service(self, details: Any) -> Any:
            async def call(body: bytes, context: Any) -> bytes:
                answer: bytes = await routed(details.method, body, context)
                return answer

            return grpc.unary_unary_rpc_method_handler(call)

    return EveryMethod()


async def _answered(reply: _Reply, context: Any, own: _Metadata) -> bytes:
    context.set_trailing_metadata(own)
    if reply.refused:
        await context.abort(reply.code, reply.details)
    return reply.body


def _is_forwarded(key: str) -> bool:
    return not key.startswith("grpc-") and key not in ("user-agent", "content-type", "te")


def _server(address: str, tls: ClientTls | None, *, option: str) -> tuple[str, Any]:
    """Returns ``host:port`` and the credentials to speak to it with; ``None``: in clear."""
    spoken = tls_of(address, tls, option=option)
    return address.partition("://")[2] or address, None if spoken is None else channel_credentials(spoken)


@cache
def _messages() -> dict[str, tuple[Any, Any]]:
    """Returns request and response by method."""
    from tensorflow_serving.apis import classification_pb2, inference_pb2, predict_pb2, regression_pb2

    return {
        f"{_SERVICE}Predict": (predict_pb2.PredictRequest, predict_pb2.PredictResponse),
        f"{_SERVICE}Classify": (classification_pb2.ClassificationRequest, classification_pb2.ClassificationResponse),
        f"{_SERVICE}Regress": (regression_pb2.RegressionRequest, regression_pb2.RegressionResponse),
        f"{_SERVICE}MultiInference": (inference_pb2.MultiInferenceRequest, inference_pb2.MultiInferenceResponse),
    }


def _specs(request: Any) -> list[Any]:
    """Returns what a request says about the model, once for each of its tasks."""
    return [task.model_spec for task in request.tasks] if hasattr(request, "tasks") else [request.model_spec]


def _scores(response: Any) -> tuple[tuple[float, ...], ...] | None:
    """Returns the scores of each row; ``None`` if the answer has none."""
    if hasattr(response, "outputs"):
        return _of_outputs(response.outputs)
    if hasattr(response, "results"):
        given = (_of_result(getattr(entry, entry.WhichOneof("result") or "", None)) for entry in response.results)
        found = sorted((scores for scores in given if scores), key=lambda scores: len(scores[0]))
        return found[0] if found else None  # one score for a row says what a model of two classes says by two
    return _of_result(response.result)


def _of_outputs(outputs: Any) -> tuple[tuple[float, ...], ...] | None:
    import numpy as np
    import tensorflow as tf

    named = dict(outputs)
    tensor = named.get("scores", next(iter(named.values())) if len(named) == 1 else None)
    array = None if tensor is None else tf.make_ndarray(tensor)
    if array is None or array.dtype.kind != "f" or array.ndim not in (1, 2):
        return None
    return tuple(map(tuple, (array[:, np.newaxis] if array.ndim == 1 else array).tolist()))


def _of_result(result: Any) -> tuple[tuple[float, ...], ...] | None:
    """Returns the values of a regression, or the scores of a classification."""
    if hasattr(result, "regressions"):
        return tuple((entry.value,) for entry in result.regressions)
    rows = [row.classes for row in getattr(result, "classifications", ())]
    return tuple(tuple(entry.score for entry in row) for row in rows) or None
