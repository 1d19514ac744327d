"""Starts model servers: several processes of the embedded one on the same ports, or TensorFlow Serving itself.

Python answers one request at a time per process, so the embedded server scales by processes: each listens on the same
port (``SO_REUSEPORT``) and the kernel shares the connections out. One process decides what is served: it admits a
version once, has all load it, and shows it to requests only when the last one is ready. A worker that dies is replaced.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import multiprocessing
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Event, Lock, Thread

from probity.errors import ConfigError
from probity.platform.serving.admission import admission
from probity.platform.serving.catalogue import Fleet, ModelView
from probity.platform.serving.options import ModelSource, ServerOptions
from probity.platform.serving.real_server import Mirror, command
from probity.platform.serving.status import Code, ServingError
from probity.platform.serving.watcher import VersionWatcher
from probity.platform.serving.worker import work

__all__ = ["Processes", "serve", "serve_real", "start_server"]

_START_SECONDS = 120.0
_PAUSE_SECONDS = 1.0
"""Before a worker that died is replaced, so that one that cannot live does not take the machine."""

_log = logging.getLogger(__name__)


class _Worker:
    """The launcher's end of a worker."""

    def __init__(self, options: ServerOptions, *, metrics_folder: Path, on_end: Callable[[_Worker], None]) -> None:
        context = multiprocessing.get_context("spawn")
        self._channel, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=work, args=(options, theirs, metrics_folder), daemon=True)
        self.process.start()
        theirs.close()  # so that the end of the process is the end of the pipe
        self._sending = Lock()
        self._pending: dict[int, Future[None]] = {}
        self._numbers = itertools.count()
        self._on_end = on_end
        self.listening: Future[None] = Future()
        self.on_reload: Callable[[Sequence[ModelSource]], None] | None = None

    def read(self) -> None:
        """Starts to take what the worker says."""
        Thread(target=self._read, name="worker", daemon=True).start()

    def send(self, *message: object) -> None:
        """Gives an order; one to a worker that is gone is lost, and its replacement is told everything anew."""
        with self._sending, contextlib.suppress(OSError):
            self._channel.send(message)

    def load(self, name: str, version: int, path: Path) -> Future[None]:
        """Orders a load. The future fails with ``ServingError``, and succeeds if the worker dies meanwhile."""
        number = next(self._numbers)
        done = self._pending[number] = Future()
        self.send("load", number, name, version, path)
        if not self.process.is_alive():
            self._release()
        return done

    def _read(self) -> None:
        while True:
            try:
                kind, *details = self._channel.recv()
            except (EOFError, OSError):
                break
            if kind == "done":
                _settle(self._pending.pop(details[0]), details[1])
            elif kind == "listening":
                _settle(self.listening, details[0])
            else:
                Thread(target=self._reload, args=details, daemon=True).start()
        self._release()
        self._on_end(self)

    def _release(self) -> None:
        for number in list(self._pending):
            _settle(self._pending.pop(number), None)
        if not self.listening.done():
            self.listening.set_exception(ServingError(Code.INTERNAL, "A process of the server ended while it started"))

    def _reload(self, number: int, sources: Sequence[ModelSource]) -> None:
        error: ServingError | None = None
        try:
            if self.on_reload is not None:
                self.on_reload(sources)
        except ServingError as refusal:
            error = refusal
        except Exception as failure:
            error = ServingError(Code.INTERNAL, f"The reload failed ({type(failure).__name__})")
        self.send("reloaded", number, error)


class Processes(Fleet):
    """Several processes that answer alike.

    Args:
        options: What was asked; its ports are those that all listen on.
        metrics_folder: Where they keep their counters.
    """

    def __init__(self, options: ServerOptions, *, metrics_folder: Path) -> None:
        self._options = options
        self._metrics_folder = metrics_folder
        self._lock = Lock()
        self._views: Mapping[str, ModelView] = {}
        self._paths: dict[tuple[str, int], Path] = {}
        self._stopping = Event()
        self._listens = False
        self.on_reload: Callable[[Sequence[ModelSource]], None] | None = None
        self._workers = [self._start() for _ in range(options.processes)]

    def load(self, name: str, version: int, path: Path) -> None:
        """Has every process load a version.

        Raises:
            ServingError: If one of them could not.
        """
        with self._lock:
            waiting = [worker.load(name, version, path) for worker in self._workers]
            self._paths[name, version] = path
        try:
            for done in waiting:
                done.result()
        except ServingError:
            self.unload(name, version)
            raise

    def publish(self, views: Mapping[str, ModelView]) -> None:
        """Shows these versions in every process."""
        with self._lock:
            self._views = views
            for worker in self._workers:
                worker.send("publish", views)

    def unload(self, name: str, version: int) -> None:
        """Has every process let go of a version."""
        with self._lock:
            self._paths.pop((name, version), None)
            for worker in self._workers:
                worker.send("unload", name, version)

    def listen(self) -> None:
        """Opens the ports.

        Raises:
            ConfigError: If a port is taken.
            ServingError: If a process ended before.
        """
        with self._lock:
            self._listens = True
            workers = list(self._workers)
            for worker in workers:
                worker.send("listen")
        for worker in workers:
            worker.listening.result(_START_SECONDS)

    def stop(self) -> None:
        """Has every process answer what it has taken, and waits for their end."""
        self._stopping.set()
        with self._lock:
            workers = list(self._workers)
        for worker in workers:
            worker.send("stop")
        deadline = time.monotonic() + 2 * self._options.limits.drain_seconds + 5.0
        for worker in workers:
            worker.process.join(max(0.1, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of those that answer."""
        return tuple(worker.process.pid or 0 for worker in self._workers)

    def _start(self) -> _Worker:
        worker = _Worker(self._options, metrics_folder=self._metrics_folder, on_end=self._replace)
        worker.on_reload = lambda sources: self.on_reload(sources) if self.on_reload else None
        worker.read()
        return worker

    def _replace(self, gone: _Worker) -> None:
        """Starts another worker in place of one that died, and tells it all that the others know."""
        if self._stopping.wait(_PAUSE_SECONDS):
            return
        _log.error("a process of the server ended (exit code %s); another takes its place", gone.process.exitcode)
        worker = self._start()
        with self._lock:
            for (name, version), path in self._paths.items():
                worker.load(name, version, path)
            worker.send("publish", self._views)
            if self._listens:
                worker.send("listen")
            self._workers[self._workers.index(gone)] = worker


def _settle(future: Future[None], error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


@contextlib.contextmanager
def start_server(options: ServerOptions) -> Iterator[ServerOptions]:
    """Runs the embedded server in processes of its own for as long as a ``with`` block lasts.

    Yields:
        The options with the ports that it listens on.

    Raises:
        ConfigError: If a port is taken.
        SignatureError: If versions are to be verified and there is no key to do it with.
    """
    admit = admission(options)
    with contextlib.ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="probity-serving-")))  # mode 0700
        (folder / "metrics").mkdir()
        ports = [
            None if number is None else held.enter_context(_reserved(options.host, number, option))
            for number, option in ((options.port, "--port"), (options.rest_api_port, "--rest-api-port"))
        ]
        settled = replace(options, port=ports[0], rest_api_port=ports[1])
        processes = Processes(settled, metrics_folder=folder / "metrics")
        held.callback(processes.stop)
        watcher = VersionWatcher(
            settled.models,
            fleet=processes,
            admit=admit,
            copies=folder / "versions",
        )
        processes.on_reload = watcher.reload
        watcher.step()
        processes.listen()
        stop = Event()
        held.callback(stop.set)
        Thread(target=watcher.watch, args=(stop,), kwargs={"poll_seconds": settled.poll_seconds}, daemon=True).start()
        yield settled


def serve(options: ServerOptions, *, ready: Callable[[ServerOptions], None] = lambda _: None) -> None:
    """Serves until SIGTERM or SIGINT, and then answers what it has taken.

    Args:
        options: What was asked.
        ready: Called once, with the ports, when requests can come.

    Raises:
        ConfigError: If a port is taken.
        SignatureError: If versions are to be verified and there is no key to do it with.
    """
    stop = Event()
    previous = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with start_server(options) as settled:
            ready(settled)
            while not stop.wait(0.5):
                pass
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def serve_real(options: ServerOptions, *, binary: str) -> int:
    """Runs TensorFlow Serving until it ends, hands it SIGTERM and SIGINT, and returns its exit code.

    Raises:
        SignatureError: If versions are to be verified and there is no key to do it with.
    """
    with contextlib.ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="probity-serving-")))  # mode 0700
        told = options
        if options.require_verified:
            mirror = Mirror(folder / "verified")
            watcher = VersionWatcher(options.models, fleet=mirror, admit=admission(options), copies=folder / "versions")
            watcher.step()
            stop = Event()
            held.callback(stop.set)
            kwargs = {"poll_seconds": options.poll_seconds}
            Thread(target=watcher.watch, args=(stop,), kwargs=kwargs, daemon=True).start()
            told = replace(options, models=mirror.sources(options.models))
        process = subprocess.Popen(command(told, binary=binary, folder=folder))  # noqa: S603 - a list, no shell
        for number in (signal.SIGTERM, signal.SIGINT):
            previous = signal.signal(number, lambda received, _: process.send_signal(received))
            held.callback(signal.signal, number, previous)
        return process.wait()


@contextlib.contextmanager
def _reserved(host: str, port: int, option: str) -> Iterator[int]:
    """Holds a port, without listening on it, and yields its number.

    ``SO_REUSEPORT`` would let us share a port with any other server of the same user, so whether it is free is tried
    without it first.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((host, port))
            port = trial.getsockname()[1]
        holder = socket.socket(family)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((host, port))
    except OSError as error:
        raise ConfigError(
            option,
            seen="a port on which this process may not listen, or another does",
            allowed="a free port, or 0 for any",
            remedy="choose another port",
        ) from error
    with holder:
        yield port
