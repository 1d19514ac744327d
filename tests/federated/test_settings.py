"""Settings of federated training: what is refused, and the mechanism that they mean."""

import pytest
from pydantic import ValidationError

from probity.errors import ConfigError
from probity.federated.settings import FederatedSettings, propose
from probity.model import AdaptiveClipping, DpFedAvg, DpFtrl, Federated, FixedClipping
from probity.trainers.base import Population, Uncalibrated

ROWS = Population(num_rows=1000, num_units=1000, unit="row")


def settings(**given):
    return FederatedSettings.from_json({"clients": {"number": 100}, **given})


def private(**given):
    return settings(privacy={"mechanism": "dp_fedavg", "noise_multiplier": 1.0, **given})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"clients": {"by": "city", "number": 3}}, "either"),
        ({"clients": {}}, "either"),
        ({"clients": {"number": 1}}, "greater than or equal to 2"),
        ({"clients": {"number": 10, "partition": "sorted"}}, "dirichlet"),
        ({"rounds": 0}, "rounds"),
        ({"availability": 0.0}, "availability"),
        ({"local": {"noise_multiplier": 0}}, "noise_multiplier"),
        ({"engine": {"workers": ["not an address"]}}, "workers"),
        ({"engine": {"workers": ["localhost:1"]}, "aggregation": "secure"}, "simulated on this machine"),
        ({"privacy": {"mechanism": "dp_fedavg"}}, "exactly one"),
        ({"privacy": {"mechanism": "dp_fedavg", "noise_multiplier": 1, "target_epsilon": 1}}, "exactly one"),
        ({"privacy": {"mechanism": "dp_fedavg", "noise_multiplier": 0}}, "greater than 0"),
        ({"privacy": {"mechanism": "dp_fedavg", "target_epsilon": 0}}, "greater than 0"),
        ({"privacy": {"mechanism": "dp_ftrl", "noise_multiplier": 1}, "availability": 0.9}, "availability: 1"),
        ({"privacy": {"mechanism": "dp_fedavg", "noise_multiplier": 1}, "aggregation": "secure"}, "cannot carry noise"),
        ({"privacy": {"mechanism": "dp_fedavg", "noise_multiplier": 1}, "compression": "quantize"}, "compression"),
        (
            {"privacy": {"mechanism": "dp_fedavg", "noise_multiplier": 1}, "server": {"optimizer": "fedsgd"}},
            "without privacy",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(given, words):
    with pytest.raises(ValidationError, match=words):
        settings(**given)


def test_without_privacy_the_mechanism_is_federation_alone():
    found = propose(settings(aggregation="secure"), ROWS)
    assert found == Federated(num_clients=100, clients_per_round=20, rounds=100, secure_aggregation="simulated")


def test_clients_are_drawn_independently_and_absences_are_part_of_it():
    found = propose(FederatedSettings.from_json({**private().to_json(), "availability": 0.5}), ROWS)
    assert isinstance(found, DpFedAvg)
    assert (found.sampling, found.sampling_prob, found.expected_clients_per_round) == ("poisson", 0.1, 10.0)
    assert found.unit == "client"


@pytest.mark.parametrize(("noise", "expected"), [(0.5, 1.0), (3.0, 3.0)])
def test_the_count_of_adaptive_clipping_leaves_noise_for_the_updates(noise, expected):
    found = propose(private(noise_multiplier=noise), ROWS)
    assert found.clipping.clipped_count_stddev == expected
    assert 2 * found.clipping.clipped_count_stddev > found.noise_multiplier


@pytest.mark.parametrize("mechanism", ["dp_fedavg", "dp_ftrl"])
@pytest.mark.parametrize(
    "changes",
    [
        {"local": {"epochs": 100, "batch_size": 1, "learning_rate": 1e6}},
        {"server": {"learning_rate": 1e6}},
        {"engine": {"workers": ["127.0.0.1:1"]}},
        {"client_deadline_seconds": 1e-3},
    ],
)
def test_nothing_that_clients_are_told_changes_clipping_or_noise(mechanism, changes):
    privacy = {"mechanism": mechanism, "noise_multiplier": 1.0}
    assert propose(settings(privacy=privacy, **changes), ROWS) == propose(settings(privacy=privacy), ROWS)


@pytest.mark.parametrize("mechanism", ["dp_fedavg", "dp_ftrl"])
@pytest.mark.parametrize("bound", [0.0, -1.0, float("inf"), float("nan"), None])
def test_no_norm_is_so_large_that_nothing_is_clipped(mechanism, bound):
    privacy = {"mechanism": mechanism, "noise_multiplier": 1.0, "l2_clip_norm": bound}
    if bound is None and mechanism == "dp_fedavg":  # left out: the default
        assert propose(settings(privacy=privacy), ROWS).clipping.initial_l2_clip_norm == 0.1
        return
    with pytest.raises(ValidationError, match="l2_clip_norm"):
        settings(privacy=privacy)


def test_a_count_that_spends_everything_is_refused():
    with pytest.raises(ConfigError, match=r"more than 0\.5"):
        propose(private(clipped_count_stddev=0.4), ROWS)


def test_a_target_waits_for_an_accountant():
    found = propose(settings(privacy={"mechanism": "dp_fedavg", "target_epsilon": 8, "clipping": "fixed"}), ROWS)
    assert isinstance(found, Uncalibrated)
    assert found.with_noise_multiplier(2.0).clipping == FixedClipping(l2_clip_norm=1.0)
    assert isinstance(propose(private(), ROWS).clipping, AdaptiveClipping)


def test_each_pass_of_dp_ftrl_is_a_tree():
    given = {"privacy": {"mechanism": "dp_ftrl", "noise_multiplier": 1}, "clients_per_round": 30}
    found = propose(settings(**given), ROWS)
    assert isinstance(found, DpFtrl)
    assert found.rounds_per_tree == 4


def test_more_clients_per_round_than_clients():
    with pytest.raises(ConfigError, match="101, with 100 clients"):
        propose(settings(clients_per_round=101), ROWS)


@pytest.mark.parametrize(("number", "words"), [(None, "nobody said"), (1, "one value")])
def test_a_column_needs_two_values_at_least(number, words):
    population = Population(num_rows=9, num_units=9, unit="row", num_clients=number)
    with pytest.raises(ConfigError, match=words):
        propose(settings(clients={"by": "city"}, clients_per_round=1), population)


@pytest.mark.parametrize(("unit", "expected"), [("row", "client"), ("client", "client"), ("hospital", "hospital")])
def test_the_unit_is_the_column_where_the_data_declares_it(unit, expected):
    population = Population(num_rows=9, num_units=50, unit=unit, num_clients=50)
    given = private().to_json() | {"clients": {"by": "hospital"}}
    assert propose(FederatedSettings.from_json(given), population).unit == expected


def test_another_unit_than_the_clients_is_refused():
    with pytest.raises(ConfigError, match="privacy_unit is person"):
        propose(private(), Population(num_rows=9, num_units=9, unit="person"))


def test_a_delta_that_publishes_a_client_is_refused():
    with pytest.raises(ConfigError, match="less than 1/100"):
        propose(private(delta=0.01), ROWS)


def test_a_config_that_extends_another_undoes_its_clients_with_null():
    given = {"clients": {"by": "city", "number": None, "partition": None}}
    assert FederatedSettings.from_json(given).client_column == "city"
