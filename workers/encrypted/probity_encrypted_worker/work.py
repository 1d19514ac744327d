"""The worker's three operations: train on shares, deal shares of a trained model, predict on shares."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from probity_worker_contract.messages import PROBE, PROBE_INPUTS, WEIGHTS, Outcome, Task, WorkerFailure, weight_names

from probity_encrypted_worker.cast import settle_threads
from probity_encrypted_worker.checkpoints import Checkpoints
from probity_encrypted_worker.layers import DenseLayer, dense_stack
from probity_encrypted_worker.native import loaded_operations, require_operations
from probity_encrypted_worker.owners import load
from probity_encrypted_worker.prediction import deal, predict
from probity_encrypted_worker.refusal import Refusal
from probity_encrypted_worker.request import Asked, numbered, owners_of, schedule_of
from probity_encrypted_worker.stage import Stage, set_up
from probity_encrypted_worker.training import Epoch, Program, Schedule, largest_value, train

__all__ = ["work"]

Weights = list[npt.NDArray[np.float32]]


def work(task: Task) -> Outcome:
    """Does what a request asks.

    Raises:
        WorkerFailure: With the code and the words of the refusal, if it cannot be done.
    """
    operations: Mapping[str, Callable[[Task, Asked, tuple[DenseLayer, ...]], Outcome]] = {
        "train": _train,
        "deal": _deal,
        "predict": _predict,
    }
    try:
        settle_threads()
        require_operations(loaded_operations())
        asked = Asked.of(task.body)
        return operations[asked.operation](task, asked, dense_stack(asked.architecture, protocol=asked.protocol))
    except Refusal as refusal:
        # Whoever asked puts these words into a sentence of its own.
        raise WorkerFailure(refusal.code, str(refusal).rstrip(".")) from refusal


def _train(task: Task, asked: Asked, layers: tuple[DenseLayer, ...]) -> Outcome:
    schedule = schedule_of(asked, folder=task.folder)
    names = tuple(entry["name"] for entry in asked.body["owners"])
    with set_up(asked, data_owners=names, folder=task.folder / "parties") as stage:
        program = _program(task, asked, layers, schedule, stage)
        checkpoints = _checkpoints(task, asked, stage)

        def report(epoch: Epoch) -> None:
            line: dict[str, object] = {"epoch": epoch.epoch, "seconds": epoch.seconds}
            if epoch.brier_score is not None:
                line["brier_score"] = epoch.brier_score
            task.report(line)

        task.report({"parties": dict(stage.process_ids), "compiled_seconds": program.compile()})
        resumed, epochs = train(program, schedule, checkpoints=checkpoints, report=report)
        weights = program.weights()
        sent = stage.sent_bytes()
    _write(task.folder, weights, scores=_scores(layers, weights, _rows(task.folder / PROBE_INPUTS)))
    return Outcome(
        body={
            "epochs": schedule.epochs,
            "steps": schedule.epochs * schedule.steps,
            "batch_size": schedule.batch_size,
            "resumed_epochs": resumed,
            "history": [{"epoch": e.epoch, "seconds": e.seconds, "brier_score": e.brier_score} for e in epochs],
            "sent_bytes": sent,
        },
        environment=_environment(),
    )


def _program(task: Task, asked: Asked, layers: tuple[DenseLayer, ...], schedule: Schedule, stage: Stage) -> Program:
    bound = largest_value(stage.protocol)
    owners = owners_of(asked, stage.cast, folder=task.folder)
    shards = [load(owner, stage.config.get_player(owner.name), bound=bound) for owner in owners]
    return Program(
        protocol=stage.protocol,
        config=stage.config,
        layers=layers,
        weights=numbered(task.folder / asked.body["initial_weights"]),
        shards=shards,
        schedule=schedule,
        learning_rate=float(asked.body["learning_rate"]),
        reveal_loss=bool(asked.body["reveal_loss"]),
    )


def _checkpoints(task: Task, asked: Asked, stage: Stage) -> Checkpoints | None:
    """Returns where shares are kept: below the run's own folder, or in each server's where the parties are remote."""
    if task.checkpoints is None:
        return None
    body = {name: value for name, value in asked.body.items() if name not in ("party_file", "start_seconds", "mode")}
    key = hashlib.sha256(json.dumps([body, task.files, task.seed], sort_keys=True).encode()).hexdigest()
    own = {server: str(task.checkpoints / server) for server in ("server0", "server1", "server2")}
    servers = {name: stage.folders[name] for name in own} if asked.mode == "remote" else own
    return Checkpoints(folder=task.checkpoints, servers=servers, key=key)


def _deal(task: Task, asked: Asked, layers: tuple[DenseLayer, ...]) -> Outcome:
    weights = numbered(task.folder / asked.body["initial_weights"])
    folders = {name: str(task.folder / "shares" / name) for name in ("server0", "server1", "server2")}
    with set_up(asked, data_owners=(), folder=task.folder / "parties") as stage:
        deal(stage, layers, weights, folders=folders)
    _write(task.folder, weights, scores=_scores(layers, weights, _rows(task.folder / PROBE_INPUTS)))
    return Outcome(body={}, environment=_environment())


def _predict(task: Task, asked: Asked, layers: tuple[DenseLayer, ...]) -> Outcome:
    rows = _rows(task.folder / PROBE_INPUTS)
    started = time.monotonic()
    with set_up(asked, data_owners=(), folder=task.folder / "parties") as stage:
        ready = time.monotonic()
        folders = asked.body["share_folders"] or stage.folders
        answer = predict(stage, layers, rows, folders=folders, batch_size=int(asked.body["batch_size"]))
        sent = stage.sent_bytes()
    # The weights stay shares: whoever predicts does not get them.
    _write(task.folder, [], scores=answer.scores)
    return Outcome(
        body={
            "start_seconds": ready - started,
            "compile_seconds": answer.compile_seconds,
            "predict_seconds": answer.predict_seconds,
            "sent_bytes": sent,
        },
        environment=_environment(),
    )


def _rows(path: Path) -> npt.NDArray[np.float32]:
    with np.load(path, allow_pickle=False) as stored:
        return stored["features"].astype(np.float32)


def _scores(layers: tuple[DenseLayer, ...], weights: Weights, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Returns the probabilities that plain arithmetic gives."""
    found = rows.astype(np.float64)
    smooth = {"relu": lambda x: np.maximum(x, 0.0), "sigmoid": _sigmoid, "linear": lambda x: x}
    for i, layer in enumerate(layers):
        found = smooth[layer.activation](found @ weights[2 * i] + weights[2 * i + 1])
    return _sigmoid(found[:, 0])


def _sigmoid(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 1.0 / (1.0 + np.exp(-np.clip(x, -500.0, 500.0)))


def _write(folder: Path, weights: Weights, *, scores: npt.NDArray[np.float64]) -> None:
    np.savez(folder / WEIGHTS, **dict(zip(weight_names(len(weights)), weights, strict=True)))
    np.savez(folder / PROBE, scores=scores)


def _environment() -> dict[str, str]:
    import tensorflow as tf
    import tf_encrypted as tfe

    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "tf-encrypted": tfe.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
    }
