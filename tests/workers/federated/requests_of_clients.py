"""Requests of small trainings, as a parent writes them; for the tests and for what runs in the worker's interpreter."""

import json
from pathlib import Path

import numpy as np

WIDTH = 6


def architecture(width=WIDTH, hidden=()):
    """Keras JSON of a network with one linear output, written by hand so that no TensorFlow is needed here."""
    config = {"batch_input_shape": [None, width], "dtype": "float32", "name": "x"}
    layers = [{"class_name": "InputLayer", "config": config, "name": "x", "inbound_nodes": []}]
    for number, (units, activation) in enumerate([*((units, "relu") for units in hidden), (1, "linear")]):
        config = {"name": f"d{number}", "dtype": "float32", "units": units, "activation": activation, "use_bias": True}
        before = layers[-1]["name"]
        layers.append({"class_name": "Dense", "config": config, "name": f"d{number}",
                       "inbound_nodes": [[[before, 0, 0, {}]]]})  # fmt: skip
    config = {
        "name": "m",
        "layers": layers,
        "input_layers": [["x", 0, 0]],
        "output_layers": [[layers[-1]["name"], 0, 0]],
    }
    return json.dumps(
        {"class_name": "Functional", "config": config, "keras_version": "2.14.0", "backend": "tensorflow"}
    )


def rows(count, *, seed, width=WIDTH):
    """Made-up rows of a logistic model."""
    draw = np.random.default_rng(seed)
    features = draw.normal(size=(count, width)).astype(np.float32)
    probability = 1 / (1 + np.exp(-features @ np.linspace(-1.5, 1.5, width)))
    return features, (draw.random(count) < probability).astype(np.float32)


def body(sizes, *, hidden=(), groups=None, initial=None, width=WIDTH, **settings):
    """The body of a request for clients of these sizes."""
    asked = {
        "rounds": 4,
        "clients_per_round": len(sizes),
        "sampling": "uniform_without_replacement",
        "availability": 1.0,
        "local": {"epochs": 1, "batch_size": 8, "learning_rate": 0.1, "optimizer": "sgd"},
        "server": {"optimizer": "fedavg", "learning_rate": 1.0, "proximal_strength": 0.0},
        "privacy": None,
        "aggregation": "plain",
        "compression": None,
        "engine": {"workers": []},
        "client_deadline_seconds": 60.0,
    }
    return {
        "architecture": architecture(width, hidden),
        "initial_weights": initial,
        "clients": [{"file": f"clients/{i:06d}.npz", "num_examples": size} for i, size in enumerate(sizes)],
        "client_groups": groups,
        "settings": {**asked, **settings},
    }


def dp_fedavg(noise_multiplier, *, clip=1.0, expected=4.0, **more):
    """Settings of DP-FedAvg with a fixed clip norm."""
    return {"mechanism": "dp_fedavg", "noise_multiplier": noise_multiplier, "expected_clients_per_round": expected,
            "clipping": {"kind": "fixed", "l2_clip_norm": clip}, **more}  # fmt: skip


def write_folder(folder, clients, asked, *, digest, seed=3, checkpoints=None):
    """Writes a worker folder; ``digest`` is the contract's function."""
    folder = Path(folder)
    (folder / "clients").mkdir(parents=True)
    for number, (features, label) in enumerate(clients):
        np.savez(folder / f"clients/{number:06d}.npz", features=features, label=label)
    width = clients[0][0].shape[1]
    np.savez(folder / "probe_inputs.npz", features=np.random.default_rng(0).normal(size=(8, width)).astype(np.float32))
    files = {path.relative_to(folder).as_posix(): digest(path) for path in sorted(folder.rglob("*.npz"))}
    value = {"contract_version": 1, "worker": "federated", "seed": seed, "deadline_seconds": 300, "files": files,
             "checkpoints": None if checkpoints is None else str(checkpoints), "body": asked}  # fmt: skip
    (folder / "request.json").write_text(json.dumps(value))
    return folder
