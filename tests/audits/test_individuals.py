"""The audit of single people, on the fixed model: it sees age and hours, and not sex or race."""

import json
from dataclasses import replace

import pytest

from probity.audit_plan import AuditsConfig
from probity.audits.individuals import IndividualsAudit
from probity.audits.testing import AuditContract, make_evidence


class TestIndividualsContract(AuditContract):
    def make_audit(self):
        return IndividualsAudit()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    evidence = make_evidence(tmp_path_factory.mktemp("evidence"), rows=600)
    workdir = tmp_path_factory.mktemp("work")
    return evidence, IndividualsAudit().run(evidence, workdir=workdir), workdir


def test_an_attribute_that_the_model_does_not_see_flips_nothing(found):
    _, report, _ = found
    for name in ("individuals/flip_rate/sex", "individuals/flip_rate/sex=Female"):
        finding = report.find(name)
        assert (finding.estimate.value, finding.estimate.method) == (0.0, "exact")
        assert "does not see" in finding.reason


def test_an_attribute_that_is_a_feature_flips_some(found):
    _, report, _ = found
    finding = report.find("individuals/flip_rate/age_band")
    assert 0 < finding.estimate.lower < finding.estimate.value < finding.estimate.upper
    assert report.find("individuals/dependence_range/age/overall").reason.startswith("age_band is declared sensitive")
    assert report.find("individuals/dependence_range/hours/overall").reason is None


def test_without_proxies_there_is_nothing_to_borrow(found):
    _, report, _ = found
    finding = report.find("individuals/proxy_flip_rate/sex")
    assert (finding.estimate.value, finding.evidence) == (None, "insufficient")
    assert "no column" in finding.reason


def test_files_hold_positions_and_no_rows(found):
    evidence, _, workdir = found
    content = json.loads((workdir / "internal/counterfactuals.json").read_text())
    assert "internal" in content["audience"]
    scores = evidence.scored.scores > 0.5
    for entry in content["counterfactuals"]:
        assert set(entry) == {"row", "nearest", "distance", "differs_in"}
        assert scores[entry["row"]] != scores[entry["nearest"]]
        assert set(entry["differs_in"]) <= {"age", "hours"}
    assert {path.name for path in (workdir / "internal").glob("*.svg")} == {
        "partial_dependence_age.svg",
        "partial_dependence_hours.svg",
    }
    assert not list(workdir.glob("*.svg"))  # those would enter the card


def test_as_many_rows_as_asked_for(found, tmp_path):
    evidence, _, _ = found
    few = replace(evidence, settings=AuditsConfig(min_group_size=20, inspected_rows=60))
    report = IndividualsAudit().run(few, workdir=tmp_path)
    assert report.find("individuals/flip_rate/age_band").estimate.n == 60


def test_the_rows_of_partial_dependence_are_like_all_rows(found):
    evidence, _, workdir = found
    curves = json.loads((workdir / "internal/partial_dependence.json").read_text())
    rows = curves["rows"]
    assert len(set(rows)) == 20
    # Drawn, not the first of some order: neither all of one label nor in ascending order.
    assert len(set(evidence.scored.labels[rows].tolist())) == 2
    assert rows != sorted(rows)
    hours = next(entry for entry in curves["partial_dependence"] if entry["column"] == "hours")
    assert abs(sum(hours["global"]) / len(hours["global"]) - float(evidence.scored.scores.mean())) < 0.1
