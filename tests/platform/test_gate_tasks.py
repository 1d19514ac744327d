"""The gate on other tasks: rules on classes and numbers, and which audits may say that they do not apply."""

from __future__ import annotations

import pytest

from probity.audits import registry
from probity.audits.base import not_applicable, tasks_of
from probity.findings import AuditReport, Estimate, Finding, finding_id
from probity.metric import METRICS
from probity.platform import gate
from probity.rule import Rule
from tests.audits.task_evidence import light_evidence
from tests.platform.test_gate import CARD, EXAMPLES, MODEL, SUBJECT, policy

REQUIRED = ("performance", "fairness", "privacy", "baseline", "attacks", "explanations", "regulatory", "data")
OF_CLASS = Rule(name="finds", metric="true_positive_rate", label_class="good", at_least=0.5)
GAP_OF_CLASS = Rule(name="alike", metric="selection_rate", label_class="good", across="sex", gap_at_most=0.2)
NUMBER = Rule(name="errors", metric="mean_absolute_error", at_most=3.0)


def found(rule, value, **changes):
    comparison = {"gap_at_most": "gap", "change_from_baseline_at_least": "change"}.get(rule.conditions[0])
    audit = {"gap": "fairness", "change": "baseline", None: "performance"}[comparison]
    label_class = changes.pop("label_class", rule.label_class)
    values = {
        "id": finding_id(audit, rule.metric, across=rule.across, comparison=comparison, label_class=rule.label_class),
        "metric": rule.metric,
        "across": rule.across,
        "comparison": comparison,
        "label_class": label_class,
        "estimate": Estimate(value=value, lower=value, upper=value, confidence=0.95, method="made up", n=500),
        "direction": METRICS[rule.metric].direction,
    }
    return audit, Finding(**{**values, **changes})


def decide(rules, findings, *, task="multiclass", silent=("attacks", "explanations", "regulatory"), **changes):
    classes = ("bad", "good") if task == "multiclass" else ()
    given = policy(
        rules,
        task=task,
        classes=classes,
        required_reports=REQUIRED,
        uncovered_preprocessing="allowed",
        **changes,
    )
    reports = {}
    for name in REQUIRED:
        mine = tuple(entry for audit, entry in findings if audit == name)
        quiet = name in silent or (name == "baseline" and not mine)
        reports[name] = AuditReport(
            audit=name,
            status="not_applicable" if quiet else "complete",
            subject=SUBJECT,
            reasons=("it speaks of binary decisions",) if quiet else (),
            findings=() if quiet else mine,
        )
    return gate.decide(given, reports=reports, model=MODEL, examples=EXAMPLES, card=CARD, card_subject=SUBJECT)


def outcome(decision, rule):
    return next(check for check in decision.checks if check.rule == rule.name)


def test_rules_on_a_class_and_on_numbers_are_judged_without_a_threshold():
    decision = decide((OF_CLASS, GAP_OF_CLASS), [found(OF_CLASS, 0.7), found(GAP_OF_CLASS, 0.1)])
    assert decision.verdict == "release", decision.blocking
    check = outcome(decision, OF_CLASS)
    assert check.evidence == ("performance/true_positive_rate/class=good/overall",)
    assert "true_positive_rate for class good at least 0.5" in check.reason
    assert decide((NUMBER,), [found(NUMBER, 2.0)], task="regression").verdict == "release"


@pytest.mark.parametrize(
    ("rule", "value", "task"),
    [(OF_CLASS, 0.4, "multiclass"), (GAP_OF_CLASS, 0.3, "multiclass"), (NUMBER, 3.1, "regression")],
)
def test_a_value_beyond_the_bound_fails(rule, value, task):
    assert outcome(decide((rule,), [found(rule, value)], task=task), rule).outcome == "fail"


def test_the_finding_of_another_class_supports_nothing():
    other = OF_CLASS.model_copy(update={"label_class": "bad"})
    assert outcome(decide((OF_CLASS,), [found(other, 0.9)]), OF_CLASS).outcome == "error"
    lying = found(OF_CLASS, 0.9, label_class="bad")
    assert outcome(decide((OF_CLASS,), [lying]), OF_CLASS).outcome == "error"


def test_a_rule_on_a_class_that_does_not_exist_is_an_error():
    rule = OF_CLASS.model_copy(update={"label_class": "great"})
    check = outcome(decide((rule,), [found(rule, 0.9)]), rule)
    assert check.outcome == "error"
    assert "no class of the label (classes: bad, good)" in check.reason


def test_only_named_audits_may_say_that_they_do_not_apply():
    findings = [found(OF_CLASS, 0.7)]
    assert decide((OF_CLASS,), findings).verdict == "release"
    for name in ("data", "performance", "fairness"):
        held = decide((OF_CLASS,), findings, silent=("attacks", "explanations", "regulatory", name))
        assert held.verdict == "hold"
        assert any(check.rule == f"evidence: {name}" for check in held.blocking)
    binary = policy((NUMBER,), required_reports=REQUIRED)
    assert not gate._may_be_not_applicable("explanations", binary)


def test_a_rule_on_what_was_not_audited_holds_the_release():
    attack = Rule(name="attack", metric="membership_auc", at_most=0.6)
    decision = decide((OF_CLASS, attack), [found(OF_CLASS, 0.7)])
    assert decision.verdict == "hold"
    assert outcome(decision, attack).outcome == "error"


def test_the_audits_say_what_they_can_measure():
    everything = {"data", "fairness", "performance", "privacy"}
    for name in registry.names():
        tasks = tasks_of(registry.load(name))
        assert "binary" in tasks
        assert (tasks == {"binary", "multiclass", "regression"}) is (name in everything), name


def test_an_audit_that_does_not_apply_says_why():
    report = not_applicable("attacks", light_evidence("regression", None))
    assert (report.audit, report.status) == ("attacks", "not_applicable")
    assert report.reasons == ("this audit speaks of binary decisions, and this is a regression",)
