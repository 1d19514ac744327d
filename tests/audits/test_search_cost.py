"""What choosing the best of several trainings costs: golden numbers, and the cheaper valid way."""

from __future__ import annotations

import pytest

from probity.audits.accounting import epsilon_of
from probity.audits.search_cost import search_epsilon
from tests.audits.mechanisms import dp_sgd

DELTA = 1e-5


@pytest.mark.parametrize(("distribution", "golden"), [("logarithmic", 2.241), ("geometric", 2.662), ("poisson", 2.807)])
def test_golden_choice_of_the_best_of_ten_on_average(distribution, golden):
    # Papernot and Steinke 2022: each training is q = 256/60000, sigma 1.1, 15 epochs
    training = dp_sgd(1.1, 256 / 60_000, 3515)
    cost = search_epsilon(training, delta=DELTA, mean=10, distribution=distribution)
    assert cost.method == "repeat_and_select"
    assert cost.epsilon == pytest.approx(golden, abs=1e-3)


def test_the_cheaper_valid_way_of_searching_is_charged():
    training = dp_sgd(1.1, 256 / 60_000, 3515)
    few = search_epsilon(training, delta=DELTA, trainings=2, mean=10)
    many = search_epsilon(training, delta=DELTA, trainings=40, mean=10)
    assert few.method == "composition"
    assert few.epsilon == epsilon_of([training] * 2, delta=DELTA)
    assert many.method == "repeat_and_select"
    assert many.epsilon == many.by_selection < many.by_composition
