"""Epsilon per client: DP-FedAvg and DP-FTRL against other accountants, other libraries and closed forms."""

from __future__ import annotations

import math

import dp_accounting
import pytest
from dp_accounting import rdp

from probity.audits.accounting import (
    ADD_OR_REMOVE,
    ZERO_OUT,
    epsilon_of,
    neighbouring_relation,
    renyi_epsilon_of,
    unaccountable,
)
from probity.model import AdaptiveClipping, Federated
from tests.audits.mechanisms import dp_fedavg, dp_ftrl, dp_sgd

DELTA = 1e-4


def test_a_thousand_clients_equal_an_independent_computation():
    """Rényi orders of the subsampled Gaussian, composed over the rounds, converted by Canonne et al. 2020."""
    mechanism = dp_fedavg(1.0, 0.02, 10)
    accountant = rdp.RdpAccountant()
    event = dp_accounting.PoissonSampledDpEvent(0.02, dp_accounting.GaussianDpEvent(1.0))
    for _ in range(10):
        accountant.compose(event)
    assert renyi_epsilon_of([mechanism], delta=DELTA) == pytest.approx(accountant.get_epsilon(DELTA), rel=1e-9)
    assert epsilon_of([mechanism], delta=DELTA) < accountant.get_epsilon(DELTA)


def test_clients_cost_what_rows_cost_under_the_same_sampling():
    assert epsilon_of([dp_fedavg(1.1, 0.01, 300)], delta=DELTA) == pytest.approx(
        epsilon_of([dp_sgd(1.1, 0.01, 300)], delta=DELTA), rel=1e-12
    )


def test_a_sum_and_a_count_are_one_gaussian_of_the_recorded_noise():
    """Andrew et al. 2021, theorem 1, by composing both by themselves: the count moves by a half for one client."""
    effective, count_stddev = 1.0, 1.0
    of_updates = (effective**-2 - (2 * count_stddev) ** -2) ** -0.5
    accountant = rdp.RdpAccountant()
    both = [dp_accounting.GaussianDpEvent(of_updates), dp_accounting.GaussianDpEvent(count_stddev / 0.5)]
    accountant.compose(dp_accounting.ComposedDpEvent(both), 10)
    adaptive = AdaptiveClipping(
        initial_l2_clip_norm=0.1, target_unclipped_quantile=0.5, learning_rate=0.2, clipped_count_stddev=count_stddev
    )
    mechanism = dp_fedavg(effective, 1.0, 10, clipping=adaptive)
    assert renyi_epsilon_of([mechanism], delta=DELTA) == pytest.approx(accountant.get_epsilon(DELTA), rel=1e-6)


@pytest.mark.parametrize("rounds", [1, 2, 3, 4, 7, 8, 9, 50, 64, 100])
def test_a_tree_costs_what_the_librarys_own_tree_costs(rounds):
    accountant = rdp.RdpAccountant(neighboring_relation=dp_accounting.NeighboringRelation.REPLACE_SPECIAL)
    accountant.compose(dp_accounting.SingleEpochTreeAggregationDpEvent(3.0, rounds))
    found = renyi_epsilon_of([dp_ftrl(3.0, rounds, rounds)], delta=DELTA)
    assert found == pytest.approx(accountant.get_epsilon(DELTA), rel=1e-6)


def test_a_client_is_in_at_most_as_many_nodes_as_counted():
    """By building the trees: a node covers rounds [k * 2**h, (k + 1) * 2**h), and exists when all of them are there."""
    for rounds in range(1, 70):
        heights = [h for h in range(8) for start in range(0, rounds, 2**h) if start == 0 and 2**h <= rounds]
        assert max(len(heights), 1) == rounds.bit_length()


def test_trees_compose_and_the_last_may_be_smaller():
    whole = epsilon_of([dp_ftrl(4.0, 32, 16)], delta=DELTA)
    assert whole == pytest.approx(epsilon_of([dp_ftrl(4.0, 16, 16)] * 2, delta=DELTA), rel=1e-6)
    assert epsilon_of([dp_ftrl(4.0, 16, 16)], delta=DELTA) < epsilon_of([dp_ftrl(4.0, 17, 16)], delta=DELTA) < whole


def test_limits():
    assert epsilon_of([dp_fedavg(1.0, rounds=0)], delta=DELTA) == 0
    assert epsilon_of([dp_ftrl(1.0, rounds=0)], delta=DELTA) == 0
    assert math.isinf(epsilon_of([dp_fedavg(0.0)], delta=DELTA))
    assert math.isinf(epsilon_of([dp_ftrl(0.0)], delta=DELTA))


def test_federation_alone_is_infinite():
    mechanism = Federated(num_clients=100, clients_per_round=20, rounds=5, secure_aggregation="simulated")
    assert math.isinf(epsilon_of([mechanism], delta=DELTA))
    assert unaccountable(mechanism, unit="row") is None


def test_the_unit_and_the_source_of_noise_decide_what_may_be_claimed():
    assert unaccountable(dp_fedavg(1.0), unit="client") is None
    assert "protects one client" in unaccountable(dp_fedavg(1.0), unit="row")
    assert "fixed seed" in unaccountable(dp_fedavg(1.0, noise_source="fixed_seed"), unit="client")


def test_the_relation_is_the_weaker_one_when_trees_are_involved():
    assert neighbouring_relation([dp_fedavg(1.0)]) == ADD_OR_REMOVE
    assert neighbouring_relation([dp_fedavg(1.0), dp_ftrl(1.0)]) == ZERO_OUT
