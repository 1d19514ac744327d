"""The review of data before anything is trained on them: who counts, about what, and what it permits."""

from __future__ import annotations

import pytest
import yaml

from probity import runs
from probity.errors import DataHeldError, ReleaseError, SignatureError
from probity.history import DataApproved
from probity.keys import create_key, load_key
from probity.platform.release.approval import await_reviews
from probity.platform.release.data_review import require_reviewed_data, review_data
from probity.platform.release.history import add_event
from probity.platform.release.project import Project
from probity.platform.release.webhook import message
from probity.run_reviews import data_evidence_digest, waiting_for
from probity.runs import RunError
from probity.storage import write_record
from tests.platform.conftest import FinishedRun

PEOPLE = ("kim", "lee", "sam")


class Place:
    """Runs whose data wait for a review, and three people; ``sam`` starts every run."""

    def __init__(self, root, **approval):
        self.root, self.keys, people = root, {}, []
        for name in PEOPLE:
            public = create_key(root / f"{name}.pem", kind="ed25519")
            self.keys[name] = load_key(root / f"{name}.pem")
            people.append({"name": name, "key": public.pem, "users": [f"{name}@host"]})
        (root / "reviewers.yaml").write_text(yaml.safe_dump({"reviewers": people}))
        self.gate = {"rules": [], "approval": approval}

    def run(self, **changes):
        made = FinishedRun(self.root / "workspace", gate=self.gate, **changes).complete(until="anomalies")
        path = made.folder.path / runs.CONFIG
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "started_by": "sam@host"}))
        return made.folder

    def project(self, folder):
        return Project.of_run(folder)

    def says(self, name, folder, outcome="approve"):
        return review_data(folder, self.project(folder), outcome=outcome, signer=self.keys[name], comment="looked at")

    def permitted(self, folder):
        try:
            require_reviewed_data(folder, self.project(folder))
        except DataHeldError as error:
            return str(error)
        return True


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path, data="always")


def test_nothing_goes_on_before_somebody_else_approved_the_data(place):
    folder = place.run()
    assert "0 of 1 needed approvals. Allowed: approval of the data by 1 reviewer." in place.permitted(folder)
    place.says("sam", folder)
    assert "nobody but whoever started the run" in place.permitted(folder)
    place.says("kim", folder)
    assert place.permitted(folder) is True


def test_equal_data_are_reviewed_once_and_other_data_again(place):
    place.says("kim", place.run())
    assert place.permitted(place.run(seed=8)) is True
    assert place.permitted(place.run(data="other data")) is not True


@pytest.mark.parametrize(
    "name", [runs.DATASET, runs.SCHEMA, runs.ANOMALIES, f"{runs.STATISTICS}/statistics.json", "03_examples/splits.json"]
)
def test_a_word_is_about_every_byte_of_the_evidence(place, name):
    folder = place.run()
    place.says("kim", folder)
    before = data_evidence_digest(folder)
    path = folder.path / name
    path.write_bytes(path.read_bytes() + b" ")
    assert data_evidence_digest(folder) != before
    assert place.permitted(folder) is not True


def test_a_rejection_outweighs_approvals_also_where_nobody_is_asked(tmp_path):
    place = Place(tmp_path, data="never")
    folder = place.run()
    assert place.permitted(folder) is True
    place.says("kim", folder)
    place.says("lee", folder, "reject")
    assert "lee rejected these data" in place.permitted(folder)
    place.says("lee", folder)  # the last word of a person counts
    assert place.permitted(folder) is True


def test_only_data_with_anomalies_are_reviewed_where_the_policy_says_so(tmp_path):
    place = Place(tmp_path, data="on_anomalies")
    with_warning = place.run()
    assert place.permitted(with_warning) is not True
    clean = place.run(data="clean")
    write_record(clean.path / runs.ANOMALIES, clean.anomalies().model_copy(update={"anomalies": ()}))
    assert place.permitted(clean) is True


def test_a_quorum_counts_people(tmp_path):
    place = Place(tmp_path, data="always", quorum=2)
    folder = place.run()
    place.says("kim", folder)
    place.says("kim", folder)
    assert "1 of 2" in place.permitted(folder)
    place.says("sam", folder)
    assert place.permitted(folder) is True


def test_nobody_speaks_in_the_name_of_another(place):
    folder = place.run()
    project, evidence = place.project(folder), data_evidence_digest(folder)
    event = DataApproved(at="2026-01-01T00:00:00+00:00", by="kim", run=folder.id, evidence=evidence)
    add_event(project.base_path, "m", event, keys=project.writers(), signer=place.keys["sam"])
    assert "0 of 1" in place.permitted(folder)


def test_strangers_and_runs_without_statistics_are_refused(place):
    folder = place.run()
    create_key(place.root / "stranger.pem", kind="ed25519")
    with pytest.raises(SignatureError, match="no reviewer has"):
        review_data(folder, place.project(folder), outcome="approve", signer=load_key(place.root / "stranger.pem"))
    (folder.path / runs.ANOMALIES).unlink()
    with pytest.raises(ReleaseError, match="not compared with the schema yet"):
        place.says("kim", folder)


def test_a_history_that_does_not_verify_permits_nothing(place):
    folder = place.run()
    place.says("kim", folder)
    history = place.project(folder).base_path / "m.history.jsonl"
    history.write_bytes(history.read_bytes().replace(b"e", b"f", 1))
    assert place.permitted(folder) is not True


def test_it_waits_until_enough_approved_or_somebody_rejected(place):
    folder = place.run()
    assert folder.status() != "held"
    assert waiting_for(folder) is None
    folder.write_error(RunError(stage="anomalies", kind="DataHeldError", message="held"))
    assert folder.status() == "held"
    waiting = waiting_for(folder)
    assert (waiting.of, waiting.approved_by, waiting.quorum, waiting.card) == ("data", (), 1, str(folder.path))
    assert await_reviews(folder, seconds=0.0) is True  # a release is not what it waits for
    place.says("sam", folder)
    assert waiting_for(folder).approved_by == ("sam",)
    place.says("lee", folder, "reject")
    assert waiting_for(folder) is None
    place.says("lee", folder)
    assert waiting_for(folder) is None


def test_the_message_to_the_reviewers_says_what_to_look_at(place):
    folder = place.run()
    approval = folder.config().gate.approval
    text = message(approval, folder, model_name="m", of="data")["text"]
    assert f"the data of run {folder.id} wait for 1 approval(s)" in text
    assert f"probity approve {folder.id} --data --key FILE" in text
