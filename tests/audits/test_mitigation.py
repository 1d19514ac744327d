"""What a mitigation changed: counted by hand, named where a group lost, and refused where it cannot be compared."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from probity.audit_plan import AuditsConfig
from probity.audits.fairness import FairnessAudit
from probity.audits.intervals import difference, paired_difference
from probity.audits.mitigation import MitigationAudit
from probity.audits.scoring import score
from probity.audits.testing import AuditContract, make_evidence, score_by_formula
from probity.digest import digest_bytes


class TestMitigationAudit(AuditContract):
    mitigated = True

    def make_audit(self):
        return MitigationAudit()


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    return make_evidence(tmp_path_factory.mktemp("evidence"), rows=900, mitigated=True)


@pytest.fixture(scope="module")
def report(evidence, tmp_path_factory):
    return MitigationAudit().run(evidence, workdir=tmp_path_factory.mktemp("workdir"))


@pytest.fixture(scope="module")
def scores(evidence):
    """Both models' scores by their formulas, without TensorFlow."""
    table = evidence.examples.table("test")
    return [score_by_formula(table, evidence.dataset, mitigated=mitigated).scores for mitigated in (True, False)]


@pytest.mark.parametrize("slice_", [{}, {"sex": "Female"}, {"sex": "Male", "race": "A"}])
@pytest.mark.parametrize("metric", ["accuracy", "selection_rate", "true_positive_rate", "false_positive_rate"])
def test_changes_are_with_minus_without_counted_row_by_row(evidence, report, scores, metric, slice_):
    """Newcombe's interval of a fourfold table that is counted in a plain loop."""
    scored = evidence.scored
    table = np.zeros((2, 2), int)
    for i in range(len(scored)):
        label = scored.labels[i]
        inside = all(scored.names[name][scored.groups[name][i]] == group for name, group in slice_.items())
        counts = {"true_positive_rate": label, "false_positive_rate": not label}.get(metric, True)
        if inside and counts:
            decided = [bool(model[i] > 0.5) for model in scores]
            hits = [choice == label for choice in decided] if metric == "accuracy" else decided
            table[1 - hits[0], 1 - hits[1]] += 1
    value, lower, upper = paired_difference(*table.ravel(), confidence=0.95)
    name = ",".join(f"{key}={group}" for key, group in slice_.items()) or "overall"
    estimate = report.find(f"mitigation/{metric}/change/{name}@0.5").estimate
    assert estimate.n == table.sum()
    assert estimate.value != 0.0
    assert (estimate.value, estimate.lower, estimate.upper) == pytest.approx((value, lower, upper))


def test_the_change_of_a_gap_is_the_difference_of_the_fairness_audits_gaps(evidence, report, scores, tmp_path):
    gaps = []
    for model in scores:
        fairness = FairnessAudit().run(
            replace(evidence, scored=replace(evidence.scored, scores=model)), workdir=tmp_path
        )
        gaps.append(fairness.find("fairness/selection_rate/gap/sex@0.5").estimate)
    found = report.find("mitigation/selection_rate/change/sex@0.5")
    lower, upper = difference(*((gap.value, gap.lower, gap.upper) for gap in gaps))
    estimate = found.estimate
    assert estimate.value == pytest.approx(gaps[0].value - gaps[1].value)
    assert (estimate.lower, estimate.upper) == pytest.approx((float(lower), float(upper)))
    assert found.across == ("sex",)
    assert found.direction == "lower_is_better"


def test_groups_too_small_for_a_verdict_are_left_out_of_the_gap_and_named(report):
    found = report.find("mitigation/accuracy/change/race@0.5")
    assert found.evidence == "insufficient"
    assert "race=Rare (fewer than 20 rows)" in found.reason


def test_a_group_that_lost_more_than_its_interval_is_named(evidence, report, scores):
    """The model without mitigation finds more positives everywhere, so its true positive rate is what is lost."""
    lost = [reason for reason in report.reasons if reason.startswith("Worse than without")]
    named = [reason for reason in lost if "true_positive_rate of sex=Female at 0.5" in reason]
    estimate = report.find("mitigation/true_positive_rate/change/sex=Female@0.5").estimate
    assert estimate.upper < 0.0
    assert f"changed by {estimate.value:+.3f} ({estimate.lower:+.3f} to {estimate.upper:+.3f})" in named[0]
    assert not any("false_positive_rate" in reason for reason in lost)  # it fell, which is better
    assert not any("Rare" in reason for reason in report.reasons)  # no verdict rests on a few rows
    judged = [
        finding
        for finding in report.findings
        if finding.metric in ("accuracy", "true_positive_rate", "false_positive_rate")
        and finding.threshold == 0.5
        and not finding.across
        and finding.evidence == "sufficient"
    ]
    assert report.reasons[-1].startswith(f"{len(lost)} of {len(judged)} changes")


def test_equal_models_change_nothing_and_name_nobody(evidence, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(evidence.model_folder / "saved_model", folder / "saved_model")
    shutil.copytree(evidence.model_folder / "saved_model", folder / "unmitigated/saved_model")
    mitigation = evidence.model.mitigation.model_copy(update={"unmitigated": evidence.model.digest})
    same = replace(evidence, model_folder=folder, model=evidence.model.model_copy(update={"mitigation": mitigation}))
    # The same file scores both: formula and TensorFlow differ in the last bits.
    same = replace(same, scored=score(folder, dataset=evidence.dataset, examples=evidence.examples))
    found = MitigationAudit().run(same, workdir=tmp_path)
    assert found.status == "complete"
    assert {finding.estimate.value for finding in found.findings} <= {0.0, None}
    assert not any(reason.startswith("Worse than") for reason in found.reasons)


@pytest.mark.parametrize("fault", ["another model", "no folder"])
def test_a_model_that_is_not_the_recorded_one_is_no_evidence(evidence, tmp_path, fault):
    mitigation = evidence.model.mitigation.model_copy(update={"unmitigated": digest_bytes(b"another")})
    changed = replace(evidence, model=evidence.model.model_copy(update={"mitigation": mitigation}))
    if fault == "no folder":
        changed = replace(evidence, model_folder=tmp_path)
    found = MitigationAudit().run(changed, workdir=tmp_path)
    assert found.status == "failed"
    assert "not the one that was recorded" in found.reasons[0]


def test_without_mitigation_or_comparison_it_says_so(evidence, tmp_path):
    without = replace(evidence, model=evidence.model.model_copy(update={"mitigation": None}))
    found = MitigationAudit().run(without, workdir=tmp_path)
    assert (found.status, found.findings) == ("not_applicable", ())
    assert "nothing was done" in found.reasons[0]
    mitigation = evidence.model.mitigation.model_copy(update={"unmitigated": None, "no_comparison": "it would cost"})
    alone = replace(evidence, model=evidence.model.model_copy(update={"mitigation": mitigation}))
    assert MitigationAudit().run(alone, workdir=tmp_path).reasons == ("it would cost",)


def test_a_decision_that_depends_on_the_group_is_said_first(evidence, tmp_path):
    mitigation = evidence.model.mitigation.model_copy(update={"served_columns": ("sex",)})
    served = replace(
        evidence,
        model=evidence.model.model_copy(update={"mitigation": mitigation}),
        settings=AuditsConfig(thresholds=(), min_group_size=20),
    )
    assert "may be decided differently" in MitigationAudit().run(served, workdir=tmp_path).reasons[1]
