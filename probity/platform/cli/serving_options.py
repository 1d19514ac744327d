"""The options of ``probity serve``: what is served, which versions are loaded, how requests are run, what is kept."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "BasePathOption",
    "BatchingFileOption",
    "BatchingOption",
    "ConsentedOption",
    "Engine",
    "EngineOption",
    "HostOption",
    "InterOpThreadsOption",
    "IntraOpThreadsOption",
    "KeyOption",
    "LogInputsOption",
    "MaxRequestBytesOption",
    "ModelConfigFileOption",
    "ModelNameOption",
    "MonitoringFileOption",
    "PollSecondsOption",
    "PortOption",
    "PredictionLogOption",
    "ProcessesOption",
    "RequireVerifiedOption",
    "RestPortOption",
    "SslConfigFileOption",
]


class Engine(enum.Enum):
    """Which server answers."""

    AUTO = "auto"
    EMBEDDED = "embedded"
    REAL = "real"
    DOCKER = "docker"


# -- what is served, and where

ModelNameOption = Annotated[str | None, typer.Option("--model-name", metavar="N", help="Name of the model.")]
BasePathOption = Annotated[
    Path | None, typer.Option("--model-base-path", metavar="DIR", help="Holds one folder per version.")
]
ModelConfigFileOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Several models, policies and labels: TensorFlow Serving's file."),
]
HostOption = Annotated[
    str | None,
    typer.Option(metavar="HOST", help="Interface to listen on. Default: 127.0.0.1; TensorFlow Serving takes all."),
]
PortOption = Annotated[int, typer.Option("--port", help="gRPC port; 0 for any free one.")]
RestPortOption = Annotated[int, typer.Option("--rest-api-port", help="REST port; 0 for any free one.")]
EngineOption = Annotated[
    Engine, typer.Option(help="auto runs tensorflow_model_server if it is installed; docker prints a command.")
]

# -- which versions are loaded, and whom they are believed

RequireVerifiedOption = Annotated[
    bool, typer.Option("--require-verified/--no-require-verified", help="Load only versions that verify.")
]
KeyOption = Annotated[
    list[Path] | None,
    typer.Option("--key", metavar="PATH", help="Public key that is trusted, or a folder of them. Default: keys."),
]
PollSecondsOption = Annotated[
    float, typer.Option("--file-system-poll-wait-seconds", min=0.05, help="How often to look for versions.")
]
SslConfigFileOption = Annotated[Path | None, typer.Option(metavar="FILE", help="TensorFlow Serving's SSLConfig.")]

# -- how requests are run

ProcessesOption = Annotated[int, typer.Option(min=1, help="Processes that answer on the same ports.")]
BatchingOption = Annotated[
    bool, typer.Option("--enable-batching/--no-enable-batching", help="Run requests that wait together together.")
]
BatchingFileOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="TensorFlow Serving's BatchingParameters.")
]
IntraOpThreadsOption = Annotated[
    int,
    typer.Option(
        "--intra-op-threads",
        "--tensorflow-intra-op-parallelism",
        min=0,
        help="Threads within an operation; 0: auto.",
    ),
]
InterOpThreadsOption = Annotated[
    int,
    typer.Option(
        "--inter-op-threads",
        "--tensorflow-inter-op-parallelism",
        min=0,
        help="Threads for operations side by side; 0: auto.",
    ),
]
MaxRequestBytesOption = Annotated[
    int, typer.Option("--max-request-bytes", min=1024, help="Of one request; a process may hold many.")
]

# -- what is kept of them

PredictionLogOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Keep tracking id, version and score of every prediction there."),
]
LogInputsOption = Annotated[
    str, typer.Option(metavar="POLICY", help="Whose inputs the log keeps: none, consented or all.")
]
ConsentedOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Tracking ids of who agreed, one per line.")]
MonitoringFileOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="TensorFlow Serving's MonitoringConfig.")
]
