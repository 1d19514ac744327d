"""TensorFlow Model Analysis over the exported SavedModel: the official value of every slice.

TFMA loads the very SavedModel that would be released and scores the serialized examples through its
``serving_default`` signature. Labels and groups travel beside the examples, not inside them, so that attributes which
are no column of the data (age bands, the group of missing values) can be sliced on and nothing reaches the model that
serving would not send. The result is kept in TFMA's own format: ``tensorflow_model_analysis.load_eval_result(path)``.

TFMA spends about 2 ms on a row when each row is one element of its pipeline. Here the rows of a batch that share all
their groups are one element with vectors of labels and scores, which its combiners flatten; the example weight of 1
keeps the counts. All values are the same, several times sooner.

Traps that shape this file: rates of an empty denominator are NaN here and the string "NaN" in TFMA's JSON; the metrics
inside FairnessIndicators cannot carry value thresholds; ``min_slice_size`` together with ``cross_slicing_specs``
crashes; metrics share one pass over the rows only if their lists of thresholds are equal; NumPy's deprecation warnings
inside TFMA's inner loop cost more than the loop.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from probity.errors import AuditError

__all__ = [
    "Evaluation",
    "Grouping",
    "OfficialRate",
    "OfficialSlice",
    "SliceKey",
    "eval_config",
    "evaluate",
    "quantised",
    "read_slices",
    "rows_by_key",
    "run_tfma",
    "same_groups",
]

_LABEL = "probity_label"
_WEIGHT = "probity_weight"
_FAIRNESS = "fairness_indicators_metrics"
_AUC_STEPS = 10_000
_EPSILON = 1e-7  # TFMA's: binary_confusion_matrices._EPSILON

_STAND_ALONE = {
    "binary_accuracy": "accuracy",
    "precision": "precision",
    "recall": "true_positive_rate",
    "tpr": "true_positive_rate",
    "fpr": "false_positive_rate",
    "tnr": "true_negative_rate",
    "fnr": "false_negative_rate",
}
_FAIRNESS_RATES = {
    "positive_rate": "selection_rate",
    "precision": "precision",
    "recall": "true_positive_rate",
    "true_positive_rate": "true_positive_rate",
    "false_positive_rate": "false_positive_rate",
    "true_negative_rate": "true_negative_rate",
    "false_negative_rate": "false_negative_rate",
}

Grouping = tuple[str, ...]
SliceKey = frozenset[tuple[str, str]]
GroupRows = Callable[[dict[str, Any], Grouping], Iterator[dict[str, Any]]]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class OfficialRate:
    """One rate as TFMA reports it."""

    source: str
    """TFMA's name of the metric."""
    metric: str
    """Our name, from :data:`probity.metric.METRICS`."""
    threshold: float
    value: float | None
    """``None``: the denominator is empty."""


@dataclass(frozen=True, kw_only=True)
class OfficialSlice:
    """TFMA's values for one slice."""

    example_count: int
    auc: float | None
    """Of the scores rounded as :func:`quantised` does."""
    rates: tuple[OfficialRate, ...]


Evaluation = dict[SliceKey, OfficialSlice]
"""Slice as a set of ``(attribute, group)`` to TFMA's values; slices without rows are absent."""


def evaluate(
    saved_model: Path,
    examples: Path,
    *,
    labels: npt.NDArray[np.bool_],
    codes: Mapping[str, npt.NDArray[np.int32]],
    names: Mapping[str, tuple[str, ...]],
    groupings: Sequence[Grouping],
    thresholds: Sequence[float],
    output: Path,
) -> Evaluation:
    """Runs TFMA once and keeps its result folder.

    Args:
        saved_model: Folder with a ``serving_default`` signature that takes serialized ``tf.Example``.
        examples: Gzipped TFRecord of ``tf.Example``.
        labels: Whether each row is positive, in file order, shape (rows,).
        codes: Attribute to the group's position in ``names``, shape (rows,).
        names: Attribute to its groups.
        groupings: Combinations of attributes to slice on; the empty one is the slice of all rows.
        thresholds: Decision thresholds of the rates, ascending.
        output: Folder for TFMA's result; created.

    Raises:
        AuditError: If TFMA cannot evaluate the model. TFMA's own text is not repeated: it quotes rows.
    """
    return run_tfma(
        eval_config(groupings, _metrics(thresholds)),
        saved_model,
        examples,
        labels=labels.astype(np.float32),
        codes=codes,
        names=names,
        output=output,
        group=same_groups,
        read=lambda folder: _read(folder, thresholds),
    )


def run_tfma(
    config: Any,
    saved_model: Path,
    examples: Path,
    *,
    labels: npt.NDArray[Any],
    codes: Mapping[str, npt.NDArray[np.int32]],
    names: Mapping[str, tuple[str, ...]],
    output: Path,
    group: GroupRows,
    read: Callable[[Path], T],
) -> T:
    """Runs TFMA with a configuration, and keeps its result folder.

    Args:
        config: TFMA's ``EvalConfig``; see :func:`eval_config`.
        saved_model: As for :func:`evaluate`.
        examples: As for :func:`evaluate`.
        labels: What TFMA is given as label of each row, shape (rows,).
        codes: As for :func:`evaluate`.
        names: As for :func:`evaluate`.
        output: Folder for TFMA's result; created.
        group: Makes elements of TFMA's pipeline of the rows of a batch.
        read: Reads the result folder.

    Raises:
        AuditError: If TFMA cannot evaluate the model. TFMA's own text is not repeated: it quotes rows.
    """
    import apache_beam as beam
    import tensorflow_model_analysis as tfma
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    # Importing it registers FairnessIndicators with TFMA.
    from tensorflow_model_analysis.addons.fairness.metrics import fairness_indicators  # noqa: F401

    try:
        with _quiet():
            model = tfma.default_eval_shared_model(str(saved_model), eval_config=config)
            # The runner is named: Beam's default may fetch another one from the network.
            with beam.Pipeline(runner=FnApiRunner()) as pipeline:
                evaluation = (
                    pipeline
                    | "File" >> beam.Create([str(examples)], reshuffle=False)
                    | "Rows" >> beam.ParDo(_rows_fn(labels=labels, codes=codes, names=names))
                    | "Evaluate"
                    >> tfma.ExtractAndEvaluate(
                        extractors=_extractors(config, model, attributes=tuple(codes), group=group),
                        evaluators=tfma.default_evaluators(eval_config=config, eval_shared_model=model),
                    )
                )
                writers = tfma.default_writers(str(output), eval_shared_model=model, eval_config=config)
                evaluation | "Write" >> tfma.WriteResults(writers=writers)
            return read(output)
    except Exception as error:  # TFMA and Beam raise anything, with rows in the text
        raise AuditError(
            "TensorFlow Model Analysis of the exported model",
            seen=f"an error of type {type(error).__name__}",
            allowed="a SavedModel whose serving_default signature scores serialized tf.Example",
            remedy="run again with --debug to see the error that it raised",
        ) from error


def quantised(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
    """Returns the scores as TFMA's AUC sees them: the step among 10,000 thresholds that each falls into.

    Rows of one step count as ties, so TFMA's AUC is the exact AUC of these numbers; comparing it with the AUC of the
    scores themselves would need a tolerance that hides real disagreements where many scores are close together.
    """
    buckets = np.clip((scores.astype(np.float64) * _AUC_STEPS + 1).astype(np.int64), 0, _AUC_STEPS + 1)
    left = np.where(buckets > _AUC_STEPS, np.inf, (buckets - 1) / _AUC_STEPS)
    inner = np.arange(1, _AUC_STEPS - 1) / (_AUC_STEPS - 1)
    thresholds = np.concatenate([[0.0], inner + _EPSILON, [1.0 + 2 * _EPSILON]])
    return np.searchsorted(thresholds, left, side="right")


def _metrics(thresholds: Sequence[float]) -> dict[str, dict[str, Any]]:
    """Returns every metric at every threshold, by the name of TFMA's class."""
    at = {"thresholds": list(thresholds)}
    shared: dict[str, dict[str, Any]] = {"AUC": {}}
    shared |= dict.fromkeys(("Precision", "Recall", "TPR", "FPR", "TNR", "FNR"), at)
    shared |= dict.fromkeys(("ConfusionMatrixAtThresholds", "FairnessIndicators"), at)
    # Documented for one threshold, it takes several under that name and then shares the pass of the others.
    shared["BinaryAccuracy"] = {"threshold": at["thresholds"]}
    return shared


def eval_config(groupings: Sequence[Grouping], metrics: Mapping[str, Mapping[str, Any]]) -> Any:
    """Returns TFMA's configuration: the number of rows and these metrics, in every slice.

    Args:
        groupings: The attributes to slice by.
        metrics: Name of TFMA's class to its settings.
    """
    import tensorflow_model_analysis as tfma

    asked: dict[str, Mapping[str, Any]] = {"ExampleCount": {}, **metrics}
    configs = [tfma.MetricConfig(class_name=name, config=json.dumps(given)) for name, given in asked.items()]
    return tfma.EvalConfig(
        model_specs=[_model_spec()],
        slicing_specs=[tfma.SlicingSpec(feature_keys=list(grouping)) for grouping in dict.fromkeys(groupings)],
        metrics_specs=[tfma.MetricsSpec(metrics=configs)],
    )


def _model_spec() -> Any:
    """Returns how TFMA is to ask the model, and where it finds label and weight of a row."""
    import tensorflow_model_analysis as tfma

    # tf_generic: a Keras model would be loaded and traced a second time, to the same scores
    return tfma.ModelSpec(
        signature_name="serving_default", label_key=_LABEL, example_weight_key=_WEIGHT, model_type=tfma.TF_GENERIC
    )


def _rows_fn(
    *, labels: npt.NDArray[Any], codes: Mapping[str, npt.NDArray[np.int32]], names: Mapping[str, tuple[str, ...]]
) -> Any:
    """Returns the step that reads the examples and puts labels, weights and group names beside them."""
    import apache_beam as beam
    from tensorflow_model_analysis import constants

    from probity.tfexample import read_records

    texts = {name: np.array([group.encode() for group in groups], object) for name, groups in names.items()}

    class Rows(beam.DoFn):  # type: ignore[misc]
        def process(self, path: str) -> Iterator[dict[str, Any]]:
            start = 0
            for records in read_records(Path(path)):
                part = slice(start, start + len(records))
                start = part.stop
                features = {name: texts[name][codes[name][part]] for name in codes}
                features[_LABEL] = labels[part]
                features[_WEIGHT] = np.ones(len(records), np.float32)
                yield {constants.INPUT_KEY: np.array(records, object), constants.FEATURES_KEY: features}

    return Rows()


def _extractors(config: Any, model: Any, *, attributes: Grouping, group: GroupRows) -> list[Any]:
    from tensorflow_model_analysis.extractors import (
        example_weights_extractor,
        labels_extractor,
        predictions_extractor,
        slice_key_extractor,
    )

    return [
        labels_extractor.LabelsExtractor(config),
        example_weights_extractor.ExampleWeightsExtractor(config),
        predictions_extractor.PredictionsExtractor(config, model),
        _group_extractor(attributes, group),
        slice_key_extractor.SliceKeyExtractor(eval_config=config, materialize=False),
    ]


def _group_extractor(attributes: Grouping, group: GroupRows) -> Any:
    """Returns the extractor that makes elements of the rows of a batch."""
    import apache_beam as beam
    from tensorflow_model_analysis.extractors import extractor

    return extractor.Extractor(
        stage_name="GroupRows", ptransform=beam.FlatMap(lambda extracts: group(extracts, attributes))
    )


def rows_by_key(extracts: dict[str, Any], attributes: Grouping, more: Sequence[Any] = ()) -> dict[Any, list[int]]:
    """Returns the positions of the rows of a batch by their groups, and by whatever else is to set them apart.

    Args:
        extracts: A batch, as TFMA passes it on.
        attributes: Sensitive attributes.
        more: Further values per row.
    """
    from tensorflow_model_analysis import constants

    rows = len(extracts[constants.INPUT_KEY])
    columns = [*(extracts[constants.FEATURES_KEY][name] for name in attributes), *more]
    members: dict[Any, list[int]] = {}
    for row, key in enumerate(zip(*columns, strict=True) if columns else [()] * rows):
        members.setdefault(key, []).append(row)
    return members


def same_groups(extracts: dict[str, Any], attributes: Grouping) -> Iterator[dict[str, Any]]:
    """Yields one element with vectors of labels and scores for the rows of a batch that share all groups."""
    from tensorflow_model_analysis import constants

    vectors = (constants.LABELS_KEY, constants.PREDICTIONS_KEY, constants.EXAMPLE_WEIGHTS_KEY)
    rows = len(extracts[constants.INPUT_KEY])
    flat = {name: np.asarray(extracts[name]).reshape(rows, -1) for name in vectors}
    for key, positions in rows_by_key(extracts, attributes).items():
        yield {
            **{name: values[positions].ravel() for name, values in flat.items()},
            constants.FEATURES_KEY: dict(zip(attributes, (np.array([value], object) for value in key), strict=True)),
        }


def read_slices(output: Path) -> Iterator[tuple[SliceKey, int, dict[str, Any]]]:
    """Yields each slice that TFMA left, with its number of rows and TFMA's values by their names."""
    import tensorflow_model_analysis as tfma

    for entry in tfma.load_metrics(str(output)):
        key = frozenset((part.column, part.bytes_value.decode()) for part in entry.slice_key.single_slice_keys)
        values = {pair.key.name: pair.value for pair in entry.metric_keys_and_values}
        yield key, round(values["example_count"].double_value.value), values


def _read(output: Path, thresholds: Sequence[float]) -> Evaluation:
    result: Evaluation = {}
    for key, rows, values in read_slices(output):
        auc = values["auc"].double_value.value
        result[key] = OfficialSlice(
            example_count=rows,
            auc=None if math.isnan(auc) else auc,
            rates=tuple(_rates(values, thresholds)),
        )
    return result


def _rates(values: Mapping[str, Any], thresholds: Sequence[float]) -> Iterator[OfficialRate]:
    digits = max(1, *(len(str(value)) - 2 for value in thresholds))  # as FairnessIndicators names its metrics
    for place, threshold in enumerate(thresholds):
        found = {f"{_FAIRNESS}/{name}@{threshold:.{digits}f}": metric for name, metric in _FAIRNESS_RATES.items()}
        found |= _STAND_ALONE
        for source, metric in found.items():
            value = _number(values[source], place)
            yield OfficialRate(source=source, metric=metric, threshold=threshold, value=value)


def _number(value: Any, place: int) -> float | None:
    number = value.array_value.float64_values[place] if value.HasField("array_value") else value.double_value.value
    return None if math.isnan(number) else float(number)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences TFMA, Beam and TensorFlow, whose messages may quote rows, and NumPy's costly warnings."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
