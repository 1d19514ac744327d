"""The options of ``probity rollout``, by what they decide: versions, evidence, servers, the router, what is done."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "AnewOption",
    "CandidateGrpcServerOption",
    "CandidateServerOption",
    "ConfigOption",
    "DecisionThresholdOption",
    "ErrorRiseOption",
    "FromOption",
    "GroupsOption",
    "GrpcPortOption",
    "GrpcServerOption",
    "HostOption",
    "LatencyLimitOption",
    "ManifestsOption",
    "ModelArgument",
    "PortOption",
    "RequestsPerGroupOption",
    "RequestsPerStageOption",
    "SelectionDropOption",
    "ServerCaOption",
    "ServerCertOption",
    "ServerKeyOption",
    "ServerOption",
    "ShadowShareOption",
    "ShowOption",
    "SlowRiseOption",
    "SslConfigFileOption",
    "StagesOption",
    "StopOption",
    "StorageOption",
    "ToOption",
    "UntilDecidedOption",
]

# -- which version takes over from which, and how fast

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")]
ToOption = Annotated[int | None, typer.Option("--to", metavar="VERSION", help="The version that is to take over.")]
FromOption = Annotated[
    int | None, typer.Option("--from", metavar="VERSION", help="The version that answers now. Default: the newest.")
]
StagesOption = Annotated[str, typer.Option("--stages", metavar="P,P,...", help="Percentages of requests.")]
ConfigOption = Annotated[Path, typer.Option("--config", metavar="FILE", help="The model's config: base path and keys.")]

# -- what a stage needs, and what it tolerates

GroupsOption = Annotated[
    Path | None, typer.Option("--groups", metavar="FILE", help="Table of tracking_id and groups; CSV or Parquet.")
]
RequestsPerStageOption = Annotated[
    int, typer.Option("--requests-per-stage", help="Answers of the candidate that a stage needs.")
]
RequestsPerGroupOption = Annotated[
    int, typer.Option("--requests-per-group", help="Answers of the candidate that each group needs.")
]
ShadowShareOption = Annotated[
    float, typer.Option("--shadow-share", help="Share of requests that is copied in the shadow stage.")
]
DecisionThresholdOption = Annotated[
    float | None,
    typer.Option("--decision-threshold", help="Of a model that predicts a number: what is decided at. Default: none."),
]
SelectionDropOption = Annotated[
    float, typer.Option("--selection-drop", help="Tolerated drop of favourable outcomes, of all and of a group.")
]
ErrorRiseOption = Annotated[float, typer.Option("--error-rise", help="Tolerated rise of failed requests.")]
SlowRiseOption = Annotated[float, typer.Option("--slow-rise", help="Tolerated rise of slow requests.")]
LatencyLimitOption = Annotated[float, typer.Option("--latency-limit", help="From how many ms on it is slow.")]

# -- the servers that hold the versions

ServerOption = Annotated[
    str, typer.Option("--server", metavar="URL", help="REST address of the server that holds the versions.")
]
CandidateServerOption = Annotated[
    str | None, typer.Option("--candidate-server", metavar="URL", help="Where the candidate is, if elsewhere.")
]
GrpcServerOption = Annotated[
    str, typer.Option("--grpc-server", metavar="HOST:PORT", help="gRPC address of the server; with https:// for TLS.")
]
CandidateGrpcServerOption = Annotated[
    str | None, typer.Option("--candidate-grpc-server", metavar="HOST:PORT", help="As --candidate-server.")
]
ServerCaOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Who signed the certificates of servers at https:// addresses (PEM)."),
]
ServerCertOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The router's certificate, where servers verify their clients.")
]
ServerKeyOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Its private key.")]

# -- the router itself

HostOption = Annotated[str, typer.Option("--host", help="Interface that the router listens on.")]
PortOption = Annotated[int, typer.Option("--port", help="The router's port; 0: any.")]
GrpcPortOption = Annotated[
    int | None, typer.Option("--grpc-port", help="The router's gRPC port, 0: any. Default: gRPC is not routed.")
]
SslConfigFileOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Listen with TLS on both ports: TensorFlow Serving's SSLConfig.")
]
UntilDecidedOption = Annotated[
    bool, typer.Option("--until-decided", help="End with the rollout; else route on until ended.")
]

# -- something else than to go on with the rollout

AnewOption = Annotated[bool, typer.Option("--anew", help="Set an earlier rollout aside and begin again.")]
ShowOption = Annotated[bool, typer.Option("--show", help="Only print where the rollout stands.")]
StopOption = Annotated[str | None, typer.Option("--stop", metavar="WHY", help="End a running rollout.")]
ManifestsOption = Annotated[
    str | None, typer.Option("--manifests", metavar="KIND", help="Only print kserve or istio objects, by stage.")
]
StorageOption = Annotated[
    str, typer.Option("--storage", metavar="URI", help="For kserve: where the model's versions lie.")
]
