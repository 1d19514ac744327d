"""The four ways to ask a model, independent of the wire that a request came by."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from probity.platform.serving.batching import Batcher
from probity.platform.serving.catalogue import Catalogue, Target
from probity.platform.serving.metrics import Metrics
from probity.platform.serving.prediction_log import Prediction, PredictionLog
from probity.platform.serving.saved_model import Arrays, LoadedModel, Signature
from probity.platform.serving.status import Code, ServingError

__all__ = ["CLASSIFY", "DEFAULT_SIGNATURE", "PREDICT", "REGRESS", "Answer", "Inference"]

DEFAULT_SIGNATURE = "serving_default"
PREDICT, CLASSIFY, REGRESS = (f"tensorflow/serving/{verb}" for verb in ("predict", "classify", "regress"))


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model said.

    Attributes:
        model: The version that said it.
        signature: The signature that was asked.
        outputs: Arrays by output name.
        tracking_id: Names the request in the prediction log; ``None`` if there is no log.
    """

    model: LoadedModel
    signature: Signature
    outputs: Arrays
    tracking_id: str | None = None


class Inference:
    """Answers requests from the catalogue's models.

    Args:
        catalogue: The models.
        batcher: Runs them.
        metrics: Hears of a log that fails.
        log: Is told every answer, if there is one.
    """

    def __init__(
        self, catalogue: Catalogue, *, batcher: Batcher, metrics: Metrics, log: PredictionLog | None = None
    ) -> None:
        self.catalogue = catalogue
        self._batcher = batcher
        self._metrics = metrics
        self._log = log

    def signature(self, target: Target, name: str, *, missing: Code) -> tuple[LoadedModel, Signature]:
        """Returns the version and the signature that a request asks for.

        Args:
            target: The model.
            name: The signature; empty for the default one.
            missing: What a signature that is not there is answered with; the wires differ in it.

        Raises:
            ServingError: If one of them is not there.
        """
        model = self.catalogue.find(target)
        signature = model.signatures.get(name or DEFAULT_SIGNATURE)
        if signature is None:
            raise ServingError(missing, f'Serving signature name: "{name or DEFAULT_SIGNATURE}" not found')
        return model, signature

    async def predict(
        self, model: LoadedModel, signature: Signature, inputs: Arrays, *, tracking_id: str | None = None
    ) -> Answer:
        """Returns all outputs of a signature.

        Raises:
            ServingError: If an input is absent, superfluous or of the wrong shape, or the model refuses it.
        """
        if signature.method_name not in (PREDICT, CLASSIFY, REGRESS):
            raise ServingError(Code.INTERNAL, "Expected a signature of predict, classify or regress")
        _require_inputs(signature, inputs)
        outputs = await self._batcher.run(model, signature, inputs)
        return self._told(model, signature, inputs, outputs, tracking_id)

    async def classify(
        self, target: Target, signature_name: str, examples: Sequence[bytes], *, tracking_id: str | None = None
    ) -> tuple[Answer, list[list[tuple[str, float]]]]:
        """Returns label and score of each class of each example; a label may be empty.

        Raises:
            ServingError: If the signature is not one of classification, or the model refuses the examples.
        """
        answer = await self._examples(target, signature_name, examples, CLASSIFY, tracking_id)
        return answer, _classes(answer, len(examples))

    async def regress(
        self, target: Target, signature_name: str, examples: Sequence[bytes], *, tracking_id: str | None = None
    ) -> tuple[Answer, np.ndarray[Any, Any]]:
        """Returns the value of each example, float32 of shape (examples,).

        Raises:
            ServingError: If the signature is not one of regression, or the model refuses the examples.
        """
        answer = await self._examples(target, signature_name, examples, REGRESS, tracking_id)
        return answer, _regressions(answer, len(examples))

    async def _examples(
        self, target: Target, name: str, examples: Sequence[bytes], method: str, tracking_id: str | None
    ) -> Answer:
        if not examples:
            raise ServingError(Code.INVALID_ARGUMENT, "Input is empty.")
        model, signature = self.signature(target, name, missing=Code.INVALID_ARGUMENT)
        require_method(signature, method)
        array = np.empty(len(examples), object)
        array[:] = examples
        inputs = {next(iter(signature.inputs)): array}
        _require_inputs(signature, inputs)
        outputs = await self._batcher.run(model, signature, inputs)
        return self._told(model, signature, inputs, outputs, tracking_id)

    def _told(
        self, model: LoadedModel, signature: Signature, inputs: Arrays, outputs: Arrays, tracking_id: str | None
    ) -> Answer:
        if self._log is None:
            return Answer(model=model, signature=signature, outputs=outputs)
        tracking_id = tracking_id or uuid.uuid4().hex
        try:
            self._log.record(
                Prediction(
                    tracking_id=tracking_id,
                    model_name=model.name,
                    version=model.version,
                    signature_name=signature.name,
                    inputs=inputs,
                    outputs=outputs,
                    answered_at=time.time(),
                )
            )
        except Exception:  # a full disk of the log must not fail who asks the model
            self._metrics.log_failed()
        return Answer(model=model, signature=signature, outputs=outputs, tracking_id=tracking_id)


def require_method(signature: Signature, method: str) -> None:
    """Raises unless a signature is what ``Classify`` or ``Regress`` needs.

    Raises:
        ServingError: ``INVALID_ARGUMENT`` or ``FAILED_PRECONDITION``, as TensorFlow Serving.
    """
    kind: Literal["classification", "regression"] = "classification" if method == CLASSIFY else "regression"
    if signature.method_name != method:
        raise ServingError(
            Code.INVALID_ARGUMENT,
            f"Expected {kind} signature method_name to be {method}. Was: {signature.method_name}",
        )
    if list(signature.inputs) != ["inputs"]:
        raise ServingError(Code.FAILED_PRECONDITION, f"No {kind} inputs found in SignatureDef")
    found = set(signature.outputs)
    if not (found and found <= {"classes", "scores"} if method == CLASSIFY else found == {"outputs"}):
        raise ServingError(Code.FAILED_PRECONDITION, f"The outputs of the signature are not those of a {kind}")


def _require_inputs(signature: Signature, inputs: Arrays) -> None:
    if inputs.keys() != signature.inputs.keys():
        extra, missing = (
            sorted(inputs.keys() - signature.inputs.keys()),
            sorted(signature.inputs.keys() - inputs.keys()),
        )
        raise ServingError(
            Code.INVALID_ARGUMENT,
            f"input size does not match signature: {len(inputs)}!={len(signature.inputs)}. "
            f"Sent extra: {{{','.join(extra)}}}. Missing but required: {{{','.join(missing)}}}.",
        )
    for name, spec in signature.inputs.items():
        if not spec.accepts(inputs[name].shape):
            wanted = None if spec.shape is None else [-1 if size is None else size for size in spec.shape]
            raise ServingError(
                Code.INVALID_ARGUMENT,
                f"Tensor {name}, specified in the request, has shape {list(inputs[name].shape)}, expected {wanted}",
            )


def _classes(answer: Answer, examples: int) -> list[list[tuple[str, float]]]:
    labels, scores = answer.outputs.get("classes"), answer.outputs.get("scores")
    for name, array, kind in (("classes", labels, object), ("scores", scores, np.float32)):
        if array is not None and (array.ndim != 2 or array.dtype != kind or len(array) != examples):
            raise ServingError(Code.INVALID_ARGUMENT, f"Expected {name} Tensor shape: [batch_size num_classes]")
    if labels is not None and scores is not None and labels.shape != scores.shape:
        raise ServingError(Code.INVALID_ARGUMENT, "Tensors class and score should match in dim_size(1)")
    width = (labels if labels is not None else scores).shape[1]  # type: ignore[union-attr] # one is there
    words = np.full((examples, width), b"", object) if labels is None else labels
    numbers = np.zeros((examples, width), np.float32) if scores is None else scores
    return [
        [(word.decode(errors="replace"), number) for word, number in zip(row, row_numbers, strict=True)]
        for row, row_numbers in zip(words.tolist(), numbers.tolist(), strict=True)
    ]


def _regressions(answer: Answer, examples: int) -> np.ndarray[Any, Any]:
    array = answer.outputs["outputs"]
    if array.dtype != np.float32 or array.shape not in ((examples,), (examples, 1)):
        raise ServingError(
            Code.INVALID_ARGUMENT, "Expected output Tensor shape to be either [batch_size] or [batch_size, 1]"
        )
    return array.reshape(-1)
