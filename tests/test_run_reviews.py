"""The evidence that a review is about, who may review, and what waits, in folders written by hand."""

import pytest

from probity.errors import ConfigError
from probity.review import Reviewers
from probity.run_reviews import (
    REVIEWS,
    SAVED_MODEL,
    counting_reviews,
    evidence_digest,
    evidence_files,
    read_reviewers,
    waiting_for,
    waiting_runs,
)
from probity.runs import RunFolder
from probity.workspace import Workspace

RUN = "20260102T030405Z-adult-income-1a2b"


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "runs" / RUN
    for name in ("01_config.yaml", "07_model/model.json", "07_model/saved_model/weights", "08_audits/privacy.json"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(name.encode())
    return RunFolder(path)


def test_what_is_not_there_is_part_of_the_evidence_as_absent(folder):
    found = evidence_files(folder)
    assert found["10_decision.json"] == found["09_card/card.json"] == "absent"
    assert {name for name, digest in found.items() if digest != "absent"} == {
        "01_config.yaml", "07_model/model.json", SAVED_MODEL, "08_audits/privacy.json",
    }  # fmt: skip


@pytest.mark.parametrize(
    "name", ["01_config.yaml", "07_model/saved_model/weights", "08_audits/privacy.json", "10_decision.json"]
)
def test_every_byte_counts(folder, name):
    before = evidence_digest(folder)
    (folder.path / name).write_bytes(b"other")
    assert evidence_digest(folder) != before


def test_lines_that_nobody_sealed_are_no_reviews(folder):
    assert counting_reviews(folder, Reviewers(), model_name="adult_income") == ()


def test_a_run_without_a_decision_waits_for_nobody(folder, tmp_path):
    assert waiting_for(folder) is None
    assert waiting_runs(Workspace(tmp_path)) == ()
    assert not (folder.path / REVIEWS).exists()


def test_an_absent_list_names_nobody_and_an_unreadable_one_is_refused(tmp_path):
    assert read_reviewers(tmp_path / "reviewers.yaml") == Reviewers()
    (tmp_path / "reviewers.yaml").write_text("reviewers: [{name: ines}]", encoding="utf-8")
    with pytest.raises(ConfigError, match="list of reviewers"):
        read_reviewers(tmp_path / "reviewers.yaml")
