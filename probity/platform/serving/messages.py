"""Between our values and the messages of ``tensorflow-serving-api``.

The message classes import TensorFlow, so they are imported where they are used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from probity.platform.serving.catalogue import Target, VersionStatus
from probity.platform.serving.options import All, Latest, ModelSource
from probity.platform.serving.saved_model import LoadedModel, Signature
from probity.platform.serving.status import Code, ServingError

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

__all__ = [
    "array_of",
    "config_message",
    "examples_of",
    "metadata_json",
    "metadata_message",
    "status_json",
    "status_message",
    "target_of",
    "tensor_message",
]

_FIELDS = {
    1: "float_val", 2: "double_val", 3: "int_val", 4: "int_val", 5: "int_val", 6: "int_val", 7: "string_val",
    9: "int64_val", 10: "bool_val", 17: "int_val", 22: "uint32_val", 23: "uint64_val",
}  # fmt: skip
"""Field of ``TensorProto`` for each ``DataType``; the rest goes as raw bytes."""


def target_of(spec: Any) -> Target:
    """Returns whom a ``ModelSpec`` names.

    Raises:
        ServingError: If it names no model.
    """
    if not spec.name:
        raise ServingError(Code.INVALID_ARGUMENT, "ModelSpec has no name specified.")
    chosen = spec.WhichOneof("version_choice")
    return Target(
        name=spec.name,
        version=spec.version.value if chosen == "version" else None,
        label=spec.version_label if chosen == "version_label" else None,
    )


# --- tensors --------------------------------------------------------------------------------------------------------


def array_of(message: Any, *, name: str, signature: Signature, max_bytes: int) -> Array:
    """Returns a ``TensorProto`` as an array.

    Args:
        message: The tensor.
        name: The input it is for.
        signature: Knows the type.
        max_bytes: A message may give one value for a shape of billions; what is larger is refused.

    Raises:
        ServingError: If type, shape and values do not fit together or to the signature.
    """
    import tensorflow as tf

    spec = signature.inputs.get(name)
    if spec is not None and message.dtype != spec.dtype:
        raise ServingError(Code.INVALID_ARGUMENT, f"Tensor {name} is not of the type that the signature has")
    sizes = [dim.size for dim in message.tensor_shape.dim]
    if message.tensor_shape.unknown_rank or min(sizes, default=0) < 0:
        raise ServingError(Code.INVALID_ARGUMENT, f"Tensor {name} has no definite shape")
    if math.prod(sizes) * 8 > max_bytes:
        raise ServingError(Code.RESOURCE_EXHAUSTED, f"Tensor {name} is larger than {max_bytes} bytes")
    try:
        array: Array = tf.make_ndarray(message)
    except (ValueError, TypeError, KeyError) as error:
        raise ServingError(Code.INVALID_ARGUMENT, f"Tensor {name} cannot be parsed ({type(error).__name__})") from error
    return array


def tensor_message(array: Array, dtype: int) -> Any:
    """Returns an array as TensorFlow Serving sends it: values in the typed field, where simple clients read them."""
    import tensorflow as tf
    from tensorflow.core.framework import tensor_pb2

    field = _FIELDS.get(dtype)
    if field is None:
        return tf.make_tensor_proto(array, dtype=dtype)
    message = tensor_pb2.TensorProto(dtype=dtype)
    shape = message.tensor_shape
    for size in array.shape:
        shape.dim.add().size = size
    getattr(message, field).extend(array.ravel().tolist())
    return message


def examples_of(given: Any) -> Sequence[bytes]:
    """Returns the serialized examples of an ``Input``, a common context merged into each.

    Raises:
        ServingError: If there are none.
    """
    kind = given.WhichOneof("kind")
    if kind == "example_list":
        examples = [example.SerializeToString() for example in given.example_list.examples]
    elif kind == "example_list_with_context":
        listed = given.example_list_with_context
        context = listed.context.SerializeToString()
        examples = [context + example.SerializeToString() for example in listed.examples]
    else:
        examples = []
    if not examples:
        raise ServingError(Code.INVALID_ARGUMENT, "Input is empty.")
    return examples


# --- facts about models ---------------------------------------------------------------------------------------------


def status_message(statuses: Mapping[int, VersionStatus]) -> Any:
    """Returns a ``GetModelStatusResponse``."""
    from tensorflow_serving.apis import get_model_status_pb2

    response = get_model_status_pb2.GetModelStatusResponse()
    for version, status in statuses.items():
        entry = response.model_version_status.add(version=version, state=status.state.value)
        entry.status.error_code = status.code.number
        entry.status.error_message = status.message
    return response


def metadata_message(model: LoadedModel) -> Any:
    """Returns a ``GetModelMetadataResponse`` with the model's signatures."""
    from tensorflow_serving.apis import get_model_metadata_pb2

    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = model.name
    response.model_spec.version.value = model.version
    response.metadata["signature_def"].Pack(_signatures(model))
    return response


def status_json(statuses: Mapping[int, VersionStatus]) -> bytes:
    """Returns the body of a status answer."""
    return _json(status_message(statuses)).encode()


def metadata_json(model: LoadedModel) -> bytes:
    """Returns the body of a metadata answer, whose two parts TensorFlow Serving joins just so."""
    spec = _json(metadata_message(model).model_spec)
    return f'{{\n"model_spec":{spec},\n"metadata": {{"signature_def": {_json(_signatures(model))}}}\n}}\n'.encode()


def _signatures(model: LoadedModel) -> Any:
    from tensorflow_serving.apis import get_model_metadata_pb2

    found = get_model_metadata_pb2.SignatureDefMap()
    for name, definition in model.definitions.items():
        found.signature_def[name].CopyFrom(definition)
    return found


def _json(message: Any) -> str:
    from google.protobuf import json_format

    text: str = json_format.MessageToJson(
        message, including_default_value_fields=True, preserving_proto_field_name=True, indent=1
    )
    return text


def config_message(models: Sequence[ModelSource]) -> Any:
    """Returns the ``ModelServerConfig`` of some models."""
    from tensorflow_serving.config import model_server_config_pb2

    config = model_server_config_pb2.ModelServerConfig()
    for model in models:
        entry = config.model_config_list.config.add(
            name=model.name, base_path=str(model.base_path), model_platform="tensorflow"
        )
        if isinstance(model.policy, Latest):
            entry.model_version_policy.latest.num_versions = model.policy.num_versions
        elif isinstance(model.policy, All):
            entry.model_version_policy.all.SetInParent()
        else:
            entry.model_version_policy.specific.versions.extend(model.policy.versions)
        for label, version in model.labels.items():
            entry.version_labels[label] = version
    return config
