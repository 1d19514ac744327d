"""The worker as a process: killed and resumed, cut off from the network, spread over others, and what it leaves."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from requests_of_clients import body, dp_fedavg, rows, write_folder

from probity.digest import digest_file
from probity.trainers.worker import run_worker
from probity.trainers.worker_environments import environment_of

pytestmark = pytest.mark.workers

SIZES = (20, 35, 50, 0, 24, 31)
CLIENTS = [rows(count, seed=count) for count in SIZES]
SENTINEL = np.float32(123456.789)


@pytest.fixture(scope="module")
def environment():
    found = environment_of("federated")
    found.require_ready()
    return found


def folder_of(path, *, checkpoints=None, clients=CLIENTS, **settings):
    if checkpoints is not None:
        checkpoints.mkdir(exist_ok=True)
    asked = {"rounds": 12, "clients_per_round": 3, **settings}
    wanted = body([len(label) for _, label in clients], **asked)
    return write_folder(path, clients, wanted, digest=digest_file, checkpoints=checkpoints)


def finished(environment, folder):
    """Runs a worker to its end; returns its result and weights."""
    code = run_worker(
        environment.command(str(folder)), log=folder / "log.txt", deadline_seconds=400, watch=lambda: None
    )
    result = json.loads((folder / "result.json").read_text())
    assert (code, result["status"]) == (0, "ok"), result
    with np.load(folder / "weights.npz") as arrays:
        return result, {name: arrays[name] for name in arrays.files}


def lines(folder):
    path = folder / "progress.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def killed_after(environment, folder, *, rounds, look=lambda session: None):
    """Kills the whole session of a worker, as a machine that goes down does, once so many rounds are reported."""
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            environment.command(str(folder)), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    while len(lines(folder)) < rounds:
        assert process.poll() is None, (folder / "log.txt").read_text()[-2000:]
        time.sleep(0.005)
    look(process.pid)
    members = session(process.pid)
    for pid in members:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    return len(lines(folder))


def session(leader):
    """Ids of the processes of a session."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getsid(int(entry.name)) == leader:
                found.append(int(entry.name))
    return found


def network(pid):
    return os.readlink(f"/proc/{pid}/ns/net")


def executor_in_a_network_of_its_own(leader):
    names = {pid: Path(f"/proc/{pid}/comm").read_text().strip() for pid in session(leader)}
    executors = [pid for pid, name in names.items() if name == "worker_binary"]
    assert executors
    assert all(network(pid) != network("self") for pid in executors)


def test_killed_and_resumed_it_ends_where_it_would_have_ended(environment, tmp_path):
    straight, expected = finished(environment, folder_of(tmp_path / "straight", availability=0.8))
    kept = tmp_path / "checkpoints"
    broken = folder_of(tmp_path / "broken", checkpoints=kept, availability=0.8)
    done = killed_after(environment, broken, rounds=4, look=executor_in_a_network_of_its_own)
    resumed, weights = finished(environment, folder_of(tmp_path / "resumed", checkpoints=kept, availability=0.8))
    assert done < 12
    assert all(np.array_equal(weights[name], expected[name]) for name in expected)
    without_time = [
        [{**record, "seconds": 0} for record in result["body"]["history"]] for result in (straight, resumed)
    ]
    assert without_time[0] == without_time[1]
    before = [json.loads(line)["seconds"] for line in lines(broken)]
    assert [record["seconds"] for record in resumed["body"]["history"][: len(before)]] == before  # not done again
    assert list(kept.iterdir()) == []


def test_a_killed_private_training_spends_the_round_it_lost(environment, tmp_path):
    kept = tmp_path / "checkpoints"
    settings = {"privacy": dp_fedavg(1.0), "sampling": "poisson", "sampling_prob": 0.5}
    killed_after(environment, folder_of(tmp_path / "broken", checkpoints=kept, **settings), rounds=4)
    # As if round 6 had looked at the clients and its result were lost.
    (inner,) = kept.iterdir()
    assert inner.stat().st_mode & 0o077 == 0
    begun = inner / "rounds_begun"
    lost = max(map(int, begun.read_text().split())) + 1
    begun.write_text(f"{begun.read_text()}{lost}\n")
    result, _ = finished(environment, folder_of(tmp_path / "resumed", checkpoints=kept, **settings))
    history = result["body"]["history"]
    assert [record["round"] for record in history] == list(range(1, 13))
    assert (history[lost - 1]["participants"], history[lost - 1]["seconds"]) == (0, None)
    assert result["body"]["executed"]["rounds"] == 12
    assert result["body"]["executed"]["noise_source"] == "os_entropy"
    assert all(record["loss"] is None for record in history)


def test_no_row_of_a_client_reaches_another_file(environment, tmp_path):
    features, label = rows(20, seed=1)
    features[:, 2] = SENTINEL
    clients = [*CLIENTS, (features, label)]
    folder = folder_of(tmp_path / "folder", clients=clients, clients_per_round=7, rounds=2)
    before = {path: digest_file(path) for path in folder.rglob("*.npz")}
    result, _ = finished(environment, folder)
    assert all(digest_file(path) == digest for path, digest in before.items())
    own = folder / "clients" / "000006.npz"
    with_it = [path.name for path in folder.rglob("*") if path.is_file() and SENTINEL.tobytes() in path.read_bytes()]
    assert with_it == [own.name]
    texts = [
        path.read_text(errors="replace") for path in folder.iterdir() if path.suffix in {".json", ".jsonl", ".txt"}
    ]
    assert not any("12345" in text for text in texts)
    assert any("have no row" in warning for warning in result["warnings"])


@pytest.fixture
def servers(environment, tmp_path):
    """Three executors, each as ``probity workers serve federated --port 0`` starts them: process and address."""
    started = []
    for number in range(3):
        log = tmp_path / f"server{number}.txt"
        with log.open("wb") as output:
            command = environment.command("--port", "0", program="serve")
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        started.append((process, log))
    yield [(process, address(process, log)) for process, log in started]
    for process, _ in started:
        process.terminate()
        process.wait()


def address(process, log):
    while "listening on 127." not in (text := log.read_text()):
        assert process.poll() is None, text
        time.sleep(0.1)
    return text.partition("listening on 127.")[2].split()[0].join(["127.", ""])


def test_one_of_three_remote_workers_dies_and_the_training_ends(environment, servers, tmp_path):
    hosts = [host for _, host in servers]
    settings = {"clients_per_round": 6, "rounds": 30}
    folder = folder_of(tmp_path / "folder", engine={"workers": hosts}, **settings)
    doomed, host = servers[1]

    def watch():
        if len(lines(folder)) >= 3 and doomed.poll() is None:
            doomed.kill()

    code = run_worker(environment.command(str(folder)), log=folder / "log.txt", deadline_seconds=400, watch=watch)
    result = json.loads((folder / "result.json").read_text())
    assert (code, result["status"]) == (0, "ok"), result
    assert [record["round"] for record in result["body"]["history"]] == list(range(1, 31))
    assert {record["participants"] for record in result["body"]["history"]} == {5}  # the sixth has no row
    assert result["warnings"][-1].endswith(host)
    _, expected = finished(environment, folder_of(tmp_path / "local", **settings))
    with np.load(folder / "weights.npz") as arrays:
        assert all(np.allclose(arrays[name], expected[name], atol=1e-5) for name in expected)


@pytest.fixture
def deaf():
    """Addresses that take connections and serve nobody: a stopped worker, and a tunnel whose far end is gone."""
    with socket.create_server(("127.0.0.1", 0)) as stopped, socket.create_server(("127.0.0.1", 0)) as tunnel:

        def hang_up():
            with contextlib.suppress(OSError):
                while True:
                    tunnel.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        yield [f"127.0.0.1:{listening.getsockname()[1]}" for listening in (stopped, tunnel)]
        tunnel.shutdown(socket.SHUT_RDWR)


def test_hosts_that_only_take_connections_are_left_out(environment, servers, deaf, tmp_path):
    hosts = [servers[0][1], *deaf]
    settings = {"clients_per_round": 6, "rounds": 3, "engine": {"workers": hosts}}
    result, _ = finished(environment, folder_of(tmp_path / "folder", **settings))
    assert [record["participants"] for record in result["body"]["history"]] == [5, 5, 5]
    assert any("2 remote workers were lost" in text and all(host in text for host in deaf)
               for text in result["warnings"])  # fmt: skip


def test_a_worker_that_stops_in_the_middle_is_left_out(environment, servers, tmp_path):
    hosts = [host for _, host in servers[:2]]
    folder = folder_of(tmp_path / "folder", engine={"workers": hosts}, clients_per_round=6, rounds=12)
    doomed, host = servers[1]

    def watch():
        if len(lines(folder)) >= 3:
            doomed.send_signal(signal.SIGSTOP)  # its port still takes connections

    try:
        code = run_worker(environment.command(str(folder)), log=folder / "log.txt", deadline_seconds=400, watch=watch)
    finally:
        doomed.send_signal(signal.SIGCONT)
    result = json.loads((folder / "result.json").read_text())
    assert (code, result["status"]) == (0, "ok"), result
    assert [record["participants"] for record in result["body"]["history"]] == [5] * 12
    assert result["warnings"][-1].endswith(host)


def test_a_client_that_is_not_a_number_is_dropped_counted_and_reported(environment, tmp_path):
    features, label = rows(20, seed=1)
    features[3, 2] = np.nan
    clients = [*CLIENTS, (features, label)]
    folder = folder_of(tmp_path / "folder", clients=clients, clients_per_round=7, rounds=2)
    result, weights = finished(environment, folder)
    told = [(record["participants"], record["failed"], record["dropped"]) for record in result["body"]["history"]]
    assert told == [(5, 1, 1)] * 2  # the one without a row is the one that is dropped
    assert "2 updates were not finite and were left out" in result["warnings"]
    assert all(np.isfinite(array).all() for array in weights.values())


def test_under_privacy_a_client_that_is_not_a_number_is_dropped_and_not_told_of(environment, tmp_path):
    """An exact count of clients' rows or failures would stand on the card beside an epsilon that does not cover it."""
    features, label = rows(20, seed=1)
    features[3, 2] = np.nan
    asked = {"privacy": dp_fedavg(1.0, expected=7.0), "sampling": "poisson", "sampling_prob": 1.0}
    folder = folder_of(tmp_path / "folder", clients=[*CLIENTS, (features, label)], rounds=2, **asked)
    result, weights = finished(environment, folder)
    assert any("not covered" in text for text in result["warnings"])
    assert not any("not finite" in text or "no row" in text for text in result["warnings"])
    assert all(np.isfinite(array).all() for array in weights.values())


def test_nothing_is_lost_when_the_last_remote_worker_dies(environment, servers, tmp_path):
    (doomed, host), kept = servers[0], tmp_path / "checkpoints"
    broken = folder_of(tmp_path / "broken", checkpoints=kept, rounds=30, engine={"workers": [host]})

    def watch():
        if len(lines(broken)) >= 3 and doomed.poll() is None:
            doomed.kill()

    code = run_worker(environment.command(str(broken)), log=broken / "log.txt", deadline_seconds=400, watch=watch)
    result = json.loads((broken / "result.json").read_text())
    assert (code, result["status"], result["code"]) == (1, "error", "remote_workers")
    assert host in result["message"]
    before = [json.loads(line)["seconds"] for line in lines(broken)]
    assert 3 <= len(before) < 30
    resumed, _ = finished(environment, folder_of(tmp_path / "resumed", checkpoints=kept, rounds=30))  # on this machine
    history = resumed["body"]["history"]
    assert [record["round"] for record in history] == list(range(1, 31))
    assert [record["seconds"] for record in history[: len(before)]] == before  # not done again


def test_nobody_answers(environment, tmp_path):
    folder = folder_of(tmp_path / "folder", engine={"workers": ["127.0.0.1:9"]})
    run_worker(environment.command(str(folder)), log=folder / "log.txt", deadline_seconds=400, watch=lambda: None)
    assert json.loads((folder / "result.json").read_text())["code"] == "remote_workers"


def test_an_address_that_others_reach_wants_to_be_asked_for(environment):
    command = environment.command("--port", "0", "--host", "0.0.0.0", program="serve")  # noqa: S104 - that is the test
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 2
    assert "--expose" in told.stderr
