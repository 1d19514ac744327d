"""DP-SGD as the trainer executes it, right or broken in a named way, and what planted gradients show of it."""

import contextlib

import numpy as np
import tensorflow as tf

from probity.audits import one_run
from probity.audits.accounting import epsilon_of
from probity.audits.noise_calibration import calibrate
from probity.recipe import ModelConfig
from probity.trainers.base import Population
from probity.trainers.dp_sgd import book_keeping, trainer
from probity.trainers.dp_sgd.settings import DpSgdSettings, propose
from probity.trainers.dp_sgd.steps import Steps
from probity.trainers.testing_world import make_request

DELTA, CLAIMED, CONFIDENCE = 1e-5, 3.0, 0.95
SETTINGS = DpSgdSettings(target_epsilon=CLAIMED, delta=DELTA, expected_batch_size=512, epochs=15)


def noise_times(factor):
    right = Steps._noisy
    return (Steps, "_noisy", lambda self, sums, noise: right(self, sums, noise * factor))


def clip_of_the_mean(model, *, l2_clip_norm):
    """Sums what an implementation gives that clips the mean gradient of a batch, as ordinary clipping does."""
    unclipped = book_keeping.clipped_sum(model, l2_clip_norm=float("inf"))

    def summed(inputs, labels):
        rows = tf.cast(tf.shape(labels)[0], tf.float32)
        clipped, _ = tf.clip_by_global_norm([part / rows for part in unclipped(inputs, labels)], l2_clip_norm)
        return [part * rows for part in clipped]

    return summed


def engine(clipped_sum):
    """Swaps what the engine computes for the model with canaries; the owner's own model is chosen for as ever."""
    return (trainer, "choose", lambda model, name, l2_clip_norm: trainer_choice(model, clipped_sum, l2_clip_norm))


def trainer_choice(model, clipped_sum, l2_clip_norm):
    from probity.trainers.dp_sgd.choice import Choice

    return Choice(name="book_keeping", clipped_sum=clipped_sum(model, l2_clip_norm=l2_clip_norm))


BREAKS = {
    "noise forgotten": lambda: noise_times(0.0),
    "a quarter of the noise": lambda: noise_times(0.25),
    "noise divided by the batch size": lambda: noise_times(1.0 / SETTINGS.expected_batch_size),
    "clipping removed": lambda: engine(
        lambda model, *, l2_clip_norm: book_keeping.clipped_sum(model, l2_clip_norm=float("inf"))
    ),
    "the mean is clipped": lambda: engine(clip_of_the_mean),
}


@contextlib.contextmanager
def broken(name):
    if name is None:
        yield
        return
    owner, attribute, wrong = BREAKS[name]()
    right = getattr(owner, attribute)
    setattr(owner, attribute, wrong)
    try:
        yield
    finally:
        setattr(owner, attribute, right)


def planted_training(world, name=None, *, seed, canaries=10_000):
    """Trains with planted gradients.

    Returns the scores of the canaries, the coins, and the mechanism that is claimed.
    """
    included = np.random.default_rng(seed).random(canaries) < 0.5
    units = world.examples.files["train"].num_rows + int(included.sum())
    proposal = propose(SETTINGS, Population(num_rows=units, num_units=units, unit="row"))
    mechanism = calibrate(proposal.with_noise_multiplier, target_epsilon=CLAIMED, delta=DELTA)
    request = make_request(
        world, SETTINGS, mechanism=mechanism, seed=seed, model=ModelConfig(kind="logistic"), canaries=included
    )
    with broken(name):
        job = trainer._prepare(request)
        steps = trainer._steps(job)
        trainer._loop(job, steps, None).run(lambda done, text: None)
    return steps.watched_sums.reshape(-1)[1:].astype(float), included, job.mechanism


def is_contradicted(scores, included, mechanism, *, seed=0):
    return one_run.contradicts(
        scores, included, epsilon=epsilon_of([mechanism], delta=DELTA), delta=DELTA, confidence=CONFIDENCE, seed=seed
    )
