"""A small training with checkpoints, to be interrupted: by an exception, or as a process of its own by a signal."""

import hashlib
import json
import sys
import time
from pathlib import Path

import numpy as np

from probity.trainers.dp_sgd.checkpoints import Checkpoints
from probity.trainers.dp_sgd.evaluation import Evaluation
from probity.trainers.dp_sgd.keystream import KeyStream
from probity.trainers.dp_sgd.loop import Loop
from probity.trainers.dp_sgd.noise import GaussianNoise
from probity.trainers.dp_sgd.sampling import PoissonBatches, ShuffledBatches
from probity.trainers.dp_sgd.steps import Steps
from tests.trainers.dp_sgd import naive
from tests.trainers.dp_sgd.conftest import ROWS, WIDTH, make_mechanism, make_model

STEPS, BATCH, PASS = 20, 25, 4


def train(folder, sampling, seed, after_step):
    """Goes on from the checkpoint in ``folder``; calls ``after_step`` with what each step was made of."""
    import tensorflow as tf

    changes = {"max_participations": STEPS // PASS} if sampling == "shuffled" else {}
    mechanism = make_mechanism(
        sampling=sampling, steps=STEPS, sampling_prob=BATCH / ROWS, expected_batch_size=BATCH, **changes
    )
    rng = np.random.default_rng(5)
    x, labels = rng.normal(0, 1, (ROWS, WIDTH)).astype(np.float32), (rng.random(ROWS) < 0.5).astype(np.float32)
    checkpoints = Checkpoints(folder, identity="this", every_seconds=0)
    found, model = checkpoints.read(), make_model()
    steps = Steps(
        model,
        naive.clipped_sum(model, l2_clip_norm=1.0),
        optimizer=tf.keras.optimizers.Adam(0.01),
        mechanism=mechanism,
        inputs={"x": x},
        labels=labels,
        physical_batch_size=20,
        averaging=True,
    )
    stream = KeyStream("batches", fixed_seed=seed)
    if sampling == "poisson":
        batches = PoissonBatches(ROWS, sampling_prob=mechanism.sampling_prob, stream=stream)
    else:
        batches = ShuffledBatches(ROWS, batch_size=BATCH, stream=stream, state=found and found.batches[0])
    execute, write = steps.execute, checkpoints.write

    def executed(rows, *, noise, averaging_weight):
        execute(rows, noise=noise, averaging_weight=averaging_weight)
        done = int(steps.optimizer.iterations.numpy())
        after_step({"done": done, "rows": rows.tolist(), "noise": hashlib.sha256(noise.tobytes()).hexdigest()})

    def written(snapshot):
        if snapshot.steps % 3 == 0:  # so that an interruption loses steps
            write(snapshot)

    steps.execute, checkpoints.write = executed, written
    loop = Loop(
        steps,
        mechanism=mechanism,
        batches=batches,
        rows=None,
        noise=GaussianNoise(steps.size, stream=KeyStream("noise", fixed_seed=seed)),
        evaluation=Evaluation(model, {"x": x}, labels),
        checkpoints=checkpoints,
        average="ema",
    )
    outcome = loop.run(lambda *_: None, resume=found)
    weights = np.concatenate([weight.reshape(-1) for weight in model.get_weights()])
    return {
        "weights": weights.tolist(),
        "steps": outcome.steps,
        "resumed_at": outcome.resumed_at,
        "history": {name: list(numbers) for name, numbers in outcome.history.items()},
    }


if __name__ == "__main__":
    target, pause = Path(sys.argv[1]), float(sys.argv[3])
    with (target / "log").open("a", buffering=1) as log:

        def logged(step):
            log.write(json.dumps(step) + "\n")
            time.sleep(pause)

        sys.stdout.write(json.dumps(train(target, sys.argv[2], 3, logged)))
