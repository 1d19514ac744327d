"""Reviews come before the release; waiting for them: until enough approved, one rejected, or the time is over."""

from __future__ import annotations

import pytest
import yaml

from probity.claims import ApprovalTerms
from probity.errors import ReleaseError
from probity.keys import create_key, load_key
from probity.platform.release import approval
from probity.platform.release.project import Project
from probity.run_reviews import REVIEWS, Waiting

REJECTED = object()


class Clock:
    """Time that passes by sleeping; each sleep lets the next thing happen."""

    def __init__(self, *happens):
        self.now, self.slept, self.happens = 0.0, [], list(happens)
        self.approved = ()

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds
        if self.happens:
            self.approved = self.happens.pop(0)

    def monotonic(self):
        return self.now


@pytest.fixture
def waits(monkeypatch):
    def prepare(clock, *, quorum, started_by=()):
        def waiting_for(folder):
            if clock.approved is REJECTED:
                return None
            return Waiting(run="r", model_name="m", approved_by=clock.approved, quorum=quorum, card="c")

        terms = ApprovalTerms(quorum=quorum, reviewers={}, started_by=started_by)
        monkeypatch.setattr(approval, "waiting_for", waiting_for)
        monkeypatch.setattr(approval, "approval_terms", lambda folder, project: terms)
        monkeypatch.setattr(approval.Project, "of_run", classmethod(lambda cls, folder: None))
        monkeypatch.setattr(approval.time, "monotonic", clock.monotonic)
        return lambda seconds: approval.await_reviews(None, seconds=seconds, sleep=clock.sleep)

    return prepare


def test_it_goes_on_as_soon_as_enough_have_approved(waits):
    clock = Clock(("kim",), ("kim", "lee"))
    assert waits(clock, quorum=2)(60.0) is True
    assert clock.slept == [2.0, 2.0]


def test_whoever_started_the_run_is_not_enough(waits):
    clock = Clock(("sam",), ("sam",))
    assert waits(clock, quorum=1, started_by=("sam",))(3.0) is False
    assert clock.slept == [2.0, 1.0]  # and not a second longer than was said


def test_a_rejection_ends_the_waiting(waits):
    clock = Clock((), REJECTED)
    assert waits(clock, quorum=1)(60.0) is True
    assert clock.now == 4.0


def test_a_run_that_waits_for_nobody_is_not_waited_for(waits):
    clock = Clock()
    clock.approved = REJECTED
    assert waits(clock, quorum=1)(60.0) is True
    assert clock.slept == []


@pytest.mark.parametrize("outcome", ["approve", "reject"])
def test_nothing_is_said_about_a_run_that_was_released_already(make_run, tmp_path, outcome):
    public = create_key(tmp_path / "kim.pem", kind="ed25519")
    (tmp_path / "reviewers.yaml").write_text(yaml.safe_dump({"reviewers": [{"name": "kim", "key": public.pem}]}))
    run = make_run().complete()
    project = Project(config=run.config, root=tmp_path)
    with pytest.raises(ReleaseError, match="released already"):
        approval.review(run.folder, project, outcome=outcome, signer=load_key(tmp_path / "kim.pem"))
    assert project.history() == ((), ())
    assert not (run.folder.path / REVIEWS).exists()
