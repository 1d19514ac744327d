"""Gaussian noise: its distribution, its ends, and the grid. The tests with more power are in tests/statistical."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from probity.trainers.dp_sgd.keystream import KeyStream
from probity.trainers.dp_sgd.noise import GaussianNoise, rounding_grid

FALSE_ALARM = 1e-6


class Words:
    """A stream of given bytes in place of a cipher."""

    def __init__(self, radius, angle):
        self.radius, self.angle = radius, angle

    def at(self, step):
        return self

    def take(self, count):
        radius = np.full(count // 12, self.radius, np.uint64).view(np.uint8)
        return np.concatenate([radius, np.full(count // 12, self.angle, np.uint32).view(np.uint8)])


@pytest.mark.parametrize("size", [1, 2, 7, 5001])
def test_one_finite_number_per_weight(size):
    noise = GaussianNoise(size, stream=KeyStream("noise")).draw(0)
    assert noise.shape == (size,)
    assert noise.dtype == np.float32
    assert np.isfinite(noise).all()


def test_standard_normal_by_kolmogorov_and_smirnov():
    """At 40,000 numbers a tenth too wide, too narrow, or uniform of equal variance is rejected."""
    noise = GaussianNoise(40_000, stream=KeyStream("noise")).draw(0)
    assert stats.kstest(noise, "norm").pvalue > FALSE_ALARM
    for wrong in (noise * 1.1, noise / 1.1, noise + 0.1, (stats.norm.cdf(noise) - 0.5) * math.sqrt(12)):
        assert stats.kstest(wrong, "norm").pvalue < FALSE_ALARM


def test_the_numbers_of_a_pair_are_independent():
    """Sine and cosine of one angle are uncorrelated, and so are their squares only if the radius is right."""
    pair = GaussianNoise(80_000, stream=KeyStream("noise")).draw(0).reshape(2, -1).astype(np.float64)
    for transform in (lambda x: x, np.square, np.abs):
        assert stats.pearsonr(*transform(pair)).pvalue > FALSE_ALARM
    assert stats.pearsonr(*np.square(pair / np.hypot(*pair))).pvalue < FALSE_ALARM


def test_steps_do_not_repeat():
    source = GaussianNoise(1000, stream=KeyStream("noise"))
    first = source.draw(0).copy()
    assert abs(np.corrcoef(first, source.draw(1))[0, 1]) < 0.2
    with pytest.raises(RuntimeError, match="step 1"):
        source.draw(1)


@pytest.mark.parametrize("angle", [0, 1, 2**30, 2**31, 2**32 - 1])
def test_the_ends_of_the_range(angle):
    """No word gives a number that is not finite; the longest radius is sqrt(2 ln 2^64), the shortest 0."""
    for word, radius in ((0, math.sqrt(128 * math.log(2))), (1, math.sqrt(128 * math.log(2))), (2**64 - 1, 0.0)):
        noise = GaussianNoise(2, stream=Words(word, angle)).draw(0)
        assert np.hypot(*noise) == pytest.approx(radius, rel=1e-6)


@given(word=st.integers(0, 2**64 - 1), angle=st.integers(0, 2**32 - 1))
def test_box_and_muller_by_hand(word, angle):
    uniform = ((word >> 1) + 0.5) / 2**63
    radius = math.sqrt(-2 * math.log(min(uniform, 1)))
    turn = 2 * math.pi * angle / 2**32
    noise = GaussianNoise(2, stream=Words(word, angle)).draw(0)
    np.testing.assert_allclose(
        noise, [radius * math.cos(turn), radius * math.sin(turn)], atol=5e-4 if radius < 0.1 else 3e-6
    )


@given(st.floats(1e-20, 1e20))
def test_the_grid_is_a_power_of_two_and_fine(deviation):
    grid = rounding_grid(deviation)
    assert math.frexp(grid)[0] == 0.5
    assert deviation / 2048 < grid <= deviation / 1024
    assert grid**2 / 12 < 1e-7 * deviation**2
    assert np.float32(grid * (2**24 - 1)) / grid == 2**24 - 1
