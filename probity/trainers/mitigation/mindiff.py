"""MinDiff: a penalty on how differently the scores of groups are distributed, by TensorFlow Model Remediation.

Each group is compared with all rows outside it, among rows of one label: positive ones to equalise false negative
rates, negative ones for false positive rates. Two groups need one comparison. Every step draws a batch of each side
beside the batch of the cross-entropy. What is exported is the model inside, which never sees a group.

References:
    Prost et al. (2019), Toward a better trade-off between performance and fairness with kernel-based distribution
    matching.
    Beutel et al. (2019), Putting Fairness Principles into Practice.
    Gretton et al. (2012), A Kernel Two-Sample Test, eq. 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from probity.errors import TrainingError
from probity.trainers.base import Groups
from probity.trainers.fitting import Rows
from probity.trainers.mitigation.settings import MinDiffSettings

__all__ = ["FEWEST_ROWS", "MinDiff", "make_penalty"]

FEWEST_ROWS = 2
"""A distance between distributions needs two rows of each side."""

_LABEL = {"false_positive_rate": False, "false_negative_rate": True}

Sides = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]


@dataclass(frozen=True, kw_only=True, eq=False)
class MinDiff:
    """The penalty of one training; see :class:`probity.trainers.fitting.Penalty`.

    Attributes:
        settings: Weight, loss and batch size.
        sides: By split and name of the comparison: rows of the group, and rows outside it.
        seed: Of the order in which rows are drawn.
        left_out: Number of groups with too few rows to compare.
    """

    settings: MinDiffSettings
    sides: Mapping[str, Mapping[str, Sides]]
    seed: int
    left_out: int

    def wrap(self, model: Any) -> Any:
        """Returns a model that trains ``model`` with the penalty."""
        from tensorflow_model_remediation import min_diff

        kinds = {
            "mmd": min_diff.losses.MMDLoss,
            "absolute_correlation": min_diff.losses.AbsoluteCorrelationLoss,
        }
        losses = {name: kinds[self.settings.loss]() for name in self.sides["train"]}
        return min_diff.keras.MinDiffModel(model, loss=losses, loss_weight=self.settings.weight)

    def batches(self, split: str, rows: Rows, *, batch_size: int) -> Any:
        """Returns a split as batches, each with a batch of both sides of every comparison.

        Without end for ``train``, in an order that the seed decides; once for ``eval``, in file order. The eval split
        is compared on its own rows, so that the epoch is chosen by the loss that is minimised.
        """
        from tensorflow_model_remediation import min_diff

        utils = min_diff.keras.utils
        seed = self.seed if split == "train" else None
        compared = utils.build_min_diff_dataset(
            {name: self._repeated(rows, sides[0], seed=seed) for name, sides in self.sides[split].items()},
            {name: self._repeated(rows, sides[1], seed=seed) for name, sides in self.sides[split].items()},
        )
        main = _dataset(rows)
        main = main.batch(batch_size) if seed is None else main.shuffle(len(rows), seed=seed).batch(batch_size).repeat()
        return utils.pack_min_diff_data(main, min_diff_dataset=compared)

    def _repeated(self, rows: Rows, chosen: npt.NDArray[np.intp], *, seed: int | None) -> Any:
        """Returns rows of one side in full batches, without end.

        A trap: each pass over a shuffled data set takes the next seed, and prefetching starts passes ahead of time. An
        iterator for each epoch would therefore meet seeds that depend on the machine's load. Training has one iterator
        for all epochs, which it asks for a number of steps; the eval split is not shuffled.
        """
        part = Rows(inputs={name: array[chosen] for name, array in rows.inputs.items()}, labels=rows.labels[chosen])
        ordered = _dataset(part) if seed is None else _dataset(part).shuffle(len(part), seed=seed)
        return ordered.repeat().batch(self.settings.batch_size, drop_remainder=True)


def make_penalty(
    settings: MinDiffSettings, groups: Groups, labels: Mapping[str, npt.NDArray[np.float32]], *, seed: int
) -> MinDiff:
    """Chooses the rows that are compared.

    Args:
        settings: What is to be alike.
        groups: The group of each row of ``train`` and ``eval``.
        labels: By split, in {0, 1}, of shape (rows,).
        seed: Of the order in which rows are drawn.

    Raises:
        TrainingError: If there are no two groups to compare.
    """
    wanted = _LABEL[settings.equalizes]
    among = {split: (own > 0.5) == wanted for split, own in labels.items()}
    found: dict[str, dict[str, Sides]] = {split: {} for split in labels}
    present = [group for group in range(len(groups.names)) if (groups.codes["train"] == group).any()]
    left_out = 0
    for group in present if len(present) != 2 else present[:1]:
        sides = {split: _sides(groups.codes[split], group, rows) for split, rows in among.items()}
        # A split without rows asks for nothing; a group must be comparable wherever there are rows.
        if any(len(labels[split]) and min(map(len, pair)) < FEWEST_ROWS for split, pair in sides.items()):
            left_out += 1
            continue
        for split, pair in sides.items():
            found[split][f"group_{group}"] = pair
    if not found["train"]:
        raise TrainingError(
            "trainer: mitigation mindiff",
            seen=f"no group of {', '.join(groups.across)} with {FEWEST_ROWS} rows of the label that "
            f"{settings.equalizes} is about, in each split, and as many outside it",
            allowed="at least two groups with such rows",
            remedy="name a coarser attribute, or use another method",
        )
    return MinDiff(settings=settings, sides=found, seed=seed, left_out=left_out)


def _sides(codes: npt.NDArray[np.int64], group: int, among: npt.NDArray[np.bool_]) -> Sides:
    # Planted rows have the code -1: they are on neither side.
    return np.flatnonzero(among & (codes == group)), np.flatnonzero(among & (codes != group) & (codes >= 0))


def _dataset(rows: Rows) -> Any:
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((dict(rows.inputs), rows.labels[:, None]))
