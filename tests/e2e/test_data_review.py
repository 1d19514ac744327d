"""People look at the data before a model learns from them: held, approved, started again, not asked twice."""

from __future__ import annotations

import getpass
import json

import pytest
import yaml

pytestmark = [pytest.mark.slow, pytest.mark.heavy]


def test_a_run_is_held_until_its_data_are_approved_and_then_starts_again(small_project):
    project = small_project
    for name in ("kim", "sam"):
        made = project.probity("key", "create", f"{name}.pem", "--kind", "ed25519")
        assert made.returncode == 0, made.stderr
    people = [
        {"name": "kim", "key": (project.folder / "kim.pub").read_text()},
        {"name": "sam", "key": (project.folder / "sam.pub").read_text(), "users": [getpass.getuser()]},
    ]
    (project.folder / "reviewers.yaml").write_text(yaml.safe_dump({"reviewers": people}))
    project.edit(gate={**project.config()["gate"], "approval": {"data": "always"}})

    held = project.probity("run", "probity.yaml", "--until", "transform")
    assert held.returncode == 3, held.stderr
    assert "0 of 1 needed approvals" in held.stderr
    assert "Traceback" not in held.stderr
    folder = project.run_folders()[-1]
    assert not (folder / "06_transform").exists()
    (waiting,) = json.loads(project.probity("runs", "--waiting", "--json").stdout)
    assert (waiting["run"], waiting["of"]) == (folder.name, "data")

    own = project.probity("approve", "latest", "--data", "--key", "sam.pem")
    assert "nobody but whoever started the run" in own.stdout, own.stderr
    assert project.probity("run", "probity.yaml", "--until", "transform").returncode == 3
    approved = project.probity("approve", "latest", "--data", "--key", "kim.pem", "--comment", "shares are as agreed")
    assert approved.returncode == 0, approved.stderr
    assert json.loads(project.probity("runs", "--waiting", "--json").stdout) == []

    # Computed anew, the evidence is the same bytes: nobody is asked twice about equal data.
    again = project.probity("run", "probity.yaml", "--until", "transform", "--no-cache")
    assert again.returncode == 0, again.stderr
    assert (project.run_folders()[-1] / "06_transform").is_dir()
    told = json.loads(project.probity("releases", "small", "--json").stdout)
    assert [(entry["kind"], entry["by"]) for entry in told] == [("data_approved", "sam"), ("data_approved", "kim")]
