"""One server for all tests of the wires: the embedded one, or the binary that TENSORFLOW_MODEL_SERVER names."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from probity.platform.serving import Client
from probity.platform.serving.model_config import read_models
from probity.platform.serving.options import ServerOptions
from probity.platform.serving.server import EmbeddedServer
from tests.platform.serving.toy_models import half_plus

MODELS = """
model_config_list {{
  config {{
    name: "half_plus_three" base_path: "{folder}/half_plus_three" model_platform: "tensorflow"
  }}
  config {{
    name: "half_plus" base_path: "{folder}/half_plus" model_platform: "tensorflow"
    model_version_policy {{ all {{}} }}
    version_labels {{ key: "stable" value: 1 }}
    version_labels {{ key: "canary" value: 2 }}
  }}
}}
"""


@dataclass(frozen=True)
class Address:
    """Where a server listens."""

    port: int
    rest_api_port: int


@pytest.fixture(scope="session")
def toy_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with half_plus_three, version 123, and half_plus, versions 1 (+1) and 2 (+2)."""
    folder = tmp_path_factory.mktemp("models")
    half_plus(folder / "half_plus_three" / "00000123", plus=3.0)
    half_plus(folder / "half_plus" / "1", plus=1.0)
    half_plus(folder / "half_plus" / "2", plus=2.0)
    (folder / "models.config").write_text(MODELS.format(folder=folder), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def server(toy_models: Path) -> Iterator[Address]:
    """A running server of the toy models."""
    binary = os.environ.get("TENSORFLOW_MODEL_SERVER")
    if binary:
        yield from _real(binary, toy_models / "models.config")
        return
    options = ServerOptions(
        models=read_models(toy_models / "models.config"), port=0, rest_api_port=0, require_verified=False
    )
    with EmbeddedServer(options) as running:
        yield Address(running.port, running.rest_api_port)


@pytest.fixture(scope="session")
def embedded(server: Address) -> Address:
    """The embedded server, for what only it promises."""
    if os.environ.get("TENSORFLOW_MODEL_SERVER"):
        pytest.skip("a promise of the embedded server")
    return server


def _real(binary: str, config: Path) -> Iterator[Address]:
    ports = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    command = [
        binary,
        f"--port={ports[0]}",
        f"--rest_api_port={ports[1]}",
        f"--model_config_file={config}",
        "--allow_version_labels_for_unavailable_models=true",
    ]
    with subprocess.Popen(command) as process:
        try:
            with Client(rest_api_port=ports[1]) as client:
                client.wait_until_available("half_plus", timeout_seconds=60.0)
            yield Address(ports[0], ports[1])
        finally:
            process.terminate()
