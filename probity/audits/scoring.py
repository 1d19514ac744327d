"""The test split as the exported model scores it: the rows that every measuring audit shares.

:class:`ScoredRows` is row-level and internal. It holds labels and sensitive groups of single people, is kept inside the
run folder like the examples themselves, and never reaches a report, a card, a tracker or a log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from probity.audits.rows_file import numbers_of, read_groups, reading_rows, write_rows
from probity.errors import AuditError
from probity.groups import group_codes, value_texts

if TYPE_CHECKING:
    from probity.data import Dataset, Examples

__all__ = ["ScoredRows", "positive_labels", "score"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredRows:
    """Scores, labels and sensitive groups, one entry per row of the test split, in file order.

    Row-level personal data; internal.

    Raises:
        AuditError: If lengths differ, a score is not finite, or a code has no name.
    """

    scores: npt.NDArray[np.float32]
    """Shape (rows,): the model's ``scores``, which are in [0, 1]."""
    labels: npt.NDArray[np.bool_]
    """Shape (rows,): whether the label is the positive one."""
    groups: Mapping[str, npt.NDArray[np.int32]]
    """Sensitive attribute to the group's position in ``names``, shape (rows,)."""
    names: Mapping[str, tuple[str, ...]]
    """Sensitive attribute to all its declared groups, in the order of the data set, empty ones included."""

    def __post_init__(self) -> None:
        rows = len(self.labels)
        lengths = {"scores": len(self.scores), **{name: len(codes) for name, codes in self.groups.items()}}
        wrong = [name for name, length in lengths.items() if length != rows]
        if wrong or set(self.groups) != set(self.names):
            raise _unusable(
                f"{', '.join(wrong) or 'groups and names'} of another length or kind than the {rows} labels"
            )
        if not np.isfinite(self.scores).all():
            raise _unusable(f"{int((~np.isfinite(self.scores)).sum())} scores that are not finite numbers")
        if rows and (self.scores.min() < 0 or self.scores.max() > 1):
            raise _unusable("scores outside [0, 1]")
        for name, codes in self.groups.items():
            if rows and not 0 <= codes.min() <= codes.max() < len(self.names[name]):
                raise _unusable(f"rows whose group of {name} is not declared")

    def __len__(self) -> int:
        return len(self.labels)

    def write(self, path: Path) -> None:
        """Writes one Parquet file; :meth:`read` gives equal rows back."""
        columns = {"score": pa.array(self.scores, pa.float32()), "label": pa.array(self.labels)}
        write_rows(path, columns, groups=self.groups, names=self.names)

    @classmethod
    def read(cls, path: Path) -> ScoredRows:
        """Reads what :meth:`write` wrote.

        Raises:
            DataError: If the file is not readable Parquet of this layout.
        """
        with reading_rows(path, columns="score, label") as table:
            groups, names = read_groups(table)
            return cls(
                scores=numbers_of(table.column("score"), np.float32),
                labels=numbers_of(table.column("label"), np.bool_),
                groups=groups,
                names=names,
            )


def score(model_folder: Path, *, dataset: Dataset, examples: Examples, split: str = "test") -> ScoredRows:
    """Scores a split with the exported SavedModel, the very bytes that would be released.

    Args:
        model_folder: Holds ``saved_model/``, as training leaves it, or is a SavedModel itself, as a release is.
        dataset: Says which column is the label and which are sensitive.
        examples: The raw rows.
        split: Which of them.

    Raises:
        DigestMismatchError: If the split is not the file that was recorded.
        AuditError: If the model's scores are not one finite number in [0, 1] per row.
    """
    from probity.predictor import load_predictor
    from probity.tfexample import read_records

    table = examples.table(split)
    nested = model_folder / "saved_model"
    predictor = load_predictor(nested if nested.is_dir() else model_folder)
    batches = [predictor.predict_examples(batch) for batch in read_records(examples.path(split))]
    scores = np.concatenate(batches) if batches else np.zeros(0, np.float32)
    return ScoredRows(
        scores=scores.astype(np.float32, copy=False),
        labels=positive_labels(dataset, table.column(dataset.label)),
        groups={entry.name: group_codes(entry, table.column(entry.column)) for entry in dataset.sensitive},
        names={entry.name: entry.groups for entry in dataset.sensitive},
    )


def positive_labels(dataset: Dataset, column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Returns whether each label is the positive one.

    Raises:
        AuditError: If a label is missing; it would silently count as negative.
    """
    if column.null_count:
        raise _unusable(f"{column.null_count} rows without a label")
    encoded = (column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column).dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):  # without a chunk, pyarrow 10 keeps it chunked
        return np.zeros(0, np.bool_)
    of_value = np.array([text == dataset.positive for text in value_texts(encoded.dictionary)], np.bool_)
    return np.asarray(of_value[encoded.indices.to_numpy()], np.bool_)


def _unusable(seen: str) -> AuditError:
    return AuditError(
        "scored test rows",
        seen=seen,
        allowed="one finite score in [0, 1], one label and one declared group per attribute for every row",
        remedy="check that the model ends in a sigmoid and that the data set was ingested by this version",
    )
