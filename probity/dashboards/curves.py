"""The stored counts of every group at a hundred thresholds, and what can be read off them. Internal.

The fairness audit keeps true and false positives and negatives per group and threshold. A rate at a threshold is one
count over another, the share of positives among the rows between two thresholds is a difference of counts over another:
this is looking up, without scores, labels or rows.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from probity.dashboards.drawing import Point
from probity.model_cards.wording import group_label

__all__ = ["RATES", "Counts", "Curves", "curves_of"]

RATES = {
    "selection_rate": ("tp fp", "tp fp tn fn"),
    "true_positive_rate": ("tp", "tp fn"),
    "false_positive_rate": ("fp", "fp tn"),
    "precision": ("tp", "tp fp"),
    "accuracy": ("tp tn", "tp fp tn fn"),
}
"""Each rate as counts over counts, as :mod:`probity.metric` defines it."""

_BINS = 10


@dataclass(frozen=True, kw_only=True)
class Counts:
    """One group: its rows, and its counts at every threshold.

    Attributes:
        slice: The group; empty for all rows.
        rows: Number of its rows in the test split.
        sufficient: Whether it is large enough for a verdict.
        tp: True positives, and so on, at each threshold.
        fp: False positives.
        tn: True negatives.
        fn: False negatives.
    """

    slice: dict[str, str]
    rows: int
    sufficient: bool
    tp: tuple[int, ...]
    fp: tuple[int, ...]
    tn: tuple[int, ...]
    fn: tuple[int, ...]

    @property
    def label(self) -> str:
        """The group in words."""
        return group_label(self.slice)

    def rate(self, name: str, place: int) -> float | None:
        """Returns a rate at a threshold, given by its place; ``None`` where nothing stands below the line."""
        above, below = (sum(getattr(self, part)[place] for part in side.split()) for side in RATES[name])
        return above / below if below else None


@dataclass(frozen=True, kw_only=True)
class Curves:
    """All groups at all thresholds.

    Attributes:
        thresholds: Ascending, from 0.
        decision_threshold: The one that the run decides at.
        groups: All rows first, then every group.
    """

    thresholds: tuple[float, ...]
    decision_threshold: float
    groups: tuple[Counts, ...]

    def by(self, attributes: Sequence[str]) -> tuple[Counts, ...]:
        """Returns the groups of these attributes that are large enough; for none, all rows."""
        return tuple(group for group in self.groups if tuple(group.slice) == tuple(attributes) and group.sufficient)

    def small(self, attributes: Sequence[str]) -> tuple[str, ...]:
        """Returns the names of the groups that are too small to be drawn."""
        return tuple(
            group.label for group in self.groups if tuple(group.slice) == tuple(attributes) and not group.sufficient
        )

    def place(self, threshold: float) -> int:
        """Returns the place of the largest threshold that is not above this one."""
        return max(bisect_right(self.thresholds, threshold + 1e-9) - 1, 0)

    def roc(self, group: Counts) -> tuple[Point, ...]:
        """Returns false-positive and true-positive rates, from no decision positive to all."""
        ends = (Point(x=0.0, y=0.0), Point(x=1.0, y=1.0))
        inner = [
            Point(x=x, y=group.rate("true_positive_rate", place))
            for place in reversed(range(len(self.thresholds)))
            if (x := group.rate("false_positive_rate", place)) is not None
        ]
        return (ends[0], *inner, ends[1])

    def calibration(self, group: Counts) -> tuple[tuple[Point, int], ...]:
        """Returns, per tenth of the scores, its middle, the share of positive labels, and the number of rows.

        A decision is ``score > threshold``, so a bin holds the scores above its lower edge up to its upper one; the
        first also holds scores of 0.
        """
        edges = [self.place(step / _BINS) for step in range(_BINS)]
        above = [(group.tp[place], group.tp[place] + group.fp[place]) for place in edges] + [(0, 0)]
        above[0] = (group.tp[0] + group.fn[0], group.rows)
        found = []
        for step in range(_BINS):
            positives, rows = (above[step][side] - above[step + 1][side] for side in (0, 1))
            found.append((Point(x=(step + 0.5) / _BINS, y=positives / rows if rows else None), rows))
        return tuple(found)

    def rate_points(self, group: Counts, name: str) -> tuple[Point, ...]:
        """Returns a rate of a group at every threshold."""
        return tuple(Point(x=at, y=group.rate(name, place)) for place, at in enumerate(self.thresholds))


def curves_of(kept: Any) -> Curves | None:
    """Reads ``fairness/internal/curves.json``; ``None`` where there is none, or of a kind that is not known."""
    try:
        return Curves(
            thresholds=tuple(float(at) for at in kept["thresholds"]),
            decision_threshold=float(kept["decision_threshold"]),
            groups=tuple(
                Counts(
                    slice=dict(group["slice"]),
                    rows=int(group["rows"]),
                    sufficient=bool(group["sufficient"]),
                    **{name: tuple(int(count) for count in group[name]) for name in ("tp", "fp", "tn", "fn")},
                )
                for group in kept["groups"]
            ),
        )
    except (LookupError, TypeError, ValueError):
        return None
