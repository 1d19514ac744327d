"""Who sees what: the table says of each way of training what its parties saw, and promises no more."""

import pytest

from probity.audits.testing import make_evidence
from probity.model_cards.trust import trust_rows
from probity.trainers.encrypted.settings import EncryptedSettings, mechanism_of


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    return make_evidence(tmp_path_factory.mktemp("evidence"), rows=60)


def rows_of(evidence, **settings):
    model = evidence.model.model_copy(update={"mechanism": mechanism_of(EncryptedSettings(**settings))})
    return {row.party: row for row in trust_rows(model, evidence.transform)}


def test_without_shares_the_trainer_sees_all_rows(evidence):
    assert {row.party: row for row in trust_rows(evidence.model, evidence.transform)}["the trainer"].sees_raw_rows


def test_a_simulation_hides_nothing_and_says_so(evidence):
    servers = rows_of(evidence, parties="local")["the servers server0, server1, server2"]
    assert servers.sees_raw_rows
    assert "hid nothing from whoever ran it" in servers.sees


def test_one_operator_could_join_the_shares(evidence):
    found = rows_of(evidence, parties="processes")
    assert "could join these" in found["the servers server0, server1, server2"].sees
    assert "the trainer" not in found


def test_parties_of_their_own_see_what_is_theirs(evidence):
    found = rows_of(evidence, parties="parties.yaml", data_owners={"files": "own"})
    assert "semi-honest" in found["the servers server0, server1, server2"].sees
    assert not found["the servers server0, server1, server2"].sees_raw_rows
    assert found["data owner owner0"].sees == "its own rows in the clear, no other's"
    assert found["model owner model_owner"].sees.startswith("the trained weights")
    assert "nothing bounds what the weights reveal" in found["whoever holds the released model files"].sees
