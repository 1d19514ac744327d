"""The feedback register, and what may be learnt from it: feedback joined with predictions by tracking id.

============================  ==========================================================================================
what came back                 what it says of the label
============================  ==========================================================================================
``label``: the true one        that label (a correction, an expert's annotation, or what happened later)
``verdict``: ``correct``       the label is the class that was predicted; of a number it says nothing
``verdict``: ``wrong``         of two classes the other one; of several, and of a number, nothing
``clicked``: true              of two classes the positive label, but only an implicit one; else nothing
``clicked``: false             nothing: not clicking is no answer
============================  ==========================================================================================

Implicit feedback comes of what people were shown, so it is never used for quality, and for training only once
``implicit_minimum`` of it has come together. Whatever the kind, feedback exists for those who answered: quality
measured on it is quality on them.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from probity.data import Dataset
from probity.errors import DataError
from probity.groups import value_texts
from probity.platform.monitoring.answers import Label
from probity.platform.monitoring.prediction_log import INPUT
from probity.storage import write_atomically

__all__ = ["IMPLICIT_MINIMUM", "Labelled", "add_feedback", "labels", "read_feedback", "training_rows"]

IMPLICIT_MINIMUM = 1000
"""Clicks that have to come together before any of them becomes an example."""

_KINDS = ("label", "verdict", "clicked")


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """What feedback says of one prediction."""

    tracking_id: str
    label: Label
    source: Literal["label", "verdict", "clicked"]


def add_feedback(source: Path, register: Path) -> int:
    """Adds a file of feedback, CSV or Parquet, to a register. Returns the number of its rows.

    Args:
        source: ``tracking_id`` and at least one of ``label``, ``verdict`` and ``clicked``.
        register: Folder; created if absent, for its owner alone.

    Raises:
        DataError: If the file is no such table.
    """
    try:
        table = pq.read_table(source) if source.suffix == ".parquet" else pyarrow.csv.read_csv(source)
    except (OSError, pa.ArrowException) as error:
        raise _unusable(f"no readable table ({type(error).__name__})") from error
    known = [name for name in _KINDS if name in table.column_names]
    if "tracking_id" not in table.column_names or not known:
        raise _unusable(f"columns {', '.join(table.column_names)}")
    texts = {name: pa.array(value_texts(table.column(name)), pa.string()) for name in ("tracking_id", *known)}
    if "verdict" in texts:
        others = sum(text not in ("correct", "wrong", None) for text in texts["verdict"].to_pylist())
        if others:
            raise _unusable(f"{others} verdicts that are neither correct nor wrong")
    register.mkdir(parents=True, exist_ok=True, mode=0o700)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(texts), sink)
    write_atomically(register / f"{time.time_ns()}-{os.getpid()}.parquet", sink.getvalue().to_pybytes())
    return int(table.num_rows)


def read_feedback(register: Path) -> pa.Table:
    """Reads all feedback, oldest first.

    Raises:
        DataError: If a file of the register cannot be read.
    """
    try:
        tables = [pq.read_table(path) for path in sorted(register.glob("[0-9]*.parquet"))]
    except (OSError, pa.ArrowException) as error:
        raise _unusable(f"a file of the register that cannot be read ({type(error).__name__})") from error
    empty = pa.table({name: pa.array([], pa.string()) for name in ("tracking_id", *_KINDS)})
    return pa.concat_tables([empty, *tables], promote=True)


def labels(feedback: pa.Table, predicted: Mapping[str, Label | None], dataset: Dataset) -> dict[str, Labelled]:
    """Joins feedback with predictions: what is known of the label of each prediction.

    Guarantees: feedback on what was never predicted is left out; of several answers the strongest kind counts (a label
    before a verdict before a click), and of one kind the latest.

    Args:
        feedback: As :func:`read_feedback` gives it.
        predicted: Tracking id to what was predicted; ``None`` where the model answered no number.
        dataset: Says what a label is.
    """
    found: dict[str, Labelled] = {}
    columns = {name: feedback.column(name).to_pylist() for name in ("tracking_id", *_KINDS)}
    for tracking_id, label, verdict, clicked in zip(*columns.values(), strict=True):
        if tracking_id not in predicted:
            continue
        source: Literal["label", "verdict", "clicked"]
        if label is not None:
            known, source = _of_label(label, dataset), "label"
        elif verdict is not None:
            known, source = _of_verdict(verdict == "correct", predicted[tracking_id], dataset), "verdict"
        else:
            known, source = _of_click(clicked, dataset), "clicked"
        if known is None:
            continue
        entry = Labelled(tracking_id=tracking_id, label=known, source=source)
        earlier = found.get(tracking_id)
        if earlier is None or _KINDS.index(entry.source) <= _KINDS.index(earlier.source):
            found[tracking_id] = entry
    return found


def _of_label(text: str, dataset: Dataset) -> Label | None:
    if dataset.task == "binary":
        return text == str(dataset.positive)
    if dataset.task == "multiclass":
        return text if text in dataset.classes else None  # a class that the model does not know
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _of_verdict(correct: bool, predicted: Label | None, dataset: Dataset) -> Label | None:
    if predicted is None or dataset.task == "regression":
        return None
    if dataset.task == "binary":
        return bool(predicted) == correct
    return predicted if correct else None


def _of_click(clicked: str | None, dataset: Dataset) -> Label | None:
    yes = clicked is not None and clicked.lower() in ("true", "1")
    return True if yes and dataset.task == "binary" else None


def training_rows(
    log: pa.Table, known: dict[str, Labelled], dataset: Dataset, *, implicit_minimum: int = IMPLICIT_MINIMUM
) -> pa.Table:
    """Returns new examples: the logged inputs with the label that feedback gave, and the tracking id of each.

    Only rows whose inputs were kept can become examples. Clicks do from ``implicit_minimum`` of them on.

    Args:
        log: As :func:`probity.platform.monitoring.prediction_log.read_log` gives it.
        known: As :func:`labels` gives it.
        dataset: Says what the label's column is called. Of a binary label only the positive value is known; the other
            one is written as ``not`` and that value.
        implicit_minimum: See :data:`IMPLICIT_MINIMUM`.
    """
    clicks = sum(entry.source == "clicked" for entry in known.values())
    usable = {name: entry for name, entry in known.items() if entry.source != "clicked" or clicks >= implicit_minimum}
    if "has_inputs" not in log.column_names:
        return log.slice(0, 0)
    ids, kept = log.column("tracking_id").to_pylist(), log.column("has_inputs").to_pylist()
    rows = [row for row, name in enumerate(ids) if kept[row] and name in usable]
    inputs = [name for name in log.column_names if name.startswith(INPUT)]
    table = log.select(["tracking_id", *inputs]).take(pa.array(rows, pa.int64()))
    table = table.rename_columns(["tracking_id", *(name.removeprefix(INPUT) for name in inputs)])
    given = [usable[ids[row]].label for row in rows]
    if dataset.task == "binary":
        given = [str(dataset.positive) if label else f"not {dataset.positive}" for label in given]
    kind = pa.float64() if dataset.task == "regression" else pa.string()
    return table.append_column(dataset.label, pa.array(given, kind))


def _unusable(seen: str) -> DataError:
    return DataError(
        "feedback",
        seen=seen,
        allowed="CSV or Parquet with tracking_id and at least one of label, verdict (correct, wrong) and clicked",
        remedy="see the how-to page on monitoring",
    )
