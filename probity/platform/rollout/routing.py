"""Runs a router until it is told to end, or until the rollout is decided."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace

from aiohttp import web

from probity.errors import ConfigError
from probity.platform.rollout.control import Rollout
from probity.platform.rollout.grpc_router import GrpcRouter
from probity.platform.rollout.router import Router
from probity.platform.serving.options import Tls
from probity.platform.serving.tls import server_context
from probity.rollout import RolloutState

__all__ = ["Listening", "route"]

_DRAIN_SECONDS = 5.0
_LOOK_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Listening:
    """Where the router listens."""

    host: str
    port: int
    """Of REST."""
    grpc_port: int | None = None
    """Of gRPC, if that is routed."""
    encrypted: bool = False
    """Whether it speaks TLS, on both ports."""


def route(
    router: Router,
    rollout: Rollout,
    *,
    host: str,
    port: int,
    until_decided: bool,
    report: Callable[[RolloutState, Listening], None],
    grpc: tuple[GrpcRouter, int] | None = None,
    tls: Tls | None = None,
) -> RolloutState:
    """Routes until SIGINT or SIGTERM, or until the end of the rollout. Returns where the rollout stands then.

    Args:
        router: The router.
        rollout: What it routes for.
        host: Interface to listen on.
        port: Port; 0 chooses a free one.
        until_decided: Whether to end with the rollout. Clients then have nobody to ask.
        report: Told of the state, and where the router listens, whenever the rollout has moved, and at first.
        grpc: The gRPC wire and its port, if that is routed as well.
        tls: Of both ports; ``None`` listens in clear.

    Raises:
        ConfigError: If a port cannot be had, or key and certificate cannot be used.
    """
    wanted = Listening(host=host, port=port, encrypted=tls is not None)
    return asyncio.run(_route(router, rollout, wanted, until_decided, report, grpc, tls))


async def _route(
    router: Router,
    rollout: Rollout,
    wanted: Listening,
    until_decided: bool,
    report: Callable[[RolloutState, Listening], None],
    grpc: tuple[GrpcRouter, int] | None,
    tls: Tls | None,
) -> RolloutState:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    runner = web.AppRunner(router.app(), access_log=None, shutdown_timeout=_DRAIN_SECONDS)
    await runner.setup()
    try:
        context = None if tls is None else server_context(tls)
        await web.TCPSite(runner, wanted.host, wanted.port, ssl_context=context).start()
        grpc_port = None if grpc is None else await grpc[0].start(wanted.host, grpc[1], tls=tls)
        listening = replace(wanted, port=int(runner.addresses[0][1]), grpc_port=grpc_port)
        moves = -1
        while not ended.is_set() and not (until_decided and rollout.state.status != "running"):
            if len(rollout.state.transitions) != moves:
                moves = len(rollout.state.transitions)
                report(rollout.state, listening)
            await asyncio.sleep(_LOOK_SECONDS)
        if len(rollout.state.transitions) != moves:
            report(rollout.state, listening)
    except OSError as error:
        raise ConfigError(
            "--port",
            seen=f"{wanted.port} cannot be listened on ({error.strerror or type(error).__name__})",
            allowed="a free port",
            remedy="choose another one, or 0 for any",
        ) from error
    finally:
        if grpc is not None:
            await grpc[0].stop()
        await runner.cleanup()
        rollout.close()
    return rollout.state
