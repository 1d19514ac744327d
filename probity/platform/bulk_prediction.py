"""Scores of many unlabelled rows, file to file, by the bytes that were released: the BulkInferrer of TFX.

Only a released version is asked, and only while it still is what was released: its folder is copied, the copy has to
verify, and the copy is loaded. What the gate holds, what a reviewer rejected afterwards and what monitoring declared to
be no longer covered by its audits scores nobody.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from probity.data import Dataset
from probity.errors import ConfigError, DataError, ReleaseError, ReleaseHeldError, SignatureError
from probity.history import DataRejected, EvidenceExpired, Rejected
from probity.platform.columns import as_trained, from_typed
from probity.platform.pieces import read_pieces
from probity.platform.readers import format_of
from probity.platform.release.project import Project
from probity.platform.release.verification import require_verified
from probity.predictor import load_predictor
from probity.runs import RunFolder

if TYPE_CHECKING:
    import pyarrow as pa

    from probity.decision import Release
    from probity.predictor import SavedModelPredictor

__all__ = ["predict_file"]

_AGAINST = {
    "rejected": "a reviewer rejected it",
    "data_rejected": "a reviewer rejected its data",
    "evidence_expired": "its evidence was declared expired",
}


def predict_file(run: RunFolder, source: Path, out: Path, *, id_column: str | None = None) -> int:
    """Scores every row of a file with the model that a run released.

    Guarantees: rows come in the order of the file; what is there under ``out`` is complete, for it appears by one
    rename; memory does not grow with the file. The result is readable by its owner alone: scores are personal data.

    Args:
        run: A released run.
        source: CSV, Parquet or TFRecord with the model's feature columns; a label and further columns are ignored.
        out: A Parquet file: ``score``, or ``score:<class>`` for each class of a multi-class label.
        id_column: A column of the source that is carried over, so that the scores can be joined.

    Returns:
        The number of rows.

    Raises:
        ReleaseHeldError: If the run was not released, was rejected since, or its evidence was declared expired.
        ReleaseError: If the version is gone.
        SignatureError: If it is not what was released, or the model's history does not verify.
        DataError: If the rows cannot be read or are not those of this model; says columns and counts, never values.
        ConfigError: If ``out`` cannot be written.
    """
    project, release = Project.of_run(run), _released(run)
    with TemporaryDirectory(prefix="probity-") as scratch:
        model = _verified_copy(project, release, Path(scratch))
        batches = _scored(load_predictor(model), run, source, id_column=id_column)
        return _write(batches, out, source=source, about={"run": run.id, "model": release.model})


def _released(run: RunFolder) -> Release:
    release, seen = run.release(), None
    if release is None:
        seen = f"no release; its status is {run.status()}"
    else:
        for entry in Project.of_run(run).verified_history():
            event = entry.event
            if isinstance(event, Rejected | DataRejected | EvidenceExpired) and event.run == run.id:
                seen = f"{_AGAINST[event.kind]} at {event.at[:19]}"
    if release is None or seen is not None:
        raise ReleaseHeldError(
            f"run {run.id}",
            seen=str(seen),
            allowed="a released run that nobody rejected, whose evidence covers what it meets now",
            remedy=f"see every check with: probity gate {run.id}",
        )
    return release


def _verified_copy(project: Project, release: Release, scratch: Path) -> Path:
    """Returns a copy of the version that nobody else can change, after it verified."""
    name, version = release.model_name, str(release.version)
    place = scratch / name / version
    try:
        shutil.copytree(project.base_path / name / version, place, symlinks=True)
    except (OSError, shutil.Error) as error:
        raise ReleaseError(
            f"{name}/{version}",
            seen=f"the version cannot be read ({type(error).__name__})",
            allowed="a version in the folder of the releases",
            remedy="restore it, or name a run whose version is there: probity releases MODEL",
        ) from error
    verified = require_verified(place, trusted_keys=project.trusted(), signing=project.config.signing)
    if (verified.run, verified.model) != (release.run, release.model):
        raise SignatureError(
            f"{name}/{version}",
            seen="a version that another run made",
            allowed="the version that this run released",
            remedy="name the run that made it: probity releases MODEL",
        )
    return place


def _scored(
    predictor: SavedModelPredictor, run: RunFolder, source: Path, *, id_column: str | None
) -> Iterator[pa.Table]:
    import pyarrow as pa

    dataset, kind = run.dataset(), format_of(source)
    missing = run.config().data.missing_values if kind == "csv" else None
    wanted = predictor.columns or tuple(feature.name for feature in dataset.features)
    trained = tuple(column for column in dataset.columns if column.name in wanted)
    asked = {*wanted, *((id_column,) if id_column else ())}
    for number, rows in enumerate(read_pieces(source)):
        if kind == "tfrecord" and number:  # a tf.Example may leave out what is missing, and so may all of one piece
            for name in sorted(asked - {*rows.column_names}):
                rows = rows.append_column(name, pa.nulls(rows.num_rows))
        _require_columns(rows, asked, source=source)
        typed = {column.name: as_trained(column, rows.column(column.name), missing=missing) for column in trained}
        scores = predictor.scores(pa.table(typed))
        columns = {} if id_column is None else {id_column: from_typed(id_column, rows.column(id_column))}
        of_class = zip(_names(dataset), scores.T, strict=True)
        yield pa.table(columns | {name: pa.array(column, pa.float32()) for name, column in of_class})


def _names(dataset: Dataset) -> tuple[str, ...]:
    return tuple(f"score:{name}" for name in dataset.classes) or ("score",)


def _require_columns(rows: pa.Table, names: Collection[str], *, source: Path) -> None:
    absent = sorted(name for name in names if name not in rows.column_names)
    if absent:
        raise DataError(
            source.name,
            seen=f"no column {', '.join(absent)}",
            allowed=f"the columns {', '.join(sorted(names))}; further ones are ignored",
            remedy="give every column that the model was trained on; a value that is missing is an empty cell",
        )


def _write(batches: Iterator[pa.Table], out: Path, *, source: Path, about: dict[str, str]) -> int:
    """Writes pieces as they come; a file that was begun and not finished does not stay."""
    import pyarrow.parquet as pq

    first = next(batches, None)
    if first is None:
        raise DataError(
            source.name,
            seen="0 rows",
            allowed="at least one row",
            remedy="check how the file was written",
        )
    schema = first.schema.with_metadata({f"probity.{name}": text for name, text in about.items()})
    incoming, rows = out.with_name(f".{out.name}.{os.getpid()}.tmp"), 0
    try:
        with (
            open(os.open(incoming, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file,
            pq.ParquetWriter(file, schema) as writer,
        ):
            for piece in chain([first], batches):
                writer.write_table(piece.cast(schema))
                rows += piece.num_rows
        incoming.replace(out)
    except OSError as error:
        raise ConfigError(
            f"--out {out}",
            seen=f"it cannot be written ({type(error).__name__})",
            allowed="a file in a folder that is there, on a disk with room",
            remedy="choose another",
        ) from error
    finally:
        incoming.unlink(missing_ok=True)
    return rows
