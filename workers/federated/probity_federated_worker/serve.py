"""``python -m probity_federated_worker.serve --port N``: executes the clients' work of trainings that run elsewhere.

TensorFlow Federated's server (``worker_binary``) listens on every interface and asks nobody who they are: whoever
reaches it can run computations on this machine. So it runs in a network of its own, and this program hands on what
arrives at an address of its choice, the loopback interface unless told otherwise. Between machines, put a mutually
authenticated tunnel around the port.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import importlib.util
import ipaddress
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from probity_federated_worker.isolation import enter_private_network

__all__ = ["main"]

_INNER_PORT = 10000
_PR_SET_PDEATHSIG = 1
_CHUNK_BYTES = 1 << 18


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until it is ended; returns the exit code.

    Guarantees: without ``--expose`` nothing but the loopback interface of this machine reaches the executor; the
    executor ends with this process, however that ends.
    """
    options = _parser().parse_args(arguments)
    if not options.expose and not _is_loopback(options.host):
        print(
            "--host: seen an address that other machines reach, allowed are loopback addresses; whoever reaches the"
            " port can run computations here: put a mutually authenticated tunnel in front of a loopback port, or add"
            " --expose",
            file=sys.stderr,
        )
        return 2
    try:
        listening = socket.create_server((options.host, options.port))  # stays in the network where it was made
    except OSError as error:
        print(f"--port: cannot listen there ({error.strerror}); choose another", file=sys.stderr)
        return 2
    port = listening.getsockname()[1]
    if enter_private_network():
        return _relayed(listening, host=options.host, port=port)
    listening.close()
    if not options.expose:
        print(
            "this system gives processes no network of their own, and TensorFlow Federated's server listens on every"
            " interface; fence the port with a firewall and add --expose",
            file=sys.stderr,
        )
        return 2
    executor = _start(port)
    _announce("every interface", port)
    return executor.wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="probity workers serve federated", description="Execute clients' work.")
    parser.add_argument("--port", type=int, required=True, help="TCP port; 0 chooses a free one")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--expose", action="store_true", help="allow an address that other machines reach")
    return parser


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _relayed(listening: socket.socket, *, host: str, port: int) -> int:
    executor = _start(_INNER_PORT)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        return asyncio.run(_serve(listening, executor, host=host, port=port))
    finally:
        executor.kill()


async def _serve(listening: socket.socket, executor: subprocess.Popen[bytes], *, host: str, port: int) -> int:
    while not await _is_up():
        if executor.poll() is not None:
            return 1
        await asyncio.sleep(0.1)
    server = await asyncio.start_server(_hand_on, sock=listening)
    _announce(host, port)
    async with server:
        while executor.poll() is None:
            await asyncio.sleep(0.5)
    return 1


async def _is_up() -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", _INNER_PORT)
    except OSError:
        return False
    writer.close()
    return True


async def _hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Connects a caller with the executor, both ways, until either is done."""
    inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", _INNER_PORT)
    await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    writer.close()


def _start(port: int) -> subprocess.Popen[bytes]:
    package = importlib.util.find_spec("tensorflow_federated")  # found, not imported: that takes seconds
    if package is None or package.origin is None:
        raise SystemExit("tensorflow_federated is not installed here; run: probity workers sync federated")
    binary = Path(package.origin).parent / "data" / "worker_binary"
    return subprocess.Popen([binary, f"--port={port}"], preexec_fn=_end_with_parent)  # noqa: S603 - a file of the package


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def _announce(host: str, port: int) -> None:
    print(f"listening on {host}:{port} (process {os.getpid()})", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
