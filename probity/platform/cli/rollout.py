"""``rollout``: one version takes over from another, step by step, watched and taken back by itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from probity.platform.cli.options import JsonOption, WorkspaceOption, quiet, workspace_at
from probity.platform.cli.rollout_options import (
    AnewOption,
    CandidateGrpcServerOption,
    CandidateServerOption,
    ConfigOption,
    DecisionThresholdOption,
    ErrorRiseOption,
    FromOption,
    GroupsOption,
    GrpcPortOption,
    GrpcServerOption,
    HostOption,
    LatencyLimitOption,
    ManifestsOption,
    ModelArgument,
    PortOption,
    RequestsPerGroupOption,
    RequestsPerStageOption,
    SelectionDropOption,
    ServerCaOption,
    ServerCertOption,
    ServerKeyOption,
    ServerOption,
    ShadowShareOption,
    ShowOption,
    SlowRiseOption,
    SslConfigFileOption,
    StagesOption,
    StopOption,
    StorageOption,
    ToOption,
    UntilDecidedOption,
)
from probity.platform.cli.rollout_summary import print_manifests, reporter, show_state

if TYPE_CHECKING:
    from probity.platform.rollout.control import Rollout
    from probity.platform.rollout.membership import Membership
    from probity.platform.serving.options import Tls
    from probity.platform.serving.tls import ClientTls
    from probity.rollout import RolloutState

__all__ = ["rollout"]

HELD = 3
"""Exit code of a rollout that did not arrive."""


@dataclass(frozen=True, kw_only=True)
class _Servers:
    """Where the versions answer: REST, and gRPC if that is routed on a port of its own."""

    incumbent: str
    candidate: str
    grpc_port: int | None
    grpc_incumbent: str
    grpc_candidate: str
    tls: ClientTls | None

    def require_usable(self) -> None:
        """Refuses an address that says nothing, or that needs TLS which was not asked for."""
        from probity.platform.serving.tls import tls_of

        addresses = {"--server": self.incumbent, "--candidate-server": self.candidate}
        if self.grpc_port is not None:
            addresses |= {"--grpc-server": self.grpc_incumbent, "--candidate-grpc-server": self.grpc_candidate}
        for option, address in addresses.items():
            tls_of(address, self.tls, option=option)


def rollout(
    model: ModelArgument,
    *,
    to: ToOption = None,
    of: FromOption = None,
    stages: StagesOption = "1,10,50,100",
    config: ConfigOption = Path("probity.yaml"),
    server: ServerOption = "http://127.0.0.1:8501",
    candidate_server: CandidateServerOption = None,
    groups: GroupsOption = None,
    requests_per_stage: RequestsPerStageOption = 1000,
    requests_per_group: RequestsPerGroupOption = 4000,
    shadow_share: ShadowShareOption = 1.0,
    decision_threshold: DecisionThresholdOption = None,
    selection_drop: SelectionDropOption = 0.02,
    error_rise: ErrorRiseOption = 0.01,
    slow_rise: SlowRiseOption = 0.05,
    latency_limit: LatencyLimitOption = 100.0,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8511,
    grpc_port: GrpcPortOption = None,
    grpc_server: GrpcServerOption = "127.0.0.1:8500",
    candidate_grpc_server: CandidateGrpcServerOption = None,
    ssl_config_file: SslConfigFileOption = None,
    server_ca: ServerCaOption = None,
    server_cert: ServerCertOption = None,
    server_key: ServerKeyOption = None,
    until_decided: UntilDecidedOption = False,
    anew: AnewOption = False,
    show: ShowOption = False,
    stop: StopOption = None,
    manifests: ManifestsOption = None,
    storage: StorageOption = "pvc://models",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Route requests to two versions of a model, more and more of them to the new one, and take it back on harm.

    The server has to hold both versions. Clients ask the router, and send a header x-tracking-id. The same command
    continues an interrupted rollout. Exit code 3: rolled back or stopped.

    Example: probity rollout adult_income --to 1767225600 --stages 1,10,50,100 --groups groups.parquet
    """
    quiet()
    from probity.platform.rollout.preparation import prepare, project_of
    from probity.rollout import state_path

    project = project_of(model, config)
    path = state_path(project.base_path, project.model_name)
    if stop is not None:
        _stop(path, stop)
        return
    if show:
        show_state(path, as_json=as_json)
        return
    membership = _membership(groups)
    settings = {
        "stages": _stages(stages),
        "shadow_share": shadow_share,
        "requests_per_stage": requests_per_stage,
        "requests_per_group": requests_per_group,
        "groups": membership.groups if membership else (),
        "latency_limit_milliseconds": latency_limit,
        **({} if decision_threshold is None else {"decision_threshold": decision_threshold}),
        "tolerance": {"error_rise": error_rise, "slow_rise": slow_rise, "selection_drop": selection_drop},
    }
    plan = prepare(project, candidate=_required(to), incumbent=of, settings=settings)
    if manifests is not None:
        print_manifests(plan, kind=manifests, storage=storage)
        return
    from probity.platform.rollout.control import Rollout
    from probity.platform.rollout.telling import telling
    from probity.platform.serving.tls import read_client_tls

    # Before the first stage is told to the history, which is no place for a mistyped address.
    listening = _listening(ssl_config_file)
    servers = _Servers(
        incumbent=server,
        candidate=server if candidate_server is None else candidate_server,
        grpc_port=grpc_port,
        grpc_incumbent=grpc_server,
        grpc_candidate=grpc_server if candidate_grpc_server is None else candidate_grpc_server,
        tls=read_client_tls(server_ca, cert=server_cert, key=server_key),
    )
    servers.require_usable()
    if anew:
        _set_aside(path)
    place = workspace_at(workspace, beside=project.root)
    running = Rollout(plan, path=path, tell=telling(project, workspace=place.root))
    end = _route(
        running, servers, host=host, port=port, membership=membership, tls=listening, until_decided=until_decided
    )
    if as_json:
        typer.echo(json.dumps(end.to_json(), indent=1))
    if end.status in ("rolled_back", "stopped"):
        raise typer.Exit(HELD)


def _route(
    running: Rollout,
    servers: _Servers,
    *,
    host: str,
    port: int,
    membership: Membership | None,
    tls: Tls | None,
    until_decided: bool,
) -> RolloutState:
    from probity.platform.rollout.grpc_router import GrpcRouter
    from probity.platform.rollout.router import Router
    from probity.platform.rollout.routing import route

    router = Router(
        running, incumbent=servers.incumbent, candidate=servers.candidate, membership=membership, tls=servers.tls
    )
    grpc = None
    if servers.grpc_port is not None:
        wire = GrpcRouter(
            router.division, incumbent=servers.grpc_incumbent, candidate=servers.grpc_candidate, tls=servers.tls
        )
        grpc = (wire, servers.grpc_port)
    return route(
        router,
        running,
        host=host,
        port=port,
        until_decided=until_decided,
        report=reporter(),
        grpc=grpc,
        tls=tls,
    )


def _stop(path: Path, why: str) -> None:
    from probity.platform.rollout.control import ask_to_stop

    ask_to_stop(path, why)
    typer.echo("the router ends the rollout at its next look; if none runs, the next one does")


def _set_aside(path: Path) -> None:
    from datetime import UTC, datetime

    from probity.platform.rollout.preparation import set_aside

    set_aside(path, now=datetime.now(UTC))


def _required(to: int | None) -> int:
    from probity.errors import ConfigError

    if to is None:
        raise ConfigError(
            "--to",
            seen="absent",
            allowed="the version that is to take over",
            remedy="choose one of the released versions: probity releases MODEL",
        )
    return to


def _stages(text: str) -> tuple[int, ...]:
    from probity.errors import ConfigError

    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(
            "--stages",
            seen=repr(text),
            allowed="whole percentages, ascending, the last one 100, separated by commas",
            remedy="for example --stages 1,10,50,100",
        ) from error


def _listening(file: Path | None) -> Tls | None:
    from probity.platform.serving.model_config import read_tls
    from probity.platform.serving.tls import server_context

    if file is None:
        return None
    found = read_tls(file)
    server_context(found)
    return found


def _membership(path: Path | None) -> Membership | None:
    from probity.platform.rollout.membership import Membership

    return Membership.read(path) if path is not None else None
