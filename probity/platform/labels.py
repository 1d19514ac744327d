"""The label column: what it must hold for each task, and the numbers that a model is trained on.

==============  ==================================================  ==============================================
task            the label must hold                                 training sees
==============  ==================================================  ==============================================
``binary``      text or whole numbers, one of them positive; both   1 for the positive value, else 0
                labels in train and test
``multiclass``  text or whole numbers, the declared classes only;   the position of the class
                each class in train
``regression``  finite numbers; more than one in train              the number, as float32
==============  ==================================================  ==============================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from probity.data import Dataset
from probity.data_source import SPLITS, DataConfig
from probity.errors import ConfigError, DataError
from probity.groups import value_texts
from probity.platform.columns import is_text

__all__ = ["MAX_CLASSES", "label_classes", "require_labels", "training_labels"]

MAX_CLASSES = 100
"""A label with more different values is hardly one of classes; each of them is one output of the model."""


def label_classes(config: DataConfig, label: pa.ChunkedArray, *, domain: tuple[str, ...] | None) -> tuple[str, ...]:
    """Returns the classes of a multi-class label, in the order of the model's scores; none for another task.

    Args:
        config: The data section of the config; the classes it names are taken as they are.
        label: The label column, without missing values.
        domain: Values that a curated schema allows; used, sorted, where the config names none.

    Raises:
        ConfigError: If a favourable class is none of them.
        DataError: If a row has a label outside the classes, or there are too few or too many.
    """
    if config.task != "multiclass":
        return ()
    column = f"label column {config.label.column}"
    distinct = pc.unique(label)
    # Whole numbers in the order of numbers, texts in that of texts.
    ordered = distinct.take(pc.sort_indices(distinct))
    found = tuple(text for text in value_texts(ordered) if text is not None)
    classes = config.label.classes or (tuple(sorted(domain)) if domain else found)
    if not 2 <= len(classes) <= MAX_CLASSES:
        raise DataError(
            column,
            seen=f"{len(classes)} different value{'' if len(classes) == 1 else 's'}",
            allowed=f"2 to {MAX_CLASSES} classes",
            remedy="check that data.label names the right column; for numbers to predict, set data.task: regression",
        )
    _require_known(column, label, classes)
    stray = [name for name in config.label.favourable if name not in classes]
    if stray:
        raise ConfigError(
            "data.label.favourable",
            seen=f"{len(stray)} of {len(config.label.favourable)} names are no class of the label",
            allowed="classes of the label",
            remedy="check spelling, case and punctuation",
        )
    return classes


def _require_known(column: str, label: pa.ChunkedArray, classes: tuple[str, ...]) -> None:
    encoded = label.combine_chunks().dictionary_encode()
    known = np.array([text in classes for text in value_texts(encoded.dictionary)])
    outside = int((~known[encoded.indices.to_numpy()]).sum())
    if outside:
        raise DataError(
            column,
            seen=f"{outside} of {len(label)} rows have a value that is none of the {len(classes)} classes "
            f"({int((~known).sum())} such values)",
            allowed="the classes that data.label.classes or the curated schema declares",
            remedy="declare these classes too, or remove or mend the rows",
        )


def require_labels(
    config: DataConfig,
    label: pa.ChunkedArray,
    split: npt.NDArray[Any],
    *,
    positive: str | None,
    classes: tuple[str, ...],
) -> None:
    """Refuses labels that nothing could be learned from or measured on.

    Args:
        config: The data section of the config.
        label: The label column, without missing values.
        split: Each row's position in ``SPLITS``.
        positive: The positive value of a binary label.
        classes: The classes of a multi-class label.

    Raises:
        DataError: Says which split lacks what, in counts.
    """
    check: dict[str, Callable[[], None]] = {
        "binary": lambda: _require_both(config, label, positive, split=split),
        "multiclass": lambda: _require_classes(config, label, classes, split=split),
        "regression": lambda: _require_variation(config, label, split=split),
    }
    check[config.task]()


def _require_both(config: DataConfig, label: pa.ChunkedArray, positive: str | None, *, split: npt.NDArray[Any]) -> None:
    encoded = label.combine_chunks().dictionary_encode()
    is_positive = np.array([text == positive for text in value_texts(encoded.dictionary)])[encoded.indices.to_numpy()]
    if is_positive.all():
        raise _one_value(config, len(label), allowed="positive and negative rows")
    for position, name in enumerate(SPLITS):
        rows = split == position
        positives, count = int(is_positive[rows].sum()), int(rows.sum())
        left_out = isinstance(config.source, dict) and name not in config.source
        if left_out or (count and (name == "eval" or 0 < positives < count)):
            continue
        raise DataError(
            f"split {name}",
            seen=f"{count} rows, of which {positives} are positive",
            allowed="rows in every split, and both labels in train and test",
            remedy="give more data, or change data.split",
        )


def _require_classes(
    config: DataConfig, label: pa.ChunkedArray, classes: tuple[str, ...], *, split: npt.NDArray[Any]
) -> None:
    _require_rows(config, split)
    codes = _class_codes(label, classes)
    absent = int((np.bincount(codes[split == SPLITS.index("train")], minlength=len(classes)) == 0).sum())
    if absent:
        raise DataError(
            f"label column {config.label.column}",
            seen=f"{absent} of {len(classes)} classes have no row in split train",
            allowed="training rows of every class: a model cannot learn to predict what it never saw",
            remedy="give more data, merge rare classes, or leave them out of data.label.classes and of the data",
        )


def _require_variation(config: DataConfig, label: pa.ChunkedArray, *, split: npt.NDArray[Any]) -> None:
    column = f"label column {config.label.column}"
    if is_text(label):
        raise DataError(
            column,
            seen=f"text, in {len(label)} rows",
            allowed="a number in every row, for task regression",
            remedy="check that data.label names the right column, or set data.task: multiclass",
        )
    _require_rows(config, split)
    values = np.asarray(label.to_numpy(), np.float64)
    broken = int((~np.isfinite(values)).sum())
    if broken:
        raise DataError(
            column,
            seen=f"{broken} of {len(label)} values are infinite",
            allowed="finite numbers",
            remedy="remove or mend these rows",
        )
    train = values[split == SPLITS.index("train")]
    if train.min() == train.max():
        raise _one_value(config, len(train), allowed="different numbers, or there is nothing to learn")


def _require_rows(config: DataConfig, split: npt.NDArray[Any]) -> None:
    for position, name in enumerate(SPLITS):
        left_out = isinstance(config.source, dict) and name not in config.source
        if not left_out and not (split == position).any():
            raise DataError(
                f"split {name}",
                seen="no rows",
                allowed="rows in every split",
                remedy="give more data, or change data.split",
            )


def _one_value(config: DataConfig, rows: int, *, allowed: str) -> DataError:
    return DataError(
        f"label column {config.label.column}",
        seen=f"one value only, in all {rows} rows",
        allowed=allowed,
        remedy="check that data.label names the right column",
    )


def training_labels(table: pa.Table, dataset: Dataset, split: str) -> npt.NDArray[np.float32]:
    """Returns the labels of a split as training sees them, float32 of shape (rows,).

    Raises:
        DataError: If a label is missing.
    """
    column = table.column(dataset.label)
    if column.null_count:
        raise DataError(
            f"label column {dataset.label}",
            seen=f"missing in {column.null_count} rows of split {split}",
            allowed="a label in every row",
            remedy="remove the rows without a label from the source",
        )
    if not len(column):
        return np.zeros(0, np.float32)
    if dataset.task == "regression":
        return np.asarray(column.to_numpy(), np.float32)
    if dataset.task == "multiclass":
        return _class_codes(column, dataset.classes).astype(np.float32)
    encoded = column.combine_chunks().dictionary_encode()
    positive = np.array([text == dataset.positive for text in value_texts(encoded.dictionary)], np.float32)
    labels: npt.NDArray[np.float32] = positive[encoded.indices.to_numpy()]
    return labels


def _class_codes(label: pa.ChunkedArray, classes: tuple[str, ...]) -> npt.NDArray[np.int64]:
    position = {name: code for code, name in enumerate(classes)}
    encoded = label.combine_chunks().dictionary_encode()
    of_value = np.array([position[str(text)] for text in value_texts(encoded.dictionary)], np.int64)
    codes: npt.NDArray[np.int64] = of_value[encoded.indices.to_numpy()]
    return codes
