"""Which units take part in which step: sampled as the mechanism says, and nothing else.

The accountant credits Poisson sampling with amplification because each unit is drawn by a coin of its own. Batches cut
from a shuffled order, batches of fixed size and samplers with replacement are not that, and what is proven for the one
does not hold for the others (Chua et al. 2024). So there are two samplers here, and the mechanism names the one used.

References:
    Abadi et al. (2016), Deep Learning with Differential Privacy, section 3.1 ("lots").
    Zhu and Wang (2019), Poisson Subsampled Rényi Differential Privacy.
    Chua et al. (2024), How Private are DP-SGD Implementations?
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

from probity.trainers.dp_sgd.keystream import KeyStream, StepBytes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Batches", "BoundedRows", "PoissonBatches", "ShuffledBatches"]

_FIRST_BITS, _MORE_BITS = 16, 64


class Batches(Protocol):
    """Draws the units of each step."""

    def draw(self, step: int) -> npt.NDArray[np.int64]:
        """Returns the numbers of the units that take part in a step, each at most once, of shape (units,).

        Args:
            step: Number of the step, from 0; each may be asked for once, in ascending order.
        """
        ...

    @property
    def state(self) -> npt.NDArray[np.int64]:
        """What another process needs to go on after the last step that was drawn, of shape (numbers,)."""
        ...


class PoissonBatches:
    """Draws each unit independently at each step.

    Guarantees: the probability is ``sampling_prob``, or less than 2^-80 below it; batches vary in size and may be
    empty.

    Args:
        num_units: Number of units, at least 1.
        sampling_prob: In (0, 1].
        stream: Where the randomness comes from; used for nothing else.
    """

    def __init__(self, num_units: int, *, sampling_prob: float, stream: KeyStream) -> None:
        self._num_units = num_units
        self._stream = stream
        # A uniform number in [0, 1) of 80 bits is below the probability iff it is below this: the comparison is
        # settled by the first 16 bits for all but one unit in 65,536, and the rest are drawn for that one only.
        threshold = math.floor(Fraction(sampling_prob) * 2 ** (_FIRST_BITS + _MORE_BITS))
        self._first, self._more = divmod(threshold, 2**_MORE_BITS)

    @property
    def state(self) -> npt.NDArray[np.int64]:
        """Nothing: no step depends on another."""
        import numpy as np

        return np.empty(0, np.int64)

    def draw(self, step: int) -> npt.NDArray[np.int64]:
        """Returns the units of a step in ascending order; see :class:`Batches`."""
        import numpy as np

        if self._first == 2**_FIRST_BITS:  # probability one
            return np.arange(self._num_units, dtype=np.int64)
        drawn = self._stream.at(step)
        first = drawn.take(self._num_units * 2).view(np.uint16)
        units = np.flatnonzero(first < self._first)
        undecided = np.flatnonzero(first == self._first)
        decided = undecided[_words(drawn, len(undecided)) < np.uint64(self._more)]
        return np.sort(np.concatenate([units, decided])) if len(decided) else units


class ShuffledBatches:
    """Cuts an order that is drawn anew for each pass into batches.

    Guarantees: every unit takes part exactly once per pass; the last batch of a pass is smaller where the batch size
    does not divide the number of units, and is kept.

    Args:
        num_units: Number of units, at least 1.
        batch_size: Units per step.
        stream: Where the randomness comes from; used for nothing else.
        state: The state of an earlier process whose pass is to be finished.
    """

    def __init__(
        self, num_units: int, *, batch_size: int, stream: KeyStream, state: npt.NDArray[np.int64] | None = None
    ) -> None:
        self._num_units = num_units
        self._batch_size = batch_size
        self._stream = stream
        self._order = state

    @property
    def state(self) -> npt.NDArray[np.int64]:
        """The order of the present pass. No amplification is credited to its being secret."""
        import numpy as np

        return np.empty(0, np.int64) if self._order is None else self._order

    def draw(self, step: int) -> npt.NDArray[np.int64]:
        """Returns the units of a step; see :class:`Batches`."""
        begin = step % math.ceil(self._num_units / self._batch_size) * self._batch_size
        if begin == 0:
            self._order = _permutation(self._stream.at(step), self._num_units)
        if self._order is None or len(self._order) != self._num_units:
            raise RuntimeError(f"step {step} is amid a pass whose order is not known")
        return self._order[begin : begin + self._batch_size]


class BoundedRows:
    """Turns drawn units into rows: at most ``rows_per_unit`` of each, chosen anew at every step.

    Guarantees: each subset of a unit's rows of that size is equally likely, whatever the other units are, so that one
    unit adds at most ``rows_per_unit`` times the bound of a row to a step's sum.

    Args:
        units: For each row the number of its unit, of shape (rows,).
        rows_per_unit: At least 1.
        stream: Where the randomness comes from; used for nothing else.
    """

    def __init__(self, units: npt.NDArray[np.int64], *, rows_per_unit: int, stream: KeyStream) -> None:
        import numpy as np

        self._limit = rows_per_unit
        self._stream = stream
        self._rows = np.argsort(units, kind="stable")
        self._counts = np.bincount(units)
        self._starts = np.cumsum(self._counts) - self._counts

    def of(self, drawn: npt.NDArray[np.int64], *, step: int) -> npt.NDArray[np.int64]:
        """Returns the numbers of the rows with which the drawn units take part in a step, of shape (rows,)."""
        import numpy as np

        counts = self._counts[drawn]
        owner = np.repeat(np.arange(len(drawn)), counts)
        firsts = np.cumsum(counts) - counts
        rows: npt.NDArray[np.int64] = self._rows[
            np.repeat(self._starts[drawn] - firsts, counts) + np.arange(len(owner))
        ]
        if not (counts > self._limit).any():
            return rows
        # Within each unit by random number; then the first few of each.
        order = np.lexsort((_words(self._stream.at(step), len(rows)), owner))
        rank = np.arange(len(rows)) - firsts[owner]
        chosen: npt.NDArray[np.int64] = rows[order[rank < self._limit]]
        return chosen


def _words(source: StepBytes, count: int) -> npt.NDArray[np.uint64]:
    import numpy as np

    return source.take(count * 8).view(np.uint64)


def _permutation(source: StepBytes, size: int) -> npt.NDArray[np.int64]:
    """Returns a uniformly random order: that of independent random numbers, drawn again if two are equal."""
    import numpy as np

    while True:
        words = _words(source, size)
        order = np.argsort(words)
        if (np.diff(words[order]) != 0).all():
            return order
