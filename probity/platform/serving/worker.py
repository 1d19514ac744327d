"""One of several processes that answer on the same ports, told what to load through a pipe.

::

    launcher -> worker   ("load", id, name, version, path) · ("publish", views) · ("unload", name, version)
                         ("listen",) · ("reloaded", id, error) · ("stop",)
    worker -> launcher   ("done", id, error) · ("listening", error) · ("reload", id, sources)

The end of the pipe is the end of the launcher, and then of the worker: it answers what it has taken and exits.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Protocol

from probity.errors import ProbityError
from probity.platform.serving.options import ModelSource, ServerOptions
from probity.platform.serving.server import Listener
from probity.platform.serving.status import ServingError

__all__ = ["Channel", "work"]


class Channel(Protocol):
    """The worker's end of a pipe."""

    def send(self, message: Any, /) -> None:
        """Sends a message."""
        ...

    def recv(self) -> Any:
        """Waits for a message; raises ``EOFError`` when the other end is gone."""
        ...


def work(options: ServerOptions, channel: Channel, metrics_folder: Path) -> None:
    """Answers requests until the launcher says stop or is gone."""
    from probity.platform.cli.options import quiet

    quiet()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics_folder)  # before prometheus_client is imported
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the launcher says when to stop
    asyncio.run(_Worker(options, channel).run())


class _Worker:
    def __init__(self, options: ServerOptions, channel: Channel) -> None:
        self._channel = channel
        self._sending = Lock()
        self._listener = Listener(options, reload=self._reload, shared=True)
        self._catalogue = self._listener.catalogue
        self._numbers = itertools.count()
        self._reloads: dict[int, asyncio.Future[None]] = {}
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event

    async def run(self) -> None:
        """Obeys until told to stop."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        Thread(target=self._obey, name="orders", daemon=True).start()
        await self._stop.wait()
        await self._listener.stop()

    def _obey(self) -> None:
        """Runs in a thread of its own, so that a model that loads does not keep requests waiting."""
        while True:
            try:
                order, *details = self._channel.recv()
            except (EOFError, OSError):
                order, details = "stop", []
            if order == "stop":
                self._loop.call_soon_threadsafe(self._stop.set)
                return
            getattr(self, f"_on_{order}")(*details)

    def _send(self, *message: object) -> None:
        with self._sending:
            self._channel.send(message)

    def _on_load(self, number: int, name: str, version: int, path: Path) -> None:
        try:
            self._catalogue.load(name, version, path)
        except ServingError as error:
            self._send("done", number, error)
        else:
            self._send("done", number, None)

    def _on_publish(self, views: Any) -> None:
        self._catalogue.publish(views)

    def _on_unload(self, name: str, version: int) -> None:
        self._catalogue.unload(name, version)

    def _on_listen(self) -> None:
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop)

    async def _listen(self) -> None:
        try:
            await self._listener.start()
        except ProbityError as error:
            self._send("listening", error)
        else:
            self._send("listening", None)

    async def _reload(self, sources: Sequence[ModelSource]) -> None:
        number = next(self._numbers)
        self._reloads[number] = self._loop.create_future()
        self._send("reload", number, tuple(sources))
        await self._reloads[number]

    def _on_reloaded(self, number: int, error: ServingError | None) -> None:
        self._loop.call_soon_threadsafe(self._finish, number, error)

    def _finish(self, number: int, error: ServingError | None) -> None:
        answer = self._reloads.pop(number)
        if answer.done():
            return
        if error is None:
            answer.set_result(None)
        else:
            answer.set_exception(error)
