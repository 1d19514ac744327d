"""Rounds per second of federated training, beside Flower's simulation of the same clients.

    make bench-federated      # or: python benchmarks/federated.py [--flower PYTHON] [--rounds 40] [--turns 2]

Adult's size: 48,842 rows of 100 columns in 100 clients, 20 of them a round, one epoch in batches of 32. Both sides
start from the same weights. Ours alone: clients per round, number of clients, privacy, a secure sum, memory.

Writes benchmarks/federated.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from probity.trainers.worker import run_worker
from probity.trainers.worker_environments import environment_of
from probity.trainers.worker_exchange import Exchange

ROWS, WIDTH = 48_842, 100
NETWORKS = {"logistic": (), "MLP 64-64": (64, 64)}
PRIVACY = {
    "mechanism": "dp_fedavg", "noise_multiplier": 1.0, "expected_clients_per_round": 20.0,
    "clipping": {"kind": "adaptive", "initial_l2_clip_norm": 0.1, "target_unclipped_quantile": 0.5,
                 "learning_rate": 0.2, "clipped_count_stddev": 1.0},
}  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """Median seconds of a round without the first two, seconds to the first round, and peak memory in MiB."""

    round_seconds: float
    start_seconds: float
    peak_mib: float


def made_up_rows() -> tuple[np.ndarray, np.ndarray]:
    """Rows of a logistic model."""
    draw = np.random.default_rng(0)
    features = draw.normal(size=(ROWS, WIDTH)).astype(np.float32)
    odds = features @ draw.normal(size=WIDTH) / 5
    return features, (draw.random(ROWS) < 1 / (1 + np.exp(-odds))).astype(np.float32)


def first_weights(hidden: tuple[int, ...]) -> list[np.ndarray]:
    """Weights to start from, in Keras's order."""
    draw, sizes = np.random.default_rng(1), (WIDTH, *hidden, 1)
    weights = []
    for before, after in pairwise(sizes):
        limit = np.sqrt(6 / (before + after))
        weights += [draw.uniform(-limit, limit, (before, after)).astype(np.float32), np.zeros(after, np.float32)]
    return weights


def architecture(hidden: tuple[int, ...]) -> str:
    """Keras JSON of the network."""
    from tensorflow import keras

    inputs = tensor = keras.layers.Input((WIDTH,))
    for units in hidden:
        tensor = keras.layers.Dense(units, "relu")(tensor)
    return keras.Model(inputs, keras.layers.Dense(1)(tensor)).to_json()


def ours(folder: Path, network: str, *, clients: int, per_round: int, rounds: int, **more: object) -> Measured:
    """Runs the worker on a folder of client files."""
    features, label = made_up_rows()
    (folder / "clients").mkdir(parents=True)
    entries = []
    for number in range(clients):
        rows = slice(number, None, clients)
        name = f"clients/{number:06d}.npz"
        np.savez(folder / name, features=features[rows], label=label[rows])
        entries.append({"file": name, "num_examples": len(label[rows])})
    np.savez(folder / "probe_inputs.npz", features=features[:8])
    np.savez(folder / "initial.npz", **{f"w{i:04d}": w for i, w in enumerate(first_weights(NETWORKS[network]))})
    settings = {
        "rounds": rounds, "clients_per_round": per_round, "sampling": "uniform_without_replacement",
        "local": {"epochs": 1, "batch_size": 32, "learning_rate": 0.05, "optimizer": "sgd"},
        "server": {"optimizer": "fedavg", "learning_rate": 1.0}, "privacy": None, "aggregation": "plain", **more,
    }  # fmt: skip
    body = {"architecture": architecture(NETWORKS[network]), "initial_weights": "initial.npz", "clients": entries,
            "client_groups": None, "settings": settings}  # fmt: skip
    began, starts, peak = time.monotonic(), [], [0.0]

    def told(record: object) -> None:
        starts.append(time.monotonic() - began)
        peak[0] = max(peak[0], memory_of_children())

    checkpoints = folder.parent / f"{folder.name}-checkpoints"
    checkpoints.mkdir()
    exchange = Exchange(environment=environment_of("federated"), folder=folder, runner=run_worker)
    result = exchange.ask(body, seed=1, deadline_seconds=480, checkpoints=checkpoints, on_progress=told)
    seconds = [record["seconds"] for record in result.body["history"][2:]]
    return Measured(statistics.median(seconds), starts[0], peak[0])


def memory_of_children() -> float:
    """Resident MiB of all processes that this one started, and theirs."""
    parents, sizes = {}, {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            sizes[int(entry.name)] = int((entry / "statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
        except OSError:
            continue
    found, family = {os.getpid()}, set()
    while found != family:
        family, found = found, found | {pid for pid, parent in parents.items() if parent in found}
    return sum(sizes[pid] for pid in family - {os.getpid()})


def flower(python: str, folder: Path, network: str, *, rounds: int) -> float:
    """Median seconds of a round of Flower's simulation."""
    features, label = made_up_rows()
    weights = first_weights(NETWORKS[network])
    source, out = folder / "clients.npz", folder / "out.json"
    np.savez(source, features=features, label=label, clients=100, weights=len(weights),
             **{f"w{i:04d}": weight for i, weight in enumerate(weights)})  # fmt: skip
    script = Path(__file__).with_name("federated_flower.py")
    with (folder / "log.txt").open("w") as log:
        subprocess.run(
            [python, str(script), str(source), str(out), str(rounds), "20"], check=True, stdout=log, stderr=log
        )
    return statistics.median(json.loads(out.read_text())[1:])


def compared(python: str, *, rounds: int, turns: int) -> list[str]:
    """Returns table rows of ours beside Flower's."""
    lines = []
    for network in NETWORKS:
        mine, theirs, start = [], [], []
        for _ in range(turns):
            with tempfile.TemporaryDirectory() as folder:
                found = ours(Path(folder) / "ours", network, clients=100, per_round=20, rounds=rounds)
                mine.append(found.round_seconds)
                start.append(found.start_seconds)
                theirs.append(flower(python, Path(folder), network, rounds=rounds))
        a, b = statistics.median(mine), statistics.median(theirs)
        lines.append(f"| {network} | {1 / a:.1f} | {1 / b:.1f} | {b / a:.1f}x | {min(start):.0f} s |")
    return lines


def alone(*, rounds: int) -> list[str]:
    """Returns table rows of ours in other settings."""
    cases = {
        "100 clients, 20 a round": {"clients": 100, "per_round": 20},
        "100 clients, 5 a round": {"clients": 100, "per_round": 5},
        "100 clients, 80 a round": {"clients": 100, "per_round": 80},
        "10,000 clients, 20 a round": {"clients": 10_000, "per_round": 20},
        "10,000 clients, 500 a round": {"clients": 10_000, "per_round": 500},
        "100 clients, 20 a round, DP-FedAvg, adaptive": {"clients": 100, "per_round": 20, "privacy": PRIVACY},
        "100 clients, 20 a round, secure sum (simulated)": {"clients": 100, "per_round": 20, "aggregation": "secure"},
    }
    lines = []
    for name, case in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            found = ours(Path(folder) / "ours", "MLP 64-64", rounds=rounds, **case)
        lines.append(
            f"| {name} | {found.round_seconds * 1000:.0f} | {found.start_seconds:.0f} s | {found.peak_mib:.0f} |"
        )
    return lines


def main() -> None:
    """Measures and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flower", default=".venv-bench-federated/bin/python")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    before = os.getloadavg()[0]
    versus = compared(options.flower, rounds=options.rounds, turns=options.turns)
    own = alone(rounds=options.rounds // 2)
    text = [
        "# Federated rounds", "",
        f"Written by `make bench-federated`: medians of {options.rounds} rounds, turns: {options.turns}. "
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; load average before "
        f"{before:.1f}, at the end {os.getloadavg()[0]:.1f}: on a quiet machine it is near 0 before."
        " Only ratios carry over to other machines.", "",
        "## Beside Flower's simulation", "",
        "100 clients of 488 rows and 100 columns, 20 a round. Flower's clients compute in numpy; ours save each round.",
        "",
        "| network | our rounds/s | Flower's rounds/s | ratio | our start |", "|---|---|---|---|---|", *versus, "",
        "## Ours alone, MLP 64-64", "",
        "The same 48,842 rows in all cases. Memory is that of all the worker's processes.", "",
        "| | ms per round | start | peak MiB |", "|---|---|---|---|", *own, "",
    ]  # fmt: skip
    options.out.write_text("\n".join(text))


if __name__ == "__main__":
    main()
