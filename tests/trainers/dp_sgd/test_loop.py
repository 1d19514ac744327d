"""The loop: the mechanism's steps in order, the epochs between them, and what ends them."""

import math
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from probity.errors import TrainingError
from probity.trainers.dp_sgd.checkpoints import Checkpoints
from probity.trainers.dp_sgd.evaluation import Evaluation, area_under_curve
from probity.trainers.dp_sgd.keystream import KeyStream
from probity.trainers.dp_sgd.loop import Loop, averaging_weight, epoch_ends
from probity.trainers.dp_sgd.noise import GaussianNoise
from probity.trainers.dp_sgd.sampling import BoundedRows, PoissonBatches, ShuffledBatches
from probity.trainers.dp_sgd.steps import Steps
from tests.trainers.dp_sgd import naive
from tests.trainers.dp_sgd.conftest import ROWS, make_mechanism, make_model

SHUFFLED = {"sampling": "shuffled", "sampling_prob": 0.25, "max_participations": 2}


class Seen:
    """Stands for a model: remembers each step's rows, noise and weight instead of taking it."""

    def __init__(self, forget=()):
        self.rows, self.noise, self.averaging = [], [], []
        self.forget = forget
        self.weights = (np.zeros(3, np.float32),)
        self.averages = self.optimizer_state = ()
        self.watched_sums = np.zeros(0, np.float32)
        self.optimizer = self.iterations = self

    def numpy(self):
        return len(self.rows)

    def execute(self, rows, *, noise, averaging_weight):
        if len(self.rows) not in self.forget:
            self.rows.append(rows)
            self.noise.append(None if noise is None else noise.copy())
            self.averaging.append(averaging_weight)
        else:
            self.forget = ()

    def released(self):
        import contextlib

        return contextlib.nullcontext()

    def release(self, weights):
        self.kept = weights


class Losses:
    """Stands for the eval split: gives the losses it was told to."""

    def __init__(self, *losses):
        self.losses = list(losses)

    def measure(self):
        return {"val_loss": self.losses.pop(0)} if self.losses else {}


class Areas(Losses):
    """The same with an AUC for each loss."""

    def measure(self):
        found = super().measure()
        return {**found, "val_auc": 1.0 - found["val_loss"] / 10}


def run(
    mechanism,
    *,
    steps=None,
    losses=(),
    patience=None,
    average="none",
    rows=None,
    report=lambda *_: None,
    checkpoints=None,
    evaluation=None,
):
    steps = steps or Seen()
    batches = KeyStream("batches")
    if mechanism.sampling == "poisson":
        sampler = PoissonBatches(ROWS, sampling_prob=mechanism.sampling_prob, stream=batches)
    else:
        sampler = ShuffledBatches(ROWS, batch_size=int(mechanism.expected_batch_size), stream=batches)
    loop = Loop(
        steps,
        mechanism=mechanism,
        batches=sampler,
        rows=rows,
        noise=GaussianNoise(3, stream=KeyStream("noise")) if mechanism.noise_multiplier else None,
        evaluation=evaluation or Losses(*losses),
        checkpoints=checkpoints or Checkpoints(None, identity=""),
        average=average,
        patience=patience,
    )
    return loop.run(report), steps


def test_every_step_has_rows_and_noise_of_its_own():
    outcome, seen = run(make_mechanism(steps=8, sampling_prob=0.25))
    assert outcome.steps == len(seen.rows) == len(seen.noise) == 8
    assert len({array.tobytes() for array in seen.noise}) == 8
    assert len({array.tobytes() for array in seen.rows}) == 8
    assert (outcome.epochs, outcome.best_epoch, outcome.stopped_early) == (2, 2, False)


def test_shuffled_passes_drop_no_tail():
    """96 rows in batches of 25 are four steps a pass, the last of 21 rows."""
    outcome, seen = run(make_mechanism(**SHUFFLED, steps=8, expected_batch_size=25))
    assert [len(rows) for rows in seen.rows] == [25, 25, 25, 21] * 2
    assert set(Counter(np.concatenate(seen.rows).tolist()).values()) == {2}
    assert outcome.epochs == 2


def test_units_become_rows():
    units = np.arange(ROWS * 2) % ROWS
    rows = BoundedRows(units, rows_per_unit=1, stream=KeyStream("rows"))
    _, seen = run(make_mechanism(steps=4, rows_per_unit=1), rows=rows)
    for drawn in seen.rows:
        assert len(set(units[drawn].tolist())) == len(drawn)
    assert max(map(np.max, seen.rows)) >= ROWS


def test_patience_keeps_the_best_and_says_that_it_stopped():
    outcome, seen = run(make_mechanism(steps=40), losses=(3.0, 1.0, 2.0, 2.0, 2.0), patience=2)
    assert (outcome.epochs, outcome.best_epoch, outcome.steps, outcome.stopped_early) == (4, 2, 16, True)
    assert outcome.history == {"val_loss": (3.0, 1.0, 2.0, 2.0)}
    assert len(seen.rows) == 16
    assert len(seen.kept) == 1


def test_without_patience_the_eval_split_decides_nothing():
    outcome, seen = run(make_mechanism(steps=16), losses=(1.0, 2.0, 3.0, 4.0))
    assert (outcome.epochs, outcome.best_epoch, outcome.steps, outcome.stopped_early) == (4, 4, 16, False)
    assert seen.kept == ()


def test_patience_without_an_eval_split_runs_to_the_end():
    outcome, seen = run(make_mechanism(steps=16), patience=1)
    assert (outcome.best_epoch, outcome.steps, seen.kept) == (4, 16, ())
    assert outcome.history == {}


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_losses_that_are_not_finite_end_training(loss):
    with pytest.raises(TrainingError, match=r"not finite numbers in epoch 2.*learning_rate"):
        run(make_mechanism(), losses=(1.0, loss))


def test_weights_that_are_not_finite_end_training():
    seen = Seen()
    seen.weights = (np.array([0.0, np.inf], np.float32),)
    with pytest.raises(TrainingError, match="not finite numbers in epoch 1"):
        run(make_mechanism(), steps=seen)


def test_steps_that_were_not_executed_are_not_counted():
    """The optimiser's own count has to agree with the one that epsilon is computed from."""
    with pytest.raises(TrainingError, match="executed 7 steps and the loop counted 8"):
        run(make_mechanism(steps=8), steps=Seen(forget=(3,)))


def test_progress_names_epochs_and_no_rows():
    told = []
    run(make_mechanism(steps=8), losses=(1.0, 2.0), report=lambda *said: told.append(said))
    assert told == [(4 / 9, "epoch 1 of 2"), (8 / 9, "epoch 2 of 2")]


def test_numbers_are_told_only_of_epochs_that_no_interruption_undoes(tmp_path):
    """What was told of steps that are lost, and executed again with fresh noise, would be spent and counted nowhere."""
    told, checkpoints = [], Checkpoints(tmp_path, identity="this")

    def watch(done, text):
        kept = checkpoints.read()
        told.append((text, 0 if kept is None else kept.epochs))

    losses = (1.0, 2.0, 3.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "worth", lambda seconds, asked=iter([False, True, False]): next(asked))
        run(make_mechanism(steps=12), evaluation=Areas(*losses), report=watch, checkpoints=checkpoints)
    assert any(kept for _, kept in told)
    for text, kept in told:
        assert ("AUC" in text) == (kept > 0)
        assert not kept or f"{1.0 - losses[kept - 1] / 10:.4f}" in text


@given(steps=st.integers(1, 60), average=st.sampled_from(["none", "ema", "tail"]), data=st.data())
def test_averages_are_what_they_are_called(steps, average, data):
    """Against the weighted mean written out."""
    values = np.array(data.draw(st.lists(st.floats(-5, 5), min_size=steps, max_size=steps)))
    mechanism = make_mechanism(steps=steps)
    epochs = len(epoch_ends(mechanism))
    running = 0.0
    for step, value in enumerate(values):
        running += averaging_weight(average, step, mechanism, epochs=epochs) * (value - running)
    if average == "ema":
        rate = epochs / steps
        shares = np.array([max(1 / (i + 1), rate) for i in range(steps)])
        weights = shares * np.array([np.prod(1 - shares[i + 1 :]) for i in range(steps)])
        assert weights.sum() == pytest.approx(1.0)
        expected = float(weights @ values)
    else:
        expected = values[-1] if average == "none" else values[steps // 2 :].mean()
    assert running == pytest.approx(expected, abs=1e-9)


def test_area_under_curve_equals_scikit_learn():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(1)
    labels = (rng.random(500) < 0.3).astype(np.float32)
    scores = np.round(rng.random(500) + 0.2 * labels, 2).astype(np.float32)  # with ties
    assert area_under_curve(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_the_eval_split_is_measured_as_keras_does(rows):
    model = make_model()
    model.compile(loss="binary_crossentropy")
    measured = Evaluation(model, {**rows[0], "not an input": np.zeros((ROWS, 1), np.float32)}, rows[1]).measure()
    assert measured["val_loss"] == pytest.approx(model.evaluate(*rows, verbose=0), abs=1e-6)
    assert Evaluation(model, {"x": rows[0]["x"][:0]}, rows[1][:0]).measure() == {}
    assert set(Evaluation(model, rows[0], np.ones(ROWS, np.float32)).measure()) == {"val_loss"}


def plain_keras(rows, *, mechanism, epochs, order):
    model = make_model()
    model.compile(tf.keras.optimizers.SGD(0.5, momentum=0.9), loss="binary_crossentropy")
    for drawn in order:
        model.train_on_batch({"x": rows[0]["x"][drawn]}, rows[1][drawn])
    return model.get_weights()


def test_a_whole_noiseless_training_equals_keras_on_the_same_order(rows):
    mechanism = make_mechanism(**SHUFFLED, steps=8, noise_multiplier=0.0, l2_clip_norm=math.inf)
    model, order = make_model(), []
    sampler = ShuffledBatches(ROWS, batch_size=24, stream=KeyStream("batches", fixed_seed=1))
    steps = Steps(
        model,
        naive.clipped_sum(model, l2_clip_norm=math.inf),
        optimizer=tf.keras.optimizers.SGD(0.5, momentum=0.9),
        mechanism=mechanism,
        inputs=rows[0],
        labels=rows[1],
        physical_batch_size=10,
    )

    class Recorded:
        state = sampler.state

        def draw(self, step):
            order.append(sampler.draw(step))
            return order[-1]

    loop = Loop(
        steps,
        mechanism=mechanism,
        batches=Recorded(),
        rows=None,
        noise=None,
        evaluation=Evaluation(model, *rows),
        checkpoints=Checkpoints(None, identity=""),
    )
    outcome = loop.run(lambda *_: None)
    expected = plain_keras(rows, mechanism=mechanism, epochs=2, order=order)
    for mine, theirs in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
    assert outcome.history["val_loss"][1] < outcome.history["val_loss"][0]
    assert set(outcome.history) == {"val_loss", "val_auc"}
