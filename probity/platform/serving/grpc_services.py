"""The gRPC wire: ``PredictionService`` and ``ModelService`` through the stubs of ``tensorflow-serving-api``."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from probity.platform.serving import messages
from probity.platform.serving.inference import CLASSIFY, DEFAULT_SIGNATURE, REGRESS, Answer, Inference, require_method
from probity.platform.serving.metrics import Metrics
from probity.platform.serving.model_config import sources_of
from probity.platform.serving.options import Limits, ModelSource
from probity.platform.serving.prediction_log import TRACKING_HEADER
from probity.platform.serving.status import Code, ServingError

__all__ = ["Reload", "add_services"]

Reload = Callable[[Sequence[ModelSource]], Awaitable[None]]
"""Makes the whole server, all processes of it, serve other models."""


def add_services(server: Any, inference: Inference, *, metrics: Metrics, limits: Limits, reload: Reload) -> None:
    """Registers both services with a ``grpc.aio`` server."""
    from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

    calls = _Calls(inference, metrics=metrics, limits=limits, reload=reload)
    # The stubs ask for an object with the methods of both services and no more.
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(calls, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(calls, server)


class _Calls:
    """The methods of both services, named as in the service definitions."""

    def __init__(self, inference: Inference, *, metrics: Metrics, limits: Limits, reload: Reload) -> None:
        self._inference = inference
        self._metrics = metrics
        self._limits = limits
        self._reload = reload

    async def Predict(self, request: Any, context: Any) -> Any:
        """Outputs of a signature for given tensors."""
        return await self._answered("Predict", request.model_spec.name, context, self._predict(request, context))

    async def Classify(self, request: Any, context: Any) -> Any:
        """Classes of examples."""
        return await self._answered("Classify", request.model_spec.name, context, self._classify(request, context))

    async def Regress(self, request: Any, context: Any) -> Any:
        """Values of examples."""
        return await self._answered("Regress", request.model_spec.name, context, self._regress(request, context))

    async def MultiInference(self, request: Any, context: Any) -> Any:
        """Classes and values of the same examples by several signatures of one model."""
        name = request.tasks[0].model_spec.name if request.tasks else ""
        return await self._answered("MultiInference", name, context, self._multi_inference(request))

    async def GetModelMetadata(self, request: Any, context: Any) -> Any:
        """Signatures of a model."""
        return await self._answered("GetModelMetadata", request.model_spec.name, context, self._metadata(request))

    async def GetModelStatus(self, request: Any, context: Any) -> Any:
        """States of a model's versions."""
        return await self._answered("GetModelStatus", request.model_spec.name, context, self._status(request))

    async def HandleReloadConfigRequest(self, request: Any, context: Any) -> Any:
        """Serves other models from now on."""
        return await self._answered("HandleReloadConfigRequest", "", context, self._reloaded(request))

    async def _answered(self, api: str, name: str, context: Any, answer: Awaitable[Any]) -> Any:
        """Awaits an answer, counts it, and turns a refusal into gRPC's status."""
        import grpc

        started = time.perf_counter()
        code, message = Code.OK, ""
        try:
            return await answer
        except ServingError as error:
            code, message = error.code, error.message
        finally:
            known = name if name in self._inference.catalogue.names else ""
            self._metrics.answered(
                known, status=code.name, api=api, entrypoint="GRPC", seconds=time.perf_counter() - started
            )
        await context.abort(grpc.StatusCode[code.name], message)

    async def _predict(self, request: Any, context: Any) -> Any:
        from tensorflow_serving.apis import predict_pb2

        spec = request.model_spec
        model, signature = self._inference.signature(
            messages.target_of(spec), spec.signature_name, missing=Code.FAILED_PRECONDITION
        )
        wanted = _wanted(request.output_filter, signature.outputs)
        inputs = {
            name: messages.array_of(tensor, name=name, signature=signature, max_bytes=self._limits.max_request_bytes)
            for name, tensor in request.inputs.items()
        }
        answer = await self._inference.predict(model, signature, inputs, tracking_id=_tracking_id(context))
        response = predict_pb2.PredictResponse()
        _say_model(response.model_spec, answer, context)
        for name in wanted:
            message = messages.tensor_message(answer.outputs[name], signature.outputs[name].dtype)
            response.outputs[name].CopyFrom(message)
        return response

    async def _classify(self, request: Any, context: Any) -> Any:
        from tensorflow_serving.apis import classification_pb2

        spec = request.model_spec
        answer, classes = await self._inference.classify(
            messages.target_of(spec),
            spec.signature_name,
            messages.examples_of(request.input),
            tracking_id=_tracking_id(context),
        )
        response = classification_pb2.ClassificationResponse()
        _say_model(response.model_spec, answer, context)
        _fill_classes(response.result, classes)
        return response

    async def _regress(self, request: Any, context: Any) -> Any:
        from tensorflow_serving.apis import regression_pb2

        spec = request.model_spec
        answer, values = await self._inference.regress(
            messages.target_of(spec),
            spec.signature_name,
            messages.examples_of(request.input),
            tracking_id=_tracking_id(context),
        )
        response = regression_pb2.RegressionResponse()
        _say_model(response.model_spec, answer, context)
        _fill_values(response.result, values)
        return response

    async def _multi_inference(self, request: Any) -> Any:
        from tensorflow_serving.apis import inference_pb2

        _require_tasks(request.tasks)
        self._require_one_input(request.tasks)
        examples = messages.examples_of(request.input)
        response = inference_pb2.MultiInferenceResponse()
        for task in request.tasks:
            target, name = messages.target_of(task.model_spec), task.model_spec.signature_name
            result = response.results.add()
            if task.method_name == CLASSIFY:
                answer, classes = await self._inference.classify(target, name, examples)
                _fill_classes(result.classification_result, classes)
            else:
                answer, values = await self._inference.regress(target, name, examples)
                _fill_values(result.regression_result, values)
            _say_model(result.model_spec, answer)
        return response

    def _require_one_input(self, tasks: Sequence[Any]) -> None:
        tensors = set()
        for task in tasks:
            _, signature = self._inference.signature(
                messages.target_of(task.model_spec), task.model_spec.signature_name, missing=Code.INVALID_ARGUMENT
            )
            require_method(signature, task.method_name)
            tensors |= {spec.tensor for spec in signature.inputs.values()}
        if len(tensors) > 1:
            raise ServingError(Code.INVALID_ARGUMENT, "Input tensor must be the same for all Signatures.")

    async def _metadata(self, request: Any) -> Any:
        if not request.HasField("model_spec"):
            raise ServingError(Code.INVALID_ARGUMENT, "Missing ModelSpec")
        if not request.metadata_field:
            raise ServingError(
                Code.INVALID_ARGUMENT, "GetModelMetadataRequest must specify at least one metadata_field"
            )
        if set(request.metadata_field) != {"signature_def"}:
            raise ServingError(Code.INVALID_ARGUMENT, "Metadata fields other than signature_def are not supported")
        return messages.metadata_message(self._inference.catalogue.find(messages.target_of(request.model_spec)))

    async def _status(self, request: Any) -> Any:
        if not request.HasField("model_spec"):
            raise ServingError(Code.INVALID_ARGUMENT, "Missing ModelSpec")
        return messages.status_message(self._inference.catalogue.status(messages.target_of(request.model_spec)))

    async def _reloaded(self, request: Any) -> Any:
        from tensorflow_serving.apis import model_management_pb2

        await self._reload(sources_of(request.config))
        response = model_management_pb2.ReloadConfigResponse()
        response.status.error_code = Code.OK.number
        return response


def _wanted(asked: Sequence[str], outputs: Any) -> list[str]:
    """Returns the outputs that a request asks for, all of them if it names none."""
    unknown = [name for name in asked if name not in outputs]
    if unknown:
        raise ServingError(Code.INVALID_ARGUMENT, f"output tensor alias not found in signature: {unknown[0]}")
    if len(set(asked)) < len(asked):
        raise ServingError(Code.INVALID_ARGUMENT, "duplicate output tensor alias")
    return list(asked) or list(outputs)


def _require_tasks(tasks: Sequence[Any]) -> None:
    if not tasks:
        raise ServingError(Code.INVALID_ARGUMENT, "Inference request must contain at least one task")
    if len({task.model_spec.name for task in tasks}) > 1:
        raise ServingError(
            Code.INVALID_ARGUMENT, "All ModelSpecs in a MultiInferenceRequest must access the same model name."
        )
    names = [task.model_spec.signature_name or DEFAULT_SIGNATURE for task in tasks]
    if len(set(names)) < len(names):
        raise ServingError(Code.INVALID_ARGUMENT, "Duplicate evaluation of signature")
    unknown = [task.method_name for task in tasks if task.method_name not in (CLASSIFY, REGRESS)]
    if unknown:
        raise ServingError(Code.UNIMPLEMENTED, "Unsupported signature method_name")


def _tracking_id(context: Any) -> str | None:
    return next((text for key, text in context.invocation_metadata() or () if key == TRACKING_HEADER), None)


def _say_model(spec: Any, answer: Answer, context: Any = None) -> None:
    spec.name = answer.model.name
    spec.version.value = answer.model.version
    spec.signature_name = answer.signature.name
    if context is not None and answer.tracking_id is not None:
        context.set_trailing_metadata(((TRACKING_HEADER, answer.tracking_id),))


def _fill_classes(result: Any, classes: Sequence[Sequence[tuple[str, float]]]) -> None:
    for row in classes:
        entry = result.classifications.add()
        for label, score in row:
            entry.classes.add(label=label, score=score)


def _fill_values(result: Any, values: Any) -> None:
    for number in values.tolist():
        result.regressions.add(value=number)
