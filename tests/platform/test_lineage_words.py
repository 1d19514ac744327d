"""Who signed off on a run, and whether its evidence expired: from the signed history into ML Metadata's own store."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from probity.errors import TrackingError
from probity.history import DataApproved, EvidenceExpired, Promoted
from probity.keys import create_key, load_key
from probity.platform.cli import app
from probity.platform.lineage import Lineage
from probity.platform.lineage_words import keep_words
from probity.platform.release.approval import review
from probity.platform.release.history import add_event
from probity.platform.release.project import Project
from probity.run_reviews import data_evidence_digest
from tests.platform.conftest import digest_of

AT = "2026-01-02T12:00:00+00:00"


@pytest.fixture
def signed(make_run, tmp_path):
    """Returns what makes a run with a reviewer, kim, in the config's folder."""
    pem = create_key(tmp_path / "kim.pem", kind="ed25519").pem.replace("\n", "\n      ")
    signer = load_key(tmp_path / "kim.pem")
    (tmp_path / "reviewers.yaml").write_text(f"reviewers:\n  - name: kim\n    key: |\n      {pem}\n")

    def make(**options):
        run = make_run(**options)
        lineage = Lineage(run.workspace.metadata).run(run.folder.id, run.config.name)
        for stage, inputs in run.stages.items():
            if stage == "release":
                break
            execution = lineage.start(stage, inputs=[run.folder.receipt(name) for name in inputs])
            execution.finish(run.perform(stage))
        return run, Project(config=run.config, root=tmp_path), signer

    return make


def said(run):
    links = Lineage(run.workspace.metadata).chain(run.folder.id)
    kinds = ("Review", "EvidenceExpiry")
    return [(link["type"], link["facts"], link["state"]) for link in links if link["type"] in kinds]


def add(project, event, signer=None):
    keys = project.keys()
    add_event(project.base_path, "m", event, keys=project.writers(), signer=signer or keys.signer)


def test_a_rejection_is_kept_with_reviewer_outcome_time_and_comment(signed):
    run, project, kim = signed()
    word = review(run.folder, project, outcome="reject", signer=kim, comment="the proxy is too strong").review
    for _ in range(2):
        keep_words(run.folder, project)
    [(kind, facts, state)] = said(run)
    assert (kind, state) == ("Review", "COMPLETE")
    assert facts == {
        "by": "kim",
        "outcome": "rejected",
        "of": "model",
        "at": word.at,
        "why": "the proxy is too strong",
        "evidence": word.evidence,
        "key": kim.keyid,
    }


def test_a_word_on_data_holds_for_every_run_on_equal_data(signed):
    (one, project, kim), (other, _, _), (different, _, _) = (
        signed(),
        signed(seed=8),
        signed(data="other rows"),
    )
    evidence = data_evidence_digest(one.folder)
    assert evidence == data_evidence_digest(other.folder) != data_evidence_digest(different.folder)
    add(project, DataApproved(at=AT, by="kim", why="complete", run=one.folder.id, evidence=evidence), kim)
    for run in (one, other, different):
        keep_words(run.folder, project)
    assert [(facts["of"], facts["by"], state) for _, facts, state in said(one)] == [("data", "kim", "COMPLETE")]
    assert [state for _, _, state in said(other)] == ["CACHED"]
    assert said(different) == []


def test_drift_is_kept_with_its_reason_and_other_events_are_not(signed):
    run, project, _ = signed()
    add(project, Promoted(at=AT, by="a", run=run.folder.id, version=5, claims=digest_of("claims")))
    add(project, EvidenceExpired(at=AT, by="monitor", why="of another run", run="another"))
    keep_words(run.folder, project)
    assert said(run) == []
    add(project, EvidenceExpired(at=AT, by="monitor", why="drift of age: 0.3", run=run.folder.id, audits=("fairness",)))
    keep_words(run.folder, project)
    [(kind, facts, _)] = said(run)
    assert kind == "EvidenceExpiry"
    assert (facts["why"], facts["audits"], facts["by"]) == ("drift of age: 0.3", "fairness", "monitor")


def test_show_prints_who_signed_off(signed):
    run, project, kim = signed()
    review(run.folder, project, outcome="reject", signer=kim, comment="no")
    keep_words(run.folder, project)
    arguments = ["show", run.folder.id, "--workspace", str(run.workspace.root)]
    text = CliRunner().invoke(app, arguments, catch_exceptions=False).stdout
    assert "review     kim rejected the model on 20" in text
    assert text.splitlines()[[line[:6] for line in text.splitlines()].index("review")].endswith(": no")
    value = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert [link["facts"]["outcome"] for link in value["lineage"] if link["type"] == "Review"] == ["rejected"]


def test_a_store_that_cannot_be_written_is_an_error_of_the_lineage_alone(signed):
    run, project, kim = signed()
    review(run.folder, project, outcome="reject", signer=kim)
    run.workspace.metadata.write_bytes(b"garbage" * 1000)
    with pytest.raises(TrackingError):
        keep_words(run.folder, project)
    assert [entry.event.kind for entry in project.history()[0]] == ["rejected"]
