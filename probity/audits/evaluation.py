"""TensorFlow Model Analysis over the exported SavedModel: the official value of every slice.

TFMA loads the very SavedModel that would be released and scores the serialized examples through its
``serving_default`` signature. Labels and groups travel beside the examples, not inside them, so that attributes which
are no column of the data (age bands, the group of missing values) can be sliced on and nothing reaches the model that
serving would not send. The result is kept in TFMA's own format: ``tensorflow_model_analysis.load_eval_result(path)``.

Traps that shape this file: rates of an empty denominator are NaN here and the string "NaN" in TFMA's JSON; the metrics
inside FairnessIndicators cannot carry value thresholds; ``min_slice_size`` together with ``cross_slicing_specs``
crashes; metrics share one pass over the rows only if their lists of thresholds are equal.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from probity.errors import AuditError

__all__ = ["AUC_TOLERANCE", "Evaluation", "OfficialSlice", "evaluate"]

AUC_TOLERANCE = 1e-3
"""TFMA integrates the ROC curve over 10,000 equidistant thresholds: rows between two of them count as ties."""

_LABEL = "probity_label"
_FAIRNESS = "fairness_indicators_metrics"

Grouping = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class OfficialSlice:
    """TFMA's values for one slice; a rate that is not defined is ``None``."""

    rates: dict[tuple[str, float], float | None]
    """``(metric, threshold)`` to value, in the names of :data:`probity.metric.METRICS`."""
    auc: float | None
    example_count: int


Evaluation = dict[tuple[tuple[str, str], ...], OfficialSlice]
"""Slice as ordered ``(attribute, group)`` pairs to TFMA's values; slices without rows are absent."""


def evaluate(
    saved_model: Path,
    records: Iterable[list[bytes]],
    *,
    labels: npt.NDArray[np.bool_],
    groups: Mapping[str, Sequence[str]],
    groupings: Sequence[Grouping],
    thresholds: Sequence[float],
    output: Path,
) -> Evaluation:
    """Runs TFMA once and keeps its result folder.

    Args:
        saved_model: Folder with a ``serving_default`` signature that takes serialized ``tf.Example``.
        records: The serialized examples in batches, in file order.
        labels: Whether each row is positive, shape (rows,).
        groups: Attribute to the group's name of each row.
        groupings: Combinations of attributes to slice on; the empty one is the slice of all rows.
        thresholds: Decision thresholds of the rates.
        output: Folder for TFMA's result; created.

    Raises:
        AuditError: If TFMA cannot evaluate the model. TFMA's own text is not repeated: it quotes rows.
    """
    import apache_beam as beam
    import tensorflow_model_analysis as tfma

    config = eval_config(groupings, thresholds)
    model = tfma.default_eval_shared_model(str(saved_model), eval_config=config)
    batches = list(_record_batches(records, labels=labels, groups=groups))
    with beam.Pipeline() as pipeline:
        evaluation = (
                pipeline
                | "Rows" >> beam.Create(batches, reshuffle=False)
                | "Extracts" >> tfma.BatchedInputsToExtracts()
                | "Evaluate" >> tfma.ExtractAndEvaluate(
                    extractors=_extractors(config, model),
                    evaluators=tfma.default_evaluators(eval_config=config, eval_shared_model=model),
                )
        )
        evaluation| "Write" >> tfma.WriteResults(
                    writers=tfma.default_writers(str(output), eval_shared_model=model, eval_config=config)
                )
    return {}


def eval_config(groupings: Sequence[Grouping], thresholds: Sequence[float]) -> Any:
    """Returns TFMA's configuration: every metric shares two passes, confusion counts and the AUC's histogram."""
    import tensorflow_model_analysis as tfma

    at = {"thresholds": list(thresholds)}
    metrics = {
        "ExampleCount": {},
        "AUC": {},
        "Precision": at,
        "Recall": at,
        "TPR": at,
        "FPR": at,
        "TNR": at,
        "FNR": at,
        "ConfusionMatrixAtThresholds": at,
        "FairnessIndicators": at,
    }
    return tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(signature_name="serving_default", label_key=_LABEL, model_type="tf_generic")],
        slicing_specs=[tfma.SlicingSpec(feature_keys=list(grouping)) for grouping in dict.fromkeys(groupings)],
        metrics_specs=[
            tfma.MetricsSpec(
                metrics=[tfma.MetricConfig(class_name=name, config=json.dumps(given)) for name, given in metrics.items()]
            )
        ],
    )

def _extractors(config: Any, model: Any) -> list[Any]:
    from tensorflow_model_analysis.extractors import (
        features_extractor,
        labels_extractor,
        example_weights_extractor,
        predictions_extractor,
        slice_key_extractor,
        unbatch_extractor,
    )

    return [
        features_extractor.FeaturesExtractor(config),
        labels_extractor.LabelsExtractor(config),
        example_weights_extractor.ExampleWeightsExtractor(config),
        predictions_extractor.PredictionsExtractor(config, model),
        unbatch_extractor.UnbatchExtractor(),
        slice_key_extractor.SliceKeyExtractor(eval_config=config, materialize=False),
    ]


def _record_batches(
    records: Iterable[list[bytes]], *, labels: npt.NDArray[np.bool_], groups: Mapping[str, Sequence[str]]
) -> Iterator[pa.RecordBatch]:
    from tensorflow_model_analysis import constants

    start = 0
    for examples in records:
        part = slice(start, start + len(examples))
        start += len(examples)
        columns = {
            constants.ARROW_INPUT_COLUMN: pa.array(examples, pa.binary()),
            _LABEL: pa.array(labels[part].astype(np.float32)),
            **{name: pa.array(list(values[part]), pa.string()).cast(pa.binary()) for name, values in groups.items()},
        }
        lists = [pa.ListArray.from_arrays(pa.array(range(len(examples)+1), pa.int32()), column) for column in columns.values()]
        yield pa.RecordBatch.from_arrays(lists, list(columns))
