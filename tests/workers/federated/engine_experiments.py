"""Experiments in the worker's own interpreter: ``python engine_experiments.py OUT.json``. The tests judge.

Each returns numbers that ``test_engine.py`` compares with truths of its own.
"""

import json
import os
import signal
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
signal.signal(signal.SIGINT, signal.default_int_handler)  # by which the first executor is ended; see the harness
sys.path.insert(0, str(Path(__file__).parent))

from probity_federated_worker.isolation import enter_private_network

enter_private_network()

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff
from probity_federated_worker.aggregation import NoisedSumFactory
from probity_federated_worker.algorithm import build_process, weights_in, with_noise
from probity_federated_worker.model import keras_model, number_of_parameters
from probity_federated_worker.noise import entropy_normals
from probity_federated_worker.request import read_body
from requests_of_clients import WIDTH, body, dp_fedavg, rows


def rounds(clients, *, count=3, noise=None, **settings):
    """Weights before and after so many rounds of all clients in their own order, and what the last round told."""
    request = read_body(body([len(label) for _, label in clients], **settings))
    model = keras_model(request, folder=Path(), seed=5)
    first = [weight.tolist() for weight in model.get_weights()]
    size = number_of_parameters(model)
    process = build_process(request, model)
    state, told = process.initialize(), None
    given = [{"features": x, "label": y, "group": np.int32(0)} for x, y in clients]
    for _ in range(count):
        if request.privacy is not None:
            drawn = np.zeros(size, np.float32) if noise is None else noise(size).astype(np.float32)
            state = with_noise(state, noise=drawn, count_noise=0.0)
        state, told = process.next(state, given)
    report = {name: np.asarray(value).tolist() for name, value in told["report"].items()}
    return {"first": first, "last": [weight.tolist() for weight in weights_in(state)], "report": report}


def one_client_one_step():
    return rounds([rows(40, seed=1)], local=local(batch_size=40))


def local(**changes):
    return {"epochs": 1, "batch_size": 8, "learning_rate": 0.1, "optimizer": "sgd", **changes}


def server(**changes):
    return {"optimizer": "fedavg", "learning_rate": 1.0, "proximal_strength": 0.0, **changes}


def unequal_clients():
    return [rows(count, seed=count) for count in (5, 11, 24)]


def fedavg():
    return rounds(unequal_clients(), local=local(epochs=2))


def fedsgd():
    return rounds(unequal_clients(), server=server(optimizer="fedsgd", learning_rate=0.3))


def fedprox():
    return rounds(unequal_clients(), server=server(optimizer="fedprox", proximal_strength=2.0))


def fedadam():
    return rounds(unequal_clients(), count=1, server=server(optimizer="fedadam", learning_rate=0.05))


def quantized():
    return rounds(unequal_clients(), local=local(epochs=2), compression="quantize")


def one_client_is_not_a_number():
    good = unequal_clients()
    spoiled = (np.full((7, WIDTH), np.nan, np.float32), np.zeros(7, np.float32))
    return {"without": rounds(good), "with": rounds([good[0], spoiled, *good[1:]])}


def nobody_under_privacy():
    """A round without participants: the noise alone, in units of what it should be."""
    clip, multiplier, expected = 0.5, 2.0, 4.0
    asked = dp_fedavg(multiplier, clip=clip, expected=expected)
    request = read_body(body([3] * 8, hidden=(64, 64), privacy=asked))
    model = keras_model(request, folder=Path(), seed=5)
    size = number_of_parameters(model)
    process = build_process(request, model)
    before = process.initialize()
    state, _ = process.next(with_noise(before, noise=entropy_normals(size).astype(np.float32), count_noise=0.0), [])
    moved = [b - a for a, b in zip(weights_in(before), weights_in(state), strict=True)]
    flat = np.concatenate([part.reshape(-1) for part in moved])
    kept = float(np.abs(state["aggregation"]["own"]["noise"]).max())
    return {"units": (flat * expected / (clip * multiplier)).tolist(), "noise_kept": kept}


def huge_clients():
    """The aggregation alone: what one client can do to the sum, whatever it sends."""
    value_type = tff.types.tensorflow_to_type((tf.TensorSpec([3, 2]), tf.TensorSpec([2])))
    privacy = read_body(body([3] * 4, privacy=dp_fedavg(0.0, clip=0.5, expected=4.0))).privacy
    process = NoisedSumFactory(privacy).create(value_type)
    draw = np.random.default_rng(0)

    def update(scale):
        return tuple(scale * draw.normal(size=shape).astype(np.float32) for shape in ((3, 2), (2,)))

    def total(updates):
        result = process.next(process.initialize(), updates).result
        return np.concatenate([np.asarray(part).reshape(-1) for part in result])

    others = [update(1e-2) for _ in range(3)]
    base = total(others)
    odd = [update(1e6), update(1e30), update(np.nan), update(np.inf), update(0.0), update(1e-3), update(0.3)]
    return {"moves": [float(np.linalg.norm(total([*others, one]).astype(float) - base)) for one in odd],
            "small": float(np.linalg.norm(np.concatenate([p.reshape(-1) for p in odd[5]])))}  # fmt: skip


def adaptive_norm():
    """Three updates within the norm and one beyond it, with and without noise of the count."""
    clipping = {"kind": "adaptive", "initial_l2_clip_norm": 1.0, "target_unclipped_quantile": 0.5, "learning_rate": 0.2,
                "clipped_count_stddev": 3.0}  # fmt: skip
    asked = {"mechanism": "dp_fedavg", "noise_multiplier": 1.0, "expected_clients_per_round": 5.0, "clipping": clipping}
    process = NoisedSumFactory(read_body(body([3] * 4, privacy=asked)).privacy).create(
        tff.types.tensorflow_to_type((tf.TensorSpec([2]),))
    )
    updates = [(np.array([length, 0], np.float32),) for length in (0.1, 0.2, 0.9, 7.0)]
    norms = []
    for count_noise in (0.0, 1.5):
        start = process.initialize()
        own = dict(start["own"], noise=np.zeros(2, np.float32), count_noise=np.float32(count_noise))
        after = process.next(type(start)(start, own=type(start)(own)), updates).state
        norms.append(float(after["own"]["l2_clip_norm"]))
    return norms


def secure():
    tff.backends.test.set_sync_test_cpp_execution_context()
    clients, clip = unequal_clients(), 0.05
    return {
        "mean": rounds(clients, local=local(epochs=2), aggregation="secure"),
        "clipped": rounds(clients, aggregation="secure", privacy=dp_fedavg(0.0, clip=clip, expected=3.0)),
    }


def clipped():
    return rounds(unequal_clients(), privacy=dp_fedavg(0.0, clip=0.05, expected=3.0))


EXPERIMENTS = (one_client_one_step, fedavg, fedsgd, fedprox, fedadam, quantized, one_client_is_not_a_number,
               nobody_under_privacy, huge_clients, adaptive_norm, clipped, secure)  # fmt: skip

if __name__ == "__main__":
    tff.backends.native.set_sync_local_cpp_execution_context(max_concurrent_computation_calls=2)
    Path(sys.argv[1]).write_text(json.dumps({one.__name__: one() for one in EXPERIMENTS}))
    os._exit(0)
