"""Tracking: MLflow behind one small interface.

By default everything is in the workspace: a SQLite file, and a folder for artifacts beside it (left alone, MLflow's
artifacts land in the current folder). Any other tracking URI may be configured; only then is the network used, and
MLflow's telemetry is off in any case.

A tracker that cannot be reached must not cost the run: :class:`~probity.errors.TrackingError` says so, the caller
reports it, and the run folder is complete without it.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from probity import runs
from probity.config import RunConfig
from probity.data import ColumnKind, Dataset
from probity.errors import TrackingError
from probity.platform.tracking_store import artifact_root, open_client, quiet, turn
from probity.platform.tracking_values import infinities_of, metrics_of, params_of
from probity.runs import RunFolder
from probity.storage import write_atomically
from probity.workspace import Workspace

__all__ = ["TrackerStatus", "default_uri", "track", "track_rounds", "track_run"]

TrackerStatus = Literal["FINISHED", "FAILED", "KILLED"]
"""MLflow's words. A run that the gate holds is finished; its verdict is a tag."""

_Item = TypeVar("_Item")

_COLUMN_TYPES = {ColumnKind.INT: "long", ColumnKind.FLOAT: "float", ColumnKind.TEXT: "string"}


def default_uri(workspace: Path) -> str:
    """Returns the tracking URI of a workspace: a SQLite file inside it."""
    return f"sqlite:///{(workspace / 'mlflow.sqlite').resolve()}"


def track_run(config: RunConfig, folder: RunFolder, workspace: Workspace, *, parent: str | None = None) -> str:
    """Tracks a run as far as it got: settings, data, metrics, verdict, card.

    Guarantees: statistics, schema, examples, scored rows and reports stay in the run folder, and so do the numbers of
    groups below ``audits.min_group_size``. Tracking the same run again continues the same MLflow run.

    Args:
        config: What was asked.
        folder: The run.
        workspace: Holds the tracker by default.
        parent: MLflow run that this one is shown under.

    Returns:
        MLflow's run id.

    Raises:
        TrackingError: If the tracker cannot be reached or refuses the record.
        DataError: If a record in the run folder was changed or cannot be read.
    """
    dataset = folder.dataset() if (folder.path / runs.DATASET).is_file() else None
    model = folder.model() if (folder.path / runs.MODEL / "model.json").is_file() else None
    reports, size = folder.reports(), config.audits.min_group_size
    marker = folder.path / ".run" / "mlflow"
    key = track(
        uri=config.tracking.uri or default_uri(workspace.root),
        experiment=config.name,
        run_name=folder.id,
        status=_status(folder),
        params=params_of(config, dataset, model),
        metrics=metrics_of(reports, min_group_size=size),
        tags={
            **_tags(folder),
            **infinities_of(reports, min_group_size=size),
            **({} if parent is None else {"mlflow.parentRunId": parent}),
        },
        artifacts={name: path for name, path in _artifacts(folder).items() if path.exists()},
        history={} if model is None else model.history,
        dataset=dataset,
        resume=marker.read_text(encoding="utf-8") if marker.is_file() else None,
    )
    write_atomically(marker, key.encode())
    return key


def _status(folder: RunFolder) -> TrackerStatus:
    if (folder.path / runs.DECISION).is_file() or (folder.path / ".run" / "stopped").is_file():
        return "FINISHED" if folder.error is None else "FAILED"
    return "KILLED" if folder.error is None else "FAILED"


def _tags(folder: RunFolder) -> dict[str, str]:
    tags = {"probity.run": folder.id, "mlflow.source.name": "probity", "mlflow.source.type": "LOCAL"}
    if (folder.path / runs.DATASET).is_file():
        dataset = folder.dataset()
        tags |= {"probity.dataset": dataset.content_digest, "probity.data_file": dataset.source_digest}
    if (folder.path / runs.DECISION).is_file():
        decision = folder.decision()
        tags |= {"probity.verdict": decision.verdict, "probity.decision": decision.record_digest()}
        tags |= {"probity.model": decision.model or "none", "probity.card": decision.card or "none"}
        tags["probity.blocking"] = ", ".join(check.rule for check in decision.blocking) or "none"
    released = folder.release()
    if released is not None:
        tags |= {"probity.release": released.path, "probity.version": str(released.version)}
    if folder.error is not None:
        tags["probity.error"] = f"{folder.error.kind} in stage {folder.error.stage}"
    return tags


def _artifacts(folder: RunFolder) -> dict[str, Path]:
    return {
        f"config/{runs.CONFIG}": folder.path / runs.CONFIG,
        "model/model.json": folder.path / runs.MODEL / "model.json",
        "card": folder.path / runs.CARD,
        f"decision/{runs.DECISION}": folder.path / runs.DECISION,
        f"release/{runs.RELEASE}": folder.path / runs.RELEASE,
    }


def track(
    *,
    uri: str,
    experiment: str,
    run_name: str,
    status: TrackerStatus,
    params: Mapping[str, str],
    metrics: Mapping[str, float],
    tags: Mapping[str, str],
    artifacts: Mapping[str, Path],
    history: Mapping[str, Sequence[float]],
    dataset: Dataset | None = None,
    resume: str | None = None,
) -> str:
    """Writes one MLflow run.

    Args:
        uri: Tracking URI. For SQLite, artifacts go to ``mlartifacts`` beside the file, and processes take turns.
        experiment: Name of the experiment; created if absent.
        run_name: Name of the run.
        status: How it ended.
        params: Parameters.
        metrics: Finite metrics with legal keys.
        tags: Tags.
        artifacts: Path in MLflow's store to a local file of the same name, or to a local folder.
        history: Per metric, its finite values by epoch, from epoch 1.
        dataset: The data, recorded by name, digest, source and column types.
        resume: Id of an MLflow run to continue, if the tracker still has it.

    Returns:
        MLflow's run id.

    Raises:
        TrackingError: If the tracker cannot be reached or refuses the record. Nothing else is raised for that.
    """
    with _reached(uri) as client:
        run = _run(client, uri, experiment=experiment, run_name=run_name, resume=resume)
        key = str(run.info.run_id)
        new_metrics = {name: value for name, value in metrics.items() if name not in run.data.metrics}
        new_history = {name: values for name, values in history.items() if name not in run.data.metrics}
        new_params = {name: value for name, value in params.items() if name not in run.data.params}
        _log(client, key, params=new_params, metrics=new_metrics, tags=tags, history=new_history)
        if dataset is not None and not run.inputs.dataset_inputs:
            client.log_inputs(key, datasets=[_dataset_input(dataset)])
        for name, path in artifacts.items():
            if path.is_dir():
                client.log_artifacts(key, str(path), name)
            else:
                client.log_artifact(key, str(path), name.rpartition("/")[0] or None)
        client.set_terminated(key, status)
    return key


def track_rounds(
    *, uri: str, experiment: str, run_name: str, rounds: Mapping[int, Mapping[str, float]], resume: str | None
) -> str:
    """Adds rounds to an MLflow run that is going on, and begins it if there is none.

    Args:
        uri: As in :func:`track`.
        experiment: As in :func:`track`.
        run_name: As in :func:`track`.
        rounds: Finite numbers by name, by the round's number.
        resume: Id of the MLflow run, if it was begun.

    Returns:
        MLflow's run id. To be resumed, by these rounds' successors and by :func:`track`.

    Raises:
        TrackingError: If the tracker cannot be reached or refuses the record.
    """
    with _reached(uri) as client:
        key = str(_run(client, uri, experiment=experiment, run_name=run_name, resume=resume).info.run_id)
        _log_points(client, key, [(name, value, step) for step, own in rounds.items() for name, value in own.items()])
    return key


@contextmanager
def _reached(uri: str) -> Iterator[Any]:
    """Yields MLflow's client in our turn.

    Raises:
        TrackingError: For whatever is raised inside.
    """
    if not urlsplit(uri).scheme:
        # MLflow takes a URI without a scheme for a folder, or for its own default in the current folder.
        raise TrackingError(
            "tracking.uri",
            seen="no scheme",
            allowed="sqlite:///FILE, or the URI of a reachable MLflow server",
            remedy="leave it out to track inside the workspace",
        )
    try:
        with turn(uri), quiet():
            yield open_client(uri)
    except Exception as error:
        # Whatever the tracker's many layers raise, its text may quote the record or the credentials in the URI.
        raise TrackingError(
            f"tracking.uri {_shown(uri)}",
            seen=f"MLflow could not write there ({type(error).__name__})",
            allowed="sqlite:///FILE, or the URI of a reachable MLflow server",
            remedy="check that it is reachable and writable; the run itself is complete in its folder",
        ) from error


def _shown(uri: str) -> str:
    """Returns what may be printed of a URI: no user, no password, no query."""
    parts = urlsplit(uri)
    if parts.scheme.startswith("sqlite"):
        return f"sqlite:///…/{Path(parts.path).name}"
    try:
        place = f"{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}"
    except ValueError:
        place = ""
    return f"{parts.scheme}://{place}"


# --- MLflow ---------------------------------------------------------------------------------------------------------


def _find_run(client: Any, key: str | None) -> Any | None:
    from mlflow.exceptions import MlflowException

    if key is None:
        return None
    try:
        return client.get_run(key)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def _run(client: Any, uri: str, *, experiment: str, run_name: str, resume: str | None) -> Any:
    return _find_run(client, resume) or client.create_run(_experiment(client, experiment, uri), run_name=run_name)


def _experiment(client: Any, name: str, uri: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifact_root(uri)))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another process was first
    return str(found.experiment_id)


def _log(
    client: Any,
    key: str,
    *,
    params: Mapping[str, str],
    metrics: Mapping[str, float],
    tags: Mapping[str, str],
    history: Mapping[str, Sequence[float]],
) -> None:
    from mlflow.entities import Param, RunTag

    points = [(name, value, 0) for name, value in metrics.items()]
    for name, values in history.items():
        points += [(name, value, step) for step, value in enumerate(values, 1) if math.isfinite(value)]
    _log_points(client, key, points)
    for chunk in _chunks([Param(name, value) for name, value in params.items()], 100):
        client.log_batch(key, params=chunk)
    for chunk in _chunks([RunTag(name, value) for name, value in tags.items()], 100):
        client.log_batch(key, tags=chunk)


def _log_points(client: Any, key: str, points: Sequence[tuple[str, float, int]]) -> None:
    from mlflow.entities import Metric

    moment = int(time.time() * 1000)
    for chunk in _chunks([Metric(name, value, moment, step) for name, value, step in points], 1000):
        client.log_batch(key, metrics=chunk)


def _chunks(items: Sequence[_Item], size: int) -> Iterable[Sequence[_Item]]:
    """Cuts a batch to the sizes that MLflow accepts in one request."""
    return (items[start : start + size] for start in range(0, len(items), size))


def _dataset_input(dataset: Dataset) -> Any:
    from mlflow.entities import Dataset as TrackedDataset
    from mlflow.entities import DatasetInput, InputTag

    columns = [{"name": column.name, "type": _COLUMN_TYPES[column.kind]} for column in dataset.columns]
    tracked = TrackedDataset(
        name=dataset.name,
        digest=dataset.content_digest.removeprefix("sha256:")[:36],  # the length of MLflow's column
        source_type="local",
        source=json.dumps({"uri": dataset.source, "digest": dataset.source_digest}),
        schema=json.dumps({"mlflow_colspec": columns}),
    )
    return DatasetInput(tracked, tags=[InputTag("mlflow.data.context", "training")])
