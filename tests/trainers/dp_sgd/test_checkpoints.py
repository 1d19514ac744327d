"""Checkpoints: whole or absent, of this training or none; a killed training goes on as if nothing had happened."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from probity.trainers.dp_sgd.checkpoints import Checkpoints, Snapshot
from tests.trainers.dp_sgd.conftest import ROWS
from tests.trainers.dp_sgd.interrupted import PASS, STEPS, train

SNAPSHOT = Snapshot(
    steps=17,
    epochs=2,
    weights=(np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros(0, np.float32)),
    optimizer=(np.int64(17), np.float32(0.1) * np.ones(2, np.float32)),
    average=(),
    best_epoch=1,
    best_loss=0.1 + 0.2,
    best_weights=(np.ones(1, np.float32),),
    watched=(np.ones((2, 1), np.float32),),
    batches=(np.arange(5)[::-1].copy(),),
    history={"val_loss": (0.7, 0.1 + 0.2), "val_auc": (0.5, 1 / 3)},
)


def equal(one, other):
    for field in dataclasses.fields(Snapshot):
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        if field.name in ("weights", "optimizer", "average", "best_weights", "watched", "batches"):
            assert len(mine) == len(theirs)
            for a, b in zip(mine, theirs, strict=True):
                assert np.asarray(a).dtype == np.asarray(b).dtype
                np.testing.assert_array_equal(a, b)
        else:
            assert mine == theirs
    return True


def test_what_was_written_is_read_bit_by_bit(tmp_path):
    Checkpoints(tmp_path, identity="a").write(SNAPSHOT)
    assert equal(Checkpoints(tmp_path, identity="a").read(), SNAPSHOT)
    infinite = dataclasses.replace(SNAPSHOT, best_loss=float("inf"), steps=18)
    Checkpoints(tmp_path, identity="a").write(infinite)
    assert equal(Checkpoints(tmp_path, identity="a").read(), infinite)


def test_another_trainings_checkpoint_is_none(tmp_path):
    Checkpoints(tmp_path, identity="a").write(SNAPSHOT)
    assert Checkpoints(tmp_path, identity="b").read() is None


def test_a_damaged_checkpoint_is_none(tmp_path):
    """Every byte counts: cut off, or one bit turned anywhere."""
    kept = Checkpoints(tmp_path, identity="a")
    assert kept.read() is None
    kept.write(SNAPSHOT)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert kept.read() is None
    for place in range(0, len(whole), 37):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert kept.read() is None
    path.write_bytes(whole)
    assert equal(kept.read(), SNAPSHOT)


def test_they_are_due_by_the_clock_and_removed_at_the_end(tmp_path):
    often, seldom = Checkpoints(tmp_path, identity="a", every_seconds=0), Checkpoints(tmp_path, identity="a")
    assert often.due
    assert not seldom.due
    often.write(SNAPSHOT)
    often.remove()
    assert list(tmp_path.iterdir()) == []
    often.remove()


def test_without_a_folder_nothing_is_kept():
    none = Checkpoints(None, identity="a", every_seconds=0)
    assert not none.due
    none.write(SNAPSHOT)
    assert none.read() is None
    none.remove()


class Interrupted(Exception):
    pass


def interrupted_and_resumed(folder, sampling, *, seed, after):
    """Interrupts a training after some steps and runs it again. Returns the result, and both logs of steps."""
    first, second = [], []

    def until(step):
        first.append(step)
        if len(first) == after:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(folder, sampling, seed, until)
    return train(folder, sampling, seed, second.append), first, second


@pytest.mark.parametrize("sampling", ["poisson", "shuffled"])
def test_a_resumed_training_counts_each_step_once(tmp_path, sampling):
    """With a repeatable stream it is the uninterrupted training, bit by bit."""
    result, first, second = interrupted_and_resumed(tmp_path, sampling, seed=3, after=11)
    assert result["resumed_at"] == 9
    assert [step["done"] for step in second] == list(range(10, STEPS + 1))
    assert result["steps"] == STEPS
    steps = []
    whole = train(None, sampling, 3, steps.append)
    assert [*first[:9], *second] == steps
    assert whole["weights"] == result["weights"]
    assert whole["history"] == result["history"]
    assert whole["resumed_at"] is None


def test_steps_that_are_executed_again_get_fresh_noise_and_batches(tmp_path):
    """Under keys of the operating system nothing of the first attempt is repeated, but the passes stay passes."""
    result, first, second = interrupted_and_resumed(tmp_path, "shuffled", seed=None, after=11)
    assert len({step["noise"] for step in (*first, *second)}) == len(first) + len(second) == 22
    in_model = [*first[: result["resumed_at"]], *second]
    for i in range(0, STEPS, PASS):
        assert sorted(row for step in in_model[i : i + PASS] for row in step["rows"]) == list(range(ROWS))


@pytest.mark.heavy
@pytest.mark.slow
def test_after_kill_9_it_goes_on_as_if_nothing_had_happened(tmp_path):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.getcwd()}

    def start(pause):
        command = [sys.executable, "-m", "tests.trainers.dp_sgd.interrupted", str(tmp_path), "poisson", str(pause)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)

    process, log = start(pause=0.2), tmp_path / "log"
    deadline = time.monotonic() + 60
    while not log.exists() or len(log.read_text().splitlines()) < 11:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    killed_after = len(log.read_text().splitlines())
    output, _ = start(pause=0).communicate(timeout=120)
    result = json.loads(output.splitlines()[-1])
    done = [json.loads(line)["done"] for line in log.read_text().splitlines()]
    assert result["resumed_at"] in (9, 12)
    assert done == [*range(1, killed_after + 1), *range(result["resumed_at"] + 1, STEPS + 1)]
    assert result["steps"] == STEPS
    whole = train(None, "poisson", 3, lambda step: None)
    np.testing.assert_allclose(whole["weights"], result["weights"], atol=1e-6)
    assert whole["history"]["val_loss"] == pytest.approx(result["history"]["val_loss"], abs=1e-6)
