"""What it costs to train several times and keep the best.

References:
    Papernot and Steinke (2022), Hyperparameter Tuning with Rényi Differential Privacy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from probity.audits.accounting import epsilon_of
from probity.audits.privacy_events import Noisy, event_of

__all__ = ["SearchCost", "search_epsilon"]


@dataclass(frozen=True, kw_only=True)
class SearchCost:
    """What choosing the best of several trainings costs.

    Attributes:
        epsilon: What is proven.
        method: By which way of counting: ``composition`` is valid however the number of trainings was chosen and
            whatever is published of each; ``repeat_and_select`` only if their number was drawn from the stated
            distribution beforehand and nothing but the best one is ever seen, their number included.
    """

    epsilon: float
    method: Literal["composition", "repeat_and_select"]


def search_epsilon(
    spent: Noisy,
    *,
    delta: float,
    trainings: int | None = None,
    mean: float | None = None,
    distribution: Literal["logarithmic", "geometric", "poisson"] = "poisson",
) -> SearchCost:
    """Returns what it costs to train several times with different settings and keep the best.

    The two ways of counting exclude each other: once the number of trainings, or more than the best of them, is known,
    repeat-and-select proves nothing, however much smaller its epsilon is.

    Args:
        spent: Each of the trainings.
        delta: In (0, 1).
        trainings: Number of trainings, where it was fixed, or has become known because more than the best is seen.
        mean: Expected number of trainings, where their number was drawn at random beforehand from ``distribution``
            (truncated negative binomial of shape 0 or 1, or Poisson) and only the best one is released.
        distribution: Of the number of trainings.

    Raises:
        ValueError: Unless exactly one of both numbers is given.

    References:
        Papernot and Steinke (2022), theorems 2 and 6.
    """
    if (trainings is None) == (mean is None):
        raise ValueError("give either trainings or mean")
    if trainings is not None:
        return SearchCost(epsilon=epsilon_of((spent,) * trainings, delta=delta), method="composition")
    from dp_accounting import dp_event, rdp

    shape = {"logarithmic": 0.0, "geometric": 1.0, "poisson": math.inf}[distribution]
    accountant = rdp.RdpAccountant()
    accountant.compose(dp_event.RepeatAndSelectDpEvent(event_of(spent), mean, shape))
    return SearchCost(epsilon=float(accountant.get_epsilon(delta)), method="repeat_and_select")
