"""One process that answers on both ports."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

from probity.errors import ConfigError
from probity.platform.serving.admission import admission
from probity.platform.serving.batching import Batcher
from probity.platform.serving.catalogue import Catalogue, Fleet, Loader
from probity.platform.serving.grpc_services import Reload, add_services
from probity.platform.serving.inference import Inference
from probity.platform.serving.metrics import Metrics
from probity.platform.serving.options import ModelSource, ServerOptions
from probity.platform.serving.rest import RestServer
from probity.platform.serving.saved_model import LoadedModel
from probity.platform.serving.status import ServingError
from probity.platform.serving.tls import server_context, server_credentials
from probity.platform.serving.watcher import VersionWatcher

__all__ = ["EmbeddedServer", "Listener"]

_BACKLOG = 1024
_log = logging.getLogger(__name__)


def _loader(options: ServerOptions, *, metrics: Metrics) -> Loader:
    """Returns what makes a version of a model with the server's thread settings, and counts it."""
    import os

    intra = options.intra_op_threads or max(1, (os.cpu_count() or 1) // options.processes)

    def load(path: Path, name: str, version: int) -> LoadedModel:
        started = time.perf_counter()
        try:
            model = LoadedModel(
                path, name=name, version=version, intra_op_threads=intra, inter_op_threads=options.inter_op_threads
            )
        except ServingError:
            metrics.load_failed(name, version)
            raise
        metrics.loaded(name, version, seconds=time.perf_counter() - started)
        return model

    return load


class Listener:
    """Both ports of a process, in one event loop.

    Args:
        options: What was asked.
        reload: What a reload request does.
        shared: Whether other processes listen on the same ports.
    """

    def __init__(self, options: ServerOptions, *, reload: Reload, shared: bool = False) -> None:
        self._options = options
        self._reload = reload
        self._shared = shared
        self._metrics = Metrics(lambda: self.catalogue.sizes)
        self.catalogue = Catalogue(_loader(options, metrics=self._metrics))
        """The models that it answers for."""
        self._log = None if options.prediction_log is None else options.prediction_log()
        self._batcher = Batcher(options.batching, on_run=self._metrics.ran)
        self._inference = Inference(self.catalogue, batcher=self._batcher, metrics=self._metrics, log=self._log)
        self._rest: RestServer | None = None
        self._sockets: asyncio.Server | None = None
        self._grpc: Any = None
        self.port: int | None = None
        """Of gRPC, once started."""
        self.rest_api_port: int | None = None
        """Of REST, once started."""

    async def start(self) -> None:
        """Listens.

        Raises:
            ConfigError: If a port is taken.
        """
        options = self._options
        if options.rest_api_port is not None:
            self._rest = RestServer(
                self._inference,
                metrics=self._metrics,
                limits=options.limits,
                monitoring_path=options.monitoring_path,
            )
            try:
                self._sockets = await asyncio.get_running_loop().create_server(
                    self._rest,
                    options.host,
                    options.rest_api_port,
                    ssl=None if options.tls is None else server_context(options.tls),
                    backlog=_BACKLOG,
                    reuse_port=self._shared or None,
                )
            except OSError as error:
                raise _port_taken("--rest-api-port") from error
            self.rest_api_port = self._sockets.sockets[0].getsockname()[1]
        if options.port is not None:
            await self._start_grpc(options.port)

    async def stop(self) -> None:
        """Takes no new request, answers those that are there, and closes."""
        seconds = self._options.limits.drain_seconds
        if self._sockets is not None:
            self._sockets.close()
        both = [] if self._rest is None else [self._rest.drain(seconds)]
        both += [] if self._grpc is None else [self._grpc.stop(seconds)]
        await asyncio.gather(*both)
        self._batcher.close()
        if self._log is not None:
            self._log.close()

    async def _start_grpc(self, port: int) -> None:
        import grpc

        limits = self._options.limits
        self._grpc = grpc.aio.server(
            options=(
                ("grpc.so_reuseport", int(self._shared)),
                ("grpc.max_receive_message_length", limits.max_request_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_connection_idle_ms", int(limits.idle_seconds * 1000)),
            ),
            maximum_concurrent_rpcs=limits.max_concurrent_rpcs,
        )
        add_services(self._grpc, self._inference, metrics=self._metrics, limits=limits, reload=self._reload)
        address = f"{self._options.host}:{port}"
        try:
            if self._options.tls is None:
                self.port = self._grpc.add_insecure_port(address)
            else:
                self.port = self._grpc.add_secure_port(address, server_credentials(self._options.tls))
        except RuntimeError as error:
            raise _port_taken("--port") from error
        await self._grpc.start()


class EmbeddedServer:
    """A whole server in this process, for as long as a ``with`` block lasts.

    ::

        with EmbeddedServer(options) as server:
            Client("127.0.0.1", rest_api_port=server.rest_api_port)

    ``port`` and ``rest_api_port`` are the ports that it listens on, whatever was asked.

    Raises:
        ConfigError: If a port is taken.
        SignatureError: If versions are to be verified and there is no key to do it with.
    """

    def __init__(self, options: ServerOptions) -> None:
        self._options = replace(options, processes=1)
        self._stopped = Event()
        self._exit = contextlib.ExitStack()
        self.port: int | None = None
        self.rest_api_port: int | None = None

    def __enter__(self) -> EmbeddedServer:
        with contextlib.ExitStack() as started:
            copies = Path(started.enter_context(tempfile.TemporaryDirectory(prefix="probity-serving-")))
            listener = Listener(self._options, reload=self._reload)
            self._watcher = VersionWatcher(
                self._options.models,
                fleet=Fleet(listener.catalogue),
                admit=admission(self._options),
                copies=copies,
            )
            self._watcher.step()
            loop = asyncio.new_event_loop()
            started.callback(loop.close)
            loop.run_until_complete(listener.start())
            self.port, self.rest_api_port = listener.port, listener.rest_api_port
            started.callback(lambda: loop.run_until_complete(listener.stop()))
            self._run(loop, started)
            self._exit = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def look(self) -> None:
        """Looks at the base paths now, without waiting for the next poll."""
        self._watcher.step()

    def _run(self, loop: asyncio.AbstractEventLoop, started: contextlib.ExitStack) -> None:
        answering = Thread(target=loop.run_forever, name="serving", daemon=True)
        answering.start()
        started.callback(answering.join)
        started.callback(loop.call_soon_threadsafe, loop.stop)
        watching = Thread(
            target=self._watcher.watch,
            args=(self._stopped,),
            kwargs={"poll_seconds": self._options.poll_seconds},
            name="watcher",
            daemon=True,
        )
        watching.start()
        started.callback(watching.join)
        started.callback(self._stopped.set)

    async def _reload(self, sources: Sequence[ModelSource]) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self._watcher.reload, sources)


def _port_taken(option: str) -> ConfigError:
    return ConfigError(
        option,
        seen="a port on which this process may not listen, or another does",
        allowed="a free port, or 0 for any",
        remedy="choose another port",
    )
