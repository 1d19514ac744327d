"""Accounting: what was executed becomes an epsilon, and an asked epsilon becomes the noise that it needs.

Each thing that spent privacy is translated into a ``dp_accounting`` event, and events are composed by an accountant.
The primary one works on privacy loss distributions (PLD); Rényi accounting (RDP) is the second opinion. PLD is the
tighter of the two, so an epsilon from PLD that is *larger* than the one from RDP is a contradiction and no number is
given.

==================  =====================================================  =====================================
what was executed   event                                                  neighbouring relation
==================  =====================================================  =====================================
no noise, secret    non-private: epsilon is infinite
shares
Poisson sampling    Poisson-sampled Gaussian, composed over the steps      add or remove one unit
shuffled batches    Gaussian, composed over one unit's participations      replace one unit by nothing (zero-out)
DP-FedAvg           as Poisson sampling, with clients for units            add or remove one client
DP-FTRL             Gaussian, once per tree, over a client's nodes in it   replace one client by nothing (zero-out)
private statistics  (epsilon, delta), as reported by their own mechanisms  add or remove one unit
==================  =====================================================  =====================================

Shuffled batches get no amplification: what is proven about them is that within one pass a unit touches one batch, so a
pass is one Gaussian mechanism under zero-out neighbours (Kairouz et al. 2021, section 2). The gap to Poisson sampling
is real, not an artefact of the proof (Chua et al. 2024).

With adaptive clipping a round of DP-FedAvg releases a sum and a count. With noise of ``z_delta * clip norm`` on the sum
and of ``sigma_b`` on the count (which one client changes by at most a half, about its middle), both together are one
Gaussian mechanism of noise multiplier ``(z_delta**-2 + (2 * sigma_b)**-2) ** -0.5``, and that is what is on record
(Andrew et al. 2021, theorem 1). A tree over ``n`` rounds has ``n.bit_length()`` nodes above any one round at most, so
a client that takes part in one round of it moves the vector of all nodes by ``sqrt(n.bit_length())`` clip norms
(Kairouz et al. 2021, theorem 4.1).

References:
    Abadi et al. (2016), Deep Learning with Differential Privacy, algorithm 1.
    Mironov (2017), Rényi Differential Privacy.
    Kairouz et al. (2021), Practical and Private (Deep) Learning without Sampling or Shuffling.
    Doroshenko et al. (2022), Connect the Dots: Tighter Discrete Approximations of Privacy Loss Distributions.
    Papernot and Steinke (2022), Hyperparameter Tuning with Rényi Differential Privacy.
    Andrew et al. (2021), Differentially Private Learning with Adaptive Clipping.
    Chua et al. (2024), How Private are DP-SGD Implementations?
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from probity.data import PrivateStatistics
from probity.errors import ConfigError
from probity.model import DpFedAvg, DpFtrl, DpSgd, Encrypted, Federated, NonPrivate

__all__ = [
    "ADD_OR_REMOVE",
    "ZERO_OUT",
    "Noiseless",
    "Noisy",
    "SearchCost",
    "Spent",
    "calibrate",
    "consistent",
    "default_delta",
    "epsilon_of",
    "neighbouring_relation",
    "renyi_epsilon_of",
    "search_epsilon",
    "unaccountable",
]

Noisy = DpSgd | DpFedAvg | DpFtrl
"""What a training can add noise by."""

Noiseless = NonPrivate | Federated | Encrypted
"""What adds none: epsilon is infinite."""

Spent = Noisy | Noiseless | PrivateStatistics
"""What a unit's privacy can be spent on."""

ADD_OR_REMOVE = "add or remove one unit"
ZERO_OUT = "replace one unit by one that contributes nothing (zero-out)"

_SLACK = 1e-3
"""Relative amount by which two accountants may differ for their discretizations alone."""
_TOLERANCE = 0.01
"""How far below the target a calibrated epsilon may be, as a share of it."""
_DIGITS = 5
"""Significant digits of a calibrated noise multiplier, rounded up: what is printed is what was executed."""


def default_delta(num_units: int) -> float:
    """Returns the largest power of ten below one over the number of units.

    A delta of ``1 / n`` or more would allow a mechanism that publishes one unit's rows outright (Dwork and Roth 2014,
    section 2.3), so the result is strictly smaller.

    Args:
        num_units: Number of protected units among the training rows, at least 1.
    """
    # len(str(n)) digits means 10**(digits - 1) <= n < 10**digits, so this is exact where floating logarithms are not.
    return float(f"1e-{len(str(num_units))}")


def unaccountable(spent: Spent, *, unit: str) -> str | None:
    """Returns why no epsilon can be given for what was executed, or ``None`` if one can.

    Args:
        spent: What was executed.
        unit: The unit that the data declares to be protected.
    """
    if isinstance(spent, Noiseless):
        return None
    if spent.unit != unit:
        return (
            f"the mechanism protects one {spent.unit}, and the data declares {unit} as its unit of privacy; an epsilon "
            "for the one says nothing about the other"
        )
    if isinstance(spent, PrivateStatistics):
        return None
    if spent.noise_source == "fixed_seed":
        return (
            "noise and batches came from a fixed seed: whoever knows it can subtract the noise, so nothing is "
            "hidden and "
            "nothing can be claimed"
        )
    if isinstance(spent, DpSgd) and spent.normalization == "actual_batch_size":
        return (
            "the noisy sums were divided by the number of units that happened to be drawn: that number depends on the "
            "data, and the accountants' theorem is about division by a constant"
        )
    return None


def neighbouring_relation(spent: Sequence[Spent]) -> str:
    """Returns the relation under which :func:`epsilon_of` holds for all of these together.

    A unit that is removed contributes nothing, so what holds under add-or-remove with a public number of units holds
    under zero-out as well; the composition of both kinds is stated under zero-out.
    """
    shuffled = any(isinstance(entry, Noisy) and entry.sampling == "shuffled" for entry in spent)
    return ZERO_OUT if shuffled else ADD_OR_REMOVE


def epsilon_of(spent: Sequence[Spent], *, delta: float) -> float:
    """Returns the epsilon of everything executed, composed, by privacy loss distributions.

    Guarantees: infinite if anything was executed without noise or without clipping; 0 if nothing was executed; not
    smaller for more of anything; not larger for more noise. The order does not matter.

    Args:
        spent: What was executed on the same units; entries for which :func:`unaccountable` returns ``None``.
        delta: In (0, 1).
    """
    return _epsilon(_counted(spent), delta, "pld")


def renyi_epsilon_of(spent: Sequence[Spent], *, delta: float) -> float:
    """Returns what :func:`epsilon_of` returns, by Rényi accounting: a second opinion, usually a looser one.

    Private statistics are (epsilon, delta) guarantees without a Rényi form; they are added, epsilon to epsilon and
    delta to delta (basic composition).
    """
    counted = _counted(spent)
    statistics = [(entry, times) for entry, times in counted if isinstance(entry, PrivateStatistics)]
    rest = tuple((entry, times) for entry, times in counted if not isinstance(entry, PrivateStatistics))
    left = delta - sum(entry.delta * times for entry, times in statistics)
    if left <= 0:
        return math.inf
    return sum(entry.epsilon * times for entry, times in statistics) + (_epsilon(rest, left, "rdp") if rest else 0.0)


def consistent(pld: float, rdp: float) -> bool:
    """Whether two opinions on one composition can both be right: PLD, the tighter one, is not above RDP."""
    return not (math.isnan(pld) or math.isnan(rdp)) and (math.isinf(rdp) or pld <= rdp * (1 + _SLACK) + 1e-6)


def calibrate(
    with_noise_multiplier: Callable[[float], Noisy],
    *,
    target_epsilon: float,
    delta: float,
    beside: Sequence[Spent] = (),
) -> Noisy:
    """Returns the mechanism with the least noise whose epsilon stays at or below a target.

    Guarantees: ``0.99 * target_epsilon <= epsilon <= target_epsilon`` for the mechanism composed with ``beside``, by
    :func:`epsilon_of` at ``delta``; the noise multiplier has at most five significant digits.

    Args:
        with_noise_multiplier: Returns what would be executed with this noise multiplier.
        target_epsilon: Greater than 0 and finite.
        delta: In (0, 1).
        beside: What else is spent on the same units and covered by the target.

    Raises:
        ConfigError: If no amount of noise reaches the target.
    """
    if not (0.0 < target_epsilon < math.inf):
        raise ConfigError(
            "target_epsilon",
            seen=f"{target_epsilon:g}",
            allowed="a finite number greater than 0",
            remedy="give the epsilon that the model may have; 0 would mean a model that may not depend on the data",
        )
    base = epsilon_of(beside, delta=delta)
    if base >= target_epsilon * (1 - _TOLERANCE):
        raise ConfigError(
            "target_epsilon",
            seen=f"{target_epsilon:g}, of which preprocessing alone spends {base:.4g}",
            allowed="more than what preprocessing spends",
            remedy="raise target_epsilon, or lower transform.private_statistics.epsilon",
        )

    def epsilon(noise_multiplier: float) -> float:
        return epsilon_of((*beside, with_noise_multiplier(noise_multiplier)), delta=delta)

    def second_opinion(noise_multiplier: float) -> float:
        return renyi_epsilon_of((*beside, with_noise_multiplier(noise_multiplier)), delta=delta)

    start = _root(second_opinion, target_epsilon, start=1.0)
    found = with_noise_multiplier(_rounded_up(_root(epsilon, target_epsilon, start=start)))
    achieved = epsilon_of((*beside, found), delta=delta)
    if not target_epsilon * (1 - _TOLERANCE) <= achieved <= target_epsilon:
        raise ConfigError(
            "target_epsilon",
            seen=f"{target_epsilon:g}; the nearest that the accountant can show is {achieved:.4g}",
            allowed="an epsilon that some noise multiplier reaches within one percent",
            remedy="give noise_multiplier instead, or another target_epsilon",
        )
    return found


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
    accountant.compose(dp_event.RepeatAndSelectDpEvent(_event(spent), mean, shape))
    return SearchCost(epsilon=float(accountant.get_epsilon(delta)), method="repeat_and_select")


# --- events ---------------------------------------------------------------------------------------------------------

Counted = tuple[tuple[Spent, int], ...]


def _counted(spent: Sequence[Spent]) -> Counted:
    """Returns each different entry with its number of times, in an order of its own: equal sets have equal results."""
    texts = {entry: entry.model_dump_json() for entry in spent}
    return tuple((entry, list(spent).count(entry)) for entry in sorted(texts, key=texts.__getitem__))


# The ledger asks again and again for what was asked before, and an answer can take seconds.
@lru_cache(maxsize=512)
def _epsilon(counted: Counted, delta: float, kind: Literal["pld", "rdp"]) -> float:
    from dp_accounting import rdp

    pld_accountant, promise = _accountant_of_promises()
    accountant = pld_accountant() if kind == "pld" else rdp.RdpAccountant()
    for entry, times in counted:
        event = promise(entry.epsilon, entry.delta) if isinstance(entry, PrivateStatistics) else _event(entry)
        accountant.compose(event, times)
    return float(accountant.get_epsilon(delta))


@lru_cache(maxsize=1)
def _accountant_of_promises() -> tuple[Any, Any]:
    """Returns the library's PLD accountant with an event for what it can compose and names none: (epsilon, delta)."""
    import attr
    from dp_accounting import dp_event
    from dp_accounting.pld import PLDAccountant, common, privacy_loss_distribution

    @attr.frozen
    class Promise(dp_event.DpEvent):  # type: ignore[misc]
        epsilon: float
        delta: float

    class Accountant(PLDAccountant):  # type: ignore[misc]
        def _maybe_compose(self, event: Any, count: int, do_compose: bool) -> Any:
            if not isinstance(event, Promise):
                return super()._maybe_compose(event, count, do_compose)
            if do_compose:
                # The worst loss distribution that keeps the promise.
                worst = privacy_loss_distribution.from_privacy_parameters(
                    common.DifferentialPrivacyParameters(event.epsilon, event.delta)
                )
                total: Any = self._pld  # type: ignore[has-type]
                self._pld = total.compose(worst.self_compose(count))
            return None

    return Accountant, Promise


def _event(spent: Noisy | Noiseless) -> Any:
    """Translates what was executed into the event that it was."""
    import dp_accounting

    if isinstance(spent, Noiseless):
        return dp_accounting.NonPrivateDpEvent()
    if isinstance(spent, DpFedAvg):
        return _federated_event(spent)
    if isinstance(spent, DpFtrl):
        return _tree_event(spent)
    if spent.steps == 0 or spent.max_participations == 0:
        return dp_accounting.NoOpDpEvent()
    if spent.noise_multiplier == 0.0 or math.isinf(spent.l2_clip_norm):
        return dp_accounting.NonPrivateDpEvent()
    gaussian = dp_accounting.GaussianDpEvent(spent.noise_multiplier)
    if spent.max_participations is not None:
        return dp_accounting.SelfComposedDpEvent(gaussian, spent.max_participations)
    return dp_accounting.SelfComposedDpEvent(
        dp_accounting.PoissonSampledDpEvent(spent.sampling_prob, gaussian), spent.steps
    )


def _federated_event(spent: DpFedAvg) -> Any:
    import dp_accounting

    if spent.rounds == 0:
        return dp_accounting.NoOpDpEvent()
    if spent.noise_multiplier == 0.0:
        return dp_accounting.NonPrivateDpEvent()
    gaussian = dp_accounting.GaussianDpEvent(spent.noise_multiplier)
    return dp_accounting.SelfComposedDpEvent(
        dp_accounting.PoissonSampledDpEvent(spent.sampling_prob, gaussian), spent.rounds
    )


def _tree_event(spent: DpFtrl) -> Any:
    """Returns one Gaussian mechanism per tree; the last tree may be smaller than the others."""
    import dp_accounting

    if spent.rounds == 0:
        return dp_accounting.NoOpDpEvent()
    if spent.noise_multiplier == 0.0:
        return dp_accounting.NonPrivateDpEvent()
    whole, rest = divmod(spent.rounds, spent.rounds_per_tree)
    trees = [(spent.rounds_per_tree, whole), (rest, 1 if rest else 0)]
    return dp_accounting.ComposedDpEvent(
        [
            dp_accounting.SelfComposedDpEvent(
                dp_accounting.GaussianDpEvent(spent.noise_multiplier / math.sqrt(size.bit_length())), count
            )
            for size, count in trees
            if count
        ]
    )


# --- calibration ----------------------------------------------------------------------------------------------------


def _root(epsilon: Callable[[float], float], target: float, *, start: float) -> float:
    """Returns a noise multiplier whose epsilon is at most the target and within half of the tolerance of it.

    On logarithmic scales epsilon is nearly a straight line, so the secant method needs few of the costly evaluations;
    it is kept inside a bracket, because epsilon never rises with noise.
    """
    low, high = 0.0, math.inf
    noise, value = start, epsilon(start)
    slope = -1.0
    while not target * (1 - _TOLERANCE / 2) <= value <= target:
        low, high = (max(low, noise), high) if value > target else (low, min(high, noise))
        aim = target * (1 - _TOLERANCE / 4)
        # A value that is zero or infinite says on which side it is and no more: then doubling and halving do.
        guess = (
            noise * (aim / value) ** (1 / slope) if 0 < value < math.inf else noise * (2.0 if value > target else 0.5)
        )
        guess = min(max(guess, noise / 4), noise * 4)
        if not low < guess < high:
            guess = math.sqrt(low * high) if low > 0 and high < math.inf else noise * (2.0 if value > target else 0.5)
        if not 1e-3 <= guess <= 1e6 or high / max(low, 1e-9) < 1 + 10.0 ** (1 - _DIGITS):
            raise ConfigError(
                "target_epsilon",
                seen=f"{target:g}, which no noise multiplier between 0.001 and 1,000,000 comes within one percent of",
                allowed="an epsilon that the accountant can show for some noise",
                remedy="use another target_epsilon, fewer epochs or a smaller expected_batch_size",
            )
        before, noise, earlier = noise, guess, value
        value = epsilon(noise)
        if min(value, earlier) > 0 and max(value, earlier) < math.inf and value != earlier:
            slope = min(-0.2, math.log(value / earlier) / math.log(noise / before))
    return noise


def _rounded_up(value: float) -> float:
    scale = 10.0 ** (_DIGITS - 1 - math.floor(math.log10(value)))
    return math.ceil(value * scale) / scale
