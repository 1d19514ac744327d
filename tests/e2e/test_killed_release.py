"""``kill -9`` at steps of a whole release of a real run: run folder, serving folder and history agree afterwards."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from probity.platform import pipeline, release_stage
from probity.platform.release.project import Project
from probity.platform.release.run_verification import verify_run
from probity.platform.release.verification import verify
from probity.runs import CLAIMS, RELEASE
from probity.workspace import Workspace
from tests.platform.observers import Quiet
from tests.platform.release.killed import Scenario, sweep_in_child

UNRELEASED = Path("unreleased")
"""Beside the sweep's own folders: what each process begins with."""


def _release(root: Path) -> None:
    # The trackers' databases have transactions of their own, and are mirrors of what is true here.
    pipeline.tracking.track_run = lambda *_, **__: None
    release_stage.mirror = lambda *_, **__: None
    workspace = Workspace(root / ".probity")
    pipeline.release(workspace.runs()[-1], workspace=workspace, observer=Quiet())


def _check(root: Path) -> str:
    folder = Workspace(root / ".probity").runs()[-1]
    project = Project.of_run(folder)
    versions = sorted((root / "serving").glob("small/*"))
    for version in versions:
        assert verify(version, trusted_keys=project.trusted()).problems == ()
    entries, problems = project.history()
    assert problems == ()
    assert [entry.event.version for entry in entries] == [int(version.name) for version in versions]
    reached = f"{len(versions)} version, run {'released' if folder.release() else 'not released'}"
    _release(root)
    (version,) = (root / "serving").glob("small/*")
    assert folder.release().version == int(version.name)
    assert verify_run(folder, trusted_keys=project.trusted()).problems == ()
    assert [entry.event.version for entry in project.history()[0]] == [int(version.name)]
    assert not list((root / "serving").glob(".incoming-*"))
    return reached


RELEASING = Scenario(
    prepare=lambda root: shutil.copytree(root.parent / UNRELEASED, root, dirs_exist_ok=True), act=_release, check=_check
)


@pytest.mark.heavy
@pytest.mark.timeout(1500)
def test_a_release_of_a_run_that_is_killed_is_finished_by_the_next(finished, tmp_path):
    place = Path(shutil.copytree(finished.folder, tmp_path / UNRELEASED))
    folder = Workspace(place / ".probity").runs()[-1]
    shutil.rmtree(place / "serving")
    for name in (RELEASE, CLAIMS, ".run/receipts/release.json"):
        (folder.path / name).unlink()
    found = sweep_in_child("tests.e2e.test_killed_release:RELEASING", tmp_path, every=4)
    assert set(found["killed"]) >= {"0 version, run not released", "1 version, run not released"}
    assert sum(found["killed"].values()) > 15
