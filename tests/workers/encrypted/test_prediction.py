"""Predictions on shares: the plain model's scores, and none of the planted values in shares or on the wire."""

import json
import math
import os
import signal
import socket
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2_contingency, chisquare

from probity.trainers.worker_environments import environment_of

pytestmark = [
    pytest.mark.workers,
    pytest.mark.skipif(
        environment_of("encrypted").why_not_ready() is not None, reason="run: probity workers sync encrypted"
    ),
]

FRACTION_BITS = 16
PLANTED = (1234.5678, -987.654321, 777.123456)


def plain(weights, rows):
    found = rows.astype(np.float64)
    for i in range(0, len(weights), 2):
        found = found @ weights[i] + weights[i + 1]
        if i + 2 < len(weights):
            found = np.maximum(found, 0.0)
    return 1 / (1 + np.exp(-found[:, 0]))


def spellings(value):
    """The byte forms in which a value could be found: floats, and the fixed-point number."""
    fixed = np.int64(np.trunc(np.float64(np.float32(value)) * 2**FRACTION_BITS))
    forms = (np.float32(value), np.float64(np.float32(value)), np.float64(value), fixed, fixed + 1, fixed - 1)
    return [np.asarray(form).tobytes() for form in forms]


def pairs(first, second):
    """The byte forms in which two numbers that stand side by side could be found."""
    kinds = {"float32": np.float32, "float64": np.float64}
    for name, kind in kinds.items():
        yield (name,), np.array([first, second], np.float32).astype(kind).tobytes()
    fixed = np.trunc(np.array([first, second], np.float32).astype(np.float64) * 2**FRACTION_BITS).astype(np.int64)
    for i in (-1, 0, 1):
        yield ("fixed", i), (fixed + i).tobytes()


class Capture:
    """All packets on the loopback device while it is open; needs the right to read them."""

    def __init__(self):
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self._socket.bind(("lo", 0))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 26)
        self._socket.settimeout(0.2)
        self._done, self.packets = threading.Event(), []
        self._thread = threading.Thread(target=self._read)

    def _read(self):
        drained_by = math.inf
        while time.monotonic() < drained_by:
            try:
                self.packets.append(self._socket.recv(1 << 17))
            except TimeoutError:
                if self._done.is_set():
                    return
            if self._done.is_set():  # what is queued already is still read
                drained_by = min(drained_by, time.monotonic() + 5.0)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *failure):
        self._done.set()
        self._thread.join()
        self._socket.close()

    @property
    def content(self):
        return b"".join(self.packets)


@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        ({"protocol": "aby3"}, 0.002),
        ({"protocol": "aby3", "precision": 128}, 0.00002),
        ({"protocol": "securenn"}, 0.02),
    ],
)
def test_a_thousand_rows_are_scored_as_in_the_clear(predictor, settings, tolerance):
    model = predictor(columns=30, units=(16, 1), **settings)
    rows = np.random.default_rng(5).normal(0, 1, (1000, 30)).astype(np.float32)
    model.deal()
    found, _ = model.predict(rows)
    assert found.shape == (1000,)
    assert np.abs(found - plain(model.weights, rows)).max() < tolerance
    assert np.ptp(found) > 0.5


def uniform_bytes(numbers):
    """The p-value of a chi-square test that all bytes are equally frequent."""
    return chisquare(np.bincount(numbers.view(np.uint8), minlength=256)).pvalue


def independent(numbers, kinds):
    """The p-value of a chi-square test that the leading and the last four bits do not depend on the kind of number."""
    bits = np.concatenate([(numbers >> 60) & 15, 16 + (numbers & 15)])
    table = np.array([np.bincount(bits[np.tile(kinds == kind, 2)], minlength=32) for kind in np.unique(kinds)])
    return chi2_contingency(table[:, table.any(axis=0)]).pvalue


def test_shares_of_one_server_are_uniform_and_independent_of_the_numbers(predictor):
    """Both tests reject the numbers themselves; twelve tests at 1e-5 are a false alarm in about 1 of 10,000 runs."""
    import tensorflow as tf

    model = predictor(columns=20_000, units=(1,))
    kinds = np.arange(20_000) % 2
    model.weights[0][:, 0] = np.where(kinds, 1.0, -0.3)
    model.deal()
    clear = np.trunc(model.weights[0][:, 0].astype(np.float64) * 2**FRACTION_BITS).astype(np.int64)
    assert uniform_bytes(clear) < 1e-100
    assert independent(clear, kinds) < 1e-100
    for folder in model.shares.values():
        for path in sorted(folder.iterdir())[:2]:
            share = tf.io.parse_tensor(path.read_bytes(), tf.int64).numpy().reshape(-1)
            assert len(set(share.tolist())) == len(share) == 20_000
            assert uniform_bytes(share) > 1e-5
            assert independent(share, kinds) > 1e-5


def test_planted_values_are_in_no_share_and_in_no_packet(predictor):
    model = predictor(columns=6, units=(1,))
    model.weights[0][0] = PLANTED[0] / 1000
    model.deal()
    rows = np.zeros((300, 6), np.float32)
    rows[:, 1], rows[:, 2] = PLANTED[1], PLANTED[2]
    try:
        capture = Capture()
    except PermissionError:
        pytest.skip("capturing packets needs CAP_NET_RAW")
    with capture:
        found, body = model.predict(rows, mode="processes")
    assert np.abs(found - plain(model.weights, rows)).max() < 0.002
    sent = capture.content
    assert len(sent) > 300 * 6 * 8 * 2
    assert sum(body["sent_bytes"].values()) > 0
    held = b"".join(path.read_bytes() for folder in model.shares.values() for path in folder.iterdir())
    for value in (PLANTED[0] / 1000, *PLANTED[1:]):
        for form in spellings(value):
            assert form not in sent
            assert form not in held


def memory_of(process):
    """Yields the writable memory of a process, region by region; what it reserved and never used is left out."""
    folder = Path("/proc") / str(process)
    with (folder / "mem").open("rb", buffering=0) as memory:
        region = None
        for line in (folder / "smaps").read_text().splitlines():
            words = line.split()
            if not words[0].endswith(":"):
                first, last = (int(bound, 16) for bound in words[0].split("-"))
                region = (first, last) if words[1].startswith("rw") else None
            elif words[0] == "Rss:" and region is not None and int(words[1]) > 0:
                with suppress(OSError):  # some of the kernel's own are not to be read
                    memory.seek(region[0])
                    yield memory.read(region[1] - region[0])


def held(content, forms):
    """Returns which of the forms, 8 or 16 bytes each, stand at a multiple of four bytes, as numbers do."""
    found = set()
    for offset in (0, 4):
        words = np.frombuffer(content, np.int64, count=max(0, len(content) - offset) // 8, offset=offset)
        for name, form in forms.items():
            first, *second = np.frombuffer(form, np.int64)
            at = np.flatnonzero(words[: len(words) - len(second)] == first)
            if len(at) if not second else (words[at + 1] == second[0]).any():
                found.add(name)
    return found


@contextmanager
def stopped(processes):
    """Everybody stands still, so that what is read of one is what it had while the others computed."""
    with ExitStack() as stack:
        for process in processes:
            os.kill(process, signal.SIGSTOP)
            stack.callback(os.kill, process, signal.SIGCONT)
        yield


def client_of(folder):
    """Returns the id of the worker process that computes, not of the one that watches it."""
    return max(
        int(entry.parent.name)
        for entry in Path("/proc").glob("[0-9]*/cmdline")
        if str(folder).encode() in (words := entry.read_bytes().split(b"\0")) and b"probity_encrypted_worker" in words
    )


def sent(folder):
    path = folder / "traffic.json"
    return json.loads(path.read_text())["sent_bytes"] if path.is_file() else 0


def test_planted_values_are_in_no_servers_memory(predictor, serving, tmp_path):
    """Three servers and the client stand still in the middle of a prediction; the client's memory is the control.

    Searched for are pairs of equal or neighbouring numbers, 8 to 16 bytes in a row, as four bytes of some number turn
    up in any large memory.
    """
    model = predictor(columns=6, units=(1,))
    model.weights[0][:4], model.weights[0][4:], model.weights[1][:] = PLANTED[0], 0.0, 0.0
    model.deal()
    rows = np.zeros((60_000, 6), np.float32)
    rows[:, 4], rows[:, 5] = PLANTED[1] / 1000, PLANTED[2] / 1000
    rows[:, 0] = 0.5
    logit = 0.5 * float(model.weights[0][0])
    forms = {("row", *form): content for form, content in pairs(*(float(number) for number in rows[0, 4:]))}
    forms |= {("weight", *form): content for form, content in pairs(PLANTED[0], PLANTED[0])}
    forms |= {
        ("logit", i): np.array([round(logit * 2**FRACTION_BITS) + i] * 2, np.int64).tobytes() for i in range(-2, 3)
    }
    with serving(tmp_path, model.shares) as (file, servers):
        scores = []
        client = threading.Thread(target=lambda: scores.append(model.predict(rows, party_file=file)))
        client.start()
        while sent(model.shares["server0"]) < 400_000 and client.is_alive():
            time.sleep(0.05)
        found = {}
        with stopped([*(server.pid for server in servers.values()), client_id := client_of(tmp_path / "predict")]):
            try:
                for name, process in {**{n: s.pid for n, s in servers.items()}, "client": client_id}.items():
                    found[name] = set().union(*(held(content, forms) for content in memory_of(process)))
            except PermissionError:
                pytest.skip("reading another process's memory needs CAP_SYS_PTRACE")
        client.join()
    assert np.isfinite(scores[0][0]).all()
    assert ("row", "float32") in found.pop("client")
    assert found == {"server0": set(), "server1": set(), "server2": set()}


def test_a_capture_would_show_a_value_that_is_sent():
    """The search above can fail: the same bytes, sent in the clear over loopback, are found."""
    try:
        capture = Capture()
    except PermissionError:
        pytest.skip("capturing packets needs CAP_NET_RAW")
    with capture, socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        client.sendall(spellings(PLANTED[1])[0] * 4)
        client.close()
    assert spellings(PLANTED[1])[0] in capture.content


@pytest.mark.parametrize("broken", [np.nan, 1e9])
def test_rows_beyond_the_range_are_refused_by_the_client(predictor, broken):
    from probity.errors import WorkerReportedError

    model = predictor(columns=3, units=(1,))
    model.deal()
    with pytest.raises(WorkerReportedError, match="range: rows"):
        model.predict(np.full((2, 3), broken, np.float32))


def test_servers_without_their_shares_are_named(predictor):
    from probity.errors import WorkerReportedError

    model = predictor(columns=3, units=(1,))
    model.deal()
    for path in model.shares["server1"].iterdir():
        path.unlink()
    with pytest.raises(WorkerReportedError, match="party server1: its shares model are not there"):
        model.predict(np.zeros((2, 3), np.float32))
