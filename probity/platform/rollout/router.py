"""A thin router in front of two versions: clients see one model, and the rollout decides which version answers.

This is the REST wire. Only ``:predict``, ``:classify`` and ``:regress`` on the model without a version are divided.
Everything else - status, metadata, a version or label by name, other models - goes to the incumbent's server as it is.

A request carries its tracking id in a header; without one it is given one, and the answer names it and the version.
A body with several rows may name one id per row, separated by commas. The server is sent the id too, in the header and
not in the body, because its prediction log is what feedback and groups are joined with later; nothing of the group
table is sent.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from probity.errors import ProbityError
from probity.platform.rollout.answers import read_answer
from probity.platform.rollout.comparison import Answer
from probity.platform.rollout.control import Rollout
from probity.platform.rollout.division import TRACKING_HEADER, VERSION_HEADER, Division, tracking_ids_of
from probity.platform.serving.tls import ClientTls, client_context, tls_of

if TYPE_CHECKING:
    from probity.platform.rollout.membership import Membership

__all__ = ["TRACKING_HEADER", "VERSION_HEADER", "Router"]

_LOG = logging.getLogger(__name__)

_MOST_BYTES = 16 << 20
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "host", "content-length"}
)


@dataclass(frozen=True, kw_only=True)
class _Reply:
    status: int | None
    """``None``: the server did not answer."""
    body: bytes
    headers: Mapping[str, str]
    milliseconds: float

    @property
    def refused(self) -> bool:
        """Whether it is no answer of the model."""
        return self.status is None or self.status >= 400


class Router:
    """Routes for one rollout.

    Args:
        rollout: Decides and watches.
        incumbent: Address of the server that holds the incumbent, such as ``http://127.0.0.1:8501``.
        candidate: Address of the one that holds the candidate; often the same.
        membership: The group table, or ``None`` without groups.
        tls: How to speak to addresses with ``https://``; ``None``: as this machine trusts.
        timeout_seconds: Until a version counts as not answering.
        tick_seconds: How often the rollout decides.

    Raises:
        ConfigError: If ``tls`` is given and an address is in clear.
    """

    def __init__(
        self,
        rollout: Rollout,
        *,
        incumbent: str,
        candidate: str,
        membership: Membership | None = None,
        tls: ClientTls | None = None,
        timeout_seconds: float = 10.0,
        tick_seconds: float = 0.5,
    ) -> None:
        self._rollout, self._division = rollout, Division(rollout, membership)
        self._addresses = {True: candidate.rstrip("/"), False: incumbent.rstrip("/")}
        named = (("--candidate-server", candidate), ("--server", incumbent))
        spoken = [tls_of(address, tls, option=option) for option, address in named]
        self._tls = next((entry for entry in spoken if entry is not None), None)
        self._timeout, self._tick_seconds = aiohttp.ClientTimeout(total=timeout_seconds), tick_seconds
        self._session: aiohttp.ClientSession

    @property
    def division(self) -> Division:
        """Which version answers what; another wire of the same rollout shares it."""
        return self._division

    def app(self) -> web.Application:
        """Returns the application; it decides for as long as it runs."""
        app = web.Application(client_max_size=_MOST_BYTES)
        name = self._rollout.state.plan.model_name
        app.router.add_post(rf"/v1/models/{name}:{{verb:predict|classify|regress}}", self._divided)
        app.router.add_route("*", "/{rest:.*}", self._passed_on)
        app.cleanup_ctx.append(self._running)
        return app

    async def _running(self, app: web.Application) -> Any:
        not_ours = ["Accept-Encoding", "User-Agent"]
        connector = aiohttp.TCPConnector(ssl=True if self._tls is None else client_context(self._tls))
        async with aiohttp.ClientSession(
            connector=connector, timeout=self._timeout, skip_auto_headers=not_ours
        ) as self._session:
            ticking = asyncio.create_task(self._tick())
            yield
            ticking.cancel()
            await asyncio.gather(ticking, self._division.end(), return_exceptions=True)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._tick_seconds)
            # Its disk and the history's lock may make it wait; requests are not to wait with it.
            try:
                await asyncio.to_thread(self._rollout.tick)
            except (ProbityError, OSError) as error:  # the next look tries again; requests go on being answered
                _LOG.error("the rollout could not be written down: %s", type(error).__name__)

    async def _divided(self, request: web.Request) -> web.Response:
        body, verb = await request.read(), request.match_info["verb"]
        tracking_ids = tracking_ids_of(request.headers.get(TRACKING_HEADER, ""))
        headers = {**_forwarded(request.headers), TRACKING_HEADER: ",".join(tracking_ids)}
        reply, version = await self._division.answer(
            tracking_ids, lambda candidate: self._ask(headers, body, verb, candidate=candidate), self._read
        )
        return _response(reply, {TRACKING_HEADER: ",".join(tracking_ids), VERSION_HEADER: str(version)})

    async def _ask(self, headers: Mapping[str, str], body: bytes, verb: str, *, candidate: bool) -> _Reply:
        plan = self._rollout.state.plan
        version = plan.candidate if candidate else plan.incumbent
        url = f"{self._addresses[candidate]}/v1/models/{plan.model_name}/versions/{version}:{verb}"
        return await self._send("POST", url, body, headers)

    async def _send(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> _Reply:
        begun = time.perf_counter()
        try:
            async with self._session.request(method, url, data=body, headers=headers) as answer:
                content = await answer.read()
                status: int | None = answer.status
                found: Mapping[str, str] = answer.headers
        except (aiohttp.ClientError, TimeoutError):
            status, content, found = None, b"", {}
        return _Reply(status=status, body=content, headers=found, milliseconds=(time.perf_counter() - begun) * 1000)

    async def _passed_on(self, request: web.Request) -> web.Response:
        url = self._addresses[False] + request.path_qs
        return _response(await self._send(request.method, url, await request.read(), _forwarded(request.headers)), {})

    def _read(self, reply: _Reply) -> Answer:
        return read_answer(
            self._rollout.state.plan, status=reply.status, body=reply.body, milliseconds=reply.milliseconds
        )


def _forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    """Leaves out what belongs to the connection, and the tracking id as it came; what is sent on is not compressed."""
    left_out = {*_HOP_BY_HOP, TRACKING_HEADER, "accept-encoding", "content-encoding"}
    return {name: entry for name, entry in headers.items() if name.lower() not in left_out}


def _response(reply: _Reply, own: Mapping[str, str]) -> web.Response:
    if reply.status is None:
        return web.json_response({"error": "the model's server did not answer"}, status=502, headers=dict(own))
    kept = {
        name: entry for name, entry in reply.headers.items() if name.lower() not in {*_HOP_BY_HOP, "date", "server"}
    }
    return web.Response(status=reply.status, body=reply.body, headers={**kept, **own})
