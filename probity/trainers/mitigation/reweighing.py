"""Reweighing: weights of rows under which the label does not depend on the group.

A row of group ``s`` with label ``y`` weighs ``W(s, y) = P(s) P(y) / P(s, y)``, all three measured on the training rows.
So the weights of a group add up to its number of rows, those of a label to its own, and their mean is 1.

References:
    Kamiran and Calders (2012), Data Preprocessing Techniques for Classification without Discrimination, section 5.3,
    algorithm 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["READS", "GroupWeights", "group_weights"]

READS = "the weights of reweighing: counts of training rows by group and label"
"""What the method reads from training rows without noise."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupWeights:
    """Weights by group and label.

    Attributes:
        table: ``W(s, y)``, float64 of shape (groups, 2); 1 where no training row is.
    """

    table: npt.NDArray[np.float64]

    def of(self, codes: npt.NDArray[np.int64], labels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Returns the weight of each row, float32 of shape (rows,); 1 for rows of no group, whose code is -1."""
        found = self.table[codes, (labels > 0.5).astype(np.intp)]
        return np.where(codes >= 0, found, 1.0).astype(np.float32)


def group_weights(codes: npt.NDArray[np.int64], labels: npt.NDArray[np.float32], *, groups: int) -> GroupWeights:
    """Measures the weights on rows.

    Args:
        codes: The group of each row, from 0; -1 for rows that belong to none, which are not counted.
        labels: In {0, 1}, of shape (rows,).
        groups: Number of groups.
    """
    known = codes >= 0
    cells = codes[known] * 2 + (labels[known] > 0.5)
    counts = np.bincount(cells, minlength=2 * groups).reshape(groups, 2).astype(np.float64)
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0, keepdims=True) / max(counts.sum(), 1.0)
    return GroupWeights(table=np.where(counts > 0, expected / np.maximum(counts, 1.0), 1.0))
