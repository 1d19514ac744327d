"""A small dense model whose shares lie in three folders, and parties as processes that a test starts itself."""

import json
import socket
import subprocess
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest

from probity.trainers.encrypted.messages import INITIAL, write_arrays
from probity.trainers.worker_environments import environment_of
from probity.trainers.worker_exchange import Exchange

SERVERS = ("server0", "server1", "server2")


class Predictor:
    """Deals a model and asks it, as probity.platform.shared_model does, without a run around it."""

    def __init__(self, folder, *, columns, units, protocol="aby3", precision=64, seed=3):
        rng = np.random.default_rng(seed)
        sizes = [columns, *units]
        self.folder, self.columns = folder, columns
        self.weights = []
        for before, after in zip(sizes, sizes[1:]):  # noqa: B905, RUF007
            self.weights += [rng.normal(0, 1.5 / np.sqrt(before), (before, after)).astype(np.float32)]
            self.weights += [rng.normal(0, 0.2, after).astype(np.float32)]
        layers = [
            {"class_name": "Dense", "config": {"name": f"d{i}", "units": n, "activation": "relu", "use_bias": True}}
            for i, n in enumerate(units)
        ]
        layers[-1]["config"]["activation"] = "linear"
        architecture = json.dumps({"class_name": "Sequential", "config": {"name": "m", "layers": layers}})
        self.body = {"protocol": protocol, "precision": precision, "architecture": architecture, "start_seconds": 300.0}

    @property
    def shares(self):
        return {name: self.folder / "deal" / "shares" / name for name in SERVERS}

    def deal(self):
        folder = self.folder / "deal"
        folder.mkdir(parents=True)
        write_arrays(folder / INITIAL, self.weights)
        np.savez(folder / "probe_inputs.npz", features=np.zeros((1, self.columns), np.float32))
        self._ask(folder, {"operation": "deal", "mode": "local", "party_file": None, "initial_weights": INITIAL})

    def predict(self, rows, *, mode="local", name="predict", party_file=None):
        """With a parties file, as the client of servers that run already."""
        folder = self.folder / name
        folder.mkdir(parents=True)
        np.savez(folder / "probe_inputs.npz", features=rows)
        shares = None if party_file else {name: str(path) for name, path in self.shares.items()}
        asked = {
            "operation": "predict",
            "mode": "remote" if party_file else mode,
            "party_file": party_file and str(party_file),
            "batch_size": 256,
            "share_folders": shares,
        }
        result = self._ask(folder, asked)
        return np.load(folder / "probe.npz")["scores"], result.body

    def _ask(self, folder, body):
        exchange = Exchange(environment=environment_of("encrypted"), folder=folder)
        return exchange.ask(
            {**self.body, **body}, seed=0, deadline_seconds=500.0, checkpoints=None, on_progress=lambda line: None
        )


@contextmanager
def serving(folder, folders):
    """Starts a process for each party, as its operator would; yields the parties file and the processes by name."""
    with ExitStack() as ports:
        held = {name: ports.enter_context(socket.create_server(("127.0.0.1", 0))) for name in folders}
        addresses = {name: f"127.0.0.1:{found.getsockname()[1]}" for name, found in held.items()}
    entries = {name: {"address": address, "folder": str(folders[name])} for name, address in addresses.items()}
    file = folder / "parties.yaml"
    file.write_text(json.dumps({"parties": entries}))  # JSON is YAML
    environment, started = environment_of("encrypted"), {}
    try:
        for name in folders:
            command = environment.command("--party", name, "--config", str(file), program="party")
            with (folder / f"{name}.log").open("wb") as log:
                started[name] = subprocess.Popen(command, stdout=log, stderr=log)
        yield file, started
    finally:
        for process in started.values():
            process.kill()
            process.wait()


@pytest.fixture(name="serving")
def serving_fixture():
    return serving


@pytest.fixture
def predictor(tmp_path):
    return lambda **settings: Predictor(tmp_path, **settings)
