"""Stages in the signed history, once each; and the incumbent's bytes as the newest version after a rollback."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from probity.config_file import parse_config
from probity.digest import digest_tree
from probity.errors import SignatureError
from probity.history import EvidenceExpired, StageEntered, live_at
from probity.platform.release.history import add_event
from probity.platform.release.project import Project
from probity.platform.release.push import push, releases
from probity.platform.release.verification import EXTRA
from probity.platform.rollout.comparison import Answer
from probity.platform.rollout.control import Rollout, ask_to_stop
from probity.platform.rollout.telling import telling
from probity.rollout import RolloutPlan
from tests.platform.release.candidates import Candidate, keys_at

GOOD, BAD = Answer(failed=False, milliseconds=1, favourable=(True,)), Answer(failed=True, milliseconds=1)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    config = parse_config(
        {
            "name": "a",
            "data": {"source": "a.csv", "label": {"column": "y"}},
            "model": {"kind": "logistic"},
            "serving": {"model_name": "m"},
        }
    )
    found = Project(config=config, root=tmp_path)
    for number, content in enumerate((b"old", b"new"), 1):
        candidate = Candidate(tmp_path / content.decode(), content=content, run=f"run-{number}")
        moment = datetime(2026, 1, number, tzinfo=UTC)
        keys = keys_at(tmp_path)
        arguments = candidate.push_arguments(now=lambda moment=moment: moment)
        push(candidate.model, **arguments, base_path=found.base_path, keys=keys)
    return found


def begun(project: Project) -> Rollout:
    *_, new, old = (release.version for release, _ in releases(project.base_path, "m"))
    plan = RolloutPlan(model_name="m", incumbent=old, candidate=new, requests_per_stage=20)
    return Rollout(plan, path=project.base_path / "m.rollout.json", tell=telling(project))


def stages(project: Project) -> list[str]:
    return [entry.event.stage for entry in project.history()[0] if isinstance(entry.event, StageEntered)]


def feed(rollout: Rollout, candidate: Answer, requests: int = 100) -> None:
    for _ in range(requests):
        rollout.pair(rollout.state.stage, candidate, GOOD, groups=())


def test_every_stage_is_signed_once_however_often_it_is_told(project):
    rollout = begun(project)
    feed(rollout, GOOD)
    rollout.tick()
    rollout.close()
    begun(project).close()
    entries, problems = project.history()
    assert problems == ()
    assert stages(project) == ["shadow", "1%"]
    last = entries[-1].event
    assert (last.version, last.incumbent) == (rollout.state.plan.candidate, rollout.state.plan.incumbent)
    assert "no harm beyond the tolerances" in last.why


@pytest.mark.parametrize("end", ["rolled_back", "stopped"])
def test_after_the_end_a_server_without_a_router_loads_the_incumbents_bytes(project, end):
    rollout = begun(project)
    event = EvidenceExpired(at="2026-01-03T00:00:00+00:00", by="monitor", why="drift", run="run-1")  # of the incumbent
    keys = project.keys()
    add_event(project.base_path, "m", event, keys=project.writers(), signer=keys.signer)
    before = {path.name: digest_tree(path, exclude=(EXTRA,)) for _, path in releases(project.base_path, "m")}
    if end == "rolled_back":
        feed(rollout, BAD)
    else:
        ask_to_stop(project.base_path / "m.rollout.json", "complaints")
    assert rollout.tick().status == end
    newest, path = releases(project.base_path, "m")[0]
    assert newest.version not in (rollout.state.plan.candidate, rollout.state.plan.incumbent)
    assert digest_tree(path, exclude=(EXTRA,)) == before[str(rollout.state.plan.incumbent)]
    live = live_at(project.history()[0])
    assert live is not None
    assert (live.event.version, live.event.why.startswith("rollout: ")) == (newest.version, True)
    rollout.close()
    begun(project).close()  # told again, done once
    assert len(releases(project.base_path, "m")) == 3
    assert stages(project) == ["shadow", end]


def alerting(project: Project) -> Project:
    alerts = {"webhook_variable": "TEST_ALERTS"}
    return replace(project, config=parse_config({**project.config.to_json(), "alerts": alerts}))


@pytest.mark.parametrize("end", ["rolled_back", "stopped"])
def test_a_person_is_told_once_that_a_rollout_was_taken_back(project, listener, monkeypatch, end):
    address, taken = listener
    monkeypatch.setenv("TEST_ALERTS", address)
    rollout = begun(alerting(project))
    feed(rollout, BAD if end == "rolled_back" else GOOD, requests=19)
    if end == "stopped":
        ask_to_stop(project.base_path / "m.rollout.json", "complaints of somebody")
    feed(rollout, BAD if end == "rolled_back" else GOOD)
    assert rollout.tick().status == end
    rollout.close()
    begun(alerting(project)).close()  # everything is told again
    [(_, _, body)] = taken
    candidate, incumbent = rollout.state.plan.candidate, rollout.state.plan.incumbent
    assert f"the rollout of version {candidate} was {end.replace('_', ' ')}" in body["text"]
    assert ("for error_rate at stage shadow, after 119 answers" in body["text"]) == (end == "rolled_back")
    assert f"Version {incumbent} answers." in body["text"]
    assert "complaints" not in body["text"]


@pytest.mark.parametrize("broken", ["webhook", "history"])
def test_neither_waits_for_the_other(project, listener, monkeypatch, broken):
    address, taken = listener
    monkeypatch.setenv("TEST_ALERTS", "http://127.0.0.1:1" if broken == "webhook" else address)
    rollout = begun(alerting(project))
    if broken == "history":
        path = project.base_path / "m.history.jsonl"
        path.write_bytes(path.read_bytes().replace(b"{", b"[", 1))
    feed(rollout, BAD)
    if broken == "webhook":
        assert rollout.tick().status == "rolled_back"
        assert stages(project) == ["shadow", "rolled_back"]
        assert len(releases(project.base_path, "m")) == 3
    else:
        for _ in range(2):  # each look tries again to write it down; a person is told once
            with pytest.raises(SignatureError):
                rollout.tick()
        assert rollout.state.status == "rolled_back"
        assert len(taken) == 1
    rollout.close()
