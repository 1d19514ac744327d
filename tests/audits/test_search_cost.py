"""What choosing the best of several trainings costs: golden numbers, and the valid way of counting."""

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


def test_trainings_whose_number_is_known_are_composed():
    """It is known because more than the best is seen; choosing at random would be cheaper, and proves nothing then."""
    training = dp_sgd(1.1, 256 / 60_000, 3515)
    cost = search_epsilon(training, delta=DELTA, trainings=40)
    assert (cost.method, cost.epsilon) == ("composition", epsilon_of([training] * 40, delta=DELTA))
    assert cost.epsilon > search_epsilon(training, delta=DELTA, mean=10).epsilon
    for numbers in ({}, {"trainings": 40, "mean": 10}):
        with pytest.raises(ValueError, match="either trainings or mean"):
            search_epsilon(training, delta=DELTA, **numbers)
