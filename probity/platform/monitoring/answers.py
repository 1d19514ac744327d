"""Logged answers as what they say: for two classes which one, for several the one with the highest score, a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from probity.data import Dataset
from probity.platform.monitoring.prediction_log import score_columns

__all__ = ["Answers", "Label"]

Label = bool | str | float
"""What a label is or was predicted to be: whether the positive one, which class, or a number, by the model's task."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """The scores that were logged, one entry per row of the log. Row-level personal data; internal."""

    scores: npt.NDArray[np.float64]
    """Shape (rows, scores for a row); NaN where an answer was no number, or of another form."""
    dataset: Dataset
    threshold: float
    """A score above it is the positive outcome of a binary label."""

    @classmethod
    def of(cls, log: pa.Table, dataset: Dataset, *, threshold: float) -> Answers:
        """Takes the scores from a log, as :func:`probity.platform.monitoring.prediction_log.read_log` gives it."""
        missing = np.full(log.num_rows, np.nan)
        names = score_columns(dataset.num_scores)
        columns = [
            log.column(name).to_numpy().astype(np.float64) if name in log.column_names else missing for name in names
        ]
        return cls(scores=np.stack(columns, axis=1), dataset=dataset, threshold=threshold)

    @property
    def finite(self) -> npt.NDArray[np.bool_]:
        """Rows whose scores are all numbers, shape (rows,)."""
        return np.asarray(np.isfinite(self.scores).all(axis=1))

    def taken(self, rows: npt.NDArray[Any]) -> Answers:
        """Returns some of the rows."""
        return Answers(scores=self.scores[rows], dataset=self.dataset, threshold=self.threshold)

    def predicted(self) -> list[Label | None]:
        """Returns what each row was predicted to be; ``None`` where its scores are not all numbers."""
        task, classes = self.dataset.task, self.dataset.classes
        if task == "multiclass":
            found: list[Label] = [classes[code] for code in self.chosen()]
        elif task == "binary":
            found = (self.scores[:, 0] > self.threshold).tolist()
        else:
            found = self.scores[:, 0].tolist()
        return [label if known else None for label, known in zip(found, self.finite, strict=True)]

    def chosen(self) -> npt.NDArray[np.intp]:
        """Returns the position of the class with the highest score, the first of equal ones, shape (rows,).

        Of a row whose scores are not all numbers the position says nothing.
        """
        return np.asarray(self.scores.argmax(axis=1), np.intp)
