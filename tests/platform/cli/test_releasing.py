"""``probity releases --at``: what was live at a moment, and who answered whom while a rollout was under way."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from probity.config_file import load_config
from probity.digest import digest_bytes
from probity.history import Promoted, StageEntered
from probity.platform.cli import app
from probity.platform.release.history import add_event
from probity.platform.release.project import Project

ONE, TWO = digest_bytes(b"one"), digest_bytes(b"two")


@pytest.fixture
def told(tmp_path, monkeypatch):
    """The history of a rollout of version 7 in the place of 5 that is in its third hour."""
    (tmp_path / "a.yaml").write_text(
        "name: a\ndata: {source: a.csv, label: {column: y}}\nmodel: {kind: logistic}\n"
        "serving: {model_name: m, base_path: serving}\n"
    )
    monkeypatch.chdir(tmp_path)
    project = Project(config=load_config(tmp_path / "a.yaml"), root=tmp_path)
    keys = project.keys()
    events = (
        (Promoted(at="2026-01-02T01:00", by="kim", run="r1", version=5, number="1.0.0", claims=ONE), ONE),
        (Promoted(at="2026-01-02T02:00", by="lee", run="r2", version=7, number="1.0.1", claims=TWO), TWO),
        (StageEntered(at="2026-01-02T03:00", by="lee", version=7, stage="shadow", incumbent=5), TWO),
        (StageEntered(at="2026-01-02T04:00", by="lee", version=7, stage="10%", incumbent=5), TWO),
    )
    for event, model in events:
        add_event(project.base_path, "m", event, model=model, keys=keys.trusted, signer=keys.signer)


def call(*arguments):
    answer = CliRunner().invoke(app, ["releases", "m", "--config", "a.yaml", *arguments], catch_exceptions=False)
    assert answer.exit_code == 0
    return answer.stdout


def test_before_and_after_a_rollout_one_version_is_live(told):
    [row] = json.loads(call("--at", "2026-01-02T02:30", "--json"))
    assert (row["version"], row["by"], row["signed_by"]) == (7, "lee", "release key")
    assert not {"role", "rollout"} & set(row)
    assert call("--at", "2026-01-02T00:30") == "nothing was live then\n"


def test_during_a_rollout_both_versions_are_shown_with_role_and_stage(told):
    rows = json.loads(call("--at", "2026-01-02T05:00", "--json"))
    assert [(row["version"], row["role"]) for row in rows] == [(7, "candidate"), (5, "incumbent")]
    rollout = {"stage": "10%", "since": "2026-01-02T04:00:00+00:00", "incumbent": 5, "candidate": 7}
    assert [row["rollout"] for row in rows] == [rollout, rollout]
    text = call("--at", "2026-01-02T03:30")
    for words in (
        "promoted, version 7, release 1.0.1",
        "candidate of the rollout at stage shadow since 2026-01-02T03:00:00: incumbent 5, candidate 7",
        "promoted, version 5, release 1.0.0",
        "incumbent of the rollout at stage shadow",
    ):
        assert words in text
