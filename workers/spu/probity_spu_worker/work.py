"""The model owner's part: compile the program, have owners deal and servers compute, put the weights together.

Every party but the model owner is a process of this machine; the servers link to one another over loopback. The model
owner cannot ask a server or an owner for anything but what their programs do.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from probity_worker_contract.messages import PROBE, PROBE_INPUTS, WEIGHTS, Outcome, Task, weight_names

from probity_spu_worker.engine import LARGEST, SERVERS, deal, join, read_share
from probity_spu_worker.parties import deal_rows, run_servers
from probity_spu_worker.program import Program, activations, compile_step
from probity_spu_worker.refusal import refused
from probity_spu_worker.server import checkpoint

__all__ = ["work"]

_MARK = "epoch.json"
Weights = list[npt.NDArray[np.float32]]


def work(task: Task) -> Outcome:
    """Trains as asked.

    Raises:
        WorkerFailure: If it cannot be done, or a party was lost.
    """
    body = task.body
    _require_offered(body)
    layers, initial = activations(body["architecture"]), _numbered(task.folder / body["initial_weights"])
    with np.load(task.folder / body["schedule"], allow_pickle=False) as stored:
        batches = [stored[f"owner{i}"] for i in range(len(body["owners"]))]
    epochs, steps = batches[0].shape[:2]
    started = time.monotonic()
    program = compile_step(
        initial, _blank(body["owners"], batches),
        steps=steps, by=body["by"], layers=layers, learning_rate=float(body["learning_rate"]),
    )  # fmt: skip
    task.report({"compiled_seconds": time.monotonic() - started})
    job = _job(task, program, initial, epochs=epochs, steps=steps)
    folders = {server: task.folder / "parties" / server for server in SERVERS}
    try:
        deal_rows(task, folders, epochs_done=job["epochs_done"])
        seconds, sent = run_servers(job, folders, report=_reporter(task, job))
        weights = _joined(job, program, epochs=epochs)
    finally:
        # All three servers' shares lie on this machine: together they are the rows.
        for path in (task.folder / "parties").glob("server*/*.share"):
            path.unlink()
    _write(task.folder, weights, layers)
    width = batches[0].shape[2] if body["by"] == "columns" else sum(array.shape[2] for array in batches)
    first = job["epochs_done"] + 1
    return Outcome(
        body={
            "epochs": epochs,
            "steps": epochs * steps,
            "batch_size": width,
            "resumed_epochs": job["epochs_done"],
            "history": [{"epoch": first + i, "seconds": took, "brier_score": None} for i, took in enumerate(seconds)],
            "sent_bytes": sent,
        },
        environment=_environment(),
    )


def _require_offered(body: Mapping[str, Any]) -> None:
    asked = {name: body[name] for name in ("operation", "protocol", "mode", "reveal_loss")}
    if asked != {"operation": "train", "protocol": "aby3", "mode": "processes", "reveal_loss": False}:
        raise refused(
            "settings",
            "request",
            seen=", ".join(f"{name} {value}" for name, value in asked.items()),
            allowed="training with aby3, parties: processes and no revealed loss",
            remedy="use engine: tf_encrypted for the rest",
        )


def _blank(owners: Sequence[Mapping[str, Any]], batches: Sequence[npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Returns arrays of the shapes of an epoch's rows, by variable."""
    found: dict[str, npt.NDArray[Any]] = {}
    for i, (owner, own) in enumerate(zip(owners, batches, strict=True)):
        rows = own.shape[1] * own.shape[2]
        found[f"features{i}"] = np.zeros((rows, len(owner["columns"])), np.float32)
        if owner["has_label"]:
            found[f"label{i}"] = np.zeros((rows, 1), np.float32)
    return found


def _job(task: Task, program: Program, initial: Weights, *, epochs: int, steps: int) -> dict[str, Any]:
    """Writes the program and shares of the initial weights, and returns what all servers are told."""
    kept = task.checkpoints or task.folder / "parties"
    key = hashlib.sha256(
        json.dumps([dict(task.body), dict(task.files), task.seed], sort_keys=True).encode()
    ).hexdigest()
    path = task.folder / "parties" / "step.json"
    path.parent.mkdir(exist_ok=True)
    program.write(path)
    job: dict[str, Any] = {
        "program": str(path),
        "precision": int(task.body["precision"]),
        "epochs": epochs,
        "steps": steps,
        "epochs_done": _epochs_done(kept, key),
        "key": key,
        "prefix": key[-12:],
        "kept": str(kept),
        "weights": {server: str(kept / server) for server in SERVERS},
    }
    if not job["epochs_done"]:
        for name, value in zip(program.weights, initial, strict=True):
            deal(value, _paths(job, 0, name), precision=job["precision"])
    return job


def _epochs_done(kept: Path, key: str) -> int:
    mark = kept / _MARK
    found = json.loads(mark.read_text()) if mark.is_file() else {}
    return int(found["epochs"]) if found.get("key") == key else 0


def _paths(job: Mapping[str, Any], epochs: int, name: str) -> list[Path]:
    return [checkpoint({**job, "weights": job["weights"][server]}, epochs, name) for server in SERVERS]


def _reporter(task: Task, job: Mapping[str, Any]) -> Any:
    def report(epoch: int, seconds: float) -> None:
        part = Path(job["kept"]) / f"{_MARK}.part"
        part.write_text(json.dumps({"key": job["key"], "epochs": epoch}))
        os.replace(part, Path(job["kept"]) / _MARK)
        task.report({"epoch": epoch, "seconds": seconds})

    return report


def _joined(job: Mapping[str, Any], program: Program, *, epochs: int) -> Weights:
    precision = job["precision"]
    found = [
        join([read_share(path) for path in _paths(job, epochs, name)], precision=precision) for name in program.weights
    ]
    if not all(np.isfinite(array).all() and np.abs(array).max(initial=0) <= LARGEST[precision] for array in found):
        raise refused(
            "overflow",
            "trainer encrypted",
            seen="a weight is not finite, or beyond the range of the shares",
            allowed="weights within the range of the fixed-point numbers",
            remedy="use a smaller learning_rate, scale the columns, or use precision: 128",
        )
    return [array.astype(np.float32) for array in found]


def _numbered(path: Path) -> Weights:
    with np.load(path, allow_pickle=False) as stored:
        return [stored[f"w{i:04d}"].astype(np.float32) for i in range(len(stored.files))]


def _write(folder: Path, weights: Weights, layers: Sequence[str]) -> None:
    with np.load(folder / PROBE_INPUTS, allow_pickle=False) as stored:
        found = stored["features"].astype(np.float64)
    for i, activation in enumerate(layers):
        found = found @ weights[2 * i] + weights[2 * i + 1]
        found = {"relu": lambda x: np.maximum(x, 0.0), "sigmoid": _sigmoid, "linear": lambda x: x}[activation](found)
    np.savez(folder / WEIGHTS, **dict(zip(weight_names(len(weights)), weights, strict=True)))
    np.savez(folder / PROBE, scores=_sigmoid(found[:, 0]))


def _sigmoid(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 1.0 / (1.0 + np.exp(-np.clip(x, -500.0, 500.0)))


def _environment() -> dict[str, str]:
    versions = {name: metadata.version(name) for name in ("spu", "jax", "numpy")}
    return {"python": platform.python_version(), **versions, "machine": platform.machine()}
