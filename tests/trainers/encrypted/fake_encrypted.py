"""A stand-in for the encrypted worker: trains in the clear with numpy, from the files that the parties would read."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
from probity_worker_contract.messages import Outcome, read_request, weight_names, write_ok

from probity.trainers.worker_environments import WorkerEnvironment


class ReadyEnvironment(WorkerEnvironment):
    """Always ready."""

    def why_not_ready(self):
        return None

    def command(self, *arguments, program=None):
        return ["fake", *arguments]


def environment(folder):
    return ReadyEnvironment(name="encrypted", folder=folder)


class FakeWorker:
    """A runner; keeps the bodies that it was asked and what it saw of each owner's folder.

    Args:
        shift: Added to each weight that it hands back, so that the probe contradicts it.
    """

    def __init__(self, *, shift=0.0):
        self.shift = shift
        self.bodies = []
        self.seen = []

    def __call__(self, command, *, log, deadline_seconds, watch):
        folder = Path(command[-1])
        task = read_request(folder, worker="encrypted")
        self.bodies.append(task.body)
        self.seen.append({path.relative_to(folder).as_posix(): path for path in folder.rglob("*.parquet")})
        weights, steps = train(folder, task.body)
        rows = np.load(folder / "probe_inputs.npz")["features"]
        np.savez(folder / "probe.npz", scores=sigmoid(forward(weights, rows, task.body)[-1][:, 0]))
        handed = [(array + self.shift).astype(np.float32) for array in weights]
        np.savez(folder / "weights.npz", **dict(zip(weight_names(len(handed)), handed, strict=True)))
        epochs = np.load(folder / "schedule.npz")["owner0"].shape[0]
        history = [{"epoch": i + 1, "seconds": 0.5, "brier_score": None} for i in range(epochs)]
        for line in history:
            task.report({"epoch": line["epoch"], "seconds": line["seconds"]})
        watch()
        body = {"epochs": epochs, "steps": steps, "batch_size": 8, "resumed_epochs": 0, "history": history,
                "sent_bytes": {"server0": 1_000_000}}  # fmt: skip
        write_ok(task, Outcome(body=body, environment={"tf-encrypted": "none"}))
        return 0


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def activations(body):
    layers = json.loads(body["architecture"])["config"]["layers"]
    return [layer["config"]["activation"] for layer in layers if layer["class_name"] == "Dense"]


def forward(weights, rows, body):
    found = [rows.astype(np.float64)]
    for i, name in enumerate(activations(body)):
        value = found[-1] @ weights[2 * i] + weights[2 * i + 1]
        found.append(np.maximum(value, 0.0) if name == "relu" else value)
    return found


def train(folder, body):
    """Joins the owners' files as the servers would join their shares, and descends."""
    with np.load(folder / "initial.npz") as stored:
        weights = [stored[name].astype(np.float64) for name in sorted(stored.files)]
    schedule = np.load(folder / "schedule.npz")
    owners = body["owners"]
    tables = [parquet.read_table(folder / owner["folder"] / "rows.parquet") for owner in owners]
    features = [
        np.stack([table.column(name).to_numpy() for name in owner["columns"]], axis=1)
        for table, owner in zip(tables, owners, strict=True)
    ]
    labels = [
        table.column("label").to_numpy() for table, owner in zip(tables, owners, strict=True) if owner["has_label"]
    ]
    epochs, steps, _ = schedule["owner0"].shape
    for epoch in range(epochs):
        for step in range(steps):
            rows = [schedule[f"owner{i}"][epoch, step] for i in range(len(owners))]
            parts = [table[own] for table, own in zip(features, rows, strict=True)]
            if body["by"] == "rows":
                x = np.concatenate(parts)
                y = np.concatenate([label[own] for label, own in zip(labels, rows, strict=True)])
            else:
                x, y = np.concatenate(parts, axis=1), labels[0][rows[0]]
            weights = descend(weights, x, y, body)
    return weights, epochs * steps


def descend(weights, x, y, body):
    found = forward(weights, x, body)
    slope = ((sigmoid(found[-1][:, 0]) - y) / len(y))[:, None]
    updated = list(weights)
    for i in reversed(range(len(weights) // 2)):
        if i < len(weights) // 2 - 1:
            slope = slope * (found[i + 1] > 0)
        updated[2 * i] = weights[2 * i] - body["learning_rate"] * found[i].T @ slope
        updated[2 * i + 1] = weights[2 * i + 1] - body["learning_rate"] * slope.sum(axis=0)
        slope = slope @ weights[2 * i].T
    return updated
