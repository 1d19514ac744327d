"""``kill -9`` in the middle of stages: the next run finishes from the last finished stage, and nothing is harmed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time

import pytest

pytestmark = pytest.mark.slow

STAGES = ("transform", "train", "release")


def start_and_kill(project, stage: str) -> bool:
    """Starts a run and kills it when ``stage`` has begun; returns whether it was still in that stage."""
    before = set(project.run_folders()) if project.workspace.exists() else set()
    process = subprocess.Popen(
        project.command("run", "probity.yaml"),
        cwd=project.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 240
    try:
        while time.monotonic() < deadline and process.poll() is None:
            new = set(project.run_folders()) - before if (project.workspace / "runs").exists() else set()
            if any((folder / ".run/work" / stage).exists() for folder in new):
                break
            time.sleep(0.001)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    folder = max(set(project.run_folders()) - before)
    return not (folder / ".run/receipts" / f"{stage}.json").exists()


@pytest.mark.heavy
def test_a_run_killed_in_any_stage_is_finished_by_the_next(small_project):
    project = small_project
    killed_in = {stage: start_and_kill(project, stage) for stage in STAGES}
    assert all(killed_in[stage] for stage in STAGES if stage != "release")  # release takes milliseconds
    serving = project.folder / "serving"
    visible = sorted(serving.glob("small/[0-9]*"))
    before = {path: sorted(entry.name for entry in path.iterdir()) for path in visible}

    done = project.probity("run", "probity.yaml", "--json")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    reused = {stage["stage"] for stage in value["stages"] if stage["reused_from"]}
    assert {"ingest", "statistics", "schema", "anomalies", "transform", "train", "score", "performance"} <= reused
    assert value["status"] == "released"
    for path, names in before.items():
        assert sorted(entry.name for entry in path.iterdir()) == names
        assert "saved_model.pb" in names
    versions = sorted(serving.glob("small/[0-9]*"))
    assert len(versions) == 1
    statuses = [row["status"] for row in json.loads(project.probity("runs", "--json").stdout)]
    assert statuses.count("interrupted") >= len(STAGES) - 1


@pytest.mark.heavy
def test_two_runs_at_once_do_not_disturb_each_other(small_project):
    project = small_project
    if not list(project.folder.glob("serving/small/[0-9]*")):  # when this test is run alone
        assert project.probity("run", "probity.yaml").returncode == 0
    both = {
        seed: subprocess.Popen(
            project.command("run", "probity.yaml", "--json", "--set", f"seed={seed}"),
            cwd=project.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in (21, 22)
    }
    ends = {seed: (*process.communicate(timeout=400), process.returncode) for seed, process in both.items()}
    held = [seed for seed, (_, _, code) in ends.items() if code == 3]
    assert len(held) <= 1
    found = {seed: json.loads(out) for seed, (out, _, code) in ends.items() if code == 0}
    for seed in held:
        # The other one went live after this one was compared with the latest release: it is no longer the latest.
        out, err, _ = ends[seed]
        name = json.loads(out)["run"] if out else re.search(r"probity: run (\S+):", err)[1]
        decision = json.loads(project.probity("gate", name, "--json").stdout)
        refused = [check for check in decision["checks"] if check["outcome"] == "error"]
        assert refused
        assert all("is live" in check["reason"] for check in refused), refused
        again = project.probity("run", "probity.yaml", "--json", "--set", f"seed={seed}")
        assert again.returncode == 0, again.stderr
        found[seed] = json.loads(again.stdout)
    for seed, value in found.items():
        assert value["status"] == "released", ends[seed]
        checks = {check["rule"]: check for check in value["decision"]["checks"]}
        # Another model is live, so both were compared with it on the same rows.
        assert checks["no regression"]["observed"] not in (None, 0.0)
    assert len({value["release"]["version"] for value in found.values()}) == 2
