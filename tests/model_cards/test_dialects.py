"""Every form: accepted by its own rules, inert, and losing what its list says and nothing else."""

import json
import math
import re

import pytest
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from probity.card import ModelCard, NotAssessed, Picture, Statement
from probity.decision import Check, GateDecision, Release
from probity.digest import digest_bytes
from probity.errors import DataError
from probity.model import DpSgd
from probity.model_cards.compose import compose
from probity.model_cards.cyclonedx import CYCLONEDX_LOSES, to_cyclonedx
from probity.model_cards.cyclonedx_reader import read_cyclonedx
from probity.model_cards.dialects import DIALECTS, dialects_for
from probity.model_cards.dp_registry import dp_registry_problems, to_dp_registry
from probity.model_cards.huggingface import HUGGING_FACE_LOSES, read_huggingface, to_huggingface
from probity.model_cards.losses import Loss, without
from probity.model_cards.model_card_toolkit import to_model_card_toolkit
from probity.model_cards.publication import Publication
from probity.model_cards.published_schemas import CYCLONEDX, problems
from probity.owner import Contact, RegistryFacts

HOSTILE = "<script>alert(1)</script>\n---\n| `x` : &a *b !!python/object {{ 7*7 }} \N{SNOWMAN}"
ROUND_TRIPS = {
    "huggingface": (to_huggingface, read_huggingface, HUGGING_FACE_LOSES),
    "cyclonedx": (to_cyclonedx, read_cyclonedx, CYCLONEDX_LOSES),
}
round_trips = pytest.mark.parametrize("name", ROUND_TRIPS)
forms = pytest.mark.parametrize("name", DIALECTS)


@pytest.fixture(scope="module")
def card(parts, small_reports):
    return compose(**parts, reports=small_reports)


@pytest.fixture(scope="module")
def large(parts, reports):
    return compose(**parts, reports=reports)


@pytest.fixture(scope="module")
def empty(parts):
    return compose(**parts, reports={})


@pytest.fixture(scope="module")
def private(card):
    statement = card.privacy.statement.model_copy(update={"epsilon": 0.9974237464215369, "delta": 1e-5})
    mechanism = DpSgd(
        noise_multiplier=4.2, noise_source="os_entropy", sampling="poisson", sampling_prob=0.06, steps=335,
        l2_clip_norm=1.0, expected_batch_size=2048.0, normalization="expected_batch_size", unit="row", engine="x",
    )  # fmt: skip
    privacy = card.privacy.model_copy(update={"statement": statement})
    details = card.details.model_copy(update={"mechanism": mechanism})
    return card.model_copy(update={"privacy": privacy, "details": details})


@pytest.fixture(scope="module")
def federated(federated_parts, federated_reports):
    return compose(**federated_parts, reports=federated_reports)


@pytest.fixture(scope="module")
def cards(card, large, empty, private, federated):
    return {"small": card, "large": large, "without reports": empty, "private": private, "federated": federated}


def decided(card, verdict="hold"):
    outcome = "pass" if verdict == "release" else "fail"
    check = Check(
        rule="floor", outcome=outcome, required="auc >= 0.9", evidence=("performance/auc/overall",), reason="x"
    )
    digest = digest_bytes(b"card")
    return GateDecision(
        verdict=verdict, model=card.details.digests["model"], policy=digest, card=digest, checks=(check,)
    )


@pytest.mark.parametrize("kind", ["small", "without reports", "private", "federated"])
@forms
def test_every_form_is_accepted_by_its_own_rules(cards, kind, name):
    card = cards[kind]
    if not DIALECTS[name].fits(card):
        assert (kind, name) in {(kind, "dp-registry") for kind in ("small", "without reports", "federated")}
        return
    picture = Picture(audit="attacks", title="roc", svg="<svg/>")
    text = DIALECTS[name].write(Publication(card=card, decision=decided(card), pictures=(picture,)))
    assert DIALECTS[name].may_be_incomplete or DIALECTS[name].problems(text) == []


@pytest.mark.parametrize("kind", ["small", "large", "without reports", "private", "federated"])
@round_trips
def test_reading_back_loses_what_the_list_says_and_nothing_else(cards, kind, name):
    write, read, loses = ROUND_TRIPS[name]
    card = cards[kind]
    assert read(write(Publication(card=card, decision=decided(card)))) == without(card.to_json(), loses)


@pytest.mark.parametrize("kind", ["small", "federated"])
@round_trips
def test_every_declared_loss_is_one(cards, kind, name):
    """A list that declares too much would excuse a fault: without any single entry, more would have to be read back."""
    card, (_, _, loses) = cards[kind], ROUND_TRIPS[name]
    whole = without(card.to_json(), loses)
    for loss in loses:
        others = [entry for entry in loses if entry is not loss]
        if loss.which is None and at(card.to_json(), loss.path):
            assert without(card.to_json(), others) != whole, loss.path


def at(value, path):
    for key in path.split("."):
        value = value.get(key) if value is not None else None
    return value


STATEMENTS = st.one_of(
    st.builds(Statement, text=st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=3).map(tuple)),
    st.builds(NotAssessed, reason=st.text(min_size=1, max_size=20)),
)


@settings(max_examples=10, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(said=st.lists(STATEMENTS, min_size=6, max_size=6), name=st.text(min_size=1, max_size=12), data=st.data())
def test_whatever_the_owner_says_comes_back(empty, said, name, data):
    names = ("intended_use", "limitations", "trade_offs", "ethical_considerations", "out_of_scope", "harm_reports")
    details = empty.details.model_copy(update={"owner": said[0], "contact": said[1], "licence": said[2]})
    contacts = (Contact(role=name, reach=name),)
    changed = dict(zip(names, said, strict=True)) | {"name": name, "details": details, "contacts": contacts}
    card = ModelCard.from_json(empty.model_copy(update=changed).to_json())
    write, read, loses = ROUND_TRIPS[data.draw(st.sampled_from(sorted(ROUND_TRIPS)))]
    assert read(write(Publication(card=card))) == without(card.to_json(), loses)


@forms
def test_hostile_words_stay_words(private, name):
    said = Statement(text=(HOSTILE,))
    details = private.details.model_copy(update={"owner": said, "licence": said, "warnings": (HOSTILE,)})
    contacts = (Contact(role=HOSTILE, reach=HOSTILE),)
    card = private.model_copy(update={"intended_use": said, "details": details, "contacts": contacts})
    dialect = DIALECTS[name]
    text = dialect.write(Publication(card=card, decision=decided(card)))
    assert dialect.may_be_incomplete or dialect.problems(text) == []
    if name == "huggingface":
        assert read_huggingface(text)["name"] == card.name
    if name in ("html", "md"):
        assert not re.search(r"(?<!\\)<script", text)


def test_json_is_the_identity_and_the_recorded_bytes_win(card):
    text = DIALECTS["json"].write(Publication(card=card))
    assert ModelCard.from_json(json.loads(text)) == card
    assert DIALECTS["json"].write(Publication(card=card, recorded="recorded")) == "recorded"
    assert DIALECTS["json"].problems("{}") != []


def test_a_broken_document_is_refused_by_the_published_schema(card):
    value = json.loads(to_cyclonedx(Publication(card=card)))
    value["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"][0]["value"] = 0.5
    assert problems(value, CYCLONEDX) == [
        "$.metadata.component.modelCard.quantitativeAnalysis.performanceMetrics[0].value: type"
    ]
    with pytest.raises(ValueError, match=r"no CycloneDX 1\.6 document"):
        read_cyclonedx(json.dumps(value))
    value["components"][0]["licenses"] = [{"license": {"id": "no such licence"}}]
    assert len(problems(value, CYCLONEDX)) > 1


def test_a_readme_of_somebody_else_is_not_read():
    with pytest.raises(ValueError, match="probity wrote"):
        read_huggingface("---\nlicense: mit\n---\n# Theirs\n")


@pytest.mark.parametrize("name", ["huggingface", "cyclonedx", "model-card-toolkit"])
def test_every_number_names_its_finding(card, name):
    text = DIALECTS[name].write(Publication(card=card))
    at_threshold = [n for n in card.overall.numbers if n.threshold in (None, card.metrics.decision_threshold)]
    assert at_threshold
    assert all(number.finding in text for number in at_threshold)


@forms
def test_every_form_says_how_a_model_was_trained_over_clients(federated, private, name):
    """Number of clients, rounds, algorithm, threat model, and what the preprocessing rests on."""
    facts = federated.federation
    card = federated.model_copy(update={"privacy": private.privacy}) if name == "dp-registry" else federated
    text = " ".join(DIALECTS[name].write(Publication(card=card)).split())
    # YAML folds long lines with a backslash, and JSON and Markdown escape: single words are the same everywhere.
    for words in (f"{facts.num_clients}", f"{facts.rounds}", "fedprox", "simulated", "Bonawitz", "public facts"):
        assert words in text, words


@pytest.mark.parametrize("name", ["md", "huggingface", "cyclonedx", "model-card-toolkit"])
def test_every_form_names_the_gaps(empty, name):
    text = DIALECTS[name].write(Publication(card=empty))
    assert empty.overall.reason in text
    assert empty.explanations.reason in text


def test_the_model_index_is_that_of_the_hub(card):
    from huggingface_hub import ModelCard as HubCard

    data = HubCard(to_huggingface(Publication(card=card))).data
    auc = next(
        result for result in data.eval_results if result.metric_type == "auc" and not result.metric_args.get("slice")
    )
    number = next(number for number in card.overall.numbers if number.metric == "auc")
    assert (auc.metric_value, auc.metric_args["finding"]) == (number.value, number.finding)
    assert (data.license, data.license_name) == (None, None)
    licensed = card.details.model_copy(update={"licence": Statement(text=("Apache-2.0",))})
    own = card.details.model_copy(update={"licence": Statement(text=("Our own terms",))})
    for details, expected in ((licensed, ("apache-2.0", None)), (own, ("other", "Our own terms"))):
        data = HubCard(to_huggingface(Publication(card=card.model_copy(update={"details": details})))).data
        assert (data.license, data.license_name) == expected


def test_the_registry_entry_repeats_the_statement(private):
    text = to_dp_registry(Publication(card=private))
    loss = yaml.safe_load(text)["deployment"]["privacy_loss"]
    assert loss["privacy_parameters"] == {"epsilon": 0.9974237464215369, "delta": 1e-5}
    assert loss["privacy_unit"] == private.privacy.statement.unit
    assert "deployment.basic.data_product_region: not stated" in dp_registry_problems(text)
    assert "#   deployment.basic.data_product_region: say it under card.registry.region" in text


def test_a_registry_entry_with_all_that_is_required_has_no_gap(private):
    registry = RegistryFacts(curator_type="Nonprofit", region="United States", sector="Education")
    text = to_dp_registry(Publication(card=private.model_copy(update={"registry": registry})))
    assert dp_registry_problems(text) == []
    assert "requires" not in text


def test_no_registry_entry_without_a_finite_epsilon(card, empty):
    assert math.isinf(card.privacy.statement.epsilon)
    for without_epsilon in (card, empty):
        assert "dp-registry" not in {dialect.name for dialect in dialects_for(without_epsilon)}
        with pytest.raises(DataError, match="no finite epsilon"):
            to_dp_registry(Publication(card=without_epsilon))


def test_the_released_version_is_the_version(card):
    release = Release(
        run=card.run, model_name="m", version=1700000000, path="m/1700000000", released_at="2026-01-03T00:00:00Z",
        **dict.fromkeys(("model", "card", "decision", "dataset"), digest_bytes(b"x")),
    )  # fmt: skip
    publication = Publication(card=card, decision=decided(card, "release"), release=release)
    assert json.loads(to_cyclonedx(publication))["metadata"]["component"]["version"] == "1700000000"
    assert json.loads(to_model_card_toolkit(publication))["model_details"]["version"]["name"] == "1700000000"
    assert "The gate says release." in json.loads(to_model_card_toolkit(publication))["model_details"]["overview"]


def test_losses_remove_parts_items_and_empty_sections():
    value = {"a": {"b": 1, "c": [1, 2, 3]}, "s": {"kind": "numbers", "numbers": [1]}, "t": {"u": 1}}
    losses = (
        Loss(path="a.b", why=""),
        Loss(path="a.c", why="", which=lambda item, card: item > card["a"]["b"]),
        Loss(path="s.numbers", why="", which=lambda item, card: True),
        Loss(path="t.u", why=""),
        Loss(path="no.such", why=""),
    )
    assert without(value, losses) == {"a": {"c": [1]}}
    assert value["a"]["b"] == 1
