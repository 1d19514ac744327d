"""Who takes part in a round."""

import numpy as np
import pytest
from probity_federated_worker.participation import max_participations, participants, row_order
from probity_federated_worker.request import read_body
from requests_of_clients import body, dp_fedavg

POISSON = {"sampling": "poisson", "sampling_prob": 0.3}


def chosen(request, *, rounds, seed=1):
    return [participants(request, seed=seed, round_number=number).chosen for number in range(1, rounds + 1)]


def test_a_round_can_be_repeated_and_another_seed_is_another_round():
    request = read_body(body([3] * 50, clients_per_round=5))
    assert chosen(request, rounds=5) == chosen(request, rounds=5)
    assert chosen(request, rounds=5) != chosen(request, rounds=5, seed=2)


def test_without_replacement_each_round_has_as_many_different_clients_as_asked():
    request = read_body(body([3] * 50, clients_per_round=5))
    assert all(len(set(clients)) == 5 for clients in chosen(request, rounds=20))


def test_all_clients_can_take_part_in_each_round():
    assert chosen(read_body(body([3, 3])), rounds=2) == [(0, 1), (0, 1)]


def test_a_pass_has_each_client_once_and_its_last_round_what_is_left():
    request = read_body(body([3] * 7, clients_per_round=3, sampling="each_once_per_pass"))
    rounds = chosen(request, rounds=6)
    assert [len(clients) for clients in rounds] == [3, 3, 1, 3, 3, 1]
    assert sorted(sum(rounds[:3], ())) == sorted(sum(rounds[3:], ())) == list(range(7))
    assert rounds[:3] != rounds[3:]


@pytest.mark.parametrize(("rounds", "most"), [(1, 1), (3, 1), (4, 2), (6, 2), (7, 3)])
def test_how_often_one_client_takes_part_in_passes_of_three_rounds(rounds, most):
    request = read_body(body([3] * 7, clients_per_round=3, sampling="each_once_per_pass"))
    assert max_participations(request, rounds=rounds) == most


def test_poisson_rounds_differ_in_size_and_have_the_mean_asked():
    sizes = [
        len(clients) for clients in chosen(read_body(body([3] * 200, clients_per_round=60, **POISSON)), rounds=200)
    ]
    # Binomial(200, 0.3): mean 60, deviation 6.5; of 200 rounds the mean is within 5 * 6.5 / sqrt(200) = 2.3
    assert len(set(sizes)) > 5
    assert np.mean(sizes) == pytest.approx(60, abs=2.3)


def test_under_privacy_nobody_can_say_from_the_seed_who_takes_part():
    asked = {"clients_per_round": 30, **POISSON}
    secret = read_body(body([3] * 100, privacy=dp_fedavg(1.0), **asked))
    repeatable = read_body(body([3] * 100, privacy=dp_fedavg(1.0, noise_seed=1), **asked))
    assert chosen(secret, rounds=3) != chosen(secret, rounds=3)
    assert chosen(repeatable, rounds=3) == chosen(repeatable, rounds=3)


def test_clients_offline_or_without_a_row_are_dropped_and_counted():
    request = read_body(body([3] * 40 + [0] * 10, availability=0.5))
    told = participants(request, seed=1, round_number=1)
    assert len(told.chosen) + told.dropped == 50
    assert max(told.chosen) < 40
    assert 10 + 8 <= told.dropped <= 10 + 32  # Binomial(40, 1/2), outside of 8..32 with probability 1e-4


def test_a_client_uses_its_rows_in_another_order_each_round():
    orders = [tuple(row_order(20, seed=1, round_number=number, client=0)) for number in (1, 2, 1)]
    assert sorted(orders[0]) == list(range(20))
    assert orders[0] == orders[2] != orders[1]
