"""Tracking, checked with MLflow's own client on the store it wrote."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from probity import runs
from probity.errors import TrackingError
from probity.platform import tracking
from probity.platform.tracking import default_uri, track, track_run
from probity.runs import RunError, RunFolder
from probity.storage import write_atomically
from probity.workspace import Workspace


@pytest.fixture(scope="module")
def tracker(tmp_path_factory):
    """One SQLite tracker for the whole module: creating its tables takes a second."""
    return default_uri(tmp_path_factory.mktemp("a workspace with blanks & 100%"))


def client(uri):
    from mlflow.tracking.client import MlflowClient

    return MlflowClient(tracking_uri=uri)


def written(uri, **changes):
    values = {
        "uri": uri,
        "experiment": "e",
        "run_name": "r",
        "status": "FINISHED",
        "params": {"trainer.epochs": "2"},
        "metrics": {"performance/auc/overall": 0.9},
        "tags": {"probity.verdict": "release"},
        "artifacts": {},
        "history": {"loss": (0.5, 0.25)},
    }
    return track(**{**values, **changes})


def artifact_paths(uri, key, folder=None):
    found = []
    for entry in client(uri).list_artifacts(key, folder):
        found += artifact_paths(uri, key, entry.path) if entry.is_dir else [entry.path]
    return sorted(found)


# --- one run --------------------------------------------------------------------------------------------------------


def test_the_librarys_own_reader_finds_everything(tracker, tmp_path):
    file, folder = tmp_path / "card.json", tmp_path / "card"
    file.write_text("{}")
    folder.mkdir()
    (folder / "card.md").write_text("# card")
    key = written(tracker, artifacts={"decision/card.json": file, "card": folder})
    run = client(tracker).get_run(key)
    assert (run.info.run_name, run.info.status) == ("r", "FINISHED")
    assert run.data.params == {"trainer.epochs": "2"}
    assert run.data.metrics == {"performance/auc/overall": 0.9, "loss": 0.25}
    assert run.data.tags["probity.verdict"] == "release"
    assert client(tracker).get_experiment(run.info.experiment_id).name == "e"
    assert [(point.step, point.value) for point in client(tracker).get_metric_history(key, "loss")] == [
        (1, 0.5),
        (2, 0.25),
    ]
    assert artifact_paths(tracker, key) == ["card/card.md", "decision/card.json"]


def test_artifacts_land_beside_the_sqlite_file(tracker, tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("a")
    key = written(tracker, artifacts={"a.txt": file})
    workspace = Path(tracker.removeprefix("sqlite:///")).parent
    assert [path.name for path in (workspace / "mlartifacts").rglob("a.txt") if key in str(path)] == ["a.txt"]
    assert (workspace / "mlflow.sqlite").is_file()


def test_more_than_one_batch_of_everything(tracker):
    metrics = {f"m{index}": float(index) for index in range(1500)}
    params = {f"p{index}": "x" for index in range(150)}
    tags = {f"t{index}": "x" for index in range(150)}
    run = client(tracker).get_run(written(tracker, metrics=metrics, params=params, tags=tags, history={}))
    assert run.data.metrics == metrics
    assert run.data.params == params
    assert tags.items() <= run.data.tags.items()


def test_nothing_at_all_can_be_tracked(tracker):
    run = client(tracker).get_run(written(tracker, metrics={}, params={}, tags={}, history={}, status="KILLED"))
    assert (run.data.metrics, run.data.params, run.info.status) == ({}, {}, "KILLED")


def test_a_history_with_gaps_keeps_its_epochs(tracker):
    key = written(tracker, history={"val_auc": (math.inf, 0.7)})
    assert [(point.step, point.value) for point in client(tracker).get_metric_history(key, "val_auc")] == [(2, 0.7)]


def test_a_run_can_be_continued_and_repeats_nothing(tracker):
    key = written(tracker)
    again = written(tracker, resume=key, tags={"probity.release": "m/1"}, params={"trainer.epochs": "2", "more": "1"})
    assert again == key
    run = client(tracker).get_run(key)
    assert run.data.params == {"trainer.epochs": "2", "more": "1"}
    assert {"probity.verdict", "probity.release"} <= set(run.data.tags)
    assert len(client(tracker).get_metric_history(key, "loss")) == 2
    assert written(tracker, resume="0" * 32) != key  # a tracker that was emptied since


# --- a run of ours --------------------------------------------------------------------------------------------------


def test_a_whole_run_is_tracked_in_its_workspace(make_run, tracker):
    run = make_run(tracking={"uri": tracker}).complete()
    key = track_run(run.config, run.folder, run.workspace)
    found = client(tracker).get_run(key)
    assert (found.info.run_name, found.info.status) == (run.folder.id, "FINISHED")
    assert found.data.params["trainer.learning_rate"] == "0.001"
    assert found.data.params["mechanism.kind"] == "non_private"
    assert found.data.params["dataset.content_digest"] == run.folder.dataset().content_digest
    assert found.data.metrics == {
        "performance/auc/overall": 0.9,
        "performance/true_positive_rate/sex:Female/at 0.5": 0.6,
        "performance/true_positive_rate/sex:Male/at 0.5": 0.6,
        "loss": 0.25,
        "val_auc": 0.8,
    }
    assert found.data.tags["privacy/epsilon/overall"] == "Infinity"
    assert found.data.tags["probity.verdict"] == "release"
    assert found.data.tags["probity.model"] == run.folder.model().digest
    assert found.data.tags["probity.version"] == "1767312000"
    [data] = found.inputs.dataset_inputs
    assert run.folder.dataset().content_digest.startswith(f"sha256:{data.dataset.digest}")
    assert artifact_paths(tracker, key) == [
        "card/card.html",
        "card/card.json",
        "card/card.md",
        f"config/{runs.CONFIG}",
        f"decision/{runs.DECISION}",
        "model/model.json",
        f"release/{runs.RELEASE}",
    ]


def test_a_release_that_comes_later_continues_the_run(make_run, tracker):
    run = make_run(tracking={"uri": tracker}).complete(until="gate")
    key = track_run(run.config, run.folder, run.workspace)
    assert "probity.release" not in client(tracker).get_run(key).data.tags
    run.perform("release")
    assert track_run(run.config, run.folder, run.workspace) == key
    assert client(tracker).get_run(key).data.tags["probity.release"] == "serving/m/1767312000"


@pytest.mark.parametrize(
    ("until", "error", "status"),
    [
        (None, None, "KILLED"),
        ("train", "TrainingError", "FAILED"),
        ("train", None, "KILLED"),
        ("gate", None, "FINISHED"),
    ],
)
def test_a_run_is_tracked_as_far_as_it_got(make_run, tracker, until, error, status):
    run = make_run(tracking={"uri": tracker})
    if until:
        run.complete(until=until)
    if error:
        run.folder.write_error(RunError(stage="performance", kind=error, message="it quotes a cell: Female"))
    found = client(tracker).get_run(track_run(run.config, run.folder, run.workspace))
    assert found.info.status == status
    assert found.data.tags.get("probity.error") == (f"{error} in stage performance" if error else None)
    assert "Female" not in str(found.data.tags)


def test_a_run_that_was_asked_to_stop_is_finished(make_run, tracker):
    run = make_run(tracking={"uri": tracker}).complete(until="schema")
    write_atomically(run.folder.path / ".run" / "stopped", b"")
    assert client(tracker).get_run(track_run(run.config, run.folder, run.workspace)).info.status == "FINISHED"


# --- trackers that are not there ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    [
        "http://user:hidden-password@127.0.0.1:9/",  # nobody listens on the discard port
        "sqlite:////proc/nowhere/mlflow.sqlite",
        "nonsense://user:hidden-password@nowhere",
        "file:///proc/nowhere/hidden-password",
        "mlruns",
        "",
    ],
)
def test_an_unreachable_tracker_is_one_message_without_credentials(uri, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.chdir(tmp_path)
    started = time.monotonic()
    with pytest.raises(TrackingError, match=r"tracking\.uri") as caught:
        written(uri)
    assert "hidden-password" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert time.monotonic() - started < 30


def test_a_broken_tracker_file_is_one_message_and_is_left_alone(tmp_path):
    (tmp_path / "mlflow.sqlite").write_bytes(b"garbage" * 1000)
    with pytest.raises(TrackingError, match=r"mlflow\.sqlite"):
        written(default_uri(tmp_path))
    assert (tmp_path / "mlflow.sqlite").read_bytes() == b"garbage" * 1000


@pytest.mark.slow
def test_a_tracker_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    """Whoever dies while the tables are created leaves nothing that a later run stumbles over."""
    from probity.platform import tracking_store

    seen = []

    def die(descriptor):
        seen.extend(path.name for path in tmp_path.iterdir())
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tracking_store.os, "fsync", die)
        with pytest.raises(KeyboardInterrupt):
            written(default_uri(tmp_path))
    assert "mlflow.sqlite" not in seen
    assert [name for name in seen if name.endswith(".tmp")]
    assert not (tmp_path / "mlflow.sqlite").exists()

    key = written(default_uri(tmp_path))
    assert client(default_uri(tmp_path)).get_run(key).info.status == "FINISHED"
    names = {path.name for path in tmp_path.iterdir()}
    assert names <= {"mlflow.sqlite", "mlflow.sqlite-journal", "mlartifacts", ".mlflow.sqlite.lock"}


def test_logging_is_as_it_was_afterwards(tracker):
    import logging

    before = logging.getLogger("mlflow").level
    written(tracker)
    assert logging.getLogger("mlflow").level == before


# --- processes ------------------------------------------------------------------------------------------------------

CHILD = """
import socket, sys
from pathlib import Path

def refuse(*arguments):
    raise AssertionError("the network was used")

socket.socket.connect = refuse
socket.getaddrinfo = refuse

from probity.platform.tracking import track_run
from probity.runs import RunFolder
from probity.workspace import Workspace

root, run_id = Path(sys.argv[1]), sys.argv[2]
folder = RunFolder(root / "runs" / run_id)
track_run(folder.config(), folder, Workspace(root))
assert "tensorflow" not in sys.modules
"""


@pytest.mark.slow
def test_two_runs_at_once_in_a_fresh_workspace_without_network_noise_or_litter(make_run, tmp_path):
    made = [make_run().complete(), make_run(seed=8).complete()]
    root = made[0].workspace.root
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "DO_NOT"))}
    environment["HOME"] = str(elsewhere)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(root), made[0].folder.id],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=elsewhere,
        env=environment,
    )
    track_run(made[1].config, made[1].folder, made[1].workspace)
    assert child.communicate(timeout=180) == ("", "")
    assert child.returncode == 0
    assert list(elsewhere.iterdir()) == []

    uri = default_uri(root)
    [experiment] = client(uri).search_experiments(filter_string="name = 'a'")
    found = client(uri).search_runs([experiment.experiment_id])
    assert {run.info.run_name for run in found} == {run.folder.id for run in made}
    assert {run.info.status for run in found} == {"FINISHED"}


def test_the_default_is_inside_the_workspace(tmp_path):
    workspace = Workspace(tmp_path / "w")
    assert default_uri(workspace.root) == f"sqlite:///{tmp_path}/w/mlflow.sqlite"
    assert RunFolder(tmp_path).path == tmp_path
    assert tracking.__all__ == sorted(tracking.__all__, key=lambda name: (name[0].islower(), name))
