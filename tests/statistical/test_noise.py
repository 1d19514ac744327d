"""Noise as the loop really adds it to the weights, and as the generator gives it.

Every test rejects the wrong variants that it names. False-alarm rate of each comparison: 1e-6, two-sided.
"""

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from probity.trainers.dp_sgd.checkpoints import Checkpoints
from probity.trainers.dp_sgd.evaluation import Evaluation
from probity.trainers.dp_sgd.keystream import KeyStream
from probity.trainers.dp_sgd.loop import Loop
from probity.trainers.dp_sgd.noise import GaussianNoise
from probity.trainers.dp_sgd.sampling import PoissonBatches
from probity.trainers.dp_sgd.steps import Steps
from tests.trainers.dp_sgd import naive
from tests.trainers.dp_sgd.conftest import make_mechanism

pytestmark = pytest.mark.statistical

FALSE_ALARM = 1e-6
WIDTH, UNITS, PROB, STEPS = 400, 48, 0.04, 60
LEARNING_RATE, CLIP, EXPECTED, CLAIMED = 0.5, 0.4, 24, 1.3


def accepted(pvalue):
    return bool(pvalue > FALSE_ALARM)


def variance_pvalue(numbers, deviation):
    """Chi-square test that independent normals of mean 0 have this standard deviation."""
    p = stats.chi2.cdf(float(np.square(numbers, dtype=np.float64).sum()) / deviation**2, numbers.size)
    return 2 * min(p, 1 - p)


def added_by_the_loop(noise_multiplier, *, l2_clip_norm=CLIP, expected_batch_size=EXPECTED):
    """Trains on rows of zeros, whose gradient for the kernel is exactly zero, with one row at a time in memory.

    Returns what each step added to the kernel's sum, in units of the claimed clip norm, of shape (steps, width), and
    how many rows each step had.
    """
    mechanism = make_mechanism(
        noise_multiplier=noise_multiplier,
        l2_clip_norm=l2_clip_norm,
        expected_batch_size=expected_batch_size,
        sampling_prob=PROB,
        steps=STEPS,
    )
    inputs = tf.keras.Input((WIDTH,), name="x")
    model = tf.keras.Model({"x": inputs}, tf.keras.layers.Dense(1, activation="sigmoid")(inputs))
    rows = {"x": np.zeros((UNITS, WIDTH), np.float32)}, np.ones(UNITS, np.float32)
    steps = Steps(
        model,
        naive.clipped_sum(model, l2_clip_norm=l2_clip_norm),
        optimizer=tf.keras.optimizers.SGD(LEARNING_RATE),
        mechanism=mechanism,
        inputs=rows[0],
        labels=rows[1],
        physical_batch_size=1,
    )
    kernels, sizes, execute = [steps.weights[0]], [], steps.execute

    def watched(drawn, **rest):
        execute(drawn, **rest)
        kernels.append(steps.weights[0])
        sizes.append(len(drawn))

    steps.execute = watched
    Loop(
        steps,
        mechanism=mechanism,
        batches=PoissonBatches(UNITS, sampling_prob=PROB, stream=KeyStream("batches")),
        rows=None,
        noise=GaussianNoise(steps.size, stream=KeyStream("noise")),
        evaluation=Evaluation(model, *rows),
        checkpoints=Checkpoints(None, identity=""),
    ).run(lambda *_: None)
    moved = np.diff(np.array(kernels, np.float64)[:, :, 0], axis=0)
    return -moved / LEARNING_RATE * EXPECTED / CLIP, np.array(sizes)


@pytest.fixture(scope="module")
def honest():
    return added_by_the_loop(CLAIMED)


def test_the_loop_adds_the_claimed_amount(honest):
    added, sizes = honest
    assert accepted(variance_pvalue(added, CLAIMED))
    assert accepted(stats.kstest(added.reshape(-1) / CLAIMED, "norm").pvalue)
    assert {0, 1, 2} <= set(sizes.tolist())


@pytest.mark.parametrize("drawn", ["none", "one", "several"])
def test_the_amount_does_not_depend_on_how_many_were_drawn(honest, drawn):
    """Rejected: noise left out of empty batches, once per row or piece, or divided by the actual number."""
    added, sizes = honest
    chosen = added[{"none": sizes == 0, "one": sizes == 1, "several": sizes >= 2}[drawn]]
    assert chosen.size >= WIDTH
    assert accepted(variance_pvalue(chosen, CLAIMED))
    for wrong in (0.0, math.sqrt(2), 2.0, EXPECTED / 2):
        assert not accepted(variance_pvalue(chosen * wrong, CLAIMED))


@pytest.mark.parametrize(
    "wrong",
    [
        {"noise_multiplier": 0.7 * CLAIMED},
        {"noise_multiplier": 1.4 * CLAIMED},
        {"noise_multiplier": CLAIMED, "l2_clip_norm": 0.7 * CLIP},
        {"noise_multiplier": CLAIMED, "expected_batch_size": EXPECTED * 1.4},
    ],
    ids=["0.7x", "1.4x", "scaled by another clip", "divided by another size"],
)
def test_a_loop_that_adds_another_amount_than_it_claims_is_rejected(wrong):
    added, _ = added_by_the_loop(**wrong)
    assert not accepted(variance_pvalue(added, CLAIMED))


def test_steps_and_weights_have_noise_of_their_own(honest):
    """Rejected: the same noise at two steps, or for two weights; noise that is taken back at the next step."""
    added, _ = honest
    one, two = added[:-1].reshape(-1), added[1:].reshape(-1)
    left, right = added[:, :-1].reshape(-1), added[:, 1:].reshape(-1)
    assert accepted(stats.pearsonr(one, two).pvalue)
    assert accepted(stats.pearsonr(left, right).pvalue)
    assert accepted(variance_pvalue(added.sum(0), CLAIMED * math.sqrt(STEPS)))
    for wrong in (np.repeat(added[::2], 2, axis=0), added - np.roll(added, 1, axis=0)):
        assert not accepted(stats.pearsonr(wrong[:-1].reshape(-1), wrong[1:].reshape(-1)).pvalue)


@pytest.fixture(scope="module")
def numbers():
    source = GaussianNoise(1_000_000, stream=KeyStream("noise"))
    return np.concatenate([source.draw(step).astype(np.float64) for step in range(4)])


def test_four_million_numbers_are_normal(numbers):
    """Kolmogorov-Smirnov and the first six moments; a scale wrong by a hundredth is rejected by both."""
    assert accepted(stats.kstest(numbers, "norm").pvalue)
    assert accepted(variance_pvalue(numbers, 1.0))
    for power, moment in ((1, 0), (2, 1), (3, 0), (4, 3), (5, 0), (6, 15)):
        spread = math.sqrt(stats.norm.moment(2 * power) / len(numbers))
        assert abs((numbers**power).mean() - moment) < 5.2 * spread
    for wrong in (numbers * 1.01, numbers / 1.01):
        assert not accepted(stats.kstest(wrong, "norm").pvalue)
        assert not accepted(variance_pvalue(wrong, 1.0))


@pytest.mark.parametrize("kind", ["uniform", "sum of four uniforms", "Laplace", "cut off at 3"])
def test_other_distributions_of_variance_one_are_rejected(kind):
    rng = np.random.default_rng(3)
    size = 1_000_000
    wrong = {
        "uniform": lambda: rng.uniform(-1, 1, size),
        "sum of four uniforms": lambda: rng.uniform(-1, 1, (4, size)).sum(0),
        "Laplace": lambda: rng.laplace(0, 1, size),
        "cut off at 3": lambda: np.clip(rng.normal(0, 1, size), -3, 3),
    }[kind]()
    wrong /= wrong.std()
    assert accepted(variance_pvalue(wrong, 1.0))  # the variance alone does not tell
    assert not (accepted(stats.kstest(wrong, "norm").pvalue) and accepted(tail_pvalue(wrong)))


def tail_pvalue(numbers, beyond=3.5):
    count = int((np.abs(numbers) > beyond).sum())
    return stats.binomtest(count, len(numbers), 2 * stats.norm.sf(beyond)).pvalue


@pytest.mark.parametrize("beyond", [3.0, 4.0, 4.5])
def test_the_tails_have_their_mass(numbers, beyond):
    assert accepted(tail_pvalue(numbers, beyond))


def test_every_radius_and_angle_is_as_likely(numbers):
    """In polar coordinates: a uniform angle, half a squared radius that is exponential, and the two independent."""
    cosines, sines = numbers.reshape(4, 2, -1).transpose(1, 0, 2).reshape(2, -1)
    angle, energy = np.arctan2(sines, cosines), (cosines**2 + sines**2) / 2
    assert accepted(stats.kstest(angle, stats.uniform(-math.pi, 2 * math.pi).cdf).pvalue)
    assert accepted(stats.kstest(energy, "expon").pvalue)
    table, *_ = np.histogram2d(stats.expon.cdf(energy), angle, bins=(10, 16))
    assert accepted(stats.chi2_contingency(table).pvalue)
