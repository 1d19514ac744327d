"""Who moved what, through the command line: releases of small files, a rollout, a run that waits for a reviewer."""

import json
import stat

import pytest
import typer
import yaml
from typer.testing import CliRunner

from probity import runs
from probity.config_file import load_config
from probity.decision import APPROVAL, Check
from probity.digest import digest_bytes
from probity.history import Promoted, StageEntered
from probity.keys import load_key
from probity.platform.cli import app, releasing
from probity.platform.release.history import add_event
from probity.platform.release.project import Project
from probity.run_reviews import REVIEWS
from probity.storage import write_record
from tests.platform.release.test_rollback import Place
from tests.tokens import PIN, SoftToken, needs_token

CONFIG = {
    "name": "a",
    "data": {"source": "a.csv", "label": {"column": "y", "positive": ">50K"}},
    "model": {"kind": "logistic"},
    "serving": {"model_name": "m"},
}


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200", "TERM": "dumb"})


def printed(*arguments):
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Two releases, an hour apart, in a project whose folder is the current one."""
    (tmp_path / "probity.yaml").write_text(yaml.safe_dump(CONFIG))
    monkeypatch.chdir(tmp_path)
    made = Place(tmp_path)
    made.versions = [made.release(name).version for name in ("one", "two")]
    return made


# -- releases and rollback ---------------------------------------------------------------------------------------------


def test_releases_tells_who_moved_what(place):
    text = printed("releases", "m")
    for version, run in zip(place.versions, ("one", "two"), strict=True):
        assert f"promoted, version {version}" in text
        assert f"run {run}" in text
    rows = json.loads(printed("releases", "m", "--json"))
    assert [(row["kind"], row["version"], row["signed_by"]) for row in rows] == [
        ("promoted", version, "release key") for version in place.versions
    ]


def test_releases_at_a_time_is_what_was_live_then(place):
    first, second = place.versions
    for at, live in (
        ("2026-01-02T13:30", first),
        ("2026-01-02T15:00+00:00", second),
        ("2026-01-02T15:30+02:00", first),
    ):
        (row,) = json.loads(printed("releases", "m", "--at", at, "--json"))
        assert row["version"] == live, at
    assert "nothing was live then" in printed("releases", "m", "--at", "2025-12-31")


def test_a_model_that_nobody_released_has_no_history(tmp_path, monkeypatch):
    (tmp_path / "probity.yaml").write_text(yaml.safe_dump(CONFIG))
    monkeypatch.chdir(tmp_path)
    assert "nothing has happened yet" in printed("releases", "m")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("releases", "other"), "probity.yaml is about model m"),
        (("releases", "m", "--at", "yesterday"), "--at: no time"),
        (("releases", "m", "--config", "none.yaml"), "none.yaml"),
        (("rollback", "other"), "probity.yaml is about model m"),
        (("rollback", "m", "--to", "7"), "7"),
    ],
)
def test_what_cannot_be_shown_or_moved_is_one_message(place, arguments, words):
    result = invoke(*arguments)
    assert getattr(result.exception, "exit_code", result.exit_code) == 2
    assert words in str(result.exception)


def test_a_history_that_was_changed_is_said_after_what_stands_before(place):
    path = next(path for path in place.project.base_path.rglob("*.jsonl") if "claims" not in path.name)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + lines[1].replace("A", "B", 1))
    result = invoke("releases", "m")
    assert result.exception.exit_code == 2
    assert f"version {place.versions[0]}" in result.output
    assert f"version {place.versions[1]}" not in result.output


def test_rollback_publishes_what_was_live_before_and_says_so(place, monkeypatch):
    monkeypatch.setattr("probity.platform.release.registry.mirror", lambda project, workspace: None)
    text = printed("rollback", "m", "--comment", "complaints")
    assert f"rolled back m to version {place.versions[0]}" in text
    last = json.loads(printed("releases", "m", "--json"))[-1]
    assert (last["kind"], last["restores"], last["why"]) == ("rolled_back", place.versions[0], "complaints")
    again = json.loads(printed("rollback", "m", "--to", place.versions[1], "--json"))
    assert (again["restores"], again["version"]) == (place.versions[1], place.highest)


# -- during a rollout -------------------------------------------------------------------------------------------------


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


def live(*arguments):
    answer = CliRunner().invoke(app, ["releases", "m", "--config", "a.yaml", *arguments], catch_exceptions=False)
    assert answer.exit_code == 0
    return answer.stdout


def test_before_and_after_a_rollout_one_version_is_live(told):
    [row] = json.loads(live("--at", "2026-01-02T02:30", "--json"))
    assert (row["version"], row["by"], row["signed_by"]) == (7, "lee", "release key")
    assert not {"role", "rollout"} & set(row)
    assert live("--at", "2026-01-02T00:30") == "nothing was live then\n"


def test_during_a_rollout_both_versions_are_shown_with_role_and_stage(told):
    rows = json.loads(live("--at", "2026-01-02T05:00", "--json"))
    assert [(row["version"], row["role"]) for row in rows] == [(7, "candidate"), (5, "incumbent")]
    rollout = {"stage": "10%", "since": "2026-01-02T04:00:00+00:00", "incumbent": 5, "candidate": 7}
    assert [row["rollout"] for row in rows] == [rollout, rollout]
    text = live("--at", "2026-01-02T03:30")
    for words in (
        "promoted, version 7, release 1.0.1",
        "candidate of the rollout at stage shadow since 2026-01-02T03:00:00: incumbent 5, candidate 7",
        "promoted, version 5, release 1.0.0",
        "incumbent of the rollout at stage shadow",
    ):
        assert words in text


# -- keys, approve and reject ------------------------------------------------------------------------------------------


def test_a_key_is_for_its_owner_alone_and_is_never_written_over(tmp_path):
    path = tmp_path / "keys" / "kim.pem"
    assert "kim.pub" in printed("key", "create", path, "--kind", "ed25519")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"PRIVATE" not in path.with_suffix(".pub").read_bytes()
    before = path.read_bytes()
    assert invoke("key", "create", path).exception.exit_code == 2
    assert path.read_bytes() == before


def test_init_makes_a_signing_key_that_only_its_owner_can_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed("init", "new")
    assert stat.S_IMODE((tmp_path / "new/keys/release.pem").stat().st_mode) == 0o600
    assert b"PRIVATE" not in (tmp_path / "new/keys/release.pub").read_bytes()


@pytest.fixture
def waiting(make_run, tmp_path):
    """A run that lacks nothing but an approval, and a project with one reviewer, who has made a key by command."""
    printed("key", "create", tmp_path / "kim.pem", "--kind", "ed25519")
    person = {"name": "kim", "key": (tmp_path / "kim.pub").read_text()}
    (tmp_path / "reviewers.yaml").write_text(yaml.safe_dump({"reviewers": [person]}))
    run = make_run(gate={"approval": {"required": "always", "quorum": 1}}).complete(until="gate")
    decision = run.folder.decision()
    lacking = Check(rule=APPROVAL, outcome="insufficient_evidence", required="approval by 1 reviewer", reason="nobody")
    held = decision.model_copy(update={"verdict": "hold", "checks": (*decision.checks, lacking)})
    write_record(run.folder.path / runs.DECISION, type(decision).from_json(held.to_json()))
    return run.folder


def review(folder, outcome, key, *arguments):
    return invoke(outcome, folder.id, "--key", key, "--workspace", folder.path.parents[1], *arguments)


@pytest.mark.parametrize("outcome", ["approve", "reject"])
def test_a_reviewers_word_is_sealed_and_told_in_the_history(waiting, tmp_path, outcome):
    done = review(waiting, outcome, tmp_path / "kim.pem", "--comment", "looked at it")
    assert done.exit_code == 0, done.output
    assert f"kim {outcome}s run {waiting.id}" in done.output
    assert (f"now: probity release {waiting.id}" in done.output) == (outcome == "approve")
    assert load_key(tmp_path / "kim.pem").keyid in (waiting.path / REVIEWS).read_text()
    (tmp_path / "probity.yaml").write_text(yaml.safe_dump(CONFIG))
    (row,) = json.loads(printed("releases", "m", "--config", tmp_path / "probity.yaml", "--json"))
    told = {"approve": "approved", "reject": "rejected"}[outcome]
    assert (row["kind"], row["by"], row["run"], row["why"]) == (told, "kim", waiting.id, "looked at it")


@needs_token
def test_a_reviewer_signs_with_a_key_in_a_token_and_types_its_pin(waiting, tmp_path, monkeypatch):
    token = SoftToken(tmp_path / "token", monkeypatch)
    printed("key", "create", tmp_path / "lee.pem")
    named = token.take(tmp_path / "lee.pem", name="lee")
    printed("key", "public", named, tmp_path / "public" / "lee.pub")
    assert (tmp_path / "public" / "lee.pub").read_bytes() == (tmp_path / "lee.pub").read_bytes()
    (tmp_path / "lee.pem").unlink()
    person = {"name": "lee", "key": (tmp_path / "lee.pub").read_text()}
    (tmp_path / "reviewers.yaml").write_text(yaml.safe_dump({"reviewers": [person]}))

    asked = []
    monkeypatch.setattr(releasing, "_at_a_terminal", lambda: True)
    monkeypatch.setattr(typer, "prompt", lambda text, **options: asked.append((text, options["hide_input"])) or PIN)
    done = review(waiting, "approve", token.uri("lee"))
    assert done.exit_code == 0, done.output
    assert f"lee approves run {waiting.id}" in done.output
    assert asked == [("PIN of the token", True)]
    assert review(waiting, "approve", named).exit_code == 0  # the PIN lies in a file: nobody is asked
    assert len(asked) == 1
    assert PIN not in "".join(file.read_text() for file in waiting.path.rglob("*.jsonl"))


def test_a_word_as_json_names_the_evidence_it_is_about(waiting, tmp_path):
    word = json.loads(review(waiting, "approve", tmp_path / "kim.pem", "--json").output)
    assert (word["outcome"], word["reviewer"], word["model"]) == ("approve", "kim", waiting.model().digest)
    assert word["evidence"].startswith("sha256:")


def test_a_strangers_key_approves_nothing(waiting, tmp_path):
    printed("key", "create", tmp_path / "mallory.pem")
    refused = review(waiting, "approve", tmp_path / "mallory.pem")
    assert refused.exception.exit_code == 2
    assert "a key that no reviewer has" in str(refused.exception)
    assert not (waiting.path / REVIEWS).exists()
