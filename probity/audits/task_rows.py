"""The test split as a model of several classes, or of a number, scores it: siblings of ``ScoredRows``.

Row-level and internal, like :class:`probity.audits.scoring.ScoredRows`: labels and sensitive groups of single people,
kept inside the run folder, never in a report, a card, a tracker or a log.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from probity.audits import scoring
from probity.audits.rows_file import Codes, numbers_of, read_groups, reading_rows, write_rows
from probity.audits.scoring import ScoredRows
from probity.errors import AuditError
from probity.groups import group_codes, value_texts
from probity.task import Task

if TYPE_CHECKING:
    from probity.data import Dataset, Examples

__all__ = ["AnyRows", "ClassifiedRows", "PredictedRows", "read_rows", "score_rows"]

_CLASSES, _SCORE = b"probity.classes", "score:"
_ROUNDING = 1e-4
"""By how much the sum of a softmax in single precision may miss 1, for a hundred classes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassifiedRows:
    """Scores of every class, the label's class and sensitive groups, one entry per row, in file order.

    Row-level personal data; internal.

    Raises:
        AuditError: If lengths differ, scores are no probabilities that sum to 1, or a code has no name.
    """

    scores: npt.NDArray[np.float32]
    """Shape (rows, classes): probabilities that sum to 1."""
    labels: Codes
    """Shape (rows,): the position of the label's class."""
    classes: tuple[str, ...]
    groups: Mapping[str, Codes]
    """Sensitive attribute to the group's position in ``names``, shape (rows,)."""
    names: Mapping[str, tuple[str, ...]]
    """Sensitive attribute to all its declared groups, in the order of the data set, empty ones included."""

    def __post_init__(self) -> None:
        _require_groups(len(self.labels), self.groups, self.names)
        if self.scores.shape != (len(self.labels), len(self.classes)):
            raise _unusable(f"scores of shape {self.scores.shape} for {len(self.labels)} rows")
        _require_finite(self.scores)
        if len(self.labels):
            if self.scores.min() < 0 or np.abs(self.scores.astype(np.float64).sum(axis=1) - 1).max() > _ROUNDING:
                raise _unusable("scores that are negative or do not sum to 1")
            if not 0 <= self.labels.min() <= self.labels.max() < len(self.classes):
                raise _unusable("rows whose label is none of the classes")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def chosen(self) -> npt.NDArray[np.intp]:
        """The class with the highest score, the first of them where several are equal, shape (rows,)."""
        return np.asarray(self.scores.argmax(axis=1), np.intp)

    def write(self, path: Path) -> None:
        """Writes one Parquet file; :meth:`read` gives equal rows back."""
        columns: dict[str, Any] = {"label": pa.array(self.labels, pa.int32())}
        for code, name in enumerate(self.classes):
            columns[_SCORE + name] = pa.array(np.ascontiguousarray(self.scores[:, code]), pa.float32())
        write_rows(
            path, columns, groups=self.groups, names=self.names, extra={_CLASSES: json.dumps(self.classes).encode()}
        )

    @classmethod
    def read(cls, path: Path) -> ClassifiedRows:
        """Reads what :meth:`write` wrote.

        Raises:
            DataError: If the file is not readable Parquet of this layout.
        """
        with reading_rows(path, columns="label, one score per class") as table:
            classes = tuple(json.loads(table.schema.metadata[_CLASSES]))
            scores = [numbers_of(table.column(_SCORE + name), np.float32) for name in classes]
            groups, names = read_groups(table)
            return cls(
                scores=np.stack(scores, axis=1),
                labels=numbers_of(table.column("label"), np.int32),
                classes=classes,
                groups=groups,
                names=names,
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class PredictedRows:
    """Predictions, labels and sensitive groups of a regression, one entry per row, in file order.

    Row-level personal data; internal.

    Raises:
        AuditError: If lengths differ, a prediction or label is not finite, or a code has no name.
    """

    predictions: npt.NDArray[np.float32]
    """Shape (rows,): the model's ``scores``, in the label's units."""
    labels: npt.NDArray[np.float64]
    """Shape (rows,)."""
    groups: Mapping[str, Codes]
    """Sensitive attribute to the group's position in ``names``, shape (rows,)."""
    names: Mapping[str, tuple[str, ...]]
    """Sensitive attribute to all its declared groups, in the order of the data set, empty ones included."""

    def __post_init__(self) -> None:
        _require_groups(len(self.labels), self.groups, self.names)
        if self.predictions.shape != self.labels.shape:
            raise _unusable(f"predictions of shape {self.predictions.shape} for {len(self.labels)} rows")
        _require_finite(self.predictions)
        _require_finite(self.labels)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def residuals(self) -> npt.NDArray[np.float64]:
        """Prediction minus label, shape (rows,)."""
        return self.predictions.astype(np.float64) - self.labels

    def write(self, path: Path) -> None:
        """Writes one Parquet file; :meth:`read` gives equal rows back."""
        columns = {"prediction": pa.array(self.predictions, pa.float32()), "label": pa.array(self.labels, pa.float64())}
        write_rows(path, columns, groups=self.groups, names=self.names)

    @classmethod
    def read(cls, path: Path) -> PredictedRows:
        """Reads what :meth:`write` wrote.

        Raises:
            DataError: If the file is not readable Parquet of this layout.
        """
        with reading_rows(path, columns="prediction, label") as table:
            groups, names = read_groups(table)
            return cls(
                predictions=numbers_of(table.column("prediction"), np.float32),
                labels=numbers_of(table.column("label"), np.float64),
                groups=groups,
                names=names,
            )


AnyRows = ScoredRows | ClassifiedRows | PredictedRows
"""The scored rows of any task."""

_KINDS: dict[Task, type[ScoredRows] | type[ClassifiedRows] | type[PredictedRows]] = {
    "binary": ScoredRows,
    "multiclass": ClassifiedRows,
    "regression": PredictedRows,
}


def read_rows(path: Path, task: Task) -> AnyRows:
    """Reads scored rows of a task.

    Raises:
        DataError: If the file is not readable Parquet of its layout.
    """
    return _KINDS[task].read(path)


def score_rows(model_folder: Path, *, dataset: Dataset, examples: Examples, split: str = "test") -> AnyRows:
    """Scores a split with the exported SavedModel, as :func:`probity.audits.scoring.score` does, for any task.

    Raises:
        DigestMismatchError: If the split is not the file that was recorded.
        AuditError: If the model's scores are not what the task asks for.
    """
    if dataset.task == "binary":
        return scoring.score(model_folder, dataset=dataset, examples=examples, split=split)
    from probity.predictor import SavedModelPredictor
    from probity.tfexample import read_records

    table = examples.table(split)
    nested = model_folder / "saved_model"
    predictor = SavedModelPredictor(nested if nested.is_dir() else model_folder)
    if predictor.num_scores != dataset.num_scores:
        raise _unusable(f"{predictor.num_scores} scores for a row, where the label asks for {dataset.num_scores}")
    batches = [predictor.scores_of_examples(batch) for batch in read_records(examples.path(split))]
    scores = np.concatenate([np.zeros((0, dataset.num_scores), np.float32), *batches])
    groups = {entry.name: group_codes(entry, table.column(entry.column)) for entry in dataset.sensitive}
    names = {entry.name: entry.groups for entry in dataset.sensitive}
    label = table.column(dataset.label)
    if label.null_count:
        raise _unusable(f"{label.null_count} rows without a label")
    if dataset.task == "regression":
        return PredictedRows(predictions=scores[:, 0], labels=numbers_of(label, np.float64), groups=groups, names=names)
    return ClassifiedRows(
        scores=scores, labels=_class_codes(label, dataset.classes), classes=dataset.classes, groups=groups, names=names
    )


def _class_codes(column: pa.ChunkedArray, classes: tuple[str, ...]) -> Codes:
    if not len(column):
        return np.zeros(0, np.int32)
    position = {name: code for code, name in enumerate(classes)}
    encoded = column.combine_chunks().dictionary_encode()
    of_value = np.array([position.get(str(text), -1) for text in value_texts(encoded.dictionary)], np.int32)
    return np.asarray(of_value[encoded.indices.to_numpy()], np.int32)


def _require_groups(rows: int, groups: Mapping[str, Codes], names: Mapping[str, tuple[str, ...]]) -> None:
    wrong = [name for name, codes in groups.items() if len(codes) != rows]
    if wrong or set(groups) != set(names):
        raise _unusable(f"{', '.join(wrong) or 'groups and names'} of another length or kind than the {rows} labels")
    for name, codes in groups.items():
        if rows and not 0 <= codes.min() <= codes.max() < len(names[name]):
            raise _unusable(f"rows whose group of {name} is not declared")


def _require_finite(numbers: npt.NDArray[Any]) -> None:
    broken = int((~np.isfinite(numbers)).sum())
    if broken:
        raise _unusable(f"{broken} scores or labels that are not finite numbers")


def _unusable(seen: str) -> AuditError:
    return AuditError(
        "scored test rows",
        seen=seen,
        allowed="finite scores of the task's form, one label and one declared group per attribute for every row",
        remedy="check how the model ends, and that the data set was ingested by this version",
    )
