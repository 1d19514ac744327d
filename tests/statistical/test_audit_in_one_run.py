"""The one-run audit on the real trainer: it catches what is broken, and leaves alone what is right.

Each right training is contradicted with a probability of at most 0.05 by construction of the bound; in practice of far
less, because the bound is below the truth by a wide margin.
"""

import pytest

from probity.trainers.testing_world import make_world
from tests.trainers.dp_sgd.broken import BREAKS, is_contradicted, planted_training

pytestmark = pytest.mark.statistical


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"), rows=2000)


@pytest.mark.parametrize("name", BREAKS)
def test_every_break_is_caught_in_nine_of_ten_trainings(world, name):
    caught = sum(is_contradicted(*planted_training(world, name, seed=seed)) for seed in range(10))
    assert caught >= 9


def test_the_right_implementation_passes_twenty_of_twenty(world):
    assert not any(is_contradicted(*planted_training(world, seed=seed)) for seed in range(20))


def test_two_hundred_canaries_are_too_few_to_contradict_a_quarter_of_the_noise(world):
    """Why an audit says its power: with too few canaries silence means nothing."""
    name = "a quarter of the noise"
    caught = sum(is_contradicted(*planted_training(world, name, seed=seed, canaries=200)) for seed in range(3))
    assert caught < 3
