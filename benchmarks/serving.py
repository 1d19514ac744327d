"""How fast the embedded server answers: REST and gRPC, 1, 8 and 64 clients, with and without batching.

Run with ``make bench-serving``. It asks the newest model of examples/adult_income, or the SavedModel that is named; run
``make demo`` first. Clients and server share the machine. A cell during which other programs took more than 5 % of a
core is measured again. Writes benchmarks/serving.md.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import itertools
import json
import multiprocessing
import os
import platform
import shutil
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probity.platform.serving.catalogue import State
from probity.platform.serving.client import Client
from probity.platform.serving.launcher import start_server
from probity.platform.serving.options import Batching, ModelSource, ServerOptions

HERE = Path(__file__).parent
ROW = {
    "age": 39, "capital_gain": 2174, "capital_loss": 0, "education_num": 13, "hours_per_week": 40,
    "marital_status": "Never-married", "native_country": "United-States", "occupation": "Adm-clerical",
    "relationship": "Not-in-family", "workclass": "State-gov",
}  # fmt: skip
CLIENTS = (1, 8, 64)
ROWS = (1, 64)
QUIET_CORES = 0.05
TRIES = 3


@dataclass(frozen=True)
class Cell:
    """One line of the table."""

    wire: str
    batching: bool
    rows: int
    clients: int
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    failures: int
    cpu_ms: float
    others: float
    """Cores that programs which are not part of the measurement took meanwhile."""


class RestLoad(asyncio.Protocol):
    """One connection that always has one request under way."""

    def __init__(self, request: bytes, seconds: list[float], failures: list[int], ended: asyncio.Event) -> None:
        self.request, self.seconds, self.failures, self.ended = request, seconds, failures, ended
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sends the first request."""
        self.transport = transport
        self._send()

    def _send(self) -> None:
        self.started = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        """Sends the next one once an answer is complete."""
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found:
            return
        if len(body) < _length(head):
            return
        self.seconds.append(time.perf_counter() - self.started)
        self.failures[0] += not head.startswith(b"HTTP/1.1 200")
        self.received = b""
        if self.ended.is_set():
            self.transport.close()
        else:
            self._send()


async def load_rest(port: int, rows: int, clients: int, duration: float) -> tuple[list[float], int]:
    """Returns the seconds of every request, and how many failed."""
    body = json.dumps({"signature_name": "predict_columns", "instances": [ROW] * rows}).encode()
    head = f"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    request = head.encode() + body
    if clients == 1:
        return await asyncio.to_thread(_one_after_another, port, request, duration)
    seconds: list[float] = []
    failures, ended = [0], asyncio.Event()
    loop = asyncio.get_running_loop()
    for _ in range(clients):
        await loop.create_connection(lambda: RestLoad(request, seconds, failures, ended), "127.0.0.1", port)
    await asyncio.sleep(duration)
    ended.set()
    return seconds, failures[0]


def _one_after_another(port: int, request: bytes, duration: float) -> tuple[list[float], int]:
    """Asks as a single program does: it sends, and waits for the answer."""
    seconds, failures = [], 0
    deadline = time.perf_counter() + duration
    with socket.create_connection(("127.0.0.1", port)) as connection:
        while time.perf_counter() < deadline:
            started = time.perf_counter()
            connection.sendall(request)
            head, found, body = b"", b"", b""
            while not found or len(body) < _length(head):
                head, found, body = (head + found + body + connection.recv(65536)).partition(b"\r\n\r\n")
            seconds.append(time.perf_counter() - started)
            failures += not head.startswith(b"HTTP/1.1 200")
    return seconds, failures


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])


async def load_grpc(port: int, rows: int, clients: int, duration: float) -> tuple[list[float], int]:
    """Returns the seconds of every request, and how many failed; each client has a connection of its own."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["examples"].CopyFrom(tf.make_tensor_proto([example()] * rows))
    seconds: list[float] = []
    failures = 0
    deadline = time.perf_counter() + duration

    async def ask() -> None:
        nonlocal failures
        options = (("grpc.use_local_subchannel_pool", 1),)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            while time.perf_counter() < deadline:
                started = time.perf_counter()
                try:
                    await stub.Predict(request)
                except grpc.RpcError:
                    failures += 1
                seconds.append(time.perf_counter() - started)

    await asyncio.gather(*(ask() for _ in range(clients)))
    return seconds, failures


def example() -> bytes:
    """Returns the row as a serialized ``tf.Example``."""
    import tensorflow as tf

    made = tf.train.Example()
    for name, value in ROW.items():
        feature = made.features.feature[name]
        if isinstance(value, str):
            feature.bytes_list.value.append(value.encode())
        else:
            feature.int64_list.value.append(value)
    return made.SerializeToString()


def echo_ms(times: int = 3000) -> float:
    """Returns the median milliseconds of 300 bytes to another process and back: what no server can be faster than."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        if os.fork() == 0:
            connection = server.accept()[0]
            while data := connection.recv(1000):
                connection.sendall(data)
            os._exit(0)
        seconds = []
        with socket.create_connection(server.getsockname()) as connection:
            for _ in range(times):
                started = time.perf_counter()
                connection.sendall(b"x" * 300)
                connection.recv(1000)
                seconds.append(time.perf_counter() - started)
        os.wait()
    return statistics.median(seconds) * 1e3


def seconds_of(pid: int | str) -> float:
    """Returns the processor time that a process has taken; utime and stime of proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def server_seconds() -> float:
    """Returns the processor time that all server processes have taken."""
    return sum(seconds_of(process.pid or 0) for process in multiprocessing.active_children())


def busy_seconds() -> float:
    """Returns the processor time that the machine has spent on anything: all of /proc/stat but idle and iowait."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def undisturbed(measured: Callable[[], Cell]) -> Cell:
    """Returns the first measurement that nothing else disturbed, else the one that was disturbed least."""
    tried: list[Cell] = []
    while len(tried) < TRIES:
        tried.append(measured())
        if tried[-1].others <= QUIET_CORES:
            return tried[-1]
        time.sleep(1.0)
    return min(tried, key=lambda cell: cell.others)


@dataclass(frozen=True)
class Wire:
    """A way to ask the server."""

    name: str
    load: Callable
    port: int | None
    batching: bool

    def cell(self, rows: int, clients: int, duration: float) -> Cell:
        """Measures once, after a moment that is not counted."""
        asyncio.run(self.load(self.port, rows, clients, 0.5))
        started, spent, busy = time.perf_counter(), server_seconds(), busy_seconds()
        own = time.process_time()
        seconds, failures = asyncio.run(self.load(self.port, rows, clients, duration))
        elapsed, cpu = time.perf_counter() - started, server_seconds() - spent
        others = max(0.0, busy_seconds() - busy - cpu - (time.process_time() - own)) / elapsed
        cuts = [cut * 1e3 for cut in statistics.quantiles(seconds, n=100)]
        return Cell(
            wire=self.name,
            batching=self.batching,
            rows=rows,
            clients=clients,
            requests_per_second=len(seconds) / elapsed,
            p50_ms=cuts[49],
            p99_ms=cuts[98],
            failures=failures,
            cpu_ms=cpu / len(seconds) * 1e3,
            others=others,
        )


def _options(base_path: Path, processes: int, **changes: Any) -> ServerOptions:
    """Returns how the benchmarked server is started: on free ports, with one model."""
    return ServerOptions(
        models=(ModelSource(name="m", base_path=base_path),),
        port=0,
        rest_api_port=0,
        require_verified=False,
        processes=processes,
        **changes,
    )


def measure(base_path: Path, *, processes: int, duration: float) -> list[Cell]:
    """Measures every cell."""
    cells = []
    for batching in (True, False):
        with start_server(_options(base_path, processes, batching=Batching() if batching else None)) as settled:
            with Client(rest_api_port=settled.rest_api_port) as client:
                columns = {name: [value] for name, value in ROW.items()}
                client.warm_up("m", columns, signature_name="predict_columns", times=300)
            wires = (
                Wire("REST", load_rest, settled.rest_api_port, batching),
                Wire("gRPC", load_grpc, settled.port, batching),
            )
            for wire, rows, clients in itertools.product(wires, ROWS, CLIENTS):
                cells.append(undisturbed(functools.partial(wire.cell, rows, clients, duration)))
                print(cells[-1], flush=True)
    return cells


@dataclass(frozen=True)
class Swap:
    """Requests of eight clients while the server went over to two newer versions."""

    requests: int
    failures: int
    p50_ms: float
    longest_ms: float
    version: int


def hot_swap(base_path: Path, *, processes: int, duration: float = 12.0) -> Swap:
    """Measures what clients notice of new versions, which appear after a quarter and after half of the time."""

    def appear(version: int) -> None:
        incoming = base_path.parent / "incoming"
        shutil.copytree(base_path / "1", incoming)
        incoming.rename(base_path / str(version))

    async def scenario(port: int | None) -> tuple[list[float], int]:
        loop = asyncio.get_running_loop()
        loop.call_later(duration / 4, lambda: loop.run_in_executor(None, appear, 2))
        loop.call_later(duration / 2, lambda: loop.run_in_executor(None, appear, 3))
        return await load_rest(port, 1, 8, duration)

    with start_server(_options(base_path, processes)) as settled:
        seconds, failures = asyncio.run(scenario(settled.rest_api_port))
        with Client(rest_api_port=settled.rest_api_port) as client:
            version = max(number for number, status in client.status("m").items() if status.state is State.AVAILABLE)
    return Swap(len(seconds), failures, statistics.median(seconds) * 1e3, max(seconds) * 1e3, version)


def page(cells: list[Cell], swap: Swap, *, processes: int, echo: float) -> str:
    """Returns the table as a page."""
    lines = [
        "# The embedded server",
        "",
        "`make bench-serving`: the model of examples/adult_income (10 columns, an MLP of 128 and 64); every client has",
        "one request under way all the time. REST sends the columns as JSON to `predict_columns`, gRPC serialized",
        "`tf.Example` to `serving_default`. The load generator is one more Python process on the same machine: one",
        "REST client is a blocking socket, several are an event loop; over gRPC it is the dearer half. Server CPU is",
        "the processor time of all server processes per request: cores over it is what the server could answer if",
        "nothing else ran.",
        "",
        f"Measured {time.strftime('%Y-%m-%d')} on {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, {processes} server processes. *Others* are the cores that all other programs",
        f"took meanwhile; above {QUIET_CORES} a cell is measured again, at most {TRIES} times in all. An echo of 300",
        f"bytes between two processes takes {echo:.2f} ms here, which is part of every latency.",
        "",
        "| wire | batch | rows | clients | requests/s | rows/s | p50 ms | p99 ms | server CPU ms | failed | others |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for cell in cells:
        lines.append(
            f"| {cell.wire} | {'on' if cell.batching else 'off'} | {cell.rows} | {cell.clients} | "
            f"{cell.requests_per_second:,.0f} | {cell.requests_per_second * cell.rows:,.0f} | {cell.p50_ms:.2f} | "
            f"{cell.p99_ms:.2f} | {cell.cpu_ms:.2f} | {cell.failures} | {cell.others:.2f} |"
        )
    lines += [
        "",
        "## Two new versions under load",
        "",
        "Eight REST clients with one row each, while two more versions appeared in the folder, of which the last one",
        f"answers in the end (version {swap.version}): {swap.requests:,} requests, **{swap.failures} failed**, median "
        f"{swap.p50_ms:.2f} ms, the longest {swap.longest_ms:.0f} ms.",
        "Loading a model takes processor time from the requests of the process that loads it.",
    ]
    return "\n".join(lines) + "\n"


def newest_model() -> Path:
    """Returns the SavedModel of the example's newest run."""
    found = sorted((HERE.parent / "examples/adult_income/.probity/runs").glob("*-adult-income-*/07_model/saved_model"))
    if not found:
        raise SystemExit("no finished run in examples/adult_income; make one with: make demo")
    return found[-1]


def main() -> None:
    """Measures and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("saved_model", nargs="?", type=Path)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    echo = echo_ms()  # forks, so before anything has threads
    with tempfile.TemporaryDirectory() as folder:
        version = Path(folder, "m", "1")
        shutil.copytree(arguments.saved_model or newest_model(), version)
        cells = measure(version.parent, processes=arguments.processes, duration=arguments.seconds)
        swap = hot_swap(version.parent, processes=arguments.processes)
    text = page(cells, swap, processes=arguments.processes, echo=echo)
    (HERE / "serving.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
