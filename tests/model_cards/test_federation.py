"""What the card says of a training over clients: as executed, with its threat model, and what was not federated."""

import pytest

from probity.data import TransformConstant
from probity.digest import digest_bytes
from probity.model import Federated
from probity.model_cards.compose import compose
from probity.model_cards.federation import federation_facts, federation_words
from tests.audits.mechanisms import dp_fedavg, dp_ftrl, dp_sgd

PLAIN_SUM = Federated(num_clients=41, clients_per_round=20, rounds=7, secure_aggregation="none")


def facts(parts, mechanism=PLAIN_SUM, *, settings=None, constants=None, module=None, **changes):
    model = parts["model"].model_copy(update={"mechanism": mechanism, "num_train_units": 1000, **changes})
    model = model.model_copy(update={"settings": {**model.settings, **(settings or {})}})
    transform = parts["transform"].model_copy(update={"module": module})
    if constants is not None:
        transform = transform.model_copy(update={"constants": constants})
    return federation_facts(model, transform)


def constant(feature, source):
    return TransformConstant(feature=feature, kind="vocabulary", source=source)


@pytest.mark.parametrize("mechanism", [None, dp_sgd(1.0, 0.1, 10)])
def test_a_model_of_pooled_rows_has_no_facts_on_clients(parts, mechanism):
    assert facts(parts, mechanism or parts["model"].mechanism) is None


def test_the_rounds_are_those_that_were_executed(federated_parts):
    found = facts(federated_parts)
    assert (found.num_clients, found.clients_per_round, found.rounds, found.algorithm) == (41, 20, 7, "fedprox")


def test_under_privacy_clients_are_the_protected_units_and_a_round_has_the_expected_number(federated_parts):
    found = facts(federated_parts, dp_fedavg(1.0, 0.02, 100))
    assert (found.num_clients, found.rounds) == (1000, 100)
    assert found.clients_per_round == dp_fedavg(1.0, 0.02, 100).expected_clients_per_round
    assert "independently of all others" in found.sampling
    assert "once per pass" in facts(federated_parts, dp_ftrl(1.0)).sampling


def test_each_way_of_aggregating_names_whom_it_trusts(federated_parts):
    simulated = PLAIN_SUM.model_copy(update={"secure_aggregation": "simulated"})
    plain, secure, noisy = (facts(federated_parts, m).threat_model for m in (PLAIN_SUM, simulated, dp_fedavg(1.0)))
    assert plain.startswith("None.")
    assert "in the clear" in plain
    assert secure.startswith("Simulated:")
    assert "hid nothing" in secure
    assert noisy.startswith("Central.")
    assert "is trusted" in noisy


def test_clients_of_a_column_are_not_called_made_up(federated_parts):
    made_up, real = facts(federated_parts), facts(federated_parts, settings={"clients": {"by": "native_country"}})
    assert made_up.simulated
    assert "who the clients are was made up" in made_up.together
    assert not real.simulated
    assert real.clients == "the values of native_country"
    assert not [text for text in real.together if "made up" in text]
    assert any("one operator" in text for text in real.together)


@pytest.mark.parametrize(
    ("constants", "module", "words"),
    [
        ((constant("age", "schema"), constant("city", "config")), None, "public facts"),
        ((constant("age", "schema"), constant("city", "training data")), None, "pooled: constants of city were"),
        ((constant("age", "private statistics"),), None, "constants of age were computed from pooled rows with noise"),
        ((), digest_bytes(b"code"), "the owner's own preprocessing function"),
    ],
)
def test_what_the_preprocessing_rests_on_is_said(federated_parts, constants, module, words):
    assert words in facts(federated_parts, constants=constants, module=module).preprocessing


def test_fedsgd_takes_one_gradient(federated_parts):
    server = {"optimizer": "fedsgd", "learning_rate": 0.1}
    assert facts(federated_parts, settings={"server": server}).local.startswith("one gradient")


def test_one_paragraph_says_what_a_form_without_a_place_needs(federated_parts):
    words = federation_words(facts(federated_parts))
    assert "41 clients" in words
    assert "7 rounds of 20 clients by fedprox" in words
    assert "Preprocessing: public facts" in words


def test_a_client_of_few_rows_has_no_size_on_the_card(federated_parts, federated_reports):
    card = compose(**federated_parts, reports=federated_reports)
    sizes = {number.metric: number for number in card.clients.numbers if number.metric.endswith("_client")}
    assert (sizes["smallest_client"].status, sizes["smallest_client"].value) == ("withheld", None)
    assert (sizes["median_client"].value, sizes["largest_client"].value) == (251.0, 1400.0)


def test_a_third_of_the_clients_with_few_test_rows_is_withheld(federated_parts, federated_reports):
    card = compose(**federated_parts, reports=federated_reports)
    groups = [number for number in card.clients.numbers if number.metric == "client_group_accuracy"]
    assert [number.status for number in groups] == ["withheld", "measured", "measured"]
    assert [number.n for number in groups] == [None, None, None]  # with the total, two would give the third away
