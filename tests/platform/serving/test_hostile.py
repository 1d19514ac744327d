"""A server under thousands of connections, huge bodies, and gRPC that is none: it answers, stays small, and lives."""

import asyncio
import contextlib
import json
import multiprocessing
import os
import random
import resource
import socket
import time
from pathlib import Path

import grpc
import pytest

from probity.platform.serving import Client
from probity.platform.serving.launcher import start_server
from probity.platform.serving.options import Limits, ModelSource, ServerOptions

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(900)]

LIMITS = Limits(max_connections=1500, request_seconds=5.0, idle_seconds=10.0)
MIB = 1 << 20


class Server:
    """One worker process, and what it takes of the memory."""

    def __init__(self, options, pid):
        self.port, self.rest_api_port, self.pid = options.port, options.rest_api_port, pid

    def memory(self, field="VmRSS"):
        """Returns mebibytes that are held now (``VmRSS``), or were at most since :meth:`forget` (``VmHWM``)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition(f"{field}:")[2].split()[0]) / 1024

    def forget(self):
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")  # proc(5): resets the peak

    def still_answers(self):
        with Client(rest_api_port=self.rest_api_port) as rest, Client(port=self.port) as grpc_client:
            rest.wait_until_available("m", timeout_seconds=60)
            return [
                client.predict("m", {"x": [1.0]}).output.tolist() for client in (rest, grpc_client)
            ] == [[3.5], [3.5]]  # fmt: skip


@pytest.fixture(scope="module")
def server(toy_models):
    source = ModelSource(name="m", base_path=toy_models / "half_plus_three")
    options = ServerOptions(models=(source,), port=0, rest_api_port=0, require_verified=False, limits=LIMITS)
    with start_server(options) as settled:
        (worker,) = multiprocessing.active_children()
        running = Server(settled, worker.pid)
        assert running.still_answers()
        yield running
        assert multiprocessing.active_children() == [worker]  # it never died, so nobody took its place
        assert running.still_answers()


@contextlib.contextmanager
def files(number):
    """Lets this process open so many files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < number:
        pytest.skip(f"this machine allows {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, number), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def post(body, *, extra=""):
    head = f"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


async def exchange(port, sent, *, seconds=60.0):
    """Returns the status of the answer to some bytes; 0 if the connection was closed without one."""
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(sent)
                line = await reader.readline()
            finally:
                writer.close()
    except ConnectionError:
        return 0
    return int(line.split()[1]) if line else 0


# --- REST ------------------------------------------------------------------------------------------------------------


def test_thousands_of_connections_that_say_half_a_request(server):
    before, held = server.memory(), []
    with files(6000):
        for _ in range(4000):
            connection = socket.create_connection(("127.0.0.1", server.rest_api_port), timeout=20)
            connection.sendall(post(b"{" * 100)[:-60])
            held.append(connection)
        time.sleep(1.0)
        grown = server.memory() - before
        refused = 0
        for connection in held:
            connection.setblocking(False)
            with contextlib.suppress(BlockingIOError, ConnectionError):
                refused += connection.recv(100).startswith(b"HTTP/1.1 503 ")
        for connection in held:
            connection.close()
    assert refused == 4000 - LIMITS.max_connections
    assert grown < 100
    assert server.still_answers()


def test_slow_clients_are_sent_away_while_others_are_answered(server):
    async def scenario():
        slow = [await asyncio.open_connection("127.0.0.1", server.rest_api_port) for _ in range(300)]
        for _, writer in slow:
            writer.write(post(b"x" * 1000)[:-999])
        body = json.dumps({"instances": [1.0]}).encode()
        meanwhile = [await exchange(server.rest_api_port, post(body)) for _ in range(50)]
        ends = []
        for reader, writer in slow:
            async with asyncio.timeout(LIMITS.request_seconds + 20):
                ends.append(await reader.readline())
            writer.close()
        return meanwhile, ends

    meanwhile, ends = asyncio.run(scenario())
    assert meanwhile == [200] * 50
    assert {line.split()[1] for line in ends} == {b"408"}


def test_clients_that_ask_on_and_on_and_read_nothing(server):
    before = server.memory()
    request = post(json.dumps({"instances": [1.0] * 2000}).encode())
    held, sent = [], 0
    for _ in range(5):
        connection = socket.create_connection(("127.0.0.1", server.rest_api_port), timeout=2)
        held.append(connection)
        with contextlib.suppress(TimeoutError, ConnectionError):  # the server reads no further
            for _ in range(1500):  # 15 MiB each
                connection.sendall(request)
                sent += len(request)
    grown = server.memory() - before
    for connection in held:
        connection.close()
    assert sent > 20 * MIB
    assert grown < 150
    assert server.still_answers()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"instances": [' + b"[]," * (5 * MIB) + b"[]]}", 400),  # many small objects, 60 times their text
        (b'{"instances": [' + b"{}," * (5 * MIB) + b"{}]}", 400),
        (b'{"instances": [' + b"1," * (7 * MIB) + b"1]}", 200),
        (b'{"instances": ' + b"[" * (8 * MIB) + b"]" * (7 * MIB) + b"}", 400),
        (b'{"instances": ["' + b"\\u0000" * (2 * MIB) + b'"]}', 400),
        (b"[" * (15 * MIB), 400),
        (b" " * (17 * MIB), 413),
    ],
    ids=["lists", "objects", "numbers", "depth", "text", "open lists", "too large"],
)
def test_huge_bodies_come_to_an_end_and_their_memory_is_given_back(server, body, status):
    server.forget()
    before = server.memory()

    async def scenario():
        return await asyncio.gather(*(exchange(server.rest_api_port, post(body), seconds=240) for _ in range(6)))

    found = asyncio.run(scenario())
    assert set(found) <= {status, 429, 408, 503, 504, 0}  # 0: refused before all of it was sent
    assert status in found or status == 413
    # What may be held at once, and one request that is being read.
    assert server.memory("VmHWM") - before < LIMITS.max_pending_bytes / MIB + 1400
    assert server.still_answers()
    assert server.memory() - before < 500


def test_bytes_that_are_nearly_a_request(server):
    """Every mutation is answered by a status of 2xx, 4xx or 501, or by the end of the connection."""
    chance = random.Random(8)  # noqa: S311 - a repeatable fuzz, no secret
    body = json.dumps({"signature_name": "serving_default", "instances": [1.0, 2.5]}).encode()
    whole = post(body, extra="Content-Type: application/json\r\nx-tracking-id: a\r\n")
    bits = (
        b"\x00",
        b"\xff",
        b"\r\n",
        b"\r\n\r\n",
        b":",
        b"{",
        b"NaN",
        b"1e999",
        b"-",
        b'"',
        b"\\u",
        b"HTTP/1.1",
        b"chunked",
    )

    def mutated():
        sent = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(sent))
            sent[at : at + chance.randint(0, 6)] = chance.choice(bits)
        return bytes(sent)

    async def scenario():
        statuses = []
        for _ in range(4):
            sent = [exchange(server.rest_api_port, mutated(), seconds=30) for _ in range(500)]
            statuses += await asyncio.gather(*sent, return_exceptions=True)
        return statuses

    found = asyncio.run(scenario())
    assert {status for status in found if isinstance(status, int)} <= {0, 200, 400, 404, 405, 408, 411, 413, 417, 501}
    assert all(isinstance(status, int | TimeoutError) for status in found)
    assert sum(status == 200 for status in found) > 20
    assert sum(status == 400 for status in found if isinstance(status, int)) > 200
    assert server.still_answers()


# --- gRPC ------------------------------------------------------------------------------------------------------------


def tensor(**fields):
    from tensorflow.core.framework import tensor_pb2

    made = tensor_pb2.TensorProto(dtype=fields.pop("dtype", 1))
    for size in fields.pop("shape", ()):
        made.tensor_shape.dim.add().size = size
    for name, entry in fields.items():
        if isinstance(entry, list):
            getattr(made, name).extend(entry)
        else:
            setattr(made, name, entry)
    return made


def predict_request(made, *, signature="", name="x"):
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "m", signature
    request.inputs[name].CopyFrom(made)
    return request


HOSTILE = {
    "a shape of billions": lambda: predict_request(tensor(shape=[1 << 40], float_val=[1.0])),
    "a shape that overflows": lambda: predict_request(tensor(shape=[1 << 62, 4], float_val=[1.0])),
    "a negative shape": lambda: predict_request(tensor(shape=[-1], float_val=[1.0])),
    "too few bytes": lambda: predict_request(tensor(shape=[100], tensor_content=b"123")),
    "too many values": lambda: predict_request(tensor(shape=[1], float_val=[1.0] * 1000)),
    "another type": lambda: predict_request(tensor(dtype=9, shape=[1], int64_val=[1])),
    "a type that is none": lambda: predict_request(tensor(dtype=999, shape=[1])),
    "a resource": lambda: predict_request(tensor(dtype=20, shape=[1])),
    "another rank": lambda: predict_request(tensor(shape=[1] * 200, float_val=[1.0])),
    "no such input": lambda: predict_request(tensor(shape=[1], float_val=[1.0]), name="z"),
    "no such signature": lambda: predict_request(tensor(shape=[1], float_val=[1.0]), signature="\x00" * 1000),
    "text where numbers are": lambda: predict_request(tensor(dtype=7, shape=[1], string_val=[b"\xff"])),
}
REFUSED = {
    grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED,
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_messages_that_do_not_fit(server, name):
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        if name == "too many values":  # protobuf's reader takes the first ones, as TensorFlow's own does
            with contextlib.suppress(grpc.RpcError):
                stub.Predict(HOSTILE[name](), 20)
        else:
            with pytest.raises(grpc.RpcError) as caught:
                stub.Predict(HOSTILE[name](), 20)
            assert caught.value.code() in REFUSED
    assert server.still_answers()


def test_bytes_that_are_no_message_and_methods_that_are_none(server):
    chance = random.Random(8)  # noqa: S311 - a repeatable fuzz, no secret
    seen = set()
    whole = predict_request(tensor(shape=[2], float_val=[1.0, 2.0])).SerializeToString()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        methods = ("Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata", "Invented")
        for _ in range(1500):
            sent = bytearray(whole)
            for _ in range(chance.randint(1, 6)):
                sent[chance.randrange(len(sent))] = chance.randrange(256)
            call = channel.unary_unary(f"/tensorflow.serving.PredictionService/{chance.choice(methods)}")
            try:
                call(bytes(sent[: chance.randint(0, len(sent))]), timeout=20)
                seen.add(grpc.StatusCode.OK)
            except grpc.RpcError as error:
                seen.add(error.code())
    # INTERNAL and UNKNOWN are what gRPC's own library says of bytes that are no message.
    assert seen <= REFUSED | {grpc.StatusCode.OK, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}
    assert grpc.StatusCode.INVALID_ARGUMENT in seen
    assert server.still_answers()


def test_a_message_beyond_the_limit_is_refused_and_not_kept(server):
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    server.forget()
    before = server.memory()
    request = predict_request(tensor(shape=[5 * MIB], tensor_content=b"\0" * (20 * MIB)))
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for _ in range(20):
            with pytest.raises(grpc.RpcError) as caught:
                stub.Predict(request, 30)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert server.memory("VmHWM") - before < 200


def test_what_is_no_http2_on_the_port_of_grpc(server):
    before = server.memory()
    for number in range(500):
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" if number % 2 else b""
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        with connection, contextlib.suppress(ConnectionError):
            connection.sendall(preface + os.urandom(200))
    held = []
    with files(4000):
        for _ in range(2000):
            held.append(socket.create_connection(("127.0.0.1", server.port), timeout=20))
        grown = server.memory() - before
        for connection in held:
            connection.close()
    assert grown < 200
    assert server.still_answers()


def test_callers_who_hang_up_leave_nothing_behind(server):
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    before = server.memory()
    request = predict_request(tensor(shape=[10], float_val=[1.0] * 10))
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for _ in range(2000):
            stub.Predict.future(request, 20).cancel()
    assert server.still_answers()
    assert server.memory() - before < 100
