"""Answers to curated cases: by the formula of the fixed model, computed by hand, and by a softmax for classes."""

import csv
import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from probity.audit_plan import AuditsConfig
from probity.audits.edge_cases import ANSWERS, EdgeCasesAudit
from probity.audits.testing import AuditContract, make_evidence
from probity.digest import digest_bytes
from probity.edge_cases import EdgeCases
from probity.errors import AuditError
from tests.audits.task_evidence import full_evidence

DIGEST = digest_bytes(b"the user's file")


def make_cases(expected, **columns):
    return EdgeCases(
        rows=pa.table(columns),
        expected=np.array(expected, np.int32),
        why=tuple(f"secret {position}" for position in range(len(expected))),
        digest=DIGEST,
    )


def score(age, hours):
    """The fixed model, written out: z-scores with means 40 and 38 and scales 12 and 10, weights 0.9 and 0.7."""
    return 1 / (1 + math.exp(0.8 - 0.9 * (age - 40) / 12 - 0.7 * (hours - 38) / 10))


ROWS = [(20, 38.0), (79, 60.0), (51, 38.0), (50, 38.0), (30, 90.0)]


def binary_cases(expected):
    return make_cases(
        expected,
        age=pa.array([age for age, _ in ROWS], pa.int64()),
        hours=pa.array([hours for _, hours in ROWS], pa.float32()),
    )


class TestEdgeCasesContract(AuditContract):
    def make_audit(self):
        return EdgeCasesAudit()

    @pytest.fixture(scope="class")
    def evidence(self, tmp_path_factory):
        made = make_evidence(tmp_path_factory.mktemp("evidence"), rows=240)
        return replace(made, edge_cases=binary_cases([0, 1, 1, 0, 1]))


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    return make_evidence(tmp_path_factory.mktemp("evidence"), rows=60)


def run(evidence, tmp_path, **changes):
    return EdgeCasesAudit().run(replace(evidence, **changes), workdir=tmp_path)


def values(report):
    return {finding.metric: finding.estimate.value for finding in report.findings}


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5, 0.9])
def test_the_share_is_that_of_the_formula(evidence, tmp_path, threshold):
    expected = [0, 1, 0, 1, 1]
    truth = [int(score(*row) > threshold) for row in ROWS]
    right = sum(a == b for a, b in zip(truth, expected, strict=True))
    settings = AuditsConfig(decision_threshold=threshold)
    report = run(evidence, tmp_path, settings=settings, edge_cases=binary_cases(expected))
    assert values(report) == {"edge_case_accuracy": right / 5, "edge_case_count": 5.0}
    lines = list(csv.DictReader((tmp_path / ANSWERS).open()))
    assert [int(line["answered"]) for line in lines] == truth
    assert [float(line["score"]) for line in lines] == pytest.approx([score(*row) for row in ROWS], rel=1e-5)


def test_no_number_has_an_interval_and_the_method_says_why(evidence, tmp_path):
    report = run(evidence, tmp_path, edge_cases=binary_cases([0, 1, 1, 0, 1]))
    for finding in report.findings:
        assert (finding.estimate.lower, finding.estimate.confidence) == (None, None)
        assert "not a sample" in finding.estimate.method
        assert (finding.estimate.n, finding.evidence) == (5, "sufficient")


def test_failed_cases_are_named_by_position_alone(evidence, tmp_path):
    truth = [int(score(*row) > 0.5) for row in ROWS]
    flipped = [1 - truth[0], *truth[1:3], 1 - truth[3], truth[4]]
    report = run(evidence, tmp_path, edge_cases=binary_cases(flipped))
    text = " ".join(report.reasons)
    assert "2 of 5, cases 1, 4 of the file" in text
    assert DIGEST in text
    assert "secret" not in str(report.to_json())
    assert [row["as_expected"] for row in csv.DictReader((tmp_path / ANSWERS).open())] == [
        "False", "True", "True", "False", "True",
    ]  # fmt: skip


def test_a_model_that_is_right_names_none(evidence, tmp_path):
    report = run(evidence, tmp_path, edge_cases=binary_cases([int(score(*row) > 0.5) for row in ROWS]))
    assert values(report)["edge_case_accuracy"] == 1.0
    assert not any("Not answered" in reason for reason in report.reasons)


def test_many_failed_cases_are_counted(evidence, tmp_path):
    column = {"age": pa.array([79] * 30, pa.int64()), "hours": pa.array(range(60, 90), pa.float32())}
    report = run(evidence, tmp_path, edge_cases=make_cases([0] * 30, **column))
    assert "30 of 30, cases 1, 2, " in report.reasons[-1]
    assert "19, 20 and 10 more" in report.reasons[-1]


def test_without_cases_it_does_not_apply(evidence, tmp_path):
    report = run(evidence, tmp_path)
    assert report.status == "not_applicable"


def test_a_column_that_the_model_asks_for_and_the_cases_lack_fails(evidence, tmp_path):
    with pytest.raises(AuditError, match="column hours, absent, in the cases"):
        run(evidence, tmp_path, edge_cases=make_cases([1], age=pa.array([20], pa.int64())))


def test_scores_that_are_not_finite_fail(evidence, tmp_path):
    cases = make_cases([1], age=pa.array([20], pa.int64()), hours=pa.array([None], pa.float32()))
    with pytest.raises(AuditError, match="1 of them not finite"):
        run(evidence, tmp_path, edge_cases=cases)


def test_of_several_classes_the_highest_score_answers(tmp_path):
    """With the weights of the fixed model: softmax of a * (1.2, -1.0, 0.1) + b * (0.3, -0.5, 0.4)."""
    evidence = full_evidence(tmp_path, "multiclass", rows=20)
    columns = {"a": pa.array([2, -2, 0], pa.float32()), "b": pa.array([0, 0, 3], pa.float32())}
    report = run(evidence, tmp_path / "model", edge_cases=make_cases([0, 1, 1], **columns))
    assert values(report)["edge_case_accuracy"] == pytest.approx(2 / 3)  # the third is "middle", 1.2 against 0.9
    assert "cases 3 of the file" in report.reasons[-1]
