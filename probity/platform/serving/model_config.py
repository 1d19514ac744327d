"""TensorFlow Serving's own configuration files, read by its own field names.

``tensorflow-serving-api`` ships the messages of the model config only. Those for batching, TLS and monitoring are
declared here, which is all that the text format needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from probity.errors import ConfigError
from probity.platform.serving.options import All, Batching, Latest, ModelSource, Policy, Specific, Tls
from probity.platform.serving.status import Code, ServingError

__all__ = ["read_batching", "read_models", "read_monitoring_path", "read_tls", "sources_of"]

_PACKAGE = "probity.serving.config"
_WRAPPED = {"int64": ".google.protobuf.Int64Value", "text": ".google.protobuf.StringValue"}
_PLAIN = {"string": 9, "bool": 8, "int64": 3}
_MESSAGES: dict[str, dict[str, str]] = {
    # tensorflow_serving/servables/tensorflow/session_bundle_config.proto
    "BatchingParameters": {
        "max_batch_size": "wrapped int64",
        "batch_timeout_micros": "wrapped int64",
        "max_enqueued_batches": "wrapped int64",
        "num_batch_threads": "wrapped int64",
        "thread_pool_name": "wrapped text",
        "allowed_batch_sizes": "repeated int64",
        "pad_variable_length_inputs": "bool",
    },
    # tensorflow_serving/config/ssl_config.proto
    "SSLConfig": {"server_key": "string", "server_cert": "string", "custom_ca": "string", "client_verify": "bool"},
    # tensorflow_serving/config/monitoring_config.proto
    "PrometheusConfig": {"enable": "bool", "path": "string"},
    "MonitoringConfig": {"prometheus_config": "message PrometheusConfig"},
}


def read_models(path: Path) -> tuple[ModelSource, ...]:
    """Reads a ``--model_config_file``.

    Raises:
        ConfigError: If it cannot be read, or names no model or one twice.
    """
    from tensorflow_serving.config import model_server_config_pb2

    config = _parse(path, model_server_config_pb2.ModelServerConfig(), "--model-config-file")
    try:
        return sources_of(config)
    except ServingError as error:
        raise ConfigError(
            "--model-config-file",
            seen="a list of models that cannot be served",
            allowed="at least one model, each with a name of its own, a base_path and platform tensorflow",
            remedy=f"mend {path.name}",
        ) from error


def read_batching(path: Path) -> Batching:
    """Reads a ``--batching_parameters_file``.

    Raises:
        ConfigError: If it cannot be read, or asks for what does not exist here.
    """
    found = _parse(path, _message("BatchingParameters"), "--batching-parameters-file")
    if found.allowed_batch_sizes or found.pad_variable_length_inputs:
        raise ConfigError(
            "--batching-parameters-file",
            seen="allowed_batch_sizes or pad_variable_length_inputs",
            allowed="max_batch_size, batch_timeout_micros, max_enqueued_batches, num_batch_threads",
            remedy="leave them out, or run tensorflow_model_server, which knows them",
        )
    names = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
    given = {name: getattr(found, name).value for name in names if found.HasField(name)}
    least = {"batch_timeout_micros": 0}
    if any(number < least.get(name, 1) for name, number in given.items()):
        raise ConfigError(
            "--batching-parameters-file",
            seen="a number below its least",
            allowed="batch_timeout_micros of at least 0, the others of at least 1",
            remedy=f"mend {path.name}",
        )
    return Batching(**given)


def read_tls(path: Path) -> Tls:
    """Reads an ``--ssl_config_file``.

    Raises:
        ConfigError: If it cannot be read, or lacks key or certificate.
    """
    found = _parse(path, _message("SSLConfig"), "--ssl-config-file")
    if not found.server_key or not found.server_cert or (found.client_verify and not found.custom_ca):
        raise ConfigError(
            "--ssl-config-file",
            seen="no server_key, no server_cert, or client_verify without custom_ca",
            allowed="PEM texts of the key and the certificate, and of the CA whose clients are let in",
            remedy=f"mend {path.name}",
        )
    return Tls(
        server_key=found.server_key,
        server_cert=found.server_cert,
        custom_ca=found.custom_ca,
        client_verify=found.client_verify,
    )


def read_monitoring_path(path: Path) -> str | None:
    """Reads a ``--monitoring_config_file``, and returns where the metrics are to be shown.

    Raises:
        ConfigError: If it cannot be read.
    """
    found = _parse(path, _message("MonitoringConfig"), "--monitoring-config-file").prometheus_config
    return (found.path or "/monitoring/prometheus/metrics") if found.enable else None


def sources_of(config: Any) -> tuple[ModelSource, ...]:
    """Returns the models of a ``ModelServerConfig``.

    Raises:
        ServingError: ``INVALID_ARGUMENT`` if they cannot be served.
    """
    if config.WhichOneof("config") != "model_config_list":
        raise ServingError(Code.INVALID_ARGUMENT, "ServerCore expects a model_config_list")
    entries = config.model_config_list.config
    names = [entry.name for entry in entries]
    if not names or len(set(names)) < len(names) or not all(names):
        raise ServingError(Code.INVALID_ARGUMENT, "Every model needs a name of its own, and there must be one")
    if any(not entry.base_path or entry.model_platform not in ("", "tensorflow") for entry in entries):
        raise ServingError(Code.INVALID_ARGUMENT, "Every model needs a base_path, and the platform tensorflow")
    return tuple(
        ModelSource(
            name=entry.name,
            base_path=Path(entry.base_path),
            policy=_policy(entry.model_version_policy),
            labels=dict(entry.version_labels),
        )
        for entry in entries
    )


def _policy(policy: Any) -> Policy:
    kind = policy.WhichOneof("policy_choice")
    if kind == "all":
        return All()
    if kind == "specific":
        if not policy.specific.versions:
            raise ServingError(Code.INVALID_ARGUMENT, "The policy specific needs versions")
        return Specific(versions=tuple(policy.specific.versions))
    return Latest(num_versions=max(1, policy.latest.num_versions))


def _parse(path: Path, message: Any, option: str) -> Any:
    from google.protobuf import text_format

    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), message)
    except OSError as error:
        raise ConfigError(
            option,
            seen=f"a file that cannot be read ({error.strerror})",
            allowed="a readable text file",
            remedy="name another file",
        ) from error
    except (text_format.ParseError, UnicodeError) as error:
        raise ConfigError(
            option,
            seen=f"no {message.DESCRIPTOR.name} in protobuf's text format",
            allowed=f"the fields {', '.join(field.name for field in message.DESCRIPTOR.fields)}",
            remedy=f"mend {path.name}",
        ) from error


def _message(name: str) -> Any:
    return _classes()[f"{_PACKAGE}.{name}"]()


@cache
def _classes() -> Mapping[str, Any]:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

    file = descriptor_pb2.FileDescriptorProto(
        name="probity/serving/config.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    for message, fields in _MESSAGES.items():
        entry = file.message_type.add(name=message)
        for number, (name, kind) in enumerate(fields.items(), 1):
            entry.field.add(name=name, number=number, **_field(kind))
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        f"{_PACKAGE}.{name}": message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in _MESSAGES
    }


def _field(kind: str) -> dict[str, Any]:
    """Returns type and label of a field in a descriptor's numbers: 11 is a message; 1 optional, 3 repeated."""
    word, _, detail = kind.partition(" ")
    if word == "wrapped":
        return {"type": 11, "label": 1, "type_name": _WRAPPED[detail]}
    if word == "message":
        return {"type": 11, "label": 1, "type_name": f".{_PACKAGE}.{detail}"}
    if word == "repeated":
        return {"type": _PLAIN[detail], "label": 3}
    return {"type": _PLAIN[word], "label": 1}
