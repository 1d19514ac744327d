"""A trained model as shares on three servers, and predictions with it of which no server sees anything.

::

    <base_path>/<model_name>.shares/<version>/
    ├── shares.json          what is public: architecture, protocol, digest of the model, decision
    ├── client/              the transform graph, which the client runs on its own rows
    └── server0/ server1/ server2/    each to be moved to its server, and removed here

The six steps of a prediction: the client loads and transforms its rows, deals shares of them, the servers compute on
shares, the client puts the shares of the answers together and takes the sigmoid. Works for every dense model with a
Keras file, also one that was trained with differential privacy.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from probity.data import Transform
from probity.digest import digest_tree, require_digest
from probity.errors import DataError, DigestMismatchError, ReleaseError
from probity.platform.verdict import require_permission
from probity.record import Digest, Record
from probity.run_reviews import SAVED_MODEL
from probity.runs import MODEL, TRANSFORM, RunFolder
from probity.storage import read_record, write_record
from probity.trainers.encrypted.messages import INITIAL, party_file, write_arrays
from probity.trainers.encrypted.settings import SERVERS
from probity.trainers.worker import Runner, run_worker
from probity.trainers.worker_messages import PROBE, PROBE_INPUTS
from probity.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from probity.trainers.worker_environments import WorkerEnvironment

__all__ = ["SHARES", "Prediction", "SharedModel", "base_path_of", "latest_shares", "predict_on_shares", "share_model"]

SHARES = "shares.json"
_NAME = "encrypted"
_DEADLINE_SECONDS = 900.0
_START_SECONDS = 180.0


class SharedModel(Record):
    """What everybody may know of a model that lies in shares (``shares.json``)."""

    schema_version: Literal[1] = 1
    run: str
    model: Digest
    """Digest of the audited SavedModel."""
    decision: Digest
    """Of the gate's decision to release it."""
    protocol: Literal["aby3", "securenn"]
    precision: Literal[64, 128]
    architecture: str
    """The dense layers as Keras JSON, without weights."""
    inputs: tuple[str, ...]
    """The transform's outputs in the order in which they are joined."""
    num_columns: int = Field(ge=1)
    transform: Transform


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """What the client has at the end.

    Attributes:
        scores: Probability of each row, float64 of shape (rows,).
        facts: ``start_seconds``, ``compile_seconds``, ``predict_seconds``, and ``sent_bytes`` by party.
    """

    scores: npt.NDArray[np.float64]
    facts: dict[str, Any]


def base_path_of(folder: RunFolder, workspace: Workspace) -> Path:
    """Returns where the run's config puts releases."""
    root = (workspace.root / folder.provenance()["config_folder"]).resolve()
    path: Path = (root / folder.config().serving.base_path).resolve()
    return path


def share_model(
    folder: RunFolder,
    *,
    base_path: Path,
    protocol: Literal["aby3", "securenn"] = "aby3",
    precision: Literal[64, 128] = 64,
    environment: WorkerEnvironment | None = None,
    runner: Runner = run_worker,
) -> Path:
    """Deals shares of a run's model to three folders, one for each server.

    Guarantees: a release of the run is permitted now, as it is for a push in the clear: by the policy and the evidence
    as they were, with the approvals that it asks for; the shares are of the audited model's weights; the version folder
    appears by one rename.

    Returns:
        The version's folder.

    Raises:
        ReleaseHeldError: If the verdict is hold, was, or was changed since.
        DigestMismatchError: If the Keras file does not hold the weights that were audited.
        ReleaseError: If there is no Keras file beside the model.
        ConfigError: If the model cannot be computed on shares; names the layers.
        WorkerError: If the worker is not ready, or failed.
    """
    import tensorflow as tf

    from probity.trainers.encrypted.stack import stack_of
    from probity.trainers.export import weights_digest

    decision = require_permission(folder)
    require_digest("SavedModel", found=digest_tree(folder.path / SAVED_MODEL), recorded=str(decision.model))
    path = folder.path / MODEL / "model.keras"
    if not path.is_file():
        raise ReleaseError(
            f"run {folder.id}",
            seen="there is no Keras file beside its model, as its decision depends on the group",
            allowed="a model whose scores are a network's alone",
            remedy="release a model without a group rule",
        )
    _require_audited(folder)
    model = tf.keras.models.load_model(path, compile=False)
    require_digest("model.keras", found=weights_digest(model), recorded=folder.model().weights)
    stack = stack_of(model, protocol=protocol)
    sequential = stack.sequential()
    shared = SharedModel(
        run=folder.id,
        model=str(decision.model),
        decision=decision.record_digest(),
        protocol=protocol,
        precision=precision,
        architecture=sequential.to_json(),
        inputs=stack.inputs,
        num_columns=int(sequential.input_shape[1]),
        transform=folder.transform(),
    )
    return _publish(folder, shared, stack.weights(), base_path=base_path, environment=environment, runner=runner)


def _publish(
    folder: RunFolder,
    shared: SharedModel,
    weights: list[npt.NDArray[np.float32]],
    *,
    base_path: Path,
    environment: WorkerEnvironment | None,
    runner: Runner,
) -> Path:
    """Deals the shares, and makes the version's folder appear by one rename."""
    models = base_path / f"{folder.config().serving.model_name}.shares"
    version = str(max(int(datetime.now(UTC).timestamp()), *(int(p.name) + 1 for p in _versions(models)), 0))
    incoming = models / f".incoming-{version}"
    shutil.rmtree(incoming, ignore_errors=True)
    try:
        _deal(shared, weights, incoming / "worker", environment=environment, runner=runner)
        for server in SERVERS:
            shutil.move(incoming / "worker" / "shares" / server, incoming / server)
        shutil.copytree(folder.path / TRANSFORM / shared.transform.graph, incoming / "client" / shared.transform.graph)
        write_record(incoming / SHARES, shared)
        shutil.rmtree(incoming / "worker")
        incoming.rename(models / version)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    return models / version


def _require_audited(folder: RunFolder) -> None:
    """Raises unless what training wrote, with the Keras file and the record of its weights, is as it was written."""
    trained = folder.receipt("train")
    if trained is None or not folder.intact(trained):
        raise DigestMismatchError(
            f"{MODEL} of run {folder.id}",
            seen="another Keras file or record than training wrote",
            allowed="the model that was audited",
            remedy="run the pipeline again",
        )


def latest_shares(folder: RunFolder, *, base_path: Path) -> Path:
    """Returns the newest version that was dealt of a run's model.

    Raises:
        ReleaseError: If there is none.
    """
    models = base_path / f"{folder.config().serving.model_name}.shares"
    for version in sorted(_versions(models), key=lambda path: int(path.name), reverse=True):
        if read_record(version / SHARES, SharedModel).run == folder.id:
            return version
    raise ReleaseError(
        f"run {folder.id}",
        seen="its model does not lie in shares",
        allowed="a model that was released with --encrypted",
        remedy=f"run: probity release {folder.id} --encrypted",
    )


def predict_on_shares(
    version: Path,
    rows: pa.Table,
    *,
    workdir: Path,
    parties: str = "processes",
    batch_size: int = 256,
    environment: WorkerEnvironment | None = None,
    runner: Runner = run_worker,
) -> Prediction:
    """Predicts as the client: transforms the rows here, and shows the servers shares only.

    Args:
        version: What :func:`share_model` made; of the servers' folders only those of parties on this machine are used.
        rows: Raw feature columns.
        workdir: A new folder; holds the transformed rows in the clear while it lasts, and is removed.
        parties: ``local``, ``processes``, or the path of a parties file.
        batch_size: Rows per computation.
        environment: The worker; that of this checkout by default.
        runner: How processes are run.

    Raises:
        DataError: If a feature column is missing.
        WorkerError: If the worker is not ready, or failed.
    """
    import numpy as np

    from probity.trainers.worker_environments import environment_of
    from probity.trainers.worker_exchange import Exchange

    shared = read_record(version / SHARES, SharedModel)
    joined = _transformed(shared, rows, graph=version / "client" / shared.transform.graph)
    exchange = Exchange(environment=environment or environment_of(_NAME), folder=workdir, runner=runner)
    workdir.mkdir(parents=True)
    try:
        np.savez(workdir / PROBE_INPUTS, features=joined)
        remote = parties not in ("local", "processes")
        body = {
            **_body(shared, "predict"),
            "mode": "remote" if remote else parties,
            "party_file": party_file(parties, root=Path.cwd()) if remote else None,
            "batch_size": batch_size,
            "share_folders": None if remote else {name: str((version / name).resolve()) for name in SERVERS},
        }
        finished = exchange.ask(
            body, seed=0, deadline_seconds=_DEADLINE_SECONDS, checkpoints=None, on_progress=lambda line: None
        )
        with np.load(workdir / PROBE, allow_pickle=False) as stored:
            scores = stored["scores"].astype(np.float64)
    finally:
        shutil.rmtree(workdir, ignore_errors=True)
    return Prediction(scores=scores, facts=finished.body)


def _deal(
    shared: SharedModel,
    weights: list[npt.NDArray[np.float32]],
    folder: Path,
    *,
    environment: WorkerEnvironment | None,
    runner: Runner,
) -> None:
    import numpy as np

    from probity.trainers.worker_environments import environment_of
    from probity.trainers.worker_exchange import Exchange

    folder.mkdir(parents=True)
    write_arrays(folder / INITIAL, weights)
    np.savez(folder / PROBE_INPUTS, features=np.zeros((1, shared.num_columns), np.float32))
    exchange = Exchange(environment=environment or environment_of(_NAME), folder=folder, runner=runner)
    exchange.ask(
        {**_body(shared, "deal"), "mode": "local", "party_file": None, "initial_weights": INITIAL},
        seed=0,
        deadline_seconds=_DEADLINE_SECONDS,
        checkpoints=None,
        on_progress=lambda line: None,
    )


def _body(shared: SharedModel, operation: str) -> dict[str, Any]:
    return {
        "operation": operation,
        "protocol": shared.protocol,
        "precision": shared.precision,
        "architecture": shared.architecture,
        "start_seconds": _START_SECONDS,
    }


def _transformed(shared: SharedModel, rows: pa.Table, *, graph: Path) -> npt.NDArray[np.float32]:
    """Returns the joined inputs, of shape (rows, columns)."""
    import numpy as np

    from probity.transform_graph import transform_rows

    asked = [column.name for column in shared.transform.inputs]
    absent = sorted(set(asked) - set(rows.column_names))
    if absent:
        raise DataError(
            "--input",
            seen=f"no column {', '.join(absent)}",
            allowed="every feature column of the model",
            remedy="give the rows with the columns that the model was trained on",
        )
    arrays = transform_rows(_typed(rows.select(asked), shared), graph=graph, outputs=shared.transform.outputs)
    return np.concatenate([arrays[name] for name in shared.inputs], axis=1)


def _typed(rows: pa.Table, shared: SharedModel) -> pa.Table:
    """Returns the rows with the types that the transform graph was made for."""
    import pyarrow as pa

    kinds = {"int64": pa.int64(), "float32": pa.float32(), "string": pa.string()}
    found = rows
    for i, column in enumerate(shared.transform.inputs):
        try:
            found = found.set_column(i, column.name, found.column(i).cast(kinds[str(column.kind)], safe=False))
        except pa.ArrowException as error:
            raise DataError(
                f"column {column.name}",
                seen=f"of type {rows.schema.field(i).type}",
                allowed=str(column.kind),
                remedy="give it with the type that the model was trained on",
            ) from error
    return found


def _versions(models: Path) -> list[Path]:
    return [path for path in models.iterdir() if path.name.isdigit()] if models.is_dir() else []
