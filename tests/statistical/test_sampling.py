"""Poisson sampling, told apart from everything that is taken for it. False-alarm rate of each comparison: 1e-6."""

import math
import os

import numpy as np
import pytest
from scipy import stats

from probity.trainers.dp_sgd.keystream import KeyStream
from probity.trainers.dp_sgd.sampling import PoissonBatches, ShuffledBatches

pytestmark = pytest.mark.statistical

FALSE_ALARM = 1e-6
UNITS, BATCH, STEPS = 200, 20, 20_000
PROB = BATCH / UNITS


def drawn_by(draw):
    """Returns who took part when: bool of shape (steps, units)."""
    taken = np.zeros((STEPS, UNITS), bool)
    for step in range(STEPS):
        taken[step, draw(step)] = True
    return taken


def fixed_size():
    rng = np.random.default_rng(1)
    return lambda step: rng.choice(UNITS, BATCH, replace=False)


def with_replacement():
    rng = np.random.default_rng(2)
    return lambda step: rng.integers(0, UNITS, BATCH)


SAMPLERS = {
    "poisson": lambda: PoissonBatches(UNITS, sampling_prob=PROB, stream=KeyStream("batches")).draw,
    "poisson at 1.05": lambda: PoissonBatches(UNITS, sampling_prob=1.05 * PROB, stream=KeyStream("batches")).draw,
    "shuffled": lambda: ShuffledBatches(UNITS, batch_size=BATCH, stream=KeyStream("batches")).draw,
    "fixed size": fixed_size,
    "with replacement": with_replacement,
    "same batch twice": lambda: _repeated(PoissonBatches(UNITS, sampling_prob=PROB, stream=KeyStream("batches"))),
}


def _repeated(sampler):
    kept = {}

    def draw(step):
        if step % 2 == 0:
            kept[0] = sampler.draw(step)
        return kept[0]

    return draw


def inclusion(taken):
    """Each unit's number of participations is binomial; the least likely unit counts, for all of them."""
    counts = taken.sum(0)
    chi = float(np.square(counts - STEPS * PROB).sum() / (STEPS * PROB * (1 - PROB)))
    p = stats.chi2.cdf(chi, UNITS)
    total = stats.binomtest(int(counts.sum()), STEPS * UNITS, PROB).pvalue
    return 2 * min(2 * p, 2 * (1 - p), total)


def batch_size(taken):
    """The size of a batch is binomial: its variance is not zero, and not anything else."""
    sizes = taken.sum(1)
    statistic = float(np.square(sizes - UNITS * PROB).sum() / (UNITS * PROB * (1 - PROB)))
    z = (statistic - STEPS) / math.sqrt(STEPS * (2 + (1 - 6 * PROB * (1 - PROB)) / (UNITS * PROB * (1 - PROB))))
    return 2 * stats.norm.sf(abs(z))


def pairs(taken):
    """Two units take part together as often as independent coins would have it (sum over all pairs)."""
    sizes = taken.sum(1, dtype=np.int64)
    together = float((sizes * (sizes - 1)).sum())
    mean = STEPS * UNITS * (UNITS - 1) * PROB**2
    # Variance of s(s-1) for a binomial s, from its factorial moments.
    factorial = [math.prod(UNITS - j for j in range(k)) * PROB**k for k in range(5)]
    variance = factorial[4] + 4 * factorial[3] + 2 * factorial[2] - factorial[2] ** 2
    return 2 * stats.norm.sf(abs(together - mean) / math.sqrt(STEPS * variance))


def serial(taken):
    """Taking part in a step says nothing about the next ten."""
    # Products at overlapping pairs of steps are correlated, which a binomial test would not know.
    variance = PROB**2 - PROB**4 + 2 * (PROB**3 - PROB**4)
    least = 1.0
    for lag in range(1, 11):
        trials = (STEPS - lag) * UNITS
        excess = int((taken[lag:] & taken[:-lag]).sum()) - trials * PROB**2
        least = min(least, 2 * stats.norm.sf(abs(excess) / math.sqrt(trials * variance)))
    return 10 * least


TESTS = {"inclusion": inclusion, "batch size": batch_size, "pairs": pairs, "serial": serial}
REJECTED = {
    "poisson at 1.05": {"inclusion", "batch size", "pairs", "serial"},
    "shuffled": {"inclusion", "batch size", "pairs", "serial"},
    "fixed size": {"batch size", "pairs"},
    "with replacement": {"inclusion", "batch size", "pairs", "serial"},
    "same batch twice": {"serial"},
}


def test_poisson_passes_every_test():
    taken = drawn_by(SAMPLERS["poisson"]())
    assert {name: bool(test(taken) > FALSE_ALARM) for name, test in TESTS.items()} == dict.fromkeys(TESTS, True)


@pytest.mark.parametrize("name", list(REJECTED))
def test_what_is_not_poisson_fails_the_tests_that_tell_it_apart(name):
    taken = drawn_by(SAMPLERS[name]())
    rejected = {test for test, pvalue in TESTS.items() if pvalue(taken) < FALSE_ALARM}
    assert REJECTED[name] <= rejected


def test_batches_of_two_samplers_and_of_a_forked_one_are_unrelated():
    """Equal batches would mean an equal key: by chance, two of them are equal with probability 2^-200."""

    def make():
        return PoissonBatches(200, sampling_prob=0.5, stream=KeyStream("batches"))

    assert len({make().draw(0).tobytes() for _ in range(50)}) == 50
    sampler = make()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, np.packbits(np.isin(np.arange(200), sampler.draw(0))).tobytes())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 100) != np.packbits(np.isin(np.arange(200), sampler.draw(0))).tobytes()
