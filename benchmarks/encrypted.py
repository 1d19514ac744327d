"""What training and prediction on secret shares cost: writes benchmarks/encrypted.md.

Adult as in the tests of the worker (numbers scaled, texts one-hot), batch 256. Times are wall times of one machine;
ratios compare two numbers of the same run. Compiling is timed apart.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "workers" / "encrypted"))

from adult import Training, inputs
from conftest import Predictor

from probity.trainers.encrypted.twin import train_twin

SETTINGS = {"epochs": 3, "batch_size": 256, "learning_rate": 0.5}
TRAININGS = (
    ("aby3, 64 bit, one process", (), {"protocol": "aby3"}),
    ("aby3, 64 bit, six processes", (), {"protocol": "aby3", "parties": "processes"}),
    ("aby3, 128 bit, one process", (), {"protocol": "aby3", "precision": 128}),
    ("securenn, 64 bit, one process", (), {"protocol": "securenn"}),
    ("pond, 64 bit, one process", (), {"protocol": "pond"}),
    ("aby3, 64 bit, one process, hidden layer of 32", (32,), {"protocol": "aby3"}),
    ("aby3, 64 bit, SPU, six processes", (), {"engine": "spu", "parties": "processes"}),
)


PREDICTIONS = ("local", "processes")
TARGET = Path(__file__).parent / "encrypted.md"


def main() -> None:
    """Measures, prints and writes the tables; rows that ``--only`` leaves out keep what was measured before."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", metavar="ROW", help="first cells of the rows to measure; default: all")
    only = parser.parse_args().only
    kept = {line.split(" | ")[0].removeprefix("| "): line for line in TARGET.read_text().splitlines()} if only else {}
    arrays, labels = inputs()
    arrays, labels = {name: array[:32_561] for name, array in arrays.items()}, labels[:32_561]
    lines = [
        "# Secret shares: what they cost",
        "",
        f"`make bench-encrypted`, {os.cpu_count()} cores and nothing else running, Adult, {len(labels):,} rows,",
        "batch 256, median epoch of 3, TF Encrypted 0.9.1 where no engine is named. Compiling is tracing a step and",
        "what the first epoch takes longer than the median one. An epoch in the clear is the same compiled step on the",
        "same batches in TensorFlow 2.15. SPU 0.9.5 takes the same steps on the same batches; its owners deal shares",
        "of an epoch's rows in the order of its batches, which is not part of an epoch's time.",
        "",
        "Aims, logistic regression: 30 s to compile, 2 s per epoch in one process, 5 s over six processes; 3 s for",
        "1,000 predictions after the start.",
        "",
        "| training | compile, s | epoch, s | epoch in the clear, s | slowdown | largest weight difference | MB sent |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, hidden, settings in TRAININGS:
        if only is None or name in only:
            lines.append(training_row(name, arrays, labels, hidden, settings))
            print(lines[-1], flush=True)
        elif name in kept:
            lines.append(kept[name])
    lines += [
        "",
        "| prediction of 1,000 rows, 100 columns, hidden layer of 32 | start, s | compile, s | predict, s | error |",
        "|---|---|---|---|---|",
    ]
    for mode in PREDICTIONS:
        if only is None or mode in only:
            lines.append(prediction_row(mode))
            print(lines[-1], flush=True)
        elif mode in kept:
            lines.append(kept[mode])
    TARGET.write_text("\n".join(lines) + "\n")


def training_row(name, arrays, labels, hidden, settings):
    """Trains on shares and in the clear, and returns a row of the table."""
    compiled = []
    with tempfile.TemporaryDirectory() as scratch:
        training = Training(arrays, labels, Path(scratch) / "worker", hidden=hidden, **{**SETTINGS, **settings})
        result = training.ask(on_progress=lambda line: compiled.append(line.get("compiled_seconds")))
        trained = training.weights(result)
    twin = train_twin(training.stack, training.plan, training.joined, labels, learning_rate=SETTINGS["learning_rate"])
    epoch = float(np.median([line["seconds"] for line in result.body["history"]]))
    moved = max(np.abs(a - b).max() for a, b in zip(trained, twin.weights, strict=True))
    sent = sum(result.body["sent_bytes"].values()) / 1e6
    # TensorFlow optimises the traced step when it executes it first.
    optimised = max(0.0, result.body["history"][0]["seconds"] - epoch)
    return (
        f"| {name} | {compiled[0] + optimised:.1f} | {epoch:.2f} | {twin.seconds_per_epoch:.3f} | "
        f"{epoch / twin.seconds_per_epoch:.0f} | {moved:.4f} | {f'{sent:.0f}' if sent else '-'} |"
    )


def prediction_row(mode):
    """Predicts on shares, and returns a row of the table."""
    rows = np.random.default_rng(1).normal(0, 1, (1000, 100)).astype(np.float32)
    with tempfile.TemporaryDirectory() as scratch:
        model = Predictor(Path(scratch), columns=100, units=(32, 1))
        model.deal()
        started = time.monotonic()
        scores, body = model.predict(rows, mode=mode)
        total = time.monotonic() - started
    hidden = np.maximum(rows.astype(np.float64) @ model.weights[0] + model.weights[1], 0.0)
    plain = 1 / (1 + np.exp(-(hidden @ model.weights[2] + model.weights[3])[:, 0]))
    start = total - body["compile_seconds"] - body["predict_seconds"]
    return (
        f"| {mode} | {start:.1f} | {body['compile_seconds']:.1f} | {body['predict_seconds']:.2f} | "
        f"{np.abs(scores - plain).max():.5f} |"
    )


if __name__ == "__main__":
    main()
