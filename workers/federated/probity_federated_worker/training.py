"""The rounds, one after the other: sample, execute, save, report."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import tensorflow as tf
from probity_worker_contract.messages import PROBE, PROBE_INPUTS, WEIGHTS, Outcome, Task, WorkerFailure, weight_names

from probity_federated_worker.algorithm import build_process, weights_in, with_noise
from probity_federated_worker.checkpoints import Checkpoints, Saved
from probity_federated_worker.clients import ClientRows
from probity_federated_worker.execution import Execution
from probity_federated_worker.model import keras_model, number_of_parameters
from probity_federated_worker.noise import FreshNoise, Noise, Normals, TreeNoise, entropy_normals, fixed_normals
from probity_federated_worker.participation import Participation, max_participations, participants, row_order
from probity_federated_worker.request import AdaptiveClipping, Privacy, Request

__all__ = ["train"]

_REPORTED_GROUP = 2
_DISTRIBUTIONS = ("tensorflow", "tensorflow-federated", "jax", "numpy")


def train(task: Task, request: Request, *, isolated: bool) -> Outcome:
    """Trains, writes weights and probe, and returns what was executed.

    Resuming: without privacy a round that was begun and not finished is executed again, with the same clients and the
    same order of rows, so that the result is that of an uninterrupted training. Under privacy it counts as executed:
    its noise is never drawn again from a seed, its clients' contribution is lost, and the rounds that are left are
    fewer by one. So no more rounds look at the clients than were asked for, and each that did is accounted for.

    Args:
        task: The request's envelope.
        request: Its body.
        isolated: Whether this process has a network of its own.

    Raises:
        WorkerFailure: If no update is finite, or the remote workers are gone.
    """
    model = keras_model(request, folder=task.folder, seed=task.seed)
    execution = Execution(request)
    training = _Training(task, request, model, execution)
    training.run()
    # Made anew: TensorFlow Federated took the first one apart to make a function of it.
    trained = keras_model(request, folder=task.folder, seed=task.seed)
    trained.set_weights(weights_in(training.state))
    _write(task, trained)
    training.checkpoints.clear()
    return Outcome(
        body={
            "executed": _executed(request, training.history),
            "history": list(training.history),
            "secure_aggregation": "simulated" if request.secure else "none",
        },
        environment={name: version(name) for name in _DISTRIBUTIONS},
        warnings=_warnings(request, training.history, execution, isolated=isolated),
    )


class _Training:
    """The state of a training between two rounds."""

    def __init__(self, task: Task, request: Request, model: tf.keras.Model, execution: Execution) -> None:
        self._task = task
        self._request = request
        self._execution = execution
        self._rows = ClientRows(task.folder, request)
        self._process = build_process(request, model)
        self._normals = _normals(request.privacy)
        self._noise = _noise(request.privacy, number_of_parameters(model), normals=self._normals)
        self.checkpoints = Checkpoints(task)
        self.state = execution.run(self._process.initialize)
        self.history: list[Mapping[str, Any]] = []

    def run(self) -> None:
        """Executes all rounds that are left."""
        for round_number in range(self._resume() + 1, self._request.rounds + 1):
            began = time.monotonic()
            self.checkpoints.begin(round_number)
            took_part = participants(self._request, seed=self._task.seed, round_number=round_number)
            told = self._execute(round_number, took_part)
            self._finish(_record(round_number, took_part, told, seconds=time.monotonic() - began))

    def _resume(self) -> int:
        """Goes on after the last finished round, if there is one; returns the number of the last round that is over."""
        saved = self.checkpoints.load()
        if saved is not None:
            self.state = tf.nest.pack_sequence_as(self.state, list(saved.arrays))
            self.history = list(saved.history)
            self._noise.restore(dict(saved.noise))
            for record in self.history:
                self._task.report(record)
        finished = 0 if saved is None else saved.round_number
        if self._request.privacy is None:
            return finished
        for lost in range(finished + 1, self.checkpoints.last_begun() + 1):
            self._noise.skip()
            self._finish(_record(lost, Participation(chosen=(), dropped=0), None, seconds=None))
        return max(finished, self.checkpoints.last_begun())

    def _execute(self, round_number: int, took_part: Participation) -> Any:
        """Executes a round; returns its sums, or nothing if nobody took part and there is no noise to add."""
        if self._request.privacy is None and not took_part.chosen:
            return None
        if self._request.privacy is not None:
            self.state = with_noise(self.state, noise=self._noise.draw(), count_noise=float(self._normals(1)[0]))
        rows = [self._ordered(round_number, client) for client in took_part.chosen]
        self.state, told = self._execution.run(lambda: self._process.next(self.state, rows))
        if not all(np.isfinite(weight).all() for weight in weights_in(self.state)):
            raise WorkerFailure("diverged", f"the weights are not finite after round {round_number}; lower the rates")
        return told

    def _ordered(self, round_number: int, client: int) -> dict[str, np.ndarray]:
        features, label = self._rows.read(client)
        order = row_order(len(label), seed=self._task.seed, round_number=round_number, client=client)
        group = np.int32(self._request.clients[client].group)
        return {"features": features[order], "label": label[order], "group": group}

    def _finish(self, record: Mapping[str, Any]) -> None:
        """Saves a round, then tells about it: what was reported is never lost."""
        self.history.append(record)
        arrays = tuple(np.asarray(array) for array in tf.nest.flatten(self.state))
        self.checkpoints.save(
            Saved(round_number=record["round"], arrays=arrays, noise=self._noise.arrays(), history=tuple(self.history))
        )
        self._task.report(record)


def _normals(privacy: Privacy | None) -> Normals:
    return entropy_normals if privacy is None or privacy.noise_seed is None else fixed_normals(privacy.noise_seed)


def _noise(privacy: Privacy | None, size: int, *, normals: Normals) -> Noise:
    if privacy is not None and privacy.mechanism == "dp_ftrl":
        return TreeNoise(size, normals=normals, restart_every=privacy.restart_every)
    return FreshNoise(size, normals=normals)


def _record(number: int, took_part: Participation, told: Any, *, seconds: float | None) -> dict[str, Any]:
    """Returns the report of a round: sums over clients, by group where at least two took part."""
    report = {} if told is None else {name: np.asarray(values) for name, values in told["report"].items()}
    counted = report.get("participants", np.zeros(1))
    measured = {} if told is None or not told["aggregation"] else dict(told["aggregation"])
    bound = measured.get("l2_clip_norm")
    return {
        "round": number,
        "participants": round(float(counted.sum())),
        "dropped": took_part.dropped,
        "failed": len(took_part.chosen) - round(float(counted.sum())) if told is not None else 0,
        "loss": _ratio(report, "loss"),
        "accuracy": _ratio(report, "right"),
        "l2_clip_norm": None if bound is None else float(bound),
        "seconds": seconds,
        "groups": {
            str(group): {
                "participants": round(float(count)),
                "loss": _ratio(report, "loss", group) if count >= _REPORTED_GROUP else None,
                "accuracy": _ratio(report, "right", group) if count >= _REPORTED_GROUP else None,
            }
            for group, count in enumerate(counted)
            if count
        },
    }


def _ratio(report: Mapping[str, np.ndarray], name: str, group: int | None = None) -> float | None:
    if name not in report:
        return None
    chosen = slice(None) if group is None else group
    examples = float(np.sum(report["examples"][chosen]))
    value = float(np.sum(report[name][chosen])) / examples if examples else math.nan
    return value if math.isfinite(value) else None


def _executed(request: Request, history: list[Mapping[str, Any]]) -> dict[str, Any]:
    privacy = request.privacy
    adaptive = privacy is not None and isinstance(privacy.clipping, AdaptiveClipping)
    bounds = [record["l2_clip_norm"] for record in history if record["l2_clip_norm"] is not None]
    source = "os_entropy" if privacy is not None and privacy.noise_seed is None else "fixed_seed"
    return {
        "rounds": len(history),
        "num_clients": len(request.clients),
        "clients_per_round": request.clients_per_round,
        "sampling": request.sampling,
        "sampling_prob": request.sampling_prob if request.sampling == "poisson" else None,
        "noise_multiplier": None if privacy is None else privacy.noise_multiplier,
        "update_noise_multiplier": None if privacy is None else privacy.update_noise_multiplier,
        "noise_source": None if privacy is None else source,
        "l2_clip_norm": bounds[-1] if bounds else None,
        "clipped_count_stddev": privacy.clipping.clipped_count_stddev if adaptive else None,
        "rounds_per_tree": privacy.restart_every if privacy is not None and privacy.mechanism == "dp_ftrl" else None,
        "max_participations": max_participations(request, rounds=len(history)),
    }


def _write(task: Task, model: tf.keras.Model) -> None:
    """Writes the weights, and the model's scores of the probe rows."""
    weights = model.get_weights()
    np.savez(task.folder / WEIGHTS, **dict(zip(weight_names(len(weights)), weights, strict=True)))
    with np.load(task.folder / PROBE_INPUTS, allow_pickle=False) as arrays:
        logits = model.predict(arrays["features"], verbose=0)
    np.savez(task.folder / PROBE, scores=tf.sigmoid(logits).numpy().reshape(-1))


def _warnings(
    request: Request, history: list[Mapping[str, Any]], execution: Execution, *, isolated: bool
) -> tuple[str, ...]:
    """Returns what the parent must know, and prints on the card: under privacy no exact fact about the clients' rows."""
    found = []
    failed, empty = sum(record["failed"] for record in history), sum(not one.num_examples for one in request.clients)
    if failed and request.privacy is None:
        found.append(f"{failed} updates were not finite and were left out")
    if empty and request.privacy is None:
        found.append(f"{empty} clients have no row and never trained")
    if execution.lost:
        found.append(f"{len(execution.lost)} remote workers were lost: {', '.join(execution.lost)}")
    if not request.remote_workers and not isolated:
        found.append(
            "the executor of TensorFlow Federated listened on every network interface, without authentication, while "
            "this training ran: this system gives processes no network of their own"
        )
    if request.privacy is not None:
        found.append("numbers of participants and failures per round are not covered by the privacy guarantee")
    return tuple(found)
