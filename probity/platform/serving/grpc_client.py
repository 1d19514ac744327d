"""The client's gRPC wire, through the stubs of ``tensorflow-serving-api``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from probity.platform.serving.catalogue import State, VersionStatus
from probity.platform.serving.messages import config_message
from probity.platform.serving.options import ModelSource
from probity.platform.serving.prediction_log import TRACKING_HEADER
from probity.platform.serving.status import Code, ServingError
from probity.platform.serving.tls import ClientTls, channel_credentials

if TYPE_CHECKING:
    from probity.platform.serving.client import Reply, _Spec

__all__ = ["GrpcWire"]


class GrpcWire:
    """A channel and the two stubs.

    Args:
        address: ``host:port``.
        tls: ``None`` speaks in clear.
        timeout_seconds: For an answer.
    """

    def __init__(self, address: str, tls: ClientTls | None, timeout_seconds: float) -> None:
        import grpc
        from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

        sizes = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
        if tls is None:
            self._channel = grpc.insecure_channel(address, options=sizes)
        else:
            self._channel = grpc.secure_channel(address, channel_credentials(tls), options=sizes)
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._timeout_seconds = timeout_seconds

    def predict(self, spec: _Spec, inputs: Mapping[str, np.ndarray[Any, Any]], tracking_id: str | None) -> Reply:
        """Returns a model's outputs; numbers are sent as the types that the signature asks for."""
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        from probity.platform.serving.client import Reply

        request = predict_pb2.PredictRequest(model_spec=_model_spec(spec))
        types = self._types(spec)
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(array, dtype=types.get(name)))
        metadata = () if tracking_id is None else ((TRACKING_HEADER, tracking_id),)
        response, trailing = self._call(self._predictions.Predict, request, metadata)
        return Reply(
            outputs={name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()},
            tracking_id=next((text for key, text in trailing if key == TRACKING_HEADER), None),
            version=response.model_spec.version.value,
        )

    def examples(self, spec: _Spec, verb: str, examples: Sequence[bytes]) -> Any:
        """Returns classes or values of serialized examples."""
        from tensorflow_serving.apis import classification_pb2, regression_pb2

        if verb == "classify":
            request = classification_pb2.ClassificationRequest(model_spec=_model_spec(spec))
            _add_examples(request.input, examples)
            response, _ = self._call(self._predictions.Classify, request)
            return [[(entry.label, entry.score) for entry in row.classes] for row in response.result.classifications]
        request = regression_pb2.RegressionRequest(model_spec=_model_spec(spec))
        _add_examples(request.input, examples)
        response, _ = self._call(self._predictions.Regress, request)
        return [entry.value for entry in response.result.regressions]

    def status(self, spec: _Spec) -> dict[int, VersionStatus]:
        """Returns the states of versions."""
        from tensorflow_serving.apis import get_model_status_pb2

        request = get_model_status_pb2.GetModelStatusRequest(model_spec=_model_spec(spec))
        response, _ = self._call(self._models.GetModelStatus, request)
        return {
            entry.version: VersionStatus(
                state=State(entry.state),
                code=next(code for code in Code if code.number == entry.status.error_code),
                message=entry.status.error_message,
            )
            for entry in response.model_version_status
        }

    def metadata(self, spec: _Spec) -> dict[str, Any]:
        """Returns the signatures."""
        from google.protobuf import json_format

        found = json_format.MessageToDict(
            self._signatures(spec), including_default_value_fields=True, preserving_proto_field_name=True
        )
        signatures: dict[str, Any] = found["signature_def"]
        return signatures

    def reload(self, models: Sequence[ModelSource]) -> None:
        """Has the server serve these models."""
        from tensorflow_serving.apis import model_management_pb2

        self._call(
            self._models.HandleReloadConfigRequest,
            model_management_pb2.ReloadConfigRequest(config=config_message(models)),
        )

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def _signatures(self, spec: _Spec) -> Any:
        from tensorflow_serving.apis import get_model_metadata_pb2

        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=_model_spec(spec), metadata_field=["signature_def"]
        )
        response, _ = self._call(self._predictions.GetModelMetadata, request)
        found = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(found)
        return found

    def _types(self, spec: _Spec) -> dict[str, int]:
        signature = self._signatures(spec).signature_def.get(spec.signature_name or "serving_default")
        return {} if signature is None else {name: info.dtype for name, info in signature.inputs.items()}

    def _call(self, method: Any, request: Any, metadata: Sequence[tuple[str, str]] = ()) -> tuple[Any, Any]:
        import grpc

        try:
            response, call = method.with_call(request, self._timeout_seconds, metadata=tuple(metadata))
        except grpc.RpcError as error:
            raise ServingError(Code[error.code().name], error.details() or "") from error
        return response, call.trailing_metadata() or ()


def _model_spec(spec: _Spec) -> Any:
    from tensorflow_serving.apis import model_pb2

    message = model_pb2.ModelSpec(name=spec.name, signature_name=spec.signature_name)
    if spec.version is not None:
        message.version.value = spec.version
    if spec.label is not None:
        message.version_label = spec.label
    return message


def _add_examples(given: Any, examples: Sequence[bytes]) -> None:
    from tensorflow.core.example import example_pb2

    given.example_list.examples.extend(example_pb2.Example.FromString(example) for example in examples)
