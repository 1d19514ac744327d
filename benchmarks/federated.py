"""Rounds per second of federated training, beside Flower's simulation of the same clients.

    make bench-federated      # or: python benchmarks/federated.py [--part flower|scale|alone] [--flower PYTHON]

Adult's size: 48,842 rows of 100 columns in 100 clients, 20 of them a round, one epoch in batches of 32. Both sides
start from the same weights, and take turns. Ours alone: clients per round, number of clients, privacy, a secure sum.

Writes benchmarks/federated.md; with ``--part`` only that part of it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
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
    """Mean seconds of a round without the first two, seconds to the first round, and peak memory in MiB.

    Rounds are timed as they are told of, so that everything between two of them is counted, saving included. Memory is
    the sum of the peaks of the worker's processes, and with this process, which has TensorFlow and the rows: pages that
    they share are counted in each, and the peaks need not be at one time, so it is no less than it was.
    """

    round_seconds: float
    start_seconds: float
    worker_mib: float
    all_mib: float


class Watched:
    """Runs a worker and notes, several times a second, the peaks of its processes."""

    def __init__(self) -> None:
        self.peaks: dict[int, float] = {}

    def __call__(
        self, command: Sequence[str], *, log: Path, deadline_seconds: float, watch: Callable[[], None]
    ) -> int | None:
        """As :func:`probity.trainers.worker.run_worker`."""

        def look() -> None:
            self.peaks |= peaks_of_children()
            watch()

        return run_worker(command, log=log, deadline_seconds=deadline_seconds, watch=look)


def made_up_rows(count: int = ROWS) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a logistic model."""
    draw = np.random.default_rng(0)
    features = draw.normal(size=(count, WIDTH)).astype(np.float32)
    odds = features @ draw.normal(size=WIDTH) / 5
    return features, (draw.random(count) < 1 / (1 + np.exp(-odds))).astype(np.float32)


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


def ours(
    folder: Path, network: str, *, clients: int, per_round: int, rounds: int, rows: int = ROWS, **more: object
) -> Measured:
    """Runs the worker on a folder of client files."""
    features, label = made_up_rows(rows)
    (folder / "clients").mkdir(parents=True)
    entries = []
    for number in range(clients):
        own = slice(number, None, clients)
        name = f"clients/{number:06d}.npz"
        np.savez(folder / name, features=features[own], label=label[own])
        entries.append({"file": name, "num_examples": len(label[own])})
    np.savez(folder / "probe_inputs.npz", features=features[:8])
    np.savez(folder / "initial.npz", **{f"w{i:04d}": w for i, w in enumerate(first_weights(NETWORKS[network]))})
    settings = {
        "rounds": rounds, "clients_per_round": per_round, "sampling": "uniform_without_replacement",
        "local": {"epochs": 1, "batch_size": 32, "learning_rate": 0.05, "optimizer": "sgd"},
        "server": {"optimizer": "fedavg", "learning_rate": 1.0}, "privacy": None, "aggregation": "plain", **more,
    }  # fmt: skip
    body = {"architecture": architecture(NETWORKS[network]), "initial_weights": "initial.npz", "clients": entries,
            "client_groups": None, "settings": settings}  # fmt: skip
    began, told, runner = time.monotonic(), [], Watched()
    checkpoints = folder.parent / f"{folder.name}-checkpoints"
    checkpoints.mkdir()
    exchange = Exchange(environment=environment_of("federated"), folder=folder, runner=runner)
    result = exchange.ask(
        body, seed=1, deadline_seconds=480, checkpoints=checkpoints,
        on_progress=lambda record: told.append(time.monotonic() - began),
    )  # fmt: skip
    assert len(told) == len(result.body["history"]) == rounds
    worker, mine = sum(runner.peaks.values()), peak_of(Path("/proc/self")) or 0.0
    return Measured((told[-1] - told[1]) / (rounds - 2), told[0], worker, worker + mine)


def peaks_of_children() -> dict[int, float]:
    """Peak resident MiB, until now, of all processes that this one started, and theirs."""
    parents, peaks = {}, {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            peaks[int(entry.name)] = peak_of(entry)
        except OSError:
            continue
    found, family = {os.getpid()}, set()
    while found != family:
        family, found = found, found | {pid for pid, parent in parents.items() if parent in found}
    return {pid: peaks[pid] for pid in family - {os.getpid()} if peaks[pid] is not None}


def peak_of(process: Path) -> float | None:
    """Peak resident MiB of a process; ``None`` for one that has ended."""
    for line in (process / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return None


def flower(python: str, folder: Path, network: str, *, rounds: int) -> dict[str, object]:
    """Returns seconds of each round of Flower's simulation but the first, and its version."""
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
    return json.loads(out.read_text())


def beside_flower(options: argparse.Namespace) -> list[str]:
    """Returns the part on Flower: both sides in turns, in one run."""
    lines, flowers = [], ""
    for network in NETWORKS:
        mine, theirs, starts = [], [], []
        for _ in range(options.turns):
            with tempfile.TemporaryDirectory() as folder:
                found = ours(Path(folder) / "ours", network, clients=100, per_round=20, rounds=options.rounds)
                told = flower(options.flower, Path(folder), network, rounds=options.rounds)
            mine.append(found.round_seconds)
            starts.append(found.start_seconds)
            theirs.append(statistics.mean(told["seconds"][1:]))  # of the third round, and on
            flowers = told["version"]
        a, b = statistics.median(mine), statistics.median(theirs)
        each = ", ".join(f"{y / x:.1f}" for x, y in zip(mine, theirs, strict=True))
        lines.append(
            f"| {network} | {1 / a:.1f} | {1 / b:.1f} | {b / a:.1f} | {each} | "
            f"{', '.join(f'{start:.0f}' for start in starts)} |"
        )
    return [
        f"100 clients of 488 rows and 100 columns, 20 a round; means of {options.rounds} rounds but the first two, "
        f"{options.turns} turns of each side, one after the other. Flower {flowers} simulates with Ray on these cores; "
        "its clients compute in numpy, which is less work per step than any framework; ours compute in TensorFlow and "
        "save each round.", "",
        "| network | our rounds/s | Flower's rounds/s | ratio | by turn | our start, s |", "|---|---|---|---|---|---|",
        *lines,
    ]  # fmt: skip


def at_scale(options: argparse.Namespace) -> list[str]:
    """Returns the part on how the cost of a round grows: with the clients of a round, and not with all clients."""
    rounds, heads = options.rounds * 3 // 4, ("ms per round", "start, s", "worker, MiB", "worker and parent, MiB")
    by_round, times = [], {}
    for count in (5, 10, 20, 40, 80):
        found = measured(clients=100, per_round=count, rounds=rounds)
        times[count] = found.round_seconds * 1000
        by_round.append(row(str(count), found))
    slope, base = np.polyfit(list(times), list(times.values()), 1)
    off = max(abs(took / (base + slope * count) - 1) for count, took in times.items())
    by_clients = [
        row(f"{count:,}", measured(clients=count, per_round=20, rounds=rounds, rows=48 * count))
        for count in (100, 1_000, 10_000)
    ]
    by_clients.append(row("10,000, 500 a round",
                          measured(clients=10_000, per_round=500, rounds=rounds // 3, rows=480_000)))  # fmt: skip
    seconds, run_mib = peak_of_a_run(10_000)
    return [
        f"MLP 64-64, means of {rounds} rounds but the first two. 100 clients of 488 rows, by clients per round:", "",
        *table(("clients per round", *heads), by_round), "",
        f"The line through these points is {base:.0f} ms + {slope:.1f} ms per client; no point is further than "
        f"{off:.0%} from it.", "",
        "Clients of 48 rows, 20 a round, by number of clients:", "",
        *table(("clients", *heads), by_clients), "",
        "Memory: the sum of the peaks of all processes, which is no less than was in use at any time. The parent is "
        "this benchmark, with TensorFlow and all rows loaded.", "",
        "`probity run examples/adult_income/federated.yaml` with 10,000 clients, 500 a round and 5 rounds, from CSV "
        f"file to the trained model: {seconds:.0f} s, and {run_mib:,.0f} MiB over all processes that it started.",
    ]  # fmt: skip


def peak_of_a_run(clients: int) -> tuple[float, float]:
    """Returns seconds and the sum of the peaks, in MiB, of `probity run` on Adult up to a trained model."""
    config = Path(__file__).parents[1] / "examples/adult_income/federated.yaml"
    settings = [f"trainer.clients.number={clients}", "trainer.rounds=5", "trainer.clients_per_round=500"]
    peaks, began = {}, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "probity", "run", str(config), "--workspace", folder, "--until", "train"]
        command += [part for setting in settings for part in ("--set", setting)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None:
                peaks |= peaks_of_children()
                time.sleep(0.2)
        assert process.returncode == 0
    return time.monotonic() - began, sum(peaks.values())


def alone(options: argparse.Namespace) -> list[str]:
    """Returns the part on what privacy and a simulated secure sum add."""
    cases = {
        "plain": {},
        "DP-FedAvg, adaptive clipping": {"privacy": PRIVACY, "sampling": "poisson", "sampling_prob": 0.2},
        "secure sum (simulated)": {"aggregation": "secure"},
        "quantised updates": {"compression": "quantize"},
    }
    found = [
        row(name, measured(clients=100, per_round=20, rounds=options.rounds // 2, **case))
        for name, case in cases.items()
    ]
    heads = ("", "ms per round", "start, s", "worker, MiB", "worker and parent, MiB")
    return ["MLP 64-64, 100 clients of 488 rows, 20 a round.", "", *table(heads, found)]


def measured(**case: object) -> Measured:
    """Returns what ours takes for the larger network."""
    with tempfile.TemporaryDirectory() as folder:
        return ours(Path(folder) / "ours", "MLP 64-64", **case)


def row(name: str, found: Measured) -> str:
    """Returns a row of a table."""
    numbers = (found.round_seconds * 1000, found.start_seconds, found.worker_mib, found.all_mib)
    return " | ".join([f"| {name}", *(f"{number:.0f}" for number in numbers)]) + " |"


def table(heads: Sequence[str], rows: Sequence[str]) -> list[str]:
    """Returns a table."""
    return ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), *rows]


PARTS = {
    "flower": ("Beside Flower's simulation", beside_flower),
    "scale": ("How a round's cost grows", at_scale),
    "alone": ("What else a round can do", alone),
}


def main() -> None:
    """Measures and writes the page, or one part of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=PARTS, action="append", help="measure this part only; may be repeated")
    parser.add_argument("--flower", default=".venv-bench-federated/bin/python")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    kept = options.out.read_text().split("\n## ")[1:] if options.out.is_file() else []
    sections = {title: text for title, _, text in (section.partition("\n") for section in kept)}
    for title, measure in (PARTS[name] for name in options.part or PARTS):
        before = os.getloadavg()[0]
        lines = measure(options)
        load = f"Load average {before:.1f} before, {os.getloadavg()[0]:.1f} at the end; 0 before is a quiet machine."
        sections[title] = "\n".join(["", *lines, "", load, ""])
    head = [
        "# Federated rounds", "",
        f"Written by `make bench-federated`. {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}. Only ratios carry over to other machines.", "",
    ]  # fmt: skip
    options.out.write_text("\n".join(head) + "".join(
        f"\n## {title}\n{sections[title].rstrip()}\n" for title, _ in PARTS.values() if title in sections
    ))  # fmt: skip


if __name__ == "__main__":
    main()
