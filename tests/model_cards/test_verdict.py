"""The decision on the card: every check, and no number or group that the card withholds."""

import re

import pytest

from probity.decision import Check, GateDecision
from probity.digest import digest_bytes
from probity.model_cards.appendix import AI_ACT, AI_RMF, known_and_missing
from probity.model_cards.compose import compose
from probity.model_cards.publication import Publication, Waived
from probity.model_cards.render import to_html, to_markdown
from probity.model_cards.verdict import public_observation, public_reason
from probity.owner import RiskAnswers

SMALL = "performance/selection_rate/race=Other@0.5"
LARGE = "performance/selection_rate/sex=Female@0.5"


@pytest.fixture(scope="module")
def card(parts, small_reports):
    return compose(**parts, reports=small_reports)


def check(rule, evidence, *, observed=0.123456, reason="observed 0.123456 (n = 40)", outcome="fail"):
    return Check(
        rule=rule, outcome=outcome, required="rate >= 0.2", observed=observed, evidence=(evidence,), reason=reason
    )


def decision(*checks):
    digest = digest_bytes(b"x")
    return GateDecision(verdict="hold", model=digest, policy=digest, card=digest, checks=checks)


def section(text, title):
    return re.split(r"^## ", text.split(f"## {title}\n", 1)[1], flags=re.MULTILINE)[0]


def test_without_a_decision_the_gap_is_printed(card):
    assert "the gate reads this card before it decides" in section(to_markdown(Publication(card=card)), "Gate decision")


def test_a_check_prints_the_cards_number_and_not_its_own(card):
    text = section(to_markdown(Publication(card=card, decision=decision(check("floor", LARGE)))), "Gate decision")
    number = next(number for number in card.numbers() if number.finding == LARGE)
    assert f"{number.value:.3f}" in text
    assert "0.123" not in text
    assert "1; against a release: 1" in text


def test_a_check_on_a_withheld_group_prints_no_number_of_it(card):
    wanted = check("small", SMALL)
    assert public_observation(card, wanted).status == "withheld"
    for write in (to_markdown, to_html):
        text = write(Publication(card=card, decision=decision(wanted)))
        assert "0.123456" not in text
        assert "n = 40" not in text


def test_a_reason_that_names_a_withheld_group_is_left_out(card):
    naming = check("gap", "fairness", observed=None, reason="not compared: race=Other (40 rows)", outcome="error")
    assert "40" not in public_reason(card, naming)
    plain = check("gap", "baseline", observed=None, reason="No earlier release.", outcome="error")
    assert public_reason(card, plain) == "No earlier release."


def test_waivers_are_printed(card):
    held = decision(check("floor", LARGE))
    waived = Waived(rule="floor", owner="risk board", reason="pilot", expires="2027-01-01")
    assert "No rule was set aside." in to_markdown(Publication(card=card, decision=held))
    text = section(to_markdown(Publication(card=card, decision=held, waived=(waived,))), "Gate decision")
    assert "| floor | risk board | pilot | 2027-01-01 |" in text
    undecided = Publication(card=card, waived=(waived,))  # the form that is released with the model
    assert "| floor | risk board | pilot | 2027-01-01 |" in section(to_markdown(undecided), "Gate decision")


@pytest.mark.parametrize("point", [*AI_ACT, *AI_RMF], ids=lambda point: point.name)
def test_every_point_of_a_framework_is_answered_or_missing(card, point):
    known, missing = known_and_missing(point, Publication(card=card))
    assert len(known) + len(missing) == len(point.answers) + bool(point.beyond) > 0


def test_what_is_said_moves_from_missing_to_known(parts, small_reports, make_config):
    point = next(point for point in AI_ACT if point.name == "5")
    before, _ = known_and_missing(point, Publication(card=compose(**parts, reports=small_reports)))
    config = make_config(card={"risks": dict.fromkeys(RiskAnswers.model_fields, "said")})
    said = compose(**{**parts, "config": config}, reports=small_reports)
    after, missing = known_and_missing(point, Publication(card=said))
    assert len(after) == len(before) + 6
    assert not [entry for entry in missing if "risks" in entry]
    assert section(to_markdown(Publication(card=said)), "Risk").count("\nsaid\n") == len(RiskAnswers.model_fields)
