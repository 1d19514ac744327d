"""What lets a release happen although a check did not pass: a warning, a waiver, an approval - and nothing else."""

from __future__ import annotations

import itertools

import pytest

from probity.config import Rule
from probity.decision import Check, GateDecision
from probity.digest import digest_bytes
from probity.platform import gate
from probity.platform.gate_approval import DataWords
from probity.release_policy import Approval
from probity.review import Review, Waiver
from tests.platform.test_gate import RULES, decide, good_reports, policy

MODEL = digest_bytes(b"model")
AT = "2026-01-02T00:00:00+00:00"


def word(name, outcome="approve"):
    return Review(run="r", model_name="m", model=MODEL, evidence=MODEL, outcome=outcome, reviewer=name, at=AT)


def waiver(rule):
    condition = next((entry for entry in RULES if entry.name == rule), RULES[0]).record_digest()
    return Waiver(
        model_name="m", rule=rule, condition=condition, owner="lee", reason="a pilot", until="2027-01-01", at=AT
    )


def softened(name, **changes):
    return policy(tuple(rule.model_copy(update=changes) if rule.name == name else rule for rule in RULES))


ALWAYS = policy(approval=Approval(required="always"))
UNCLEAR = policy(approval=Approval(required="on_insufficient_evidence"))
BROKEN = good_reports(four_fifths=0.31)
NOT_MEASURED = good_reports(four_fifths=None)


# --- severity ---------------------------------------------------------------------------------------------------------


def test_a_rule_that_only_warns_holds_nothing_and_is_still_judged():
    decision = decide(softened("four fifths", severity="warn"), reports=BROKEN)
    assert decision.verdict == "release"
    (check,) = [entry for entry in decision.checks if entry.severity == "warn"]
    assert (check.rule, check.outcome) == ("four fifths", "fail")


def test_a_policy_of_warnings_alone_is_held_without_its_evidence():
    rules = policy(tuple(rule.model_copy(update={"severity": "warn"}) for rule in RULES))
    assert decide(rules).verdict == "release"
    assert decide(rules, reports=good_reports() | {"fairness": None}).verdict == "hold"


@pytest.mark.parametrize("when", ["always", "on_insufficient_evidence", "never"])
def test_a_rejection_holds_also_where_nobody_had_to_be_asked(when):
    asked = policy(approval=Approval(required=when))
    decision = decide(asked, reviews=[word("kim"), word("lee", "reject")])
    assert decision.verdict == "hold"
    assert [check.reason for check in decision.blocking] == ["lee rejected this run; train or audit another one."]
    assert not decision.waits_for_approval


# --- waivers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reports", [BROKEN, NOT_MEASURED], ids=["broken", "not measured"])
def test_a_waiver_lifts_its_rule_and_names_its_owner(reports):
    assert decide(reports=reports).verdict == "hold"
    decision = decide(reports=reports, waivers=[waiver("four fifths")])
    assert decision.verdict == "release"
    (check,) = [entry for entry in decision.checks if entry.lifted_by]
    assert (check.rule, check.lifted_by) == ("four fifths", "waiver")
    assert "Waived until 2027-01-01T00:00:00+00:00 by lee: a pilot." in check.reason


def test_a_waiver_of_another_rule_lifts_nothing():
    assert decide(reports=BROKEN, waivers=[waiver(RULES[0].name), waiver("evidence: fairness")]).verdict == "hold"


@pytest.mark.parametrize(
    "asked",
    [RULES[4].model_copy(update={"ratio_at_least": 0.9}), Rule(name="four fifths", metric="auc", at_least=0.95)],
    ids=["another bound", "another metric"],
)
def test_a_waiver_of_a_rule_that_came_to_ask_for_something_else_lifts_nothing(asked):
    """Whoever edits the config has no key; what was answered for is the rule as it was signed."""
    rules = tuple(asked if rule.name == asked.name else rule for rule in RULES)
    decision = decide(policy(rules), reports=BROKEN, waivers=[waiver("four fifths")])
    assert [check.rule for check in decision.blocking] == ["four fifths"]


def test_what_nobody_looked_at_cannot_be_waived():
    missing = good_reports() | {"fairness": None}
    every = [waiver(rule.name) for rule in RULES] + [waiver("evidence: fairness"), waiver("approval")]
    assert decide(reports=missing, waivers=every).verdict == "hold"
    assert decide(ALWAYS, waivers=every).verdict == "hold"


def test_a_check_that_passed_or_could_not_be_judged_cannot_be_built_as_lifted():
    for outcome in ("pass", "error"):
        with pytest.raises(ValueError, match="lifting"):
            Check(rule="a", outcome=outcome, required="b", reason="c", evidence=("e",), lifted_by="waiver")


def test_a_decision_of_lifted_checks_alone_is_no_release():
    check = Check(rule="a", outcome="fail", required="b", reason="c", lifted_by="waiver")
    with pytest.raises(ValueError, match="does not follow"):
        GateDecision(verdict="release", model=MODEL, policy=MODEL, card=MODEL, checks=(check,))


# --- review of the data -----------------------------------------------------------------------------------------------

REVIEWED = policy(approval=Approval(data="always"))


def test_data_that_have_to_be_reviewed_hold_whatever_else_is_good():
    held = decide(REVIEWED)
    assert [check.rule for check in held.blocking] == ["data review"]
    assert not held.waits_for_approval  # an approval of the model is none of its data
    assert decide(REVIEWED, reviews=[word("kim")]).verdict == "hold"
    released = decide(REVIEWED, data=DataWords(said={"kim": True}))
    assert released.verdict == "release"
    (check,) = [entry for entry in released.checks if entry.rule == "data review"]
    assert check.evidence == ("data review/kim",)


def test_a_rejection_of_the_data_holds_also_where_nobody_had_to_be_asked():
    decision = decide(data=DataWords(said={"kim": True, "lee": False}))
    assert [check.reason for check in decision.blocking] == ["lee rejected these data; train on others."]
    assert decide(data=DataWords(said={"kim": True})).checks == decide().checks


@pytest.mark.parametrize(("anomalies", "verdict"), [(0, "release"), (1, "hold")])
def test_the_data_are_reviewed_for_their_anomalies(anomalies, verdict):
    asked = policy(approval=Approval(data="on_anomalies"))
    assert decide(asked, data=DataWords(anomalies=anomalies)).verdict == verdict


# --- approval ---------------------------------------------------------------------------------------------------------


def test_always_means_that_good_evidence_is_not_enough():
    held = decide(ALWAYS)
    assert held.verdict == "hold"
    assert held.waits_for_approval
    assert decide(ALWAYS, reviews=[word("kim")]).verdict == "release"


@pytest.mark.parametrize("quorum", [1, 2, 3])
@pytest.mark.parametrize("started_by", [(), ("sam",)])
def test_as_many_different_people_as_needed_and_not_only_whoever_started_it(quorum, started_by):
    rules = policy(approval=Approval(required="always", quorum=quorum))
    for size in range(4):
        for people in itertools.combinations(("kim", "lee", "sam"), size):
            enough = size >= quorum and bool(set(people) - set(started_by))
            words = [word(name) for name in people] * 2  # saying it twice counts once
            decision = decide(rules, reviews=words, started_by=started_by)
            assert (decision.verdict == "release") == enough, people


def test_one_rejection_outweighs_all_approvals():
    decision = decide(ALWAYS, reviews=[word("kim"), word("lee"), word("sam", "reject")])
    assert [(check.rule, check.outcome) for check in decision.blocking] == [("approval", "fail")]
    assert not decision.waits_for_approval


@pytest.mark.parametrize("rules", [ALWAYS, UNCLEAR])
def test_approval_lifts_no_broken_rule_and_no_missing_report(rules):
    for reports in (BROKEN, good_reports() | {"fairness": None}):
        decision = decide(rules, reports=reports, reviews=[word("kim")])
        assert decision.verdict == "hold"
        assert not decide(rules, reports=reports).waits_for_approval


def test_where_the_data_cannot_judge_people_may_if_the_policy_says_so():
    assert decide(UNCLEAR).verdict == "release"  # nobody is asked for what is clear
    held = decide(UNCLEAR, reports=NOT_MEASURED)
    assert held.waits_for_approval
    decision = decide(UNCLEAR, reports=NOT_MEASURED, reviews=[word("kim")])
    assert decision.verdict == "release"
    assert [check.rule for check in decision.checks if check.lifted_by == "approval"] == ["four fifths"]
    assert decide(ALWAYS, reports=NOT_MEASURED, reviews=[word("kim")]).verdict == "hold"
    assert decide(reports=NOT_MEASURED, reviews=[word("kim")]).verdict == "hold"


# --- age --------------------------------------------------------------------------------------------------------------


def test_a_report_that_no_longer_counts_takes_its_rules_with_it():
    decision = decide(expired={"fairness": "it expired on 2026-01-01"})
    assert decision.verdict == "hold"
    assert {check.outcome for check in decision.blocking} == {"error"}
    assert {check.rule for check in decision.blocking} == {
        "evidence: fairness",
        *(rule.name for rule in RULES if rule.across),
    }
    everything = [waiver(rule.name) for rule in RULES]
    assert decide(expired={"fairness": "old"}, waivers=everything, reviews=[word("kim")]).verdict == "hold"


def test_nothing_given_beside_the_evidence_changes_nothing():
    plain = gate.decide.__kwdefaults__
    assert (plain["waivers"], plain["reviews"], plain["started_by"], plain["expired"]) == ((), (), (), None)
    assert decide(expired={}, waivers=[], reviews=[], started_by=[]).to_json() == decide().to_json()
