"""``rollout``: one version takes over from another, step by step, watched and taken back by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probity.platform.cli.options import JsonOption, WorkspaceOption, quiet, workspace_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from probity.platform.rollout.routing import Listening
    from probity.platform.serving.options import Tls
    from probity.rollout import RolloutState

__all__ = ["rollout"]

HELD = 3
"""Exit code of a rollout that did not arrive."""


def rollout(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")],
    *,
    to: Annotated[int | None, typer.Option("--to", metavar="VERSION", help="The version that is to take over.")] = None,
    of: Annotated[
        int | None, typer.Option("--from", metavar="VERSION", help="The version that answers now. Default: the newest.")
    ] = None,
    stages: Annotated[
        str, typer.Option("--stages", metavar="P,P,...", help="Percentages of requests.")
    ] = "1,10,50,100",
    config: Annotated[
        Path, typer.Option("--config", metavar="FILE", help="The model's config: base path and keys.")
    ] = Path("probity.yaml"),
    server: Annotated[
        str, typer.Option("--server", metavar="URL", help="REST address of the server that holds the versions.")
    ] = "http://127.0.0.1:8501",
    candidate_server: Annotated[
        str | None, typer.Option("--candidate-server", metavar="URL", help="Where the candidate is, if elsewhere.")
    ] = None,
    groups: Annotated[
        Path | None, typer.Option("--groups", metavar="FILE", help="Table of tracking_id and groups; CSV or Parquet.")
    ] = None,
    requests_per_stage: Annotated[
        int, typer.Option("--requests-per-stage", help="Answers of the candidate that a stage needs.")
    ] = 1000,
    requests_per_group: Annotated[
        int, typer.Option("--requests-per-group", help="Answers of the candidate that each group needs.")
    ] = 4000,
    shadow_share: Annotated[
        float, typer.Option("--shadow-share", help="Share of requests that is copied in the shadow stage.")
    ] = 1.0,
    decision_threshold: Annotated[
        float | None,
        typer.Option(
            "--decision-threshold", help="Of a model that predicts a number: what is decided at. Default: none."
        ),
    ] = None,
    selection_drop: Annotated[
        float, typer.Option("--selection-drop", help="Tolerated drop of favourable outcomes, of all and of a group.")
    ] = 0.02,
    error_rise: Annotated[float, typer.Option("--error-rise", help="Tolerated rise of failed requests.")] = 0.01,
    slow_rise: Annotated[float, typer.Option("--slow-rise", help="Tolerated rise of slow requests.")] = 0.05,
    latency_limit: Annotated[float, typer.Option("--latency-limit", help="From how many ms on it is slow.")] = 100.0,
    host: Annotated[str, typer.Option("--host", help="Interface that the router listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="The router's port; 0: any.")] = 8511,
    grpc_port: Annotated[
        int | None, typer.Option("--grpc-port", help="The router's gRPC port, 0: any. Default: gRPC is not routed.")
    ] = None,
    grpc_server: Annotated[
        str,
        typer.Option("--grpc-server", metavar="HOST:PORT", help="gRPC address of the server; with https:// for TLS."),
    ] = "127.0.0.1:8500",
    candidate_grpc_server: Annotated[
        str | None, typer.Option("--candidate-grpc-server", metavar="HOST:PORT", help="As --candidate-server.")
    ] = None,
    ssl_config_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Listen with TLS on both ports: TensorFlow Serving's SSLConfig."),
    ] = None,
    server_ca: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Who signed the certificates of servers at https:// addresses (PEM)."),
    ] = None,
    server_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The router's certificate, where servers verify their clients.")
    ] = None,
    server_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its private key.")] = None,
    until_decided: Annotated[
        bool, typer.Option("--until-decided", help="End with the rollout; else route on until ended.")
    ] = False,
    anew: Annotated[bool, typer.Option("--anew", help="Set an earlier rollout aside and begin again.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Only print where the rollout stands.")] = False,
    stop: Annotated[str | None, typer.Option("--stop", metavar="WHY", help="End a running rollout.")] = None,
    manifests: Annotated[
        str | None, typer.Option("--manifests", metavar="KIND", help="Only print kserve or istio objects, by stage.")
    ] = None,
    storage: Annotated[
        str, typer.Option("--storage", metavar="URI", help="For kserve: where the model's versions lie.")
    ] = "pvc://models",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Route requests to two versions of a model, more and more of them to the new one, and take it back on harm.

    The server has to hold both versions. Clients ask the router, and send a header x-tracking-id. The same command
    continues an interrupted rollout. Exit code 3: rolled back or stopped.

    Example: probity rollout adult_income --to 1767225600 --stages 1,10,50,100 --groups groups.parquet
    """
    quiet()
    from probity.platform.rollout.control import ask_to_stop
    from probity.platform.rollout.preparation import prepare, project_of
    from probity.rollout import RolloutState, state_path
    from probity.storage import read_record

    project = project_of(model, config)
    path = state_path(project.base_path, project.model_name)
    if stop is not None:
        ask_to_stop(path, stop)
        typer.echo("the router ends the rollout at its next look; if none runs, the next one does")
        return
    if show:
        _print(read_record(path, RolloutState), as_json=as_json)
        return
    membership = _membership(groups)
    settings: dict[str, Any] = {
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
        _print_manifests(plan, manifests, storage)
        return
    from probity.platform.rollout.control import Rollout
    from probity.platform.rollout.grpc_router import GrpcRouter
    from probity.platform.rollout.preparation import set_aside
    from probity.platform.rollout.router import Router
    from probity.platform.rollout.routing import route
    from probity.platform.rollout.telling import telling
    from probity.platform.serving.tls import read_client_tls, tls_of

    # Before the first stage is told to the history, which is no place for a mistyped address.
    listening = _listening(ssl_config_file)
    to_servers = read_client_tls(server_ca, cert=server_cert, key=server_key)
    addresses = {"--server": server, "--candidate-server": candidate_server}
    if grpc_port is not None:
        addresses |= {"--grpc-server": grpc_server, "--candidate-grpc-server": candidate_grpc_server}
    for option, address in addresses.items():
        if address is not None:
            tls_of(address, to_servers, option=option)
    if anew:
        from datetime import UTC, datetime

        set_aside(path, now=datetime.now(UTC))
    place = workspace_at(workspace, beside=project.root)
    running = Rollout(plan, path=path, tell=telling(project, workspace=place.root))
    router = Router(
        running, incumbent=server, candidate=candidate_server or server, membership=membership, tls=to_servers
    )
    grpc = None
    if grpc_port is not None:
        candidate_grpc = candidate_grpc_server or grpc_server
        wire = GrpcRouter(router.division, incumbent=grpc_server, candidate=candidate_grpc, tls=to_servers)
        grpc = (wire, grpc_port)
    end = route(
        router,
        running,
        host=host,
        port=port,
        until_decided=until_decided,
        report=_report(),
        grpc=grpc,
        tls=listening,
    )
    if as_json:
        typer.echo(json.dumps(end.to_json(), indent=1))
    if end.status in ("rolled_back", "stopped"):
        raise typer.Exit(HELD)


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


def _membership(path: Path | None) -> Any:
    from probity.platform.rollout.membership import Membership

    return Membership.read(path) if path is not None else None


def _print_manifests(plan: Any, kind: str, storage: str) -> None:
    from probity.errors import ConfigError
    from probity.platform.rollout.manifests import manifest

    if kind not in ("kserve", "istio"):
        raise ConfigError(
            "--manifests", seen=repr(kind), allowed="kserve, istio", remedy="choose whose objects to write"
        )
    for step, stage in enumerate(plan.steps):
        text = manifest(plan, step, kind="kserve" if kind == "kserve" else "istio", storage=storage)
        typer.echo(f"# stage {stage}\n---\n{text}")


def _report() -> Callable[[RolloutState, Listening], None]:
    told: list[str] = []

    def report(state: RolloutState, where: Listening) -> None:
        if not told:
            grpc = "" if where.grpc_port is None else f", gRPC on {where.host}:{where.grpc_port}"
            scheme = "https" if where.encrypted else "http"
            typer.echo(f"routing {state.plan.model_name} on {scheme}://{where.host}:{where.port}{grpc}", err=True)
        for entry in state.transitions[len(told) :]:
            told.append(entry.to)
            typer.echo(f"{entry.at[:19]}  {entry.to}: {entry.reason}", err=True)

    return report


def _print(state: RolloutState, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(state.to_json(), indent=1))
        return
    from rich.table import Table

    from probity.platform.cli.summary import number, wide_console
    from probity.platform.rollout.stages import waiting_for

    plan, console = state.plan, wide_console()
    console.print(
        f"{plan.model_name}: version {plan.incumbent} to {plan.candidate}, {state.status}, stage {state.stage}, "
        f"{state.candidate_share:.0%} of the requests answered by version {plan.candidate}",
        highlight=False,
    )
    for entry in state.transitions:
        console.print(f"{entry.at[:19]}  {entry.to}: {entry.reason}", highlight=False)
    table = Table("comparison", "candidate", "incumbent", "difference", "bounds", "tolerated", header_style="bold")
    for item in state.evidence[-1].comparisons:
        bounds = f"[{number(item.lower)}, {number(item.upper)}]"
        counts = (str(item.candidate_requests), str(item.incumbent_requests))
        table.add_row(item.name, *counts, number(item.running.mean), bounds, number(plan.tolerance.of(item.metric)))
    console.print(table)
    if state.status == "running":
        for missing in waiting_for(state):
            console.print(f"waits for: {missing}", highlight=False)
