"""The gate: every row of its table, and the properties that must hold for any evidence."""

from __future__ import annotations

import ast
import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probity.config_file import parse_config
from probity.data import Column, ColumnKind, Dataset, Role, SensitiveAttribute
from probity.decision import GateDecision, GatePolicy
from probity.findings import AuditReport, Estimate, Finding, JointInterval, PrivacyStatement, Subject, finding_id
from probity.platform import gate, gate_approval, gate_rules
from probity.release_policy import Approval
from probity.review import Review
from probity.rule import Rule

MODEL, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
EXAMPLES, CARD = "sha256:" + "c" * 64, "sha256:" + "d" * 64
SUBJECT = Subject(model=MODEL, examples=EXAMPLES)
REQUIRED = ("performance", "fairness", "privacy", "baseline")

RULES = (
    Rule(name="quality floor", metric="auc", at_least=0.88),
    Rule(name="no regression", metric="auc", change_from_baseline_at_least=-0.01),
    Rule(name="women", metric="true_positive_rate", slice={"sex": "Female"}, at_least=0.5),
    Rule(name="equal opportunity", metric="true_positive_rate", across="sex", gap_at_most=0.15),
    Rule(name="four fifths", metric="selection_rate", across=("sex", "race"), ratio_at_least=0.8),
    Rule(name="privacy budget", metric="epsilon", at_most=3.0),
)
VALUES = {
    "quality floor": 0.9,
    "no regression": 0.0,
    "women": 0.6,
    "equal opportunity": 0.1,
    "four fifths": 0.85,
    "privacy budget": 2.0,
}


def policy(rules=RULES, **changes):
    values = {
        "rules": rules,
        "decision_threshold": 0.5,
        "attributes": {"sex": ("Female", "Male"), "race": ("White", "Black")},
        "required_reports": REQUIRED,
    }
    return GatePolicy(**{**values, **changes})


def finding_for(rule, value, **changes):
    """The finding that a rule asks for, written independently of the gate's own search."""
    comparison = {"gap_at_most": "gap", "ratio_at_least": "ratio", "change_from_baseline_at_least": "change"}.get(
        rule.conditions[0]
    )
    audit = {"gap": "fairness", "ratio": "fairness", "change": "baseline", None: "performance"}[comparison]
    audit = "privacy" if rule.metric == "epsilon" else audit
    threshold = 0.5 if rule.metric.endswith("_rate") else None
    estimate = Estimate(value=value, method="exact", n=1000)
    if value is not None and math.isfinite(value):
        estimate = Estimate(value=value, lower=value - 0.005, upper=value + 0.005, confidence=0.95, method="w", n=1000)
    fields = {
        "id": finding_id(
            audit,
            rule.metric,
            slice_=dict(rule.slice),
            across=rule.across,
            comparison=comparison,
            threshold=threshold,
        ),
        "metric": rule.metric,
        "slice": dict(rule.slice),
        "across": rule.across,
        "comparison": comparison,
        "threshold": threshold,
        "estimate": estimate,
        "direction": "higher_is_better",
    }
    if value is None:
        fields |= {"evidence": "insufficient", "reason": "no row has a positive label"}
    return Finding(**{**fields, **changes})


def statement(**changes):
    values = {
        "epsilon": 2.0,
        "delta": 1e-5,
        "unit": "row",
        "neighbouring_relation": "add or remove one unit",
        "accountant": "PLD",
        "sampling": "poisson",
        "assumptions": (),
        "not_covered": (),
        "text": "private",
    }
    return PrivacyStatement(**{**values, **changes})


def statement_of(findings):
    epsilons = [entry.estimate.value for entry in findings if entry.metric == "epsilon"]
    return statement(epsilon=epsilons[0]) if epsilons and epsilons[0] is not None else statement()


def reports_of(findings, **changes):
    found = {
        name: AuditReport(
            audit=name,
            status="complete",
            subject=SUBJECT,
            findings=tuple(entry for entry in findings if entry.id.startswith(f"{name}/")),
            privacy_statement=statement_of(findings) if name == "privacy" else None,
        )
        for name in REQUIRED
    }
    return {**found, **changes}


def good_findings(**changes):
    """By name of the rule; an underscore in a keyword stands for the blank."""
    values = {**VALUES, **{name.replace("_", " "): value for name, value in changes.items()}}
    return [finding_for(rule, values[rule.name]) for rule in RULES]


def good_reports(**changes):
    return reports_of(good_findings(**changes))


def decide(rules=policy(), **changes):
    values = {
        "reports": good_reports(),
        "model": MODEL,
        "examples": EXAMPLES,
        "card": CARD,
        "card_subject": SUBJECT,
    }
    return gate.decide(rules, **{**values, **changes})


def outcome(decision, rule):
    [check] = [entry for entry in decision.checks if entry.rule == rule]
    return check.outcome


# --- the good case --------------------------------------------------------------------------------------------------


def test_complete_evidence_within_every_bound_is_released():
    decision = decide()
    assert decision.verdict == "release"
    assert [check.rule for check in decision.checks] == [
        *(f"evidence: {name}" for name in REQUIRED),
        "evidence: card",
        "uncovered preprocessing",
        *(rule.name for rule in RULES),
    ]
    assert all(check.evidence for check in decision.checks)
    assert (decision.model, decision.card) == (MODEL, CARD)


def test_a_check_cites_what_was_required_and_observed():
    decision = decide(reports=good_reports(four_fifths=0.31))
    [check] = decision.blocking
    assert (check.outcome, check.required, check.observed) == ("fail", "ratio >= 0.8", 0.31)
    assert (check.lower, check.upper) == pytest.approx((0.305, 0.315))
    assert check.evidence == ("fairness/selection_rate/ratio/sex*race@0.5",)
    assert check.reason == (
        "Required: the smallest ratio of selection_rate between groups of sex x race at threshold 0.5 at least 0.8; "
        "observed 0.31 (95 % interval 0.305 to 0.315, n = 1,000), so it would have to rise by at least 0.49."
    )


def test_the_same_metric_with_infinity_fails_and_says_what_would_help():
    decision = decide(reports=good_reports(privacy_budget=math.inf))
    [check] = decision.blocking
    assert (check.outcome, check.observed, check.required) == ("fail", math.inf, "epsilon <= 3")
    assert "observed Infinity" in check.reason
    assert "differential privacy" in check.reason


def test_a_value_whose_interval_crosses_the_bound_is_not_evidence_enough():
    decision = decide(reports=good_reports(quality_floor=0.884))
    [check] = decision.blocking
    assert (check.rule, check.outcome) == ("quality floor", "insufficient_evidence")
    assert "both sides of the bound" in check.reason
    assert "More test rows" in check.reason


def test_judged_by_the_estimate_the_same_value_passes_and_the_crossing_is_said():
    decision = decide(policy(judged_by="estimate"), reports=good_reports(quality_floor=0.884))
    [check] = [entry for entry in decision.checks if entry.rule == "quality floor"]
    assert decision.verdict == "release"
    assert "both sides of the bound" in check.reason


@pytest.mark.parametrize(
    ("judged_by", "lower", "expected"),
    [
        ("joint_interval", 0.88, "pass"),
        ("joint_interval", 0.879, "insufficient_evidence"),
        ("interval", 0.879, "pass"),
    ],
)
def test_the_joint_interval_decides_where_the_policy_says_so(judged_by, lower, expected):
    joint = JointInterval(lower=lower, upper=0.93, statements=5)
    findings = [
        finding_for(rule, VALUES[rule.name], **({"joint": joint} if rule.name == "quality floor" else {}))
        for rule in RULES
    ]
    decision = decide(policy(judged_by=judged_by), reports=reports_of(findings))
    [check] = [entry for entry in decision.checks if entry.rule == "quality floor"]
    assert check.outcome == expected
    assert ("together with the 4 other rules: 0.879 to 0.93" in check.reason) == (expected != "pass")


def test_without_a_joint_interval_a_policy_that_asks_for_one_is_not_met():
    decision = decide(policy(judged_by="joint_interval"))
    assert {check.outcome for check in decision.blocking} == {"insufficient_evidence"}
    assert len(decision.blocking) == len([rule for rule in RULES if rule.is_statistical])
    alone = (RULES[0], RULES[-1])  # a single rule that is judged by an interval has nothing to hold together with
    assert decide(policy(rules=alone, judged_by="joint_interval")).verdict == "release"


def test_more_of_what_is_worse_fails_a_rule_on_its_change():
    rule = Rule(name="errors", metric="log_loss", change_from_baseline_at_most=0.02)
    for value, expected in ((0.5, "fail"), (-0.5, "pass"), (0.018, "insufficient_evidence")):
        finding = finding_for(rule, value, comparison="change", id="baseline/log_loss/change/overall")
        assert outcome(decide(policy(rules=(rule,)), reports=reports_of([finding])), "errors") == expected


def test_a_value_beyond_the_bound_fails_although_its_interval_reaches_within():
    decision = decide(reports=good_reports(quality_floor=0.879))
    [check] = decision.blocking
    assert check.outcome == "fail"


def test_numbers_that_differ_are_never_written_alike():
    decision = decide(reports=good_reports(quality_floor=0.88 - 1e-9))
    [check] = decision.blocking
    assert "observed 0.88 " not in check.reason
    assert "0.879999999" in check.reason


OPEN = ("legal", "safety")


@pytest.mark.parametrize(("open_risks", "expected"), [((), "pass"), (OPEN, "insufficient_evidence"), (None, "error")])
def test_questions_on_risk_are_answered_first_where_the_policy_says_so(open_risks, expected):
    asked = policy(require_risk_answers=True)
    decision = decide(asked, open_risks=open_risks)
    assert outcome(decision, "risk answers") == expected
    assert decision.verdict == ("release" if expected == "pass" else "hold")
    assert decide(open_risks=open_risks).verdict == "release"


def test_open_questions_are_named_and_no_approval_stands_in_for_them():
    asked = policy(require_risk_answers=True, approval=Approval(required="on_insufficient_evidence"))
    review = Review(
        run="r", model_name="m", model=MODEL, evidence=MODEL, outcome="approve", reviewer="kim", at="2026-01-02"
    )
    held = decide(asked, open_risks=OPEN, reports=good_reports(four_fifths=None))
    assert not held.waits_for_approval
    approved = decide(asked, open_risks=OPEN, reports=good_reports(four_fifths=None), reviews=[review])
    assert [check.rule for check in approved.blocking] == ["risk answers"]
    assert "Nobody answered legal, safety;" in approved.blocking[0].reason


EDGE_CASES = Rule(name="edge cases", metric="edge_case_accuracy", at_least=1.0)


def edge_case_decision(right, *, of, status="complete"):
    """The decision on a rule that every curated case is answered as expected, and nothing else."""
    estimate = Estimate(value=right / of, method="exact: a fixed list, not a sample", n=of)
    name = finding_id("edge_cases", "edge_case_accuracy")
    found = Finding(id=name, metric="edge_case_accuracy", estimate=estimate, direction="higher_is_better")
    reasons = () if status == "complete" else ("the model cannot be asked",)
    report = AuditReport(audit="edge_cases", status=status, subject=SUBJECT, reasons=reasons, findings=(found,))
    asked = policy((*RULES, EDGE_CASES), required_reports=(*REQUIRED, "edge_cases"), judged_by="joint_interval")
    return decide(asked, reports={**good_reports(), "edge_cases": report})


def test_edge_cases_pass_when_every_one_is_right():
    """Without an interval, also where the others are judged by joint ones."""
    assert outcome(edge_case_decision(12, of=12), "edge cases") == "pass"
    assert policy((*RULES, EDGE_CASES)).joint_statements == policy().joint_statements


@pytest.mark.parametrize(("right", "of", "status", "expected"), [
    (11, 12, "complete", "fail"), (99_999, 100_000, "complete", "fail"), (12, 12, "failed", "error"),
])  # fmt: skip
def test_one_wrong_edge_case_or_a_model_that_could_not_be_asked_holds(right, of, status, expected):
    decision = edge_case_decision(right, of=of, status=status)
    assert decision.verdict == "hold"
    assert outcome(decision, "edge cases") == expected


# --- each way to hold -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("absent", [None, policy(rules=())], ids=["no policy", "no rules"])
def test_without_a_policy_everything_is_held(absent):
    decision = decide(absent)
    assert decision.verdict == "hold"
    assert outcome(decision, "policy") == "error"


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize(
    "damage",
    [
        lambda report: None,
        lambda report: report.model_copy(update={"status": "failed", "reasons": ("it failed",)}),
        lambda report: report.model_copy(update={"subject": Subject(model=OTHER, examples=EXAMPLES)}),
        lambda report: report.model_copy(update={"subject": Subject(model=MODEL, examples=OTHER)}),
        lambda report: report.model_copy(update={"subject": Subject(model=None, examples=EXAMPLES)}),
        lambda report: report.model_copy(update={"audit": "data"}),
    ],
    ids=["unreadable", "failed", "other model", "other rows", "no model", "other audit"],
)
def test_unusable_reports_hold_with_every_rule_that_needs_them(name, damage):
    reports = good_reports()
    decision = decide(reports={**reports, name: damage(reports[name])})
    assert decision.verdict == "hold"
    assert outcome(decision, f"evidence: {name}") == "error"
    assert {check.outcome for check in decision.blocking} == {"error"}
    assert len(decision.blocking) > 1  # the report's own check and the rules on it


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_report_holds(name):
    reports = {key: report for key, report in good_reports().items() if key != name}
    assert outcome(decide(reports=reports), f"evidence: {name}") == "error"


def test_a_rule_on_a_report_that_nobody_required_still_needs_it_to_be_about_the_candidate():
    rule = Rule(name="attack", metric="membership_auc", at_most=0.6)
    finding = finding_for(rule, 0.5, id="attacks/membership_auc/overall")
    stale = Subject(model=OTHER, examples=EXAMPLES)
    for subject, expected in ((SUBJECT, "pass"), (stale, "error")):
        report = AuditReport(audit="attacks", status="complete", subject=subject, findings=(finding,))
        decision = decide(policy(rules=(rule,)), reports={**good_reports(), "attacks": report})
        assert outcome(decision, "attack") == expected
    assert outcome(decide(policy(rules=(rule,))), "attack") == "error"


def test_a_report_about_the_data_names_no_model_but_must_name_these_rows():
    needed = policy(required_reports=(*REQUIRED, "data"))
    for examples, expected in ((EXAMPLES, "release"), (OTHER, "hold")):
        report = AuditReport(audit="data", status="complete", subject=Subject(model=None, examples=examples))
        assert decide(needed, reports={**good_reports(), "data": report}).verdict == expected


@pytest.mark.parametrize(
    ("card", "subject"),
    [(None, SUBJECT), (CARD, None), (CARD, Subject(model=OTHER, examples=EXAMPLES)), (None, None)],
)
def test_without_a_card_about_this_model_it_is_held(card, subject):
    decision = decide(card=card, card_subject=subject)
    assert [check.rule for check in decision.blocking] == ["evidence: card"]


@pytest.mark.parametrize("absent", ["model", "examples"])
def test_without_digests_of_the_candidate_it_is_held(absent):
    decision = decide(**{absent: None})
    assert decision.verdict == "hold"
    assert outcome(decision, "candidate") == "error"
    assert outcome(decision, "evidence: performance") == "error"


def test_two_absent_digests_are_not_equal():
    nothing = Subject(model=None, examples=EXAMPLES)
    reports = {name: report.model_copy(update={"subject": nothing}) for name, report in good_reports().items()}
    decision = decide(model=None, reports=reports, card_subject=nothing)
    assert all(
        outcome(decision, f"evidence: {name}") == "error" for name in ("performance", "fairness", "privacy", "card")
    )


def test_a_missing_finding_is_an_error():
    findings = [entry for entry in good_findings() if entry.metric != "epsilon"]
    decision = decide(reports=reports_of(findings))
    assert {check.rule: check.outcome for check in decision.blocking} == {"privacy budget": "error"}


@pytest.mark.parametrize(("slice_", "word"), [({"sex": "Femal"}, "Female, Male"), ({"gender": "Female"}, "sex, race")])
def test_an_unknown_group_or_attribute_is_an_error_that_lists_the_known(slice_, word):
    rule = Rule(name="typo", metric="auc", slice=slice_, at_least=0.5)
    decision = decide(policy(rules=(rule,)), reports=reports_of([finding_for(rule, 0.9)]))
    [check] = decision.blocking
    assert check.outcome == "error"
    assert word in check.reason


def test_the_group_of_missing_values_can_be_named():
    rule = Rule(name="missing", metric="auc", slice={"sex": "(missing)"}, at_least=0.5)
    assert decide(policy(rules=(rule,)), reports=reports_of([finding_for(rule, 0.9)])).verdict == "release"
    assert decide(policy(rules=(rule,))).verdict == "hold"  # nobody measured it


def test_a_value_that_could_not_be_computed_is_insufficient():
    decision = decide(reports=good_reports(women=None))
    [check] = decision.blocking
    assert (check.outcome, check.observed) == ("insufficient_evidence", None)
    assert "no row has a positive label" in check.reason


@pytest.mark.parametrize(("value", "expected"), [(0.1, "insufficient_evidence"), (0.3, "fail")])
def test_an_insufficient_value_passes_nothing_but_can_fail(value, expected):
    small = {"evidence": "insufficient", "reason": "sex=Female has fewer than 100 rows"}
    findings = [
        finding_for(rule, value, **small) if rule.name == "equal opportunity" else finding_for(rule, VALUES[rule.name])
        for rule in RULES
    ]
    [check] = decide(reports=reports_of(findings)).blocking
    assert (check.rule, check.outcome, check.observed) == ("equal opportunity", expected, value)
    if expected != "fail":
        assert "fewer than 100 rows" in check.reason


@pytest.mark.parametrize("bad", [math.nan, -math.inf, math.inf])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_no_number_that_is_not_finite_passes_even_if_somebody_smuggles_it_in(rule, bad):
    smuggled = finding_for(rule, 0.0).model_copy(
        update={"estimate": Estimate.model_construct(value=bad, lower=bad, upper=bad, confidence=0.9, method="w", n=9)}
    )
    findings = [smuggled if entry.id == smuggled.id else entry for entry in good_findings()]
    reports = {name: report.model_construct(**dict(report)) for name, report in reports_of([]).items()}
    for name, report in reports.items():
        chosen = tuple(entry for entry in findings if entry.id.startswith(f"{name}/"))
        reports[name] = report.model_copy(update={"findings": chosen})
    decision = decide(reports=reports)
    # A statement of another epsilon than the finding's is an error of its own.
    assert [check.rule for check in decision.blocking if check.rule != "uncovered preprocessing"] == [rule.name]


def test_a_finding_whose_fields_contradict_its_id_supports_nothing():
    rule = RULES[2]
    other = finding_for(rule, 0.9, slice={"sex": "Male"})  # the id says Female
    findings = [other if entry.id == other.id else entry for entry in good_findings()]
    assert outcome(decide(reports=reports_of(findings)), "women") == "error"


# --- baseline, approval, thresholds ---------------------------------------------------------------------------------


def test_the_first_run_has_nothing_to_fall_behind_and_is_gated_like_any_other():
    first = AuditReport(audit="baseline", status="not_applicable", subject=SUBJECT, reasons=("no earlier release",))
    decision = decide(reports={**good_reports(), "baseline": first})
    assert decision.verdict == "release"
    [check] = [entry for entry in decision.checks if entry.rule == "no regression"]
    assert (check.outcome, check.evidence, check.observed) == ("pass", ("baseline",), None)
    assert "No earlier release" in check.reason
    assert decide(reports={**good_reports(quality_floor=0.5), "baseline": first}).verdict == "hold"


NOT_WORSE = Rule(
    name="women not worse", metric="accuracy", slice={"sex": "Female"}, change_from_unmitigated_at_least=-0.02
)


def mitigation_report(value=None, **changes):
    findings = ()
    if value is not None:
        name = finding_id("mitigation", "accuracy", slice_={"sex": "Female"}, comparison="change", threshold=0.5)
        findings = (finding_for(NOT_WORSE, value, id=name, comparison="change", threshold=0.5, **changes),)
    status = "complete" if value is not None else "not_applicable"
    reasons = () if value is not None else ("nothing was done about differences between groups",)
    return AuditReport(audit="mitigation", status=status, subject=SUBJECT, findings=findings, reasons=reasons)


def decide_on_mitigation(report):
    rules, required = (*RULES, NOT_WORSE), (*REQUIRED, "mitigation")
    decision = decide(policy(rules=rules, required_reports=required), reports={**good_reports(), "mitigation": report})
    [check] = [entry for entry in decision.checks if entry.rule == NOT_WORSE.name]
    return decision, check


@pytest.mark.parametrize(
    ("value", "outcome"), [(-0.01, "pass"), (0.0, "pass"), (-0.016, "insufficient_evidence"), (-0.021, "fail")]
)
def test_a_group_that_got_worse_through_mitigation_is_held(value, outcome):
    decision, check = decide_on_mitigation(mitigation_report(value))
    assert (check.outcome, check.required, check.observed) == (outcome, "change >= -0.02", value)
    assert decision.verdict == ("release" if outcome == "pass" else "hold")
    assert "accuracy of sex=Female against the same training without mitigation at threshold 0.5" in check.reason


def test_a_rule_on_what_mitigation_changed_needs_something_to_compare_with():
    """Without mitigation no rule needs the report, and a rule on it is not kept by default."""
    decision, check = decide_on_mitigation(mitigation_report())
    assert check.outcome == "insufficient_evidence"
    assert "nothing was done about differences" in check.reason
    assert decision.verdict == "hold"
    required = policy(required_reports=(*REQUIRED, "mitigation"))
    assert decide(required, reports={**good_reports(), "mitigation": mitigation_report()}).verdict == "release"
    assert decide(required).verdict == "hold"
    insufficient = mitigation_report(0.5, evidence="insufficient", reason="fewer than 100 rows")
    assert decide_on_mitigation(insufficient)[1].outcome == "insufficient_evidence"


def test_a_stale_claim_that_there_is_no_baseline_is_not_believed():
    stale = Subject(model=OTHER, examples=EXAMPLES)
    first = AuditReport(audit="baseline", status="not_applicable", subject=stale, reasons=("no earlier release",))
    assert outcome(decide(reports={**good_reports(), "baseline": first}), "no regression") == "error"


@pytest.mark.parametrize("name", ["federation", "encryption"])
def test_a_model_of_pooled_rows_in_the_clear_needs_neither_clients_nor_shares(name):
    away = AuditReport(audit=name, status="not_applicable", subject=SUBJECT, reasons=("no clients, no shares",))
    required = (*REQUIRED, name)
    found = decide(policy(rules=RULES[:1], required_reports=required), reports={**good_reports(), name: away})
    assert found.verdict == "release"


@pytest.mark.parametrize("name", ["performance", "fairness"])
def test_no_other_report_may_say_that_it_does_not_apply(name):
    away = AuditReport(audit=name, status="not_applicable", subject=SUBJECT, reasons=("no",))
    assert outcome(decide(reports={**good_reports(), name: away}), f"evidence: {name}") == "error"


@pytest.mark.parametrize("name", ["privacy", "attacks"])
def test_what_nobody_saw_or_could_attack_holds_only_the_rules_that_need_it(name):
    """A model that was trained elsewhere has no mechanism to account for, and perhaps no rows to attack."""
    away = AuditReport(audit=name, status="not_applicable", subject=SUBJECT, reasons=("mechanism unknown",))
    reports = {**good_reports(), "attacks": attacks(), name: away}
    needed = {"privacy": RULES[-1], "attacks": Rule(name="leak", metric="membership_auc", at_most=0.6)}[name]
    required = (*REQUIRED, "attacks")
    without = decide(policy(rules=RULES[:1], required_reports=required), reports=reports)
    assert without.verdict == "release"
    held = decide(policy(rules=(*RULES[:1], needed), required_reports=required), reports=reports)
    assert [check.rule for check in held.blocking] == [needed.name]


def attacks(bound=1.0, auc=0.52):
    values = {"audited_epsilon_lower_bound": bound, "membership_auc": auc}
    findings = tuple(
        Finding(
            id=finding_id("attacks", name),
            metric=name,
            estimate=Estimate(value=value, lower=value, upper=math.inf, confidence=0.95, method="w", n=1000),
            direction="lower_is_better",
        )
        for name, value in values.items()
        if value is not None
    )
    return AuditReport(audit="attacks", status="complete", subject=SUBJECT, findings=findings)


AGAINST = "attacks against epsilon"


@pytest.mark.parametrize(("bound", "expected"), [(0.0, "pass"), (1.99, "pass"), (2.0, "pass"), (2.01, "fail")])
def test_attacks_that_prove_more_than_the_accountant_states_hold_whatever_the_rules_say(bound, expected):
    """The accountant says 2; no rule of this policy names an attack."""
    decision = decide(reports={**good_reports(), "attacks": attacks(bound)})
    assert outcome(decision, AGAINST) == expected
    assert decision.verdict == ("release" if expected == "pass" else "hold")
    if expected == "fail":
        (check,) = decision.blocking
        assert "does not do what the accountant assumes" in check.reason
        assert set(check.evidence) == {"privacy/epsilon/overall", "attacks/audited_epsilon_lower_bound/overall"}


@pytest.mark.parametrize(("bound", "expected"), [(0.0, "pass"), (1.0, "pass"), (1.01, "fail"), (math.inf, "fail")])
def test_a_rule_on_what_attacks_prove_is_judged_by_what_they_prove(bound, expected):
    """The other end of a lower bound is infinity whatever was found: with it, no model could ever keep such a rule."""
    rule = Rule(name="proven leak", metric="audited_epsilon_lower_bound", at_most=1.0)
    decision = decide(policy(rules=(rule,)), reports={**good_reports(), "attacks": attacks(bound)})
    assert outcome(decision, "proven leak") == expected


def test_an_infinite_epsilon_cannot_be_contradicted():
    reports = {**good_reports(privacy_budget=math.inf), "attacks": attacks(5.0)}
    assert AGAINST not in [check.rule for check in decide(policy(rules=RULES[:1]), reports=reports).checks]


def test_an_infinite_bound_contradicts_every_epsilon():
    assert outcome(decide(reports={**good_reports(), "attacks": attacks(math.inf)}), AGAINST) == "fail"


def test_a_rule_may_name_what_the_attacks_measured():
    rule = Rule(name="leak", metric="membership_auc", at_most=0.5)
    decision = decide(policy(rules=(rule,)), reports={**good_reports(), "attacks": attacks()})
    assert outcome(decision, "leak") == "fail"


def test_a_finding_about_one_attack_is_not_taken_for_the_models():
    rule = Rule(name="leak", metric="membership_auc", at_most=0.6)
    one = attacks().findings[1].model_copy(update={"attack": "random_forest"})
    report = AuditReport(audit="attacks", status="complete", subject=SUBJECT, findings=(one,))
    assert outcome(decide(policy(rules=(rule,)), reports={**good_reports(), "attacks": report}), "leak") == "error"


def test_fairness_may_not_apply_where_no_attribute_is_declared():
    away = AuditReport(audit="fairness", status="not_applicable", subject=SUBJECT, reasons=("no attribute",))
    rules = policy(rules=RULES[:1], attributes={})
    assert decide(rules, reports={**good_reports(), "fairness": away}).verdict == "release"


@pytest.mark.parametrize(
    ("required", "verdict"), [("never", "release"), ("always", "hold"), ("on_insufficient_evidence", "release")]
)
def test_a_required_approval_that_is_not_recorded_holds(required, verdict):
    decision = decide(policy(approval=Approval(required=required)))
    assert decision.verdict == verdict
    if required == "always":
        assert outcome(decision, "approval") == "insufficient_evidence"


def test_approval_on_insufficient_evidence_turns_nothing_into_a_pass():
    rules = policy(approval=Approval(required="on_insufficient_evidence"))
    assert decide(rules, reports=good_reports(women=None)).verdict == "hold"


def uncovered(**changes):
    report = good_reports()["privacy"].model_copy(update=changes)
    return {**good_reports(), "privacy": report}


def test_an_epsilon_that_leaves_preprocessing_out_is_held_and_says_which_columns():
    reports = uncovered(privacy_statement=statement(uncovered_preprocessing=("age", "zip")))
    held = decide(reports=reports)
    assert held.verdict == "hold"
    (check,) = held.blocking
    assert (check.rule, check.outcome, check.observed) == ("uncovered preprocessing", "fail", 2)
    assert "age, zip" in check.reason
    assert "private_statistics" in check.reason
    assert decide(policy(uncovered_preprocessing="allowed"), reports=reports).verdict == "release"


def test_an_epsilon_that_leaves_weights_of_a_mitigation_out_is_held_and_says_so():
    reports = uncovered(privacy_statement=statement(uncovered_training=("the weights of reweighing: counts",)))
    held = decide(reports=reports)
    (check,) = held.blocking
    assert (check.rule, check.outcome, check.observed) == ("uncovered preprocessing", "fail", 1)
    assert "the weights of reweighing" in check.reason
    assert "The constants of" not in check.reason
    assert decide(policy(uncovered_preprocessing="allowed"), reports=reports).verdict == "release"


def test_where_nothing_is_claimed_no_preprocessing_is_uncovered():
    rules = tuple(rule for rule in RULES if rule.metric != "epsilon")
    lax = Rule(name="privacy budget", metric="epsilon", at_most=3.0)
    infinite = [finding_for(rule, VALUES[rule.name]) for rule in rules] + [finding_for(lax, math.inf)]
    reports = reports_of(infinite)
    infinite_statement = statement(epsilon=math.inf, uncovered_preprocessing=("age",))
    assert reports["privacy"].privacy_statement.epsilon == math.inf
    reports["privacy"] = reports["privacy"].model_copy(update={"privacy_statement": infinite_statement})
    assert decide(policy(rules=rules), reports=reports).verdict == "release"


@pytest.mark.parametrize("changes", [{"privacy_statement": None}, {"privacy_statement": statement(epsilon=1.0)}])
def test_a_privacy_report_that_does_not_say_what_it_covers_is_an_error(changes):
    rules = tuple(rule for rule in RULES if rule.metric != "epsilon")
    decision = decide(policy(rules=rules), reports=uncovered(**changes))
    assert outcome(decision, "uncovered preprocessing") == "error"
    assert decision.verdict == "hold"


def test_attributes_of_an_intersection_may_be_named_in_any_order():
    swapped = RULES[4].model_copy(update={"across": ("race", "sex")})
    assert outcome(decide(policy(rules=(swapped,))), "four fifths") == "pass"
    rule = Rule(name="both", metric="auc", slice={"sex": "Female", "race": "White"}, at_least=0.5)
    other = rule.model_copy(update={"slice": {"race": "White", "sex": "Female"}})
    assert decide(policy(rules=(other,)), reports=reports_of([finding_for(rule, 0.9)])).verdict == "release"


def test_bounds_are_inclusive():
    exact = {"quality_floor": 0.88, "no_regression": -0.01, "equal_opportunity": 0.15, "four_fifths": 0.8}
    assert decide(policy(judged_by="estimate"), reports=good_reports(**exact, privacy_budget=3.0)).verdict == "release"


# --- make_policy ----------------------------------------------------------------------------------------------------


def config(**gate_section):
    return parse_config(
        {
            "name": "a",
            "data": {
                "source": "a.csv",
                "label": {"column": "y"},
                "sensitive": ["sex", "race"],
                "intersections": [["sex", "race"]],
            },
            "model": {"kind": "logistic"},
            "serving": {"model_name": "a"},
            "audits": {"decision_threshold": 0.4},
            "gate": gate_section,
        }
    )


def dataset():
    return Dataset(
        name="a",
        source="a.csv",
        source_format="csv",
        source_digest=MODEL,
        content_digest=OTHER,
        num_rows=10,
        columns=(
            Column(name="y", kind=ColumnKind.INT, roles=(Role.LABEL,)),
            Column(name="sex", kind=ColumnKind.TEXT, roles=(Role.SENSITIVE,)),
        ),
        label="y",
        positive="1",
        sensitive=(SensitiveAttribute(name="sex", column="sex", groups=("Female", "Male")),),
        split_rule="hash",
    )


def test_a_policy_gives_rates_their_threshold_and_nothing_else_one():
    rules = [
        {"name": "a", "metric": "selection_rate", "at_least": 0.1},
        {"name": "b", "metric": "selection_rate", "at_least": 0.1, "threshold": 0.75},
        {"name": "c", "metric": "auc", "at_least": 0.1},
    ]
    made = gate.make_policy(config(rules=rules), dataset(), required_reports=("performance",))
    assert [rule.threshold for rule in made.rules] == [0.4, 0.75, None]
    assert made.attributes == {"sex": ("Female", "Male")}
    assert made.required_reports == ("performance",)
    assert made.decision_threshold == 0.4
    assert made.approval.required == "never"


def test_a_config_without_rules_gives_a_policy_that_holds():
    made = gate.make_policy(config(), dataset(), required_reports=REQUIRED)
    assert decide(made).verdict == "hold"


# --- properties -----------------------------------------------------------------------------------------------------

DAMAGES = {
    "report missing": lambda reports, name: {key: value for key, value in reports.items() if key != name},
    "report unreadable": lambda reports, name: {**reports, name: None},
    "report failed": lambda reports, name: {
        **reports,
        name: AuditReport(audit=name, status="failed", subject=SUBJECT, reasons=("it failed",)),
    },
    "report stale": lambda reports, name: {
        **reports,
        name: reports[name].model_copy(update={"subject": Subject(model=OTHER, examples=EXAMPLES)}),
    },
    "findings gone": lambda reports, name: {**reports, name: reports[name].model_copy(update={"findings": ()})},
    "findings insufficient": lambda reports, name: {
        **reports,
        name: reports[name].model_copy(
            update={
                "findings": tuple(
                    entry.model_copy(update={"evidence": "insufficient", "reason": "too small"})
                    for entry in reports[name].findings
                )
            }
        ),
    },
    "values gone": lambda reports, name: {
        **reports,
        name: reports[name].model_copy(
            update={
                "findings": tuple(
                    entry.model_copy(
                        update={
                            "estimate": Estimate(value=None, method="none", n=0),
                            "evidence": "insufficient",
                            "reason": "undefined",
                        }
                    )
                    for entry in reports[name].findings
                )
            }
        ),
    },
    "values infinite": lambda reports, name: {
        **reports,
        name: reports[name].model_copy(
            update={
                "findings": tuple(
                    entry.model_copy(update={"estimate": Estimate(value=math.inf, method="exact", n=1)})
                    for entry in reports[name].findings
                )
            }
        ),
    },
}

numbers = st.one_of(st.none(), st.floats(-2, 5, allow_nan=False), st.sampled_from([math.inf, -math.inf]))


@st.composite
def evidence(draw):
    """Any reports: findings with any value or none, sufficient or not; statuses and subjects of any kind."""
    findings = []
    for rule in RULES:
        if not draw(st.booleans()) and draw(st.booleans()):
            continue
        value = draw(st.one_of(st.just(VALUES[rule.name]), numbers))
        insufficient = draw(st.sampled_from([False, False, False, True]))
        changes = {"evidence": "insufficient", "reason": "too small"} if insufficient else {}
        findings.append(finding_for(rule, value, **changes))
    reports = reports_of(findings)
    for name in REQUIRED:
        damage = draw(st.sampled_from([None] * 8 + ["report missing", "report unreadable", "report stale"]))
        if damage:
            reports = DAMAGES[damage](reports, name)
    return reports


@settings(max_examples=150, deadline=None)
@given(names=st.lists(st.sampled_from(REQUIRED), min_size=1, unique=True), damage=st.sampled_from(sorted(DAMAGES)))
def test_damaged_evidence_never_yields_release(names, damage):
    reports = good_reports()
    for name in names:
        reports = DAMAGES[damage](reports, name)
    assert decide().verdict == "release"
    assert decide(reports=reports).verdict == "hold"


def tightened(rule, by):
    name = rule.conditions[0]
    bound = getattr(rule, name)
    if name in ("at_most", "gap_at_most"):
        bound = max(bound - by, 0.0) if name == "gap_at_most" else bound - by
    else:
        bound = min(bound + by, 1.0) if name == "ratio_at_least" else bound + by
    return rule.model_copy(update={name: bound})


@settings(max_examples=200, deadline=None)
@given(reports=evidence(), which=st.integers(0, len(RULES) - 1), by=st.floats(0, 10, allow_nan=False))
def test_tightening_a_bound_never_turns_hold_into_release(reports, which, by):
    loose = decide(reports=reports)
    rules = tuple(tightened(rule, by) if index == which else rule for index, rule in enumerate(RULES))
    tight = decide(policy(rules=rules), reports=reports)
    assert not (loose.verdict == "hold" and tight.verdict == "release")
    before = {check.rule for check in loose.checks if check.outcome == "pass"}
    assert {check.rule for check in tight.checks if check.outcome == "pass"} <= before


@settings(max_examples=100, deadline=None)
@given(reports=evidence(), order=st.permutations(RULES))
def test_the_order_of_rules_and_reports_does_not_matter(reports, order):
    one = decide(reports=reports)
    other = decide(policy(rules=tuple(order)), reports=dict(reversed(reports.items())))
    assert one.verdict == other.verdict
    assert sorted(one.checks, key=lambda check: check.rule) == sorted(other.checks, key=lambda check: check.rule)


@settings(max_examples=100, deadline=None)
@given(reports=evidence())
def test_a_decision_is_deterministic_and_survives_json(reports):
    decision = decide(reports=reports)
    assert decision == decide(reports=reports)
    text = json.dumps(decision.to_json(), allow_nan=False)
    assert GateDecision.from_json(json.loads(text)) == decision


@settings(max_examples=200, deadline=None)
@given(reports=evidence())
def test_release_means_that_a_naive_reader_of_the_reports_agrees(reports):
    decision = decide(reports=reports)
    expected = all(reports.get(name) and reports[name].subject == SUBJECT for name in REQUIRED)
    for rule in RULES:
        wanted = finding_for(rule, 0.0).id
        report = reports.get(wanted.partition("/")[0])
        found = [entry for entry in report.findings if entry.id == wanted] if report else []
        values = [entry.estimate.value for entry in found if entry.evidence == "sufficient"]
        bound = getattr(rule, rule.conditions[0])
        upper = rule.conditions[0].endswith("at_most")
        expected &= bool(values) and abs(values[0]) < 1e9 and (values[0] <= bound if upper else values[0] >= bound)
    assert (decision.verdict == "release") == expected


# --- purity ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [gate, gate_approval, gate_rules])
def test_the_gate_imports_nothing_that_reads_or_computes(module):
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    ours = {name for name in imported if name.startswith("probity")}
    assert imported - ours <= {"__future__", "collections.abc", "dataclasses", "itertools", "math", "typing"}
    nouns = {
        "config",
        "data",
        "decision",
        "digest",
        "findings",
        "metric",
        "platform.gate_approval",
        "platform.gate_rules",
    }
    nouns |= {"release_policy", "review", "rule", "task"}
    assert ours <= {f"probity.{name}" for name in nouns}
    calls = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not calls & {"open", "print", "exec", "eval", "__import__"}
