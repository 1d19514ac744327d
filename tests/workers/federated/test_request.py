"""What the federated worker refuses before it looks at a row."""

import pytest
from probity_federated_worker.request import AdaptiveClipping, FixedClipping, read_body
from probity_worker_contract import WorkerFailure
from requests_of_clients import body, dp_fedavg

ADAPTIVE = {"kind": "adaptive", "initial_l2_clip_norm": 0.1, "target_unclipped_quantile": 0.5, "learning_rate": 0.2,
            "clipped_count_stddev": 2.0}  # fmt: skip


def refused(*sizes, **settings):
    with pytest.raises(WorkerFailure) as caught:
        read_body(body(list(sizes) or [3, 3], **settings))
    return caught.value.code


def test_more_clients_a_round_than_there_are():
    assert refused(3, 3, clients_per_round=3) == "clients_per_round"


def test_no_client_with_a_row():
    assert refused(0, 0) == "no_clients"


def test_one_client_without_a_row_is_none_of_our_business():
    assert [client.num_examples for client in read_body(body([0, 3])).clients] == [0, 3]


@pytest.mark.parametrize("name", ["sampling", "aggregation", "compression"])
def test_a_word_that_is_not_known(name):
    assert refused(**{name: "other"}) == "settings"


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_no_positive_number(rate):
    assert refused(server={"optimizer": "fedavg", "learning_rate": rate}) == "settings"


def test_a_missing_setting_is_named():
    asked = body([3])
    del asked["settings"]["rounds"]
    with pytest.raises(WorkerFailure, match="rounds"):
        read_body(asked)


def test_a_quantised_update_could_exceed_the_clip_norm():
    assert refused(privacy=dp_fedavg(1.0), compression="quantize") == "compression"


def test_the_simulated_secure_sum_does_not_leave_this_machine():
    assert refused(aggregation="secure", engine={"workers": ["127.0.0.1:1"]}) == "aggregation"


def test_tree_noise_needs_one_clip_norm():
    assert refused(privacy={"mechanism": "dp_ftrl", "noise_multiplier": 1.0, "clipping": ADAPTIVE}) == "settings"


def test_the_strength_of_fedprox_counts_for_fedprox_alone():
    for optimizer, strength in (("fedprox", 0.5), ("fedavg", 0.0)):
        server = {"optimizer": optimizer, "learning_rate": 1.0, "proximal_strength": 0.5}
        assert read_body(body([3], server=server)).server.proximal_strength == strength


def test_updates_and_count_together_have_the_noise_asked():
    # Andrew et al. (2021), theorem 1: z^-2 = z_delta^-2 + (2 sigma_b)^-2
    asked = {"mechanism": "dp_fedavg", "noise_multiplier": 1.0, "expected_clients_per_round": 4, "clipping": ADAPTIVE}
    privacy = read_body(body([3], privacy=asked)).privacy
    assert isinstance(privacy.clipping, AdaptiveClipping)
    assert privacy.update_noise_multiplier**-2 + (2 * 2.0) ** -2 == pytest.approx(1.0)


def test_a_fixed_norm_takes_the_noise_as_it_is():
    privacy = read_body(body([3], privacy=dp_fedavg(0.7))).privacy
    assert isinstance(privacy.clipping, FixedClipping)
    assert privacy.update_noise_multiplier == 0.7


def test_a_count_with_less_noise_than_all_together_has():
    asked = {"mechanism": "dp_fedavg", "noise_multiplier": 4.0, "expected_clients_per_round": 4, "clipping": ADAPTIVE}
    assert refused(privacy=asked) == "noise_multiplier"
