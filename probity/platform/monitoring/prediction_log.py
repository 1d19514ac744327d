"""The prediction register: what was answered to which tracking id, by which version; opt-in, in Parquet files.

::

    <folder>/<model_name>/<version>/<milliseconds>-<process>-<number>.parquet    one row per row of a request

Columns: ``tracking_id``, ``answered_at`` (seconds since the epoch), ``score`` (``score:0``, ``score:1`` and so on of a
model of several classes), ``has_inputs``, and ``input:NAME`` for each input of the model. Whether inputs are kept is
the consent policy's to say: ``none``; ``consented``, for the tracking ids of a list; or ``all``, where the law or the
contract already allows it. Groups are never in here; they are joined when the log is read.

The files hold personal data: folders are made for their owner alone (0700), and :func:`forget` removes what is older
than it has to be kept. A file appears by rename, whole; what a killed process still held in memory is lost, at most
``flush_seconds`` of it.
"""

from __future__ import annotations

import itertools
import os
import queue
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from probity.errors import DataError

if TYPE_CHECKING:
    from probity.platform.serving.prediction_log import Prediction

__all__ = ["INPUT", "POLICIES", "Inputs", "ParquetLog", "forget", "read_log", "row_ids", "score_columns"]

Inputs = Literal["none", "consented", "all"]

POLICIES: tuple[Inputs, ...] = ("none", "consented", "all")
"""The consent policies."""

INPUT = "input:"
"""What the columns of inputs begin with; an input may be called as one of the others."""

_NUMBERS = itertools.count()


def row_ids(tracking_id: str, rows: int) -> list[str]:
    """Returns the tracking id of each row of a request: named one by one, separated by commas, or by number."""
    named = [part.strip() for part in tracking_id.split(",")]
    if len(named) == rows:
        return named
    return [f"{tracking_id}/{number}" for number in range(rows)]


def score_columns(num_scores: int) -> list[str]:
    """Returns the names of the columns that hold a row's scores."""
    return ["score"] if num_scores == 1 else [f"score:{number}" for number in range(num_scores)]


class ParquetLog:
    """Keeps predictions of one process. Never waits for a disk where it is called; a thread writes.

    Args:
        folder: Of all models' logs.
        inputs: The consent policy.
        consented: For ``consented``: a text file of tracking ids, one per line, read once.
        flush_seconds: How long rows may lie in memory.
        most_requests: How many requests may wait to be written; further ones are refused with ``queue.Full``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        inputs: Inputs = "none",
        consented: Path | None = None,
        flush_seconds: float = 5.0,
        most_requests: int = 20_000,
    ) -> None:
        self._folder, self._inputs, self._flush_seconds = folder, inputs, flush_seconds
        self._consented = frozenset(consented.read_text(encoding="utf-8").split()) if consented else frozenset()
        self._waiting: queue.Queue[Prediction | None] = queue.Queue(most_requests)
        self._writer = threading.Thread(target=self._write_all, name="prediction-log", daemon=True)
        self._writer.start()

    def record(self, prediction: Prediction) -> None:
        """Takes a prediction.

        Raises:
            queue.Full: If the disk does not keep up; the prediction is not logged.
        """
        self._waiting.put_nowait(prediction)

    def close(self) -> None:
        """Writes what is still held."""
        self._waiting.put(None)
        self._writer.join()

    def _write_all(self) -> None:
        open_ended = True
        while open_ended:
            held: dict[tuple[str, int], list[pa.Table]] = {}
            deadline = time.monotonic() + self._flush_seconds
            while (left := deadline - time.monotonic()) > 0:
                try:
                    prediction = self._waiting.get(timeout=left)
                except queue.Empty:
                    break
                if prediction is None:
                    open_ended = False
                    break
                table = self._rows(prediction)
                if table is not None:
                    held.setdefault((prediction.model_name, prediction.version), []).append(table)
            for (name, version), tables in held.items():
                _write(pa.concat_tables(tables, promote=True), self._folder / name / str(version))

    def _rows(self, prediction: Prediction) -> pa.Table | None:
        scores = prediction.outputs.get("scores")
        if scores is None or np.ndim(scores) not in (1, 2):
            return None  # what another signature answers
        by_row = np.asarray(scores, np.float64).reshape(len(scores), -1 if len(scores) else 1)
        ids = row_ids(prediction.tracking_id, len(by_row))
        kept = [self._inputs == "all" or (self._inputs == "consented" and name in self._consented) for name in ids]
        columns: dict[str, Any] = {
            "tracking_id": pa.array(ids, pa.string()),
            "answered_at": pa.array([prediction.answered_at] * len(by_row), pa.float64()),
            **{name: pa.array(column) for name, column in zip(score_columns(by_row.shape[1]), by_row.T, strict=True)},
            "has_inputs": pa.array(kept, pa.bool_()),
        }
        if any(kept):
            columns |= {f"{INPUT}{name}": _kept(column, kept) for name, column in _columns(prediction.inputs).items()}
        return pa.table(columns)


def _columns(inputs: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, list[Any]]:
    """Returns the inputs by column: text, numbers, ``None`` where missing."""
    if set(inputs) == {"examples"}:
        return _of_examples(np.asarray(inputs["examples"], object).reshape(-1))
    return {name: [_plain(entry) for entry in np.asarray(array).reshape(-1)] for name, array in inputs.items()}


def _of_examples(records: Iterable[Any]) -> dict[str, list[Any]]:
    import tensorflow as tf

    parsed = [tf.train.Example.FromString(bytes(record)).features.feature for record in records]
    found: dict[str, list[Any]] = {name: [] for features in parsed for name in features}
    for features in parsed:
        for name, column in found.items():
            kind = features[name].WhichOneof("kind") if name in features else None
            held = getattr(features[name], kind).value if kind else ()
            column.append(_plain(held[0]) if held else None)
    return found


def _plain(entry: Any) -> Any:
    if isinstance(entry, bytes):
        return entry.decode("utf-8", "replace") or None  # an empty text is how a missing one is sent
    number = float(entry)
    return None if np.isnan(number) else number


def _kept(column: list[Any], kept: list[bool]) -> pa.Array:
    values = [entry if keep else None for entry, keep in zip(column, kept, strict=True)]
    if any(isinstance(entry, str) for entry in column):
        return pa.array(values, pa.string())
    # Nothing but missing values says nothing of the type; null goes together with any other file's.
    return pa.array(values, pa.float64() if any(entry is not None for entry in column) else pa.null())


def _write(table: pa.Table, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    name = f"{time.time_ns() // 1_000_000}-{os.getpid()}-{next(_NUMBERS)}"
    temporary = folder / f".{name}.tmp"
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        pq.write_table(table, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(folder / f"{name}.parquet")


def read_log(folder: Path, model_name: str, versions: Collection[int], *, since: float, until: float) -> pa.Table:
    """Reads what some versions answered in a period.

    Guarantees: a tracking id that was asked several times stands once, with its last answer.

    Args:
        folder: As for :class:`ParquetLog`.
        model_name: The model.
        versions: The versions.
        since: Seconds since the epoch, included.
        until: The same, not included.

    Raises:
        DataError: If a file cannot be read.
    """
    folders = [folder / model_name / str(version) for version in versions]
    files = [path for of_version in folders for path in sorted(of_version.glob("[0-9]*.parquet"))]
    try:
        tables = [pq.read_table(path) for path in files]
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            "prediction log",
            seen=f"a file that cannot be read ({type(error).__name__})",
            allowed="the Parquet files that a server wrote",
            remedy="restore the file, or take it out of the folder",
        ) from error
    if not tables:
        return pa.table({"tracking_id": pa.array([], pa.string())})
    table = pa.concat_tables(tables, promote=True)
    times = table.column("answered_at").to_numpy()
    table = table.take(pa.array(np.flatnonzero((times >= since) & (times < until))))
    order = np.argsort(table.column("answered_at").to_numpy(), kind="stable")
    last = {
        name: int(row)
        for row, name in zip(order, table.column("tracking_id").take(pa.array(order)).to_pylist(), strict=True)
    }
    return table.take(pa.array(sorted(last.values()), pa.int64()))


def forget(folder: Path, *, before: float) -> int:
    """Removes the files that were written before a moment (seconds since the epoch). Returns how many."""
    old = [path for path in folder.glob("*/*/[0-9]*.parquet") if int(path.name.split("-")[0]) < before * 1000]
    for path in old:
        path.unlink()
    return len(old)
