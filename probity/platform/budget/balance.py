"""Where an account stands: what its entries add up to."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from probity.audits.accounting import unaccountable
from probity.audits.privacy_events import Noiseless, Noisy, Spent
from probity.data import PrivateStatistics
from probity.platform.budget.entries import Entry, Granted, Paid, Reserved
from probity.record import Number, Record

__all__ = ["Accountant", "Balance", "Standing", "balance_of", "composed", "private"]

Accountant = Callable[..., float]
"""``accountant(spent, delta=delta)`` returns the epsilon of everything spent, composed."""


class Balance(Record):
    """Where an account stands, in numbers."""

    account: str
    unit: str
    """The unit that all epsilons here are about: the cap's; without a cap, all those that were spent on."""
    delta: float | None
    """The delta at which all epsilons here hold: the cap's; without a cap, the smallest that a run stated."""
    granted: Granted | None
    """The cap in force; ``None``: none was granted, nothing is limited."""
    spent: Number
    """Epsilon of everything that was executed, composed; infinite if no epsilon per unit bounds some of it."""
    reserved: Number
    """Epsilon of that and of everything reserved, composed, minus ``spent``."""
    left: Number | None
    """The cap minus both; ``None`` without a cap."""
    plain_sum: Number
    """The sum of the single epsilons, for comparison: a bound too (on the sum of their deltas), and a worse one."""
    payments: int
    """Number of mechanisms that were executed."""
    open: tuple[Entry, ...]
    """Reservations that are neither paid nor refunded."""
    non_private: int
    """Number of trainings without differential privacy, which no epsilon bounds."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What the entries of one account say together.

    Attributes:
        cap: The latest grant.
        paid: What was executed.
        open_entries: Reservations that are neither paid nor refunded.
        deltas: At which runs stated their epsilons.
    """

    cap: Granted | None
    paid: tuple[Spent, ...]
    open_entries: tuple[Entry, ...]
    deltas: tuple[float, ...]

    @classmethod
    def of(cls, entries: Sequence[Entry], account: str) -> Standing:
        """Reads the entries of an account, oldest first."""
        cap: Granted | None = None
        paid: list[Spent] = []
        opened: dict[str, Entry] = {}
        deltas = []
        for entry in entries:
            event = entry.event
            if entry.account != account:
                continue
            if isinstance(event, Granted):
                cap = event
            elif isinstance(event, Reserved):
                opened[event.reservation] = entry
                deltas.append(event.delta)
            else:
                opened.pop(event.reservation, None)
                if isinstance(event, Paid):
                    paid.append(event.spending)
        return cls(cap=cap, paid=tuple(paid), open_entries=tuple(opened.values()), deltas=tuple(deltas))

    @property
    def open(self) -> tuple[Reserved, ...]:
        """Open reservations."""
        return tuple(entry.event for entry in self.open_entries if isinstance(entry.event, Reserved))

    @property
    def counted(self) -> tuple[Spent, ...]:
        """Everything that counts: what was executed, and what is reserved."""
        return (*self.paid, *(event.spending for event in self.open))

    @property
    def units(self) -> tuple[str, ...]:
        """The cap's unit; without a cap, the units that were spent on, each once."""
        if self.cap is not None:
            return (self.cap.unit,)
        return tuple(dict.fromkeys(entry.unit for entry in private(self.counted)))

    @property
    def delta(self) -> float | None:
        """The cap's delta; without a cap, the smallest that a run stated."""
        return self.cap.delta if self.cap is not None else min(self.deltas, default=None)


def private(spent: Sequence[Spent]) -> list[Noisy | PrivateStatistics]:
    """Returns what was done with differential privacy; the rest has no epsilon that a cap could bound."""
    return [entry for entry in spent if not isinstance(entry, Noiseless)]


def composed(spent: Sequence[Spent], *, unit: str, delta: float | None, accountant: Accountant) -> float:
    """Returns the epsilon per unit of everything that was done with differential privacy, composed.

    Guarantees: infinite if some of it protects another unit, or has no epsilon at all; 0 for nothing.
    """
    counted = private(spent)
    if not counted or delta is None:
        return 0.0
    if any(unaccountable(entry, unit=unit) for entry in counted):
        return math.inf
    return accountant(counted, delta=delta)


def balance_of(account: str, standing: Standing, *, accountant: Accountant) -> Balance:
    """Returns where an account stands, in numbers."""
    units = standing.units or ("row",)

    def epsilon(spent: Sequence[Spent]) -> float:
        return composed(spent, unit=units[0], delta=standing.delta, accountant=accountant)

    spent, both = epsilon(standing.paid), epsilon(standing.counted)
    executed = private(standing.paid)
    cap = standing.cap
    return Balance(
        account=account,
        unit=", ".join(units),
        delta=standing.delta,
        granted=cap,
        spent=spent,
        reserved=0.0 if both == spent else both - spent,
        left=None if cap is None else max(cap.epsilon - both, 0.0),
        plain_sum=sum(epsilon([entry]) for entry in executed),
        payments=len(executed),
        open=standing.open_entries,
        non_private=len(standing.paid) - len(executed),
    )
