"""The ways from a held, tampered, unsigned, expired or unapproved run to the serving folder, each tried and shut."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from probity.__main__ import main
from probity.digest import digest_file
from probity.errors import DigestMismatchError, ReleaseError, ReleaseHeldError, SignatureError
from probity.history import EvidenceExpired, Promoted
from probity.keys import create_key, load_key
from probity.platform import pipeline
from probity.platform.lineage import Lineage
from probity.platform.release.approval import review
from probity.platform.release.history import add_event, utc_now
from probity.platform.release.project import Project
from probity.platform.release.push import EXTRA, latest
from probity.platform.release.rollback import roll_back
from probity.platform.release.run_verification import verify_run
from probity.platform.release.verification import verify
from probity.platform.shared_model import share_model
from probity.platform.verdict import decide
from probity.run_reviews import REVIEWS, waiting_runs
from probity.runs import CLAIMS, RELEASE, RunFolder
from probity.storage import write_record
from probity.trainers.worker_environments import WorkerEnvironment
from probity.workspace import Workspace
from tests.platform.observers import Quiet

pytestmark = pytest.mark.heavy  # the default suite tries a swapped model on the run that it has


class Place:
    """A copy of a finished run, not released yet, whose policy may have been another one."""

    def __init__(self, source: Path, target: Path) -> None:
        shutil.copytree(source, target)
        self.root, self.workspace = target, Workspace(target / ".probity")
        self.folder = self.workspace.runs()[-1]  # the first one; other tests may have added runs
        shutil.rmtree(target / "serving")
        for name in (RELEASE, CLAIMS, ".run/receipts/release.json"):
            (self.folder.path / name).unlink()

    @property
    def project(self) -> Project:
        return Project.of_run(self.folder)

    @property
    def versions(self) -> list[Path]:
        return sorted((self.root / "serving").glob("small/*"))

    def with_policy(self, **gate) -> None:
        """Makes the run one that was started, and decided, under another policy."""
        path = self.folder.path / "01_config.yaml"
        value = yaml.safe_load(path.read_text())
        value["config"]["gate"].update(gate)
        value["started_by"] = "sam"
        path.write_text(yaml.safe_dump(value, sort_keys=False))
        self.decide()

    def decide(self) -> None:
        decision = self.folder.path / "10_decision.json"
        write_record(decision, decide(self.folder))
        receipt = self.folder.receipt("gate")
        outputs = {**receipt.outputs, "10_decision.json": digest_file(decision)}
        self.folder.write_receipt(receipt.model_copy(update={"outputs": outputs}))

    def release(self) -> None:
        pipeline.release(self.folder, workspace=self.workspace, observer=Quiet())

    def reviewers(self, *names: str) -> None:
        people = []
        for name in names:
            path = self.root / "people" / f"{name}.pem"
            public = load_key(path).public if path.exists() else create_key(path, kind="ed25519")
            people.append({"name": name, "key": public.pem, "may_waive": name == "lee"})
        (self.root / "reviewers.yaml").write_text(yaml.safe_dump({"reviewers": people}))

    def review(self, name: str, outcome: str = "approve") -> None:
        review(self.folder, self.project, outcome=outcome, signer=load_key(self.root / "people" / f"{name}.pem"))


@pytest.fixture
def place(finished, tmp_path, monkeypatch):
    monkeypatch.setattr("probity.platform.pipeline.tracking.track_run", lambda *a, **k: None)
    return Place(finished.folder, tmp_path / "project")


@pytest.fixture
def waiting(place):
    """A run that waits for one approval; sam started it."""
    place.reviewers("kim", "lee", "sam")
    place.with_policy(approval={"required": "always"})
    return place


def cli(monkeypatch, *arguments) -> int:
    monkeypatch.setattr(sys, "argv", ["probity", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code or 0


HELD = {"rules": [{"name": "floor", "metric": "auc", "at_least": 0.999}]}


# --- the straight way ------------------------------------------------------------------------------------------------


def test_the_straight_way_ends_in_a_version_that_verifies_and_a_run_that_does(place):
    first = (place.folder.path / "10_decision.json").read_bytes()
    place.release()
    (version,) = place.versions
    assert verify(version, trusted_keys=place.project.trusted()).problems == ()
    assert verify_run(place.folder, trusted_keys=place.project.trusted()).problems == ()
    assert [entry.event.kind for entry in place.project.history()[0]] == ["promoted"]
    write_record(place.root / "again.json", decide(place.folder))
    assert (place.root / "again.json").read_bytes() == first == (place.folder.path / "10_decision.json").read_bytes()


def test_every_file_of_the_evidence_is_named_when_it_changes(place):
    place.release()
    keys, folder = place.project.trusted(), place.folder.path
    names = ["01_config.yaml", "02_dataset.json", "03_examples/splits.json", "07_model/model.json", "10_decision.json"]
    names += ["09_card/card.json", "09_card/card.md", "09_card/card.html", "11_claims.jsonl"]
    names += [f"08_audits/{path.name}" for path in (folder / "08_audits").glob("*.json")]
    files = [folder / name for name in names] + sorted((folder / "03_examples").glob("*.gz"))
    for path in files:
        content = path.read_bytes()
        path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
        problems = [str(problem) for problem in verify_run(place.folder, trusted_keys=keys).problems]
        assert any(path.stem.split(".")[0] in problem for problem in problems), path
        path.write_bytes(content)
    with (folder / "07_model/saved_model/saved_model.pb").open("ab") as file:
        file.write(b"x")
    assert any("saved_model" in str(problem) for problem in verify_run(place.folder, trusted_keys=keys).problems)


# --- held ------------------------------------------------------------------------------------------------------------


def test_a_held_run_by_the_command_and_by_python(place, monkeypatch):
    place.with_policy(**HELD)
    assert cli(monkeypatch, "release", place.folder.id, "--workspace", place.workspace.root) == 3
    with pytest.raises(ReleaseHeldError):
        place.release()
    assert place.versions == []


def edit_verdict(place):
    """Makes a stored hold a release, in a form that can be read."""
    path = place.folder.path / "10_decision.json"
    value = json.loads(path.read_text())
    value["verdict"] = "release"
    value["checks"] = [check for check in value["checks"] if check["outcome"] == "pass"]
    path.write_text(json.dumps(value))


def test_a_verdict_that_was_edited(place):
    place.with_policy(**HELD)
    edit_verdict(place)
    with pytest.raises(ReleaseHeldError):
        place.release()
    assert place.versions == []


def test_a_policy_that_was_weakened_afterwards(place):
    place.with_policy(**HELD)
    path = place.folder.path / "01_config.yaml"
    path.write_text(path.read_text().replace("0.999", "0.5"))
    with pytest.raises(ReleaseHeldError, match="policy"):
        place.release()
    assert place.versions == []


@pytest.mark.parametrize("name", ["08_audits/performance.json", "08_audits/fairness.json", "09_card/card.json"])
def test_evidence_that_was_edited(place, name):
    path = place.folder.path / name
    path.write_text(path.read_text().replace("0.8", "0.9", 1) + " ")
    with pytest.raises(ReleaseHeldError):
        place.release()
    assert place.versions == []


# --- tampered --------------------------------------------------------------------------------------------------------


def test_a_model_that_was_swapped(place):
    with (place.folder.path / "07_model/saved_model/saved_model.pb").open("ab") as file:
        file.write(b"x")
    with pytest.raises(DigestMismatchError):
        place.release()
    assert place.versions == []


def test_a_version_that_was_copied_linked_or_made_up_is_not_taken_for_a_release(place):
    place.release()
    (version,) = place.versions
    keys, above = place.project.trusted(), int(version.name) + 5
    copied, linked, poisoned = (version.with_name(str(above + n)) for n in range(3))
    shutil.copytree(version, copied)
    linked.symlink_to(version)
    shutil.copytree(version, poisoned)
    record = poisoned / EXTRA / "RELEASE.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "version": int(poisoned.name)}))
    for path in (copied, linked, poisoned):
        assert not verify(path, trusted_keys=keys).ok, path
    assert latest(place.project.base_path, "small", trusted_keys=keys)[1] == version
    shutil.rmtree(place.root / "serving" / "other", ignore_errors=True)
    shutil.copytree(version, place.root / "serving" / "other" / version.name)
    assert not verify(place.root / "serving" / "other" / version.name, trusted_keys=keys).ok


def test_a_number_that_nothing_can_come_after_is_refused(place):
    (place.root / "serving" / "small" / str(2**63 - 1)).mkdir(parents=True)
    with pytest.raises(ReleaseError, match=r"2\*\*63"):
        place.release()


@pytest.mark.parametrize(
    ("way", "refusal"),
    [
        ("held", ReleaseHeldError),
        ("an edited verdict", ReleaseHeldError),
        ("rejected", ReleaseHeldError),
        ("other weights", DigestMismatchError),
        ("another model", DigestMismatchError),
    ],
)
def test_the_way_by_secret_shares_is_shut_as_well(place, way, refusal):
    def never(*_, **__):
        raise AssertionError("a worker was asked to deal shares")

    if way in ("held", "an edited verdict"):
        place.with_policy(**HELD)
    if way == "an edited verdict":
        edit_verdict(place)
    elif way == "rejected":
        place.reviewers("kim")
        place.review("kim", "reject")
    elif way == "other weights":
        path = place.folder.path / "07_model/model.keras"
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    elif way == "another model":
        with (place.folder.path / "07_model/saved_model/saved_model.pb").open("ab") as file:
            file.write(b"x")
    with pytest.raises(refusal):
        share_model(place.folder, base_path=place.root / "serving", runner=never)
    assert not list(place.root.glob("serving/small.shares/*"))


def test_the_way_by_secret_shares_is_open_for_what_may_be_released(place, monkeypatch):
    monkeypatch.setattr(WorkerEnvironment, "require_ready", lambda self: None)

    def asked(*_, **__):
        raise KeyboardInterrupt  # the worker of another environment; its own tests go on from here

    with pytest.raises(KeyboardInterrupt):
        share_model(place.folder, base_path=place.root / "serving", runner=asked)


def test_a_rejection_counts_although_the_policy_asked_nobody(place):
    place.reviewers("kim")
    place.review("kim", "reject")
    with pytest.raises(ReleaseHeldError, match="approval"):
        place.release()
    assert place.versions == []


# --- unsigned --------------------------------------------------------------------------------------------------------


def test_without_the_key_that_the_config_names_nothing_is_pushed(place):
    path = place.folder.path / "01_config.yaml"
    value = yaml.safe_load(path.read_text())
    value["config"]["signing"]["key"] = "keys/another.pem"
    path.write_text(yaml.safe_dump(value))
    with pytest.raises(SignatureError, match="no such key"):
        place.release()
    assert place.versions == []


def test_with_a_key_that_others_can_read_nothing_is_pushed(place):
    (place.root / "keys" / "release.pem").chmod(0o644)
    with pytest.raises(SignatureError, match="others may read it"):
        place.release()
    assert place.versions == []


# --- unapproved ------------------------------------------------------------------------------------------------------


def test_a_run_waits_is_approved_and_released_and_its_first_decision_stays(waiting):
    first = (waiting.folder.path / "10_decision.json").read_bytes()
    assert json.loads(first)["verdict"] == "hold"
    assert [entry.run for entry in waiting_runs(waiting.workspace)] == [waiting.folder.id]
    with pytest.raises(ReleaseHeldError, match="approval"):
        waiting.release()
    waiting.review("kim")
    waiting.release()
    assert (waiting.folder.path / "10_decision.json").read_bytes() == first
    assert json.loads((waiting.folder.path / "11_decision.json").read_text())["verdict"] == "release"
    (version,) = waiting.versions
    assert verify(version, trusted_keys=waiting.project.trusted()).problems == ()
    assert waiting_runs(waiting.workspace) == ()
    assert [entry.event.kind for entry in waiting.project.history()[0]] == ["approved", "promoted"]
    above = Lineage(waiting.workspace.metadata).ancestors(waiting.folder.release().record_digest())
    assert [link["facts"]["by"] for link in above if link["type"] == "Review"] == ["kim"]


def test_a_release_may_wait_for_its_approval_and_no_longer_than_it_was_told(waiting, monkeypatch):
    command = ("release", waiting.folder.id, "--workspace", waiting.workspace.root)
    assert cli(monkeypatch, *command, "--wait", "0.1") == 3
    assert waiting.versions == []
    approving = threading.Timer(1.0, waiting.review, ["kim"])
    approving.start()
    assert cli(monkeypatch, *command, "--wait", "60") == 0
    approving.join()
    assert len(waiting.versions) == 1


def unapproved(waiting):
    """Each way to have no approval that counts."""
    path = waiting.folder.path / REVIEWS

    def of_another_run():
        waiting.review("kim")
        path.write_text(path.read_text())
        waiting.folder.path.rename(waiting.folder.path.with_name(waiting.folder.id[:-4] + "ffff"))
        waiting.folder = RunFolder(waiting.folder.path.with_name(waiting.folder.id[:-4] + "ffff"))

    def evidence_changed_since():
        waiting.review("kim")
        card = waiting.folder.path / "09_card" / "card.md"
        card.write_text(card.read_text() + "\n")

    def the_trainer_alone():
        waiting.review("sam")

    def rejected_by_another():
        waiting.review("kim")
        waiting.review("lee", "reject")

    def rejected_afterwards():
        waiting.review("kim")
        waiting.review("kim", "reject")

    def no_longer_a_reviewer():
        waiting.review("kim")
        waiting.reviewers("lee", "sam")

    def another_key_of_the_same_name():
        waiting.review("kim")
        (waiting.root / "people" / "kim.pem").unlink()
        (waiting.root / "people" / "kim.pub").unlink()
        waiting.reviewers("kim", "lee", "sam")

    def an_edited_review():
        waiting.review("sam")
        path.write_text(path.read_text().replace("a", "b"))

    return {way.__name__: way for name, way in locals().items() if callable(way)}


@pytest.mark.parametrize(
    "way",
    [
        "of_another_run",
        "evidence_changed_since",
        "the_trainer_alone",
        "rejected_by_another",
        "rejected_afterwards",
        "no_longer_a_reviewer",
        "another_key_of_the_same_name",
        "an_edited_review",
    ],
)
def test_an_approval_that_does_not_count(waiting, way):
    unapproved(waiting)[way]()
    with pytest.raises(ReleaseHeldError):
        waiting.release()
    assert waiting.versions == []


def test_a_key_that_no_reviewer_has_approves_nothing(waiting, monkeypatch):
    create_key(waiting.root / "stranger.pem")
    arguments = ("approve", "latest", "--key", waiting.root / "stranger.pem", "--workspace", waiting.workspace.root)
    assert cli(monkeypatch, *arguments) == 2
    assert not (waiting.folder.path / REVIEWS).exists()


def test_a_run_that_is_held_by_a_rule_cannot_be_approved(waiting):
    waiting.with_policy(**HELD)
    with pytest.raises(ReleaseError, match="more than a missing approval"):
        waiting.review("kim")
    waiting.review("kim", "reject")
    with pytest.raises(ReleaseHeldError):
        waiting.release()


# --- expired ---------------------------------------------------------------------------------------------------------


def test_evidence_that_is_too_old(place):
    place.with_policy(expires_after_days={"fairness": 30})
    assert place.folder.decision().verdict == "release"
    later = datetime.now(UTC) + timedelta(days=31)
    decision = decide(place.folder, now=later)
    assert {check.rule for check in decision.blocking} >= {"evidence: fairness", "gap"}
    place.release()
    (version,) = place.versions
    keys = place.project.trusted()
    assert verify(version, trusted_keys=keys).ok
    assert [problem.expired for problem in verify(version, trusted_keys=keys, now=later).problems] == [True]


def test_evidence_that_monitoring_declared_expired(place):
    project = place.project
    event = EvidenceExpired(at=utc_now().isoformat(), by="monitor", why="drift", run=place.folder.id, audits=("data",))
    keys = project.keys()
    add_event(project.base_path, project.model_name, event, keys=project.writers(), signer=keys.signer)
    with pytest.raises(ReleaseHeldError, match="data"):
        place.release()
    assert place.versions == []


def test_a_run_that_waited_while_another_one_was_released(place):
    """Its rule compares with the latest release, and its audit saw none."""
    assert place.folder.decision().verdict == "release"
    project, keys = place.project, place.project.keys()
    other = "sha256:" + "7" * 64
    event = Promoted(at=utc_now().isoformat(), by="kim", run="another", version=7, claims=other)
    add_event(project.base_path, project.model_name, event, model=other, keys=project.writers(), signer=keys.signer)
    with pytest.raises(ReleaseHeldError, match="no regression"):
        place.release()
    assert place.versions == []


def test_a_history_that_was_changed_lets_nothing_through(place):
    place.release()
    path = place.root / "serving" / "small.history.jsonl"
    path.write_bytes(path.read_bytes().replace(b"payload", b"Payload", 1))
    (place.folder.path / RELEASE).unlink()
    with pytest.raises(ReleaseHeldError):
        place.release()
    with pytest.raises(SignatureError):
        roll_back(place.project)
    assert len(place.versions) == 1


# --- a waiver lifts, by name and until a day -------------------------------------------------------------------------


def test_a_waiver_lets_one_rule_go_until_its_day_and_only_if_its_owner_may(place, monkeypatch):
    rules = [{"name": "floor", "metric": "auc", "at_least": 0.5}, {"name": "high", "metric": "auc", "at_least": 0.999}]
    config = yaml.safe_load((place.root / "probity.yaml").read_text())
    config["gate"]["rules"] = rules
    (place.root / "probity.yaml").write_text(yaml.safe_dump(config))
    place.reviewers("kim", "lee")
    until = (datetime.now(UTC) + timedelta(days=30)).date().isoformat()
    command = ["waive", place.root / "probity.yaml", "--rule", "high", "--reason", "a pilot", "--until", until]
    assert cli(monkeypatch, *command, "--key", place.root / "people" / "kim.pem") == 2
    assert cli(monkeypatch, *command, "--key", place.root / "people" / "lee.pem") == 0
    path = place.folder.path / "01_config.yaml"
    value = yaml.safe_load(path.read_text())
    value["reviewers"] = place.project.reviewers().to_json()
    value["waivers"] = [sealed.line for sealed in place.project.waivers()]
    path.write_text(yaml.safe_dump(value))
    place.with_policy(rules=rules)
    decision = place.folder.decision()
    assert decision.verdict == "release"
    (lifted,) = [check for check in decision.checks if check.lifted_by == "waiver"]
    assert (lifted.rule, lifted.outcome) == ("high", "fail")
    assert "lee" in lifted.reason
    assert decide(place.folder, now=datetime.now(UTC) + timedelta(days=31)).verdict == "hold"
    place.release()
    (version,) = place.versions
    assert verify(version, trusted_keys=place.project.trusted()).ok
    assert not verify(version, trusted_keys=place.project.trusted(), now=datetime.now(UTC) + timedelta(days=31)).ok
