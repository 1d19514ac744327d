"""The federation audit: clients in numbers, and the one that is served worst."""

from dataclasses import replace

import numpy as np
import pytest

from probity.audit_plan import AuditsConfig
from probity.audits.federation import FederationAudit
from probity.audits.testing import AuditContract, make_evidence
from probity.digest import digest_bytes
from probity.errors import AuditError
from probity.federation import FEDERATION, ClientGroup, Federation, Round
from probity.model import Federated
from probity.storage import write_record
from tests.audits.mechanisms import dp_fedavg

ALONE = Federated(num_clients=3, clients_per_round=2, rounds=1, secure_aggregation="none")


@pytest.mark.heavy
class TestContract(AuditContract):
    def make_audit(self):
        return FederationAudit()

    @pytest.fixture(scope="class")
    def evidence(self, tmp_path_factory):
        made = make_evidence(tmp_path_factory.mktemp("evidence"), rows=240)
        write_record(made.model_folder / FEDERATION, record())
        return made


ROUNDS = (
    Round(round=1, participants=2, dropped=0, failed=0),
    Round(round=2, participants=0, dropped=2),
    Round(round=3, participants=1, failed=1),
    Round(round=4, participants=2),
)


def record(column="race", rounds=()):
    return Federation(
        described=f"values of {column}" if column else "3 simulated clients, iid",
        column=column,
        simulated=column is None,
        num_clients=3,
        empty_clients=0,
        smallest=4,
        median=10.0,
        largest=20,
        label_skew=0.25,
        groups=(ClientGroup(name="fewest rows", clients=3, rows=34),),
        rounds=rounds,
        request=digest_bytes(b"request"),
        environment={},
    )


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    return make_evidence(tmp_path_factory.mktemp("evidence"))


def run(evidence, tmp_path, *, column="race", mechanism=ALONE, rounds=(), **changes):
    write_record(tmp_path / FEDERATION, record(column, rounds))
    model = evidence.model.model_copy(update={"mechanism": mechanism})
    return FederationAudit().run(
        replace(evidence, model=model, model_folder=tmp_path, **changes), workdir=tmp_path
    )  # fmt: skip


def by_metric(report):
    return {finding.metric: finding for finding in report.findings}


def test_the_worst_served_client_is_found_by_counting(evidence, tmp_path):
    found = by_metric(run(evidence, tmp_path))["lowest_client_accuracy"]
    races = evidence.examples.table("test").column("race").to_pylist()
    right = (evidence.scored.scores > 0.5) == evidence.scored.labels
    rates = {race: np.mean([r for r, own in zip(right, races, strict=True) if own == race]) for race in ("A", "B")}
    assert found.estimate.value == pytest.approx(min(rates.values()))
    assert found.estimate.n == races.count(min(rates, key=rates.get))
    assert found.estimate.lower <= found.estimate.value <= found.estimate.upper
    assert "lowest over 2 clients; 1 clients have fewer than 20 test rows" in found.reason


def test_the_groups_of_clients_by_size_are_told_apart(evidence, tmp_path):
    report = run(evidence, tmp_path, settings=AuditsConfig(min_group_size=2))
    found = {f.slice["clients"]: f.estimate for f in report.findings if f.metric == "client_group_accuracy"}
    train, test = (evidence.examples.table(split).column("race").to_pylist() for split in ("train", "test"))
    right = (evidence.scored.scores > 0.5) == evidence.scored.labels
    by_size = sorted(set(train), key=train.count)
    assert len(by_size) == 3
    for name, race in zip(("fewest rows", "middle", "most rows"), by_size, strict=True):
        own = [r for r, its in zip(right, test, strict=True) if its == race]
        assert found[name].n == len(own)
        assert found[name].value == (pytest.approx(np.mean(own)) if len(own) >= 2 else None)


def test_no_client_is_named(evidence, tmp_path):
    report = run(evidence, tmp_path)
    assert "Rare" not in report.model_dump_json()


def test_no_client_is_large_enough(evidence, tmp_path):
    found = by_metric(run(evidence, tmp_path, settings=AuditsConfig(min_group_size=10_000)))["lowest_client_accuracy"]
    assert (found.estimate.value, found.evidence) == (None, "insufficient")


def test_sizes_and_skew_are_reported_where_no_noise_was_promised(evidence, tmp_path):
    found = by_metric(run(evidence, tmp_path, column=None))
    values = {name: finding.estimate.value for name, finding in found.items()}
    assert values == {
        "client_count": 3.0, "smallest_client": 4.0, "median_client": 10.0, "largest_client": 20.0, "label_skew": 0.25,
    }  # fmt: skip


def test_who_of_those_that_were_asked_took_part_is_counted(evidence, tmp_path):
    found = by_metric(run(evidence, tmp_path, column=None, rounds=ROUNDS))
    told = {name: found[name].estimate for name in ("round_participation", "client_dropout_rate", "failed_updates")}
    assert [(estimate.value, estimate.n) for estimate in told.values()] == [(5 / 4, 4), (2 / 8, 8), (1.0, 8)]


def test_under_privacy_nobody_is_told_who_took_part(evidence, tmp_path):
    report = run(evidence, tmp_path, column=None, mechanism=dp_fedavg(1.0), rounds=ROUNDS)
    assert set(by_metric(report)) == {"client_count"}


def test_under_privacy_only_the_number_of_clients_is_told(evidence, tmp_path):
    report = run(evidence, tmp_path, column=None, mechanism=dp_fedavg(1.0))
    assert set(by_metric(report)) == {"client_count"}
    assert any("covered by no noise" in text for text in report.reasons)


def test_made_up_clients_are_said_to_be_so(evidence, tmp_path):
    assert any("made up" in text for text in run(evidence, tmp_path, column=None).reasons)


def test_a_model_of_pooled_rows_has_no_clients(evidence, tmp_path):
    report = FederationAudit().run(evidence, workdir=tmp_path)
    assert report.status == "not_applicable"


def test_a_record_that_cannot_be_read_is_a_failure(evidence, tmp_path):
    (tmp_path / FEDERATION).write_text("{}")
    with pytest.raises(AuditError, match="no readable record"):
        FederationAudit().run(replace(evidence, model_folder=tmp_path), workdir=tmp_path)


def test_clients_without_a_record_are_a_failure(evidence, tmp_path):
    model = evidence.model.model_copy(update={"mechanism": ALONE})
    with pytest.raises(AuditError, match="no readable record"):
        FederationAudit().run(replace(evidence, model=model, model_folder=tmp_path), workdir=tmp_path)
