"""A federated worker without TensorFlow and without a process: it averages networks that numpy trains.

It follows the contract to the letter - request, progress, weights, probe, result - so all of the parent is tested
against it but the real training. ``lie`` changes its reply.
"""

import json
from pathlib import Path

import numpy as np
from probity_worker_contract import Outcome
from probity_worker_contract.harness import perform
from probity_worker_contract.messages import PROBE, WEIGHTS, weight_names

from probity.trainers.worker_environments import WorkerEnvironment


class FakeEnvironment(WorkerEnvironment):
    """Always ready, and never started."""

    def __init__(self):
        super().__init__(name="federated", folder=Path("nowhere"))

    code = "sha256:" + "0" * 64

    def why_not_ready(self):
        return None

    def command(self, *arguments, program=None):
        return ["fake", *arguments]


class FakeWorker:
    """A runner: trains in this process. Keeps what it saw of the folder."""

    def __init__(self, *, lie=lambda body: body, stop_after=None):
        self.lie = lie
        self.stop_after = stop_after
        self.seen = {}
        self.body = None

    def __call__(self, command, *, log, deadline_seconds, watch):
        folder = Path(command[-1])
        self.seen = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.npz")}
        code = perform(self.work, folder, worker="federated")
        log.write_text("")
        watch()
        return code

    def work(self, task):
        self.body = task.body
        settings, activations = task.body["settings"], dense_activations(task.body["architecture"])
        with np.load(task.folder / task.body["initial_weights"]) as stored:
            weights = [stored[name] for name in weight_names(len(stored.files))]
        clients = [dict(np.load(task.folder / entry["file"])) for entry in task.body["clients"]]
        rng, history = np.random.default_rng(task.seed), []
        for number in range(1, settings["rounds"] + 1):
            chosen = rng.choice(len(clients), settings["clients_per_round"], replace=False)
            updates = [local(weights, activations, clients[i], settings["local"], rng) for i in chosen]
            shares = [len(clients[i]["label"]) for i in chosen]
            weights = [
                np.average(layer, axis=0, weights=shares) for layer in zip(*(u for u, _ in updates), strict=True)
            ]
            loss = float(np.average([found for _, found in updates], weights=shares))
            entry = {"round": number, "participants": len(chosen), "dropped": 0, "failed": 0, "loss": loss}
            history.append({**entry, "groups": {"0": {"participants": 2, "loss": loss, "accuracy": 0.75}}})
            task.report(history[-1])
        arrays = {
            name: array.astype(np.float32) for name, array in zip(weight_names(len(weights)), weights, strict=True)
        }
        np.savez(task.folder / WEIGHTS, **arrays)
        with np.load(task.folder / "probe_inputs.npz") as probe:
            np.savez(task.folder / PROBE, scores=sigmoid(forward(weights, activations, probe["features"])[-1][:, 0]))
        return Outcome(body=self.lie(reply(task.body, history)), environment={"fake": "1"}, warnings=())


def reply(body, history):
    settings = body["settings"]
    privacy = settings["privacy"] or {}
    clipping = privacy.get("clipping", {})
    executed = {
        "rounds": len(history),
        "num_clients": len(body["clients"]),
        "clients_per_round": settings["clients_per_round"],
        "sampling": settings["sampling"],
        "sampling_prob": settings.get("sampling_prob"),
        "noise_multiplier": privacy.get("noise_multiplier"),
        "noise_source": None if not privacy else "os_entropy" if privacy["noise_seed"] is None else "fixed_seed",
        "l2_clip_norm": privacy.get("l2_clip_norm", clipping.get("l2_clip_norm")),
        "clipped_count_stddev": clipping.get("clipped_count_stddev"),
        "rounds_per_tree": privacy.get("restart_every"),
    }
    secure = "simulated" if settings["aggregation"] == "secure" else "none"
    return {"executed": executed, "history": history, "secure_aggregation": secure}


def dense_activations(architecture):
    layers = json.loads(architecture)["config"]["layers"]
    return [layer["config"]["activation"] for layer in layers if layer["class_name"] == "Dense"]


def forward(weights, activations, features):
    """Returns the values of each layer, the logits last."""
    values = [features.astype(np.float64)]
    for i, activation in enumerate(activations):
        value = values[-1] @ weights[2 * i] + weights[2 * i + 1]
        values.append(np.maximum(value, 0) if activation == "relu" else value)
    return values


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def local(weights, activations, client, settings, rng):
    """Returns the client's weights after its epochs of gradient descent, and its loss before."""
    weights = [array.astype(np.float64) for array in weights]
    features, labels = client["features"], client["label"].astype(np.float64)
    scores = np.clip(sigmoid(forward(weights, activations, features)[-1][:, 0]), 1e-9, 1 - 1e-9)
    loss = -np.mean(labels * np.log(scores) + (1 - labels) * np.log(1 - scores))
    for _ in range(settings["epochs"]):
        order = rng.permutation(len(labels))
        for start in range(0, len(order), settings["batch_size"]):
            own = order[start : start + settings["batch_size"]]
            step(weights, activations, features[own], labels[own], settings["learning_rate"])
    return weights, loss


def step(weights, activations, features, labels, learning_rate):
    values = forward(weights, activations, features)
    gradient = (sigmoid(values[-1][:, 0]) - labels)[:, None] / len(labels)
    for i in reversed(range(len(activations))):
        before = gradient @ weights[2 * i].T * (values[i] > 0 if i else 1)
        weights[2 * i] -= learning_rate * values[i].T @ gradient
        weights[2 * i + 1] -= learning_rate * gradient.sum(axis=0)
        gradient = before
