"""What shares cost: counted by hand, and refused where the model in the clear is not the one on record."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from probity.audits.encryption import EncryptionAudit
from probity.audits.privacy import PrivacyAudit
from probity.audits.testing import AuditContract, make_evidence
from probity.digest import digest_bytes
from probity.model import PLAINTEXT, UNMITIGATED, EncryptionCost, NonPrivate
from probity.trainers.encrypted.settings import EncryptedSettings, mechanism_of


def evidence_of_shares(folder, **arguments):
    """A model beside another one, which stands in for the training in the clear."""
    made = make_evidence(folder, mitigated=True, **arguments)
    shutil.copytree(made.model_folder / UNMITIGATED, made.model_folder / PLAINTEXT)
    cost = EncryptionCost(
        seconds_per_epoch=6.0,
        sent_bytes={"server0": 1_500_000, "owner0": 500_000},
        plaintext=made.model.mitigation.unmitigated,
        plaintext_seconds_per_epoch=0.25,
        largest_weight_difference=0.02,
    )
    mechanism = mechanism_of(EncryptedSettings())
    return replace(made, model=made.model.model_copy(update={"encryption": cost, "mechanism": mechanism}))


class TestEncryptionAudit(AuditContract):
    @pytest.fixture(scope="class")
    def evidence(self, tmp_path_factory):
        return evidence_of_shares(tmp_path_factory.mktemp("evidence"))

    def make_audit(self):
        return EncryptionAudit()


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    return evidence_of_shares(tmp_path_factory.mktemp("evidence"), rows=300)


def with_cost(evidence, **changes):
    cost = evidence.model.encryption.model_copy(update=changes)
    return replace(evidence, model=evidence.model.model_copy(update={"encryption": cost}))


def test_costs_are_quotients_and_sums_of_what_was_measured(evidence, tmp_path):
    report = EncryptionAudit().run(evidence, workdir=tmp_path)
    assert report.status == "complete"
    assert report.find("encryption/slowdown/overall").estimate.value == 24.0
    assert report.find("encryption/megabytes_sent/overall").estimate.value == 2.0
    assert report.find("encryption/largest_weight_difference/overall").estimate.value == 0.02


def test_the_change_of_accuracy_is_with_minus_without(evidence, tmp_path):
    from probity.audits.scoring import score

    report = EncryptionAudit().run(evidence, workdir=tmp_path)
    plain = score(evidence.model_folder / PLAINTEXT, dataset=evidence.dataset, examples=evidence.examples)
    hits = [np.mean((found.scores > 0.5) == found.labels) for found in (evidence.scored, plain)]
    found = report.find("encryption/accuracy/change/overall@0.5").estimate
    assert found.value == pytest.approx(hits[0] - hits[1], abs=1e-12)
    assert found.lower <= found.value <= found.upper


def test_another_model_in_the_clear_fails_the_audit(evidence, tmp_path):
    report = EncryptionAudit().run(with_cost(evidence, plaintext=digest_bytes(b"other")), workdir=tmp_path)
    assert report.status == "failed"
    assert not report.findings


def test_without_a_comparison_only_times_are_stated(evidence, tmp_path):
    nothing = {"plaintext": None, "plaintext_seconds_per_epoch": None, "largest_weight_difference": None}
    alone = with_cost(evidence, **nothing, no_comparison="the rows are not here")
    report = EncryptionAudit().run(alone, workdir=tmp_path)
    assert {finding.metric for finding in report.findings} == {"seconds_per_epoch", "megabytes_sent"}
    assert "the rows are not here" in report.reasons[0]


def test_shares_without_a_record_of_their_cost_fail_and_training_in_the_clear_has_none(evidence, tmp_path):
    lost = replace(evidence, model=evidence.model.model_copy(update={"encryption": None}))
    assert EncryptionAudit().run(lost, workdir=tmp_path).status == "failed"
    clear = replace(lost, model=lost.model.model_copy(update={"mechanism": NonPrivate()}))
    assert EncryptionAudit().run(clear, workdir=tmp_path).status == "not_applicable"


def test_the_privacy_statement_says_infinite_and_why(evidence, tmp_path):
    report = PrivacyAudit().run(evidence, workdir=tmp_path)
    statement = report.privacy_statement
    assert statement.epsilon == np.inf
    assert "does not stop the model from memorising" in statement.text
    assert any("semi-honest" in assumption for assumption in statement.assumptions)
