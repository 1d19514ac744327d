"""TensorFlow Model Analysis for several classes and for numbers: what it computes, and how it is read.

Of a regression TFMA gives mean absolute, squared and percentage error, mean prediction and mean label; it has no R2
(``SquaredPearsonCorrelation`` is another number: it does not see that all predictions are too high). Of several classes
it gives the matrix of labels by decisions, from which every rate follows; its cross-entropy and AUC take one row at a
time, at 2 ms a row, and are left to our own code and its tests against scikit-learn.

As in :mod:`probity.audits.evaluation`, rows of a batch that share all groups become one element. For the matrix these
rows must share label and decision too; the element's weight is their number, and TFMA's own argmax of the first row
decides for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from probity.audits.evaluation import Grouping, SliceKey, eval_config, read_slices, rows_by_key, run_tfma, same_groups
from probity.audits.task_rows import ClassifiedRows, PredictedRows

__all__ = ["OfficialNumbers", "evaluate_classes", "evaluate_numbers"]

_ERRORS = {
    "mean_absolute_error": "MeanAbsoluteError",
    "mean_squared_error": "MeanSquaredError",
    "mean_absolute_percentage_error": "MeanAbsolutePercentageError",
}
_MATRIX = "multi_class_confusion_matrix_at_thresholds"


@dataclass(frozen=True, kw_only=True)
class OfficialNumbers:
    """TFMA's values for one slice."""

    example_count: int
    values: dict[str, float]
    """By our name of the metric; ``confusion/ROW/COLUMN`` is a count of rows by label and decision."""


def evaluate_numbers(
    saved_model: Path, examples: Path, rows: PredictedRows, *, groupings: Sequence[Grouping], output: Path
) -> dict[SliceKey, OfficialNumbers]:
    """Evaluates a regression; arguments, result and errors as for :func:`probity.audits.evaluation.evaluate`.

    The percentage error is asked for only where no label is 0.
    """
    errors = [name for name in _ERRORS if name != "mean_absolute_percentage_error" or (rows.labels != 0).all()]
    classes = [*(_ERRORS[name] for name in errors), "MeanPrediction", "MeanLabel"]
    config = eval_config(groupings, {name: {} for name in classes})
    return run_tfma(
        config,
        saved_model,
        examples,
        labels=rows.labels,
        codes=rows.groups,
        names=rows.names,
        output=output,
        group=same_groups,
        read=lambda folder: _read(folder, lambda values: _numbers(values, errors)),
    )


def evaluate_classes(
    saved_model: Path, examples: Path, rows: ClassifiedRows, *, groupings: Sequence[Grouping], output: Path
) -> dict[SliceKey, OfficialNumbers]:
    """Evaluates a model of several classes; arguments, result and errors as for :func:`evaluate_numbers`."""
    # At threshold 0 every row has a decision: the highest of scores that sum to 1 is above 0.
    config = eval_config(groupings, {"MultiClassConfusionMatrixAtThresholds": {"thresholds": [0.0]}})
    return run_tfma(
        config,
        saved_model,
        examples,
        labels=rows.labels.astype(np.float32),
        codes=rows.groups,
        names=rows.names,
        output=output,
        group=_same_decisions,
        read=lambda folder: _read(folder, _counts),
    )


def _same_decisions(extracts: dict[str, Any], attributes: Grouping) -> Iterator[dict[str, Any]]:
    """Yields one element, weighted with their number, for the rows that share all groups, label and decision."""
    from tensorflow_model_analysis import constants

    rows = len(extracts[constants.INPUT_KEY])
    labels = np.asarray(extracts[constants.LABELS_KEY]).reshape(rows)
    scores = np.asarray(extracts[constants.PREDICTIONS_KEY]).reshape(rows, -1)
    members = rows_by_key(extracts, attributes, more=(labels, scores.argmax(axis=1)))
    for key, positions in members.items():
        yield {
            constants.LABELS_KEY: labels[positions[:1]],
            constants.PREDICTIONS_KEY: scores[positions[0]],
            constants.EXAMPLE_WEIGHTS_KEY: np.array([len(positions)], np.float32),
            constants.FEATURES_KEY: {
                name: np.array([value], object) for name, value in zip(attributes, key, strict=False)
            },
        }


def _read(output: Path, values_of: Callable[[dict[str, Any]], dict[str, float]]) -> dict[SliceKey, OfficialNumbers]:
    return {
        key: OfficialNumbers(example_count=rows, values=values_of(found)) for key, rows, found in read_slices(output)
    }


def _numbers(found: dict[str, Any], errors: Sequence[str]) -> dict[str, float]:
    values = {name: float(found[name].double_value.value) for name in (*errors, "mean_prediction", "mean_label")}
    values["mean_residual"] = values["mean_prediction"] - values.pop("mean_label")
    values["root_mean_squared_error"] = math.sqrt(values["mean_squared_error"])
    return values


def _counts(found: dict[str, Any]) -> dict[str, float]:
    (matrix,) = found[_MATRIX].multi_class_confusion_matrix_at_thresholds.matrices
    return {
        f"confusion/{entry.actual_class_id}/{entry.predicted_class_id}": float(entry.num_weighted_examples)
        for entry in matrix.entries
    }
