"""Reasons for unfavourable predictions: by hand, asked of the model again, and of nobody who was not scored."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from probity.audit_plan import AuditsConfig
from probity.audits import adverse_action
from probity.audits.adverse_action import MAX_REASONS, Reasons, find_reasons, select, typical_rows
from probity.audits.adverse_findings import _verified, reason_findings, write_reasons
from probity.audits.regulatory import RegulatoryAudit
from probity.audits.testing import make_evidence
from probity.errors import AuditError

WEIGHTS = {"age": 0.9 / 12, "hours": 0.7 / 10}


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    settings = AuditsConfig(min_group_size=20, background_rows=40)
    return make_evidence(tmp_path_factory.mktemp("evidence"), settings=settings)


@pytest.fixture(scope="module")
def reasons(evidence):
    return find_reasons(evidence)


def columns_of(evidence):
    table = evidence.examples.table("test")
    return {name: np.asarray(table.column(name).to_numpy(), np.float64) for name in WEIGHTS}


def near(evidence):
    """The forty favourable rows that score closest to the threshold, found anew."""
    favourable = np.flatnonzero(evidence.scored.scores > 0.5)
    return favourable[np.argsort(evidence.scored.scores[favourable], kind="stable")[:40]]


def test_the_most_negative_column_that_helps_comes_first():
    contributions = np.array([[-1.0, -3.0, 0.5, -2.0, 0.0]])
    verified, struck = select(contributions, helps=np.array([[True, True, True, True, True]]))
    assert (verified, struck) == ([[1, 3, 0]], [[]])
    verified, struck = select(contributions, helps=np.array([[True, False, True, True, True]]))
    assert (verified, struck) == ([[3, 0]], [[1]])


def test_no_more_than_four_and_nothing_struck_beyond_the_last():
    contributions = -np.arange(10.0, 3.0, -1.0)[None, :]
    helps = np.array([[True, False, True, True, True, False, True]])
    verified, struck = select(contributions, helps=helps)
    assert verified == [[0, 2, 3, 4]]
    assert struck == [[1]]


@pytest.mark.parametrize("contributions", [[0.0, 0.0], [1.0, 2.0]])
def test_what_does_not_lower_the_score_is_no_reason(contributions):
    assert select(np.array([contributions]), helps=np.ones((1, 2), bool)) == ([[]], [[]])


def test_a_typical_value_is_the_lower_median_or_the_most_frequent_one():
    table = pa.table(
        {
            "odd": pa.array([5, 1, None, 9, 7, 3], pa.int64()),
            "even": pa.array([4.0, 1.0, 3.0, 2.0, None, None], pa.float32()),
            "mostly missing": pa.array([None, 2.0, None, None, 1.0, None], pa.float32()),
            "text": pa.array(["b", "a", "c", "c", "a", "c"], pa.string()),
            "missing text": pa.array([None, "a", None, "b", None, "a"], pa.string()),
        }
    )
    rows = typical_rows(table)
    found = [table.column(i)[int(row)].as_py() for i, row in enumerate(rows)]
    assert found == [5, 2.0, None, "c", None]


def test_reasons_are_for_people_with_an_unfavourable_prediction(reasons, evidence):
    assert (evidence.scored.scores[reasons.people] <= 0.5).all()
    assert len(reasons.people) == (evidence.scored.scores <= 0.5).sum()
    assert len(set(reasons.people.tolist())) == len(reasons.people)


def test_every_reason_lowers_the_score_and_moves_it_when_asked(reasons, evidence):
    """By the formula of the model, not by the model: contribution against the reference, and move to its median."""
    values, rows = columns_of(evidence), near(evidence)
    median = {name: np.sort(values[name][rows])[(len(rows) - 1) // 2] for name in WEIGHTS}
    told = 0
    for person, verified, struck in zip(reasons.people, reasons.verified, reasons.struck, strict=True):
        lowers = {name: w * (values[name][person] - values[name][rows].mean()) for name, w in WEIGHTS.items()}
        helps = {name: values[name][person] < median[name] for name in WEIGHTS}
        expected = sorted((name for name in WEIGHTS if lowers[name] < 0), key=lambda name: lowers[name])
        assert list(verified) == [name for name in expected if helps[name]]
        assert list(struck) == [name for name in expected if not helps[name]]
        told += len(verified)
    assert told > 50


def test_columns_that_are_no_features_are_never_reasons(reasons, evidence):
    """Sex and race are audited and not scored; age is both, and that is said."""
    assert {name for found in reasons.verified for name in found} <= {"age", "hours"}
    assert reasons.sensitive == ("age",)
    found = {finding.id: finding for finding in reason_findings(reasons, evidence)}
    shares = [found[f"regulatory/{name}/age/overall@0.5"].estimate.value for name in
              ("sensitive_reason_share", "adverse_action_reason_share")]  # fmt: skip
    assert shares[0] == shares[1] > 0.1
    assert not any("sensitive_reason_share/hours" in name for name in found)


def test_where_the_negative_prediction_benefits_a_person_high_scores_need_reasons(evidence):
    dataset = evidence.dataset.model_copy(update={"favourable_outcome": "negative"})
    found = find_reasons(replace(evidence, dataset=dataset))
    assert (evidence.scored.scores[found.people] > 0.5).all()
    values = columns_of(evidence)
    hours = [values["hours"][p] for p, v in zip(found.people, found.verified, strict=True) if "hours" in v]
    others = [values["hours"][p] for p, v in zip(found.people, found.verified, strict=True) if "hours" not in v]
    assert min(hours) > max(others)


def test_shares_are_counts_over_people(reasons, evidence):
    findings = {finding.id: finding for finding in reason_findings(reasons, evidence)}
    has = np.array(["hours" in found for found in reasons.verified])
    women = evidence.scored.groups["sex"][reasons.people] == 0
    for slice_, members in (("overall", np.ones(len(has), bool)), ("sex=Female", women)):
        finding = findings[f"regulatory/adverse_action_reason_share/hours/{slice_}@0.5"]
        assert finding.estimate.n == members.sum()
        assert finding.estimate.value == pytest.approx(has[members].mean())
        assert finding.estimate.lower < finding.estimate.value < finding.estimate.upper
    rare = findings["regulatory/adverse_action_reason_share/hours/race=Rare@0.5"]
    assert rare.evidence == "insufficient"
    assert "fewer than 20" in rare.reason
    unseen = findings["regulatory/adverse_action_reason_share/hours/sex=Unseen@0.5"]
    assert unseen.estimate.value is None
    without = findings["regulatory/without_reason_rate/overall@0.5"].estimate.value
    assert without == pytest.approx(np.mean([not found for found in reasons.verified]))


def test_the_verified_rate_is_of_candidates_and_its_interval_of_people():
    """Against the spread of the ratio when people are drawn anew."""
    rng = np.random.default_rng(1)

    def draw(people):
        held = rng.integers(0, 4, people)
        return held, rng.binomial(2, 0.2 + 0.2 * (held == 0))

    def rate(held, struck):
        return _verified(
            Reasons(
                columns=("a",),
                people=np.arange(len(held)),
                verified=tuple(("a",) * n for n in held),
                struck=tuple(("a",) * n for n in struck),
                sensitive=(),
                method="",
                reference="",
            ),
            confidence=0.95,
            threshold=0.5,
        ).estimate

    held, struck = draw(300)
    estimate = rate(held, struck)
    assert estimate.value == pytest.approx(held.sum() / (held.sum() + struck.sum()))
    spread = np.std([rate(*draw(300)).value for _ in range(400)])
    assert (estimate.upper - estimate.lower) / 2 == pytest.approx(1.96 * spread, rel=0.2)
    assert rate(np.zeros(5, int), np.zeros(5, int)).value is None


def test_the_file_holds_positions_and_names_and_nothing_else(reasons, tmp_path):
    write_reasons(tmp_path / "internal" / "adverse_action.json", reasons)
    content = json.loads((tmp_path / "internal" / "adverse_action.json").read_text())
    assert content["label"] == "local"
    assert "internal" in content["audience"]
    assert [set(entry) for entry in content["people"]] == [{"row", "reasons", "struck"}] * len(reasons.people)
    assert [entry["row"] for entry in content["people"]] == reasons.people.tolist()
    assert max(len(entry["reasons"]) for entry in content["people"]) <= MAX_REASONS


@pytest.mark.parametrize("score", [0.1, 0.9], ids=["nobody favourable", "nobody unfavourable"])
def test_without_both_outcomes_there_is_nothing_to_compare(score, evidence, tmp_path):
    scored = replace(evidence.scored, scores=np.full(400, score, np.float32))
    with pytest.raises(AuditError, match="favourable predictions"):
        find_reasons(replace(evidence, scored=scored))
    report = RegulatoryAudit().run(replace(evidence, scored=scored), workdir=tmp_path)
    assert report.status == "complete"
    assert any("No reasons for unfavourable predictions are given" in reason for reason in report.reasons)
    assert report.find("regulatory/favourable_rate/sex=Female@0.5") is not None
    assert not (tmp_path / "internal").exists()


def test_another_model_in_the_keras_file_gives_no_reasons(evidence):
    scored = replace(evidence.scored, scores=np.clip(evidence.scored.scores + np.float32(0.01), 0, 1))
    with pytest.raises(AuditError, match="differ from the audited model"):
        find_reasons(replace(evidence, scored=scored))


def test_a_model_that_cannot_be_read_back_leaves_the_tables(evidence, tmp_path):
    (tmp_path / "model.keras").write_bytes(b"secret cell content")
    (tmp_path / "out").mkdir()
    report = RegulatoryAudit().run(replace(evidence, model_folder=tmp_path), workdir=tmp_path / "out")
    assert report.status == "complete"
    text = " ".join(report.reasons)
    assert "cannot be read back" in text
    assert "secret" not in text


def test_the_reasons_alone_are_a_report(evidence, tmp_path):
    """Without sensitive attributes there are no tables, but people with unfavourable predictions all the same."""
    dataset = evidence.dataset.model_copy(update={"sensitive": (), "intersections": ()})
    scored = replace(evidence.scored, groups={}, names={})
    report = RegulatoryAudit().run(replace(evidence, dataset=dataset, scored=scored), workdir=tmp_path)
    assert report.status == "complete"
    assert report.find("regulatory/adverse_action_reason_share/hours/overall@0.5") is not None


def test_no_more_people_are_explained_than_the_sample_holds(evidence, monkeypatch):
    monkeypatch.setattr(adverse_action, "MAX_PEOPLE", 30)
    found = find_reasons(evidence)
    assert len(found.people) == len(found.verified) == len(found.struck) == 30


def test_the_page_prints_shares_checks_and_no_claim(evidence, tmp_path):
    RegulatoryAudit().run(evidence, workdir=tmp_path)
    page = (tmp_path / "tables.html").read_text()
    assert "Reasons for unfavourable predictions" in page
    assert "12 CFR 1002.9(b)(2)" in page
    for name in (
        "adverse_action_reason_share/hours/overall@0.5",
        "adverse_action_reason_share/⟨column⟩/sex=⟨group⟩@0.5",
        "verified_reason_rate/overall@0.5",
        "without_reason_rate/overall@0.5",
        "sensitive_reason_share/age/overall@0.5",
    ):
        assert f"<code>regulatory/{name}</code>" in page
    for word in ("complies", "compliant", "compliance", "legal"):
        assert word not in page.lower()
