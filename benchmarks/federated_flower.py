"""Flower's half of ``benchmarks/federated.py``; runs in Flower's own environment.

    python benchmarks/federated_flower.py CLIENTS.npz OUT.json ROUNDS CLIENTS_PER_ROUND

Each client trains the same network as ours, one epoch of stochastic gradient descent, written in numpy: less work per
step than any framework, so that what is measured is Flower's simulation at its best.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("RAY_DISABLE_DOCKER_CPU_WARNING", "1")
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_raylet_start_wait_time_s", "180")  # on a busy machine its start takes longer than it waits

import numpy as np
from flwr.client import ClientApp, NumPyClient
from flwr.common import ndarrays_to_parameters
from flwr.server import ServerApp, ServerAppComponents, ServerConfig
from flwr.server.strategy import FedAvg
from flwr.simulation import run_simulation

BATCH, RATE = 32, 0.05
Weights = list[np.ndarray]


def trained(weights: Weights, features: np.ndarray, label: np.ndarray) -> Weights:
    """Returns the weights after one epoch; hidden layers with ReLU, one logit."""
    weights = [np.array(weight) for weight in weights]
    for begin in range(0, len(label), BATCH):
        inputs, wanted = [features[begin : begin + BATCH]], label[begin : begin + BATCH]
        for kernel, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
            inputs.append(np.maximum(inputs[-1] @ kernel + bias, 0))
        logit = (inputs[-1] @ weights[-2] + weights[-1])[:, 0]
        slope = ((1 / (1 + np.exp(-logit)) - wanted) / len(wanted))[:, None].astype(np.float32)
        for layer in range(len(weights) // 2 - 1, -1, -1):
            kernel = weights[2 * layer]
            changes = (inputs[layer].T @ slope, slope.sum(0))
            slope = (slope @ kernel.T) * (inputs[layer] > 0)
            kernel -= RATE * changes[0]
            weights[2 * layer + 1] -= RATE * changes[1]
    return weights


class Client(NumPyClient):
    """One client; Flower makes it anew in each round."""

    def __init__(self, features: np.ndarray, label: np.ndarray) -> None:
        self._rows = features, label

    def fit(self, parameters: Weights, config: dict[str, object]) -> tuple[Weights, int, dict[str, float]]:
        """Trains one epoch."""
        return trained(parameters, *self._rows), len(self._rows[1]), {}


class Timed(FedAvg):
    """FedAvg that notes when each round's updates were aggregated."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        self.ends: list[float] = []

    def aggregate_fit(self, server_round: int, results: list, failures: list) -> tuple:
        """As FedAvg does."""
        assert not failures
        answer = super().aggregate_fit(server_round, results, failures)
        self.ends.append(time.monotonic())
        return answer


def main(source: Path, out: Path, *, rounds: int, per_round: int) -> None:
    """Runs the simulation; writes the seconds of each round but the first."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    with np.load(source) as arrays:
        features, label, clients = arrays["features"], arrays["label"], int(arrays["clients"])
        first = [arrays[f"w{i:04d}"] for i in range(int(arrays["weights"]))]
    strategy = Timed(
        fraction_fit=per_round / clients,
        fraction_evaluate=0.0,
        min_fit_clients=per_round,
        min_available_clients=clients,
        initial_parameters=ndarrays_to_parameters(first),
    )

    def client(context: object) -> object:
        number = int(context.node_config["partition-id"])
        return Client(features[number::clients], label[number::clients]).to_client()

    components = ServerAppComponents(strategy=strategy, config=ServerConfig(num_rounds=rounds))
    run_simulation(
        server_app=ServerApp(server_fn=lambda _: components),
        client_app=ClientApp(client_fn=client),
        num_supernodes=clients,
        backend_config={
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            "init_args": {"include_dashboard": False, "log_to_driver": False},
        },
    )
    out.write_text(json.dumps({"seconds": np.diff(strategy.ends).tolist(), "version": version("flwr")}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), rounds=int(sys.argv[3]), per_round=int(sys.argv[4]))
