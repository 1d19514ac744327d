"""Settings: combinations that cannot be computed, or would promise more than they keep, cannot be built."""

import pytest
from pydantic import ValidationError

from probity.trainers.encrypted.settings import EncryptedSettings, mechanism_of


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"protocol": "pond", "precision": 128}, "128 needs protocol aby3"),
        ({"batch_size": 255}, "a multiple of data_owners.count"),
        ({"data_owners": {"by": "columns"}}, "groups names the owners"),
        ({"data_owners": {"groups": {"a": ["x"]}}}, "groups names the owners"),
        ({"data_owners": {"by": "columns", "groups": {"server0": ["x"]}}}, "name of another party"),
        ({"data_owners": {"by": "columns", "groups": {"a": ["x"]}, "label_owner": "b"}}, "one of groups"),
        ({"data_owners": {"files": "own"}}, "own needs a parties file"),
        ({"data_owners": {"files": "own"}, "parties": "processes"}, "own needs a parties file"),
        ({"engine": "spu"}, "engine spu needs"),
        ({"engine": "spu", "parties": "parties.yaml"}, "engine spu needs"),
        ({"engine": "spu", "parties": "processes", "protocol": "securenn"}, "engine spu needs"),
        ({"engine": "spu", "parties": "processes", "reveal": {"loss": True}}, "engine spu needs"),
        ({"privacy": {"noise_multiplier": 1.0}}, "differential privacy inside the shares is refused"),
        ({"learning_rate": 0.0}, "greater than 0"),
    ],
)
def test_wrong_combinations_are_refused(given, said):
    with pytest.raises(ValidationError, match=said):
        EncryptedSettings(**given)


@pytest.mark.parametrize(
    ("parties", "files", "execution", "same_operator"),
    [
        ("local", "dealt", "simulated", True),
        ("processes", "dealt", "processes", True),
        ("parties.yaml", "dealt", "processes", True),
        ("parties.yaml", "own", "processes", False),
    ],
)
def test_the_mechanism_says_what_was_separate(parties, files, execution, same_operator):
    found = mechanism_of(EncryptedSettings(parties=parties, data_owners={"files": files}))
    assert (found.execution, found.same_operator) == (execution, same_operator)
    assert [party.role for party in found.parties] == ["server"] * 3 + ["data_owner"] * 2 + ["model_owner"]


def test_the_threat_model_is_that_of_the_engine():
    """One program for all parties is TF Encrypted's weakness, and not SPU's."""
    driven, apart = (
        mechanism_of(EncryptedSettings(parties="processes", engine=engine)).threat_model
        for engine in ("tf_encrypted", "spu")
    )
    assert "one computation for all parties" in driven
    assert "one computation for all parties" not in apart
    assert "a program of its own" in apart
    assert all("at most one is corrupt" in text for text in (driven, apart))
