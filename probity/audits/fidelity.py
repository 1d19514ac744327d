"""Whether an explanation may be believed: does it repeat itself, and does it say what an unbiased method says?

Additivity is checked where the values are made; it cannot see that a sum was shared wrongly, nor that the values hang
on the background rows that happened to be drawn. These checks can.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from probity.audits.backgrounds import draw_rows, take

if TYPE_CHECKING:
    from probity.audits.explained import Explained

__all__ = ["MAX_CHANGE", "MIN_RANK_CORRELATION", "TIE", "Stability", "approximation_difference", "stability"]

MIN_RANK_CORRELATION = 0.9
"""Below this the order of the columns that matter is not the same under two backgrounds."""
TIE = 0.1
"""Importances that differ by less than this share of the largest one may change places: that is a tie."""
MAX_CHANGE = 0.25
"""An importance that moves by more than this share of the largest one is no measurement."""
_MATTERS = 0.05
"""A column matters from this share of the largest importance on."""
_ROWS = 1000


@dataclass(frozen=True, kw_only=True)
class Stability:
    """How importances change when the background is drawn anew.

    Attributes:
        rank_correlation: Spearman's, over the columns that matter under either background; ``None`` for fewer than two.
        change: Largest change of an importance, over the largest importance; 0 where no column has any.
        rows: Rows that both importances were computed on.
    """

    rank_correlation: float | None
    change: float
    rows: int

    @property
    def problem(self) -> str | None:
        """Why the importances may not be printed, or ``None`` if they may.

        They may not where an importance moves by more than a quarter of the largest one, or where the order of the
        columns that matter changes by more than ties: rank correlation below 0.9, and a move of more than a tenth.
        """
        anew = "when the background was drawn anew"
        if not self.change <= MAX_CHANGE:
            moved = f"an importance moved by {self.change:.0%} of the largest one {anew}"
            return f"{moved}; at most {MAX_CHANGE:.0%} is allowed"
        order = self.rank_correlation
        if order is not None and order < MIN_RANK_CORRELATION and self.change > TIE:
            return (
                f"the order of the columns changed {anew} (rank correlation {order:.2f}; at least "
                f"{MIN_RANK_CORRELATION:g} is needed)"
            )
        return None


def stability(explained: Explained, *, seed: int) -> Stability:
    """Explains some of the rows again, against the second background, by the same method.

    Args:
        explained: What was explained.
        seed: Seed of the choice of rows, up to 1,000 of the uniform sample.
    """
    candidates = np.flatnonzero(explained.sample.overall)
    most = explained.method.max_rows
    number = _ROWS if most is None else max(10, min(_ROWS, most // 4))
    rows = candidates[draw_rows(len(candidates), number, np.random.default_rng([seed, 6]))]
    again = explained.method.attribute(take(explained.inputs, rows), explained.background.again)
    return _compare(explained.attribution.contributions[rows], again.contributions)


def approximation_difference(approximate: npt.NDArray[Any], reference: npt.NDArray[Any]) -> float:
    """Returns the largest difference of two importances of one column, over the largest importance.

    Args:
        approximate: Shapley values of some rows, shape (rows, columns).
        reference: Those of the same rows by another method.
    """
    return _compare(reference, approximate).change


def _compare(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> Stability:
    from scipy.stats import spearmanr

    importances = np.abs(np.stack([first, second])).mean(axis=1)
    largest = float(importances[0].max(initial=0.0))
    change = float(np.abs(importances[0] - importances[1]).max(initial=0.0))
    matters = (importances >= _MATTERS * importances.max(initial=0.0)).any(axis=0) & (importances > 0).any(axis=0)
    order = float(spearmanr(*importances[:, matters])[0]) if matters.sum() > 1 else None
    return Stability(
        rank_correlation=None if order is None or np.isnan(order) else order,
        change=change / largest if largest > 0 else (0.0 if change == 0 else float("inf")),
        rows=len(first),
    )
