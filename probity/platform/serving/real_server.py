"""TensorFlow Serving itself, where it is installed: its command, and a folder that holds only versions that verify.

``tensorflow_model_server`` loads whatever lies in its base path. So it is not given that of the releases: versions that
verify are copied into another folder, which it polls, and leave it when they leave the first.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from probity.platform.serving.catalogue import Fleet, ModelView
from probity.platform.serving.messages import config_message
from probity.platform.serving.options import All, Batching, Latest, Limits, ModelSource, ServerOptions, Tls

__all__ = [
    "BINARY_VARIABLE",
    "Mirror",
    "command",
    "docker_command",
    "find_binary",
    "not_by_binary",
    "not_by_image",
]

BINARY_VARIABLE = "TENSORFLOW_MODEL_SERVER"
"""Names the binary where it is not on the PATH."""

_BINARY = "tensorflow_model_server"
_IMAGE = "tensorflow/serving:2.15.1"


def find_binary() -> str | None:
    """Returns the path of the installed server, or ``None``."""
    return shutil.which(os.environ.get(BINARY_VARIABLE) or _BINARY)


def not_by_binary(options: ServerOptions, *, host: str | None) -> tuple[str, ...]:
    """Returns the options that ``tensorflow_model_server`` has nothing for: it would run as if nobody had given them.

    Args:
        options: What was asked.
        host: The interface, if somebody named one: the server listens on all of them (its issue 1969).
    """
    asked = {
        "--host": host not in (None, "0.0.0.0"),  # noqa: S104 - to compare with
        "--port 0": options.port == 0,  # to that server this is no free port, but none
        "--rest-api-port 0": options.rest_api_port == 0,
        "--processes": options.processes > 1,
        "--max-request-bytes": options.limits != Limits(),
        "--prediction-log": options.prediction_log is not None,
    }
    return tuple(name for name, given in asked.items() if given)


def not_by_image(options: ServerOptions) -> tuple[str, ...]:
    """Returns the options that the command of :func:`docker_command` would leave out."""
    names = {"--host", "--port 0", "--rest-api-port 0"}  # the mapping of ports does these
    asked = {
        **{name: name not in names for name in not_by_binary(options, host=None)},
        "--model-config-file": len(options.models) > 1
        or any(model.policy != Latest() or model.labels for model in options.models),
        "--batching-parameters-file": options.batching not in (None, Batching()),
        "--ssl-config-file": options.tls is not None,
        "--monitoring-config-file": options.monitoring_path != ServerOptions(models=()).monitoring_path,
    }
    return tuple(name for name, given in asked.items() if given)


class Mirror(Fleet):
    """The folder that the server polls: ``<folder>/<model name>/<version>``.

    A version appears by one rename, whole. What is served is what the server says; see its status.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, name: str, version: int, path: Path) -> None:
        """Shows the server a version that was admitted; ``path`` is a copy and is moved."""
        target = self._folder / name / str(version)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)

    def publish(self, views: Mapping[str, ModelView]) -> None:
        """Does nothing: the folder says it all."""

    def unload(self, name: str, version: int) -> None:
        """Takes a version away from the server."""
        gone = self._folder / f".gone-{name}-{version}"  # no number: out of the server's sight at once
        (self._folder / name / str(version)).rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def sources(self, models: Sequence[ModelSource]) -> tuple[ModelSource, ...]:
        """Returns the models as the server is to be told of them: everything that the mirror holds."""
        return tuple(replace(model, base_path=self._folder / model.name, policy=All()) for model in models)


def command(options: ServerOptions, *, binary: str, folder: Path) -> list[str]:
    """Returns the server's command line, and writes the files that it names to ``folder``."""
    words = [
        binary,
        f"--model_config_file={_write(folder / 'models.config', str(config_message(options.models)))}",
        "--allow_version_labels_for_unavailable_models=true",
        f"--file_system_poll_wait_seconds={max(1, round(options.poll_seconds))}",
        *_parallelism(options),
    ]
    words += [] if options.port is None else [f"--port={options.port}"]
    words += [] if options.rest_api_port is None else [f"--rest_api_port={options.rest_api_port}"]
    if options.batching is not None:
        file = _write(folder / "batching.config", _batching_text(options.batching))
        words += ["--enable_batching=true", f"--batching_parameters_file={file}"]
    if options.tls is not None:
        words.append(f"--ssl_config_file={_write(folder / 'ssl.config', _tls_text(options.tls))}")
    if options.monitoring_path is not None:
        text = f'prometheus_config {{ enable: true path: "{options.monitoring_path}" }}\n'
        words.append(f"--monitoring_config_file={_write(folder / 'monitoring.config', text)}")
    return words


def docker_command(options: ServerOptions) -> list[str]:
    """Returns the command that serves the first model from TensorFlow Serving's image.

    It serves the folder as it is: verify a version before, with ``probity verify``.
    """
    (model, *_) = options.models
    return [
        "docker", "run", "--rm",
        "-p", f"{options.host}:{options.port}:8500", "-p", f"{options.host}:{options.rest_api_port}:8501",
        "-v", f"{model.base_path}:/models/{model.name}:ro", "-e", f"MODEL_NAME={model.name}", _IMAGE,
        *_parallelism(options),
    ]  # fmt: skip


def _parallelism(options: ServerOptions) -> list[str]:
    threads = {
        "tensorflow_intra_op_parallelism": options.intra_op_threads,
        "tensorflow_inter_op_parallelism": options.inter_op_threads,
    }
    return [f"--{name}={number}" for name, number in threads.items() if number]


def _write(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    return path


def _batching_text(batching: Batching) -> str:
    numbers = {
        "max_batch_size": batching.max_batch_size,
        "batch_timeout_micros": batching.batch_timeout_micros,
        "max_enqueued_batches": batching.max_enqueued_batches,
        "num_batch_threads": batching.num_batch_threads,
    }
    return "".join(f"{name} {{ value: {number} }}\n" for name, number in numbers.items())


def _tls_text(tls: Tls) -> str:
    from google.protobuf import text_encoding

    texts = {"server_key": tls.server_key, "server_cert": tls.server_cert, "custom_ca": tls.custom_ca}
    lines = [f'{name}: "{text_encoding.CEscape(text.encode(), as_utf8=False)}"\n' for name, text in texts.items()]
    return "".join([*lines, f"client_verify: {str(tls.client_verify).lower()}\n"])
