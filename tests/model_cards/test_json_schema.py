import copy

import jsonschema
import pytest

from probity.model_cards.compose import compose
from probity.model_cards.json_schema import card_schema


@pytest.fixture(scope="module")
def validator():
    schema = card_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_a_full_card_and_an_empty_one_follow_it(validator, parts, reports, lone_reports):
    for given in (reports, lone_reports, {}):
        validator.validate(compose(**parts, reports=given).to_json())


def test_it_refuses_what_is_not_a_card(validator, parts, reports):
    good = compose(**parts, reports=reports).to_json()
    for change in (
        lambda card: card.pop("privacy"),
        lambda card: card.update(extra=1),
        lambda card: card["reports"].update(performance="no digest"),
        lambda card: card["overall"]["numbers"][0].pop("finding"),
        lambda card: card.update(schema_version=2),
    ):
        bad = copy.deepcopy(good)
        change(bad)
        assert not validator.is_valid(bad)


def test_every_field_is_described_or_named_plainly():
    schema = card_schema()
    assert schema["$schema"].endswith("2020-12/schema")
    assert schema["additionalProperties"] is False
    assert {"name", "subject", "reports", "privacy", "explanations"} <= set(schema["required"])
