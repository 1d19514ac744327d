"""Accounting: what was executed becomes an epsilon.

Each thing that spent privacy is an event (:mod:`probity.audits.privacy_events`), and events are composed by an
accountant. The primary one works on privacy loss distributions (PLD); Rényi accounting (RDP) is the second opinion.
PLD is the tighter of the two, so an epsilon from PLD that is *larger* than the one from RDP is a contradiction and no
number is given.

References:
    Mironov (2017), Rényi Differential Privacy.
    Doroshenko et al. (2022), Connect the Dots: Tighter Discrete Approximations of Privacy Loss Distributions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

from probity.audits.privacy_events import Noiseless, Noisy, Spent, event_of
from probity.data import PrivateStatistics
from probity.model import DpSgd

__all__ = [
    "ADD_OR_REMOVE",
    "ZERO_OUT",
    "consistent",
    "default_delta",
    "epsilon_of",
    "neighbouring_relation",
    "renyi_epsilon_of",
    "unaccountable",
]

ADD_OR_REMOVE = "add or remove one unit"
ZERO_OUT = "replace one unit by one that contributes nothing (zero-out)"

_SLACK = 1e-3
"""Relative amount by which two accountants may differ for their discretizations alone."""


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
        event = promise(entry.epsilon, entry.delta) if isinstance(entry, PrivateStatistics) else event_of(entry)
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
