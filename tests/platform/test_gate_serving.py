"""Rules on what serving costs: the 95th percentile of an answer's time, and the size of what is served."""

from __future__ import annotations

import pytest

from probity.findings import AuditReport, Estimate, Finding, Subject
from probity.rule import Rule
from tests.platform.test_gate import MODEL, OTHER, REQUIRED, SUBJECT, decide, good_reports, policy

FAST = Rule(name="fast enough", metric="serving_latency_p95_ms", at_most=20)
SMALL = Rule(name="small enough", metric="model_size_bytes", at_most=50_000_000)


def latency(value: float, lower: float, upper: float) -> Finding:
    return found(
        "serving_latency_p95_ms",
        Estimate(value=value, lower=lower, upper=upper, confidence=0.95, method="order statistics", n=200),
    )


def size(value: float) -> Finding:
    return found("model_size_bytes", Estimate(value=value, method="exact", n=1))


def found(metric: str, estimate: Estimate) -> Finding:
    return Finding(id=f"serving/{metric}/overall", metric=metric, estimate=estimate, direction="lower_is_better")


def check(rule: Rule, *findings: Finding, **changes):
    """Returns the verdict and the check of a rule, all other evidence being good."""
    fields = {"audit": "serving", "status": "complete", "subject": SUBJECT, "findings": findings}
    report = AuditReport(**{**fields, **changes})
    rules = policy(rules=(rule,), required_reports=(*REQUIRED, "serving"))
    decision = decide(rules, reports={**good_reports(), "serving": report})
    (checked,) = [entry for entry in decision.checks if entry.rule == rule.name]
    return decision.verdict, checked


@pytest.mark.parametrize(
    ("finding", "verdict", "outcome"),
    [
        (latency(6.0, 5.0, 7.5), "release", "pass"),
        (latency(20.0, 18.0, 20.0), "release", "pass"),  # a bound is inclusive
        (latency(31.0, 28.0, 40.0), "hold", "fail"),
        (latency(19.0, 15.0, 26.0), "hold", "insufficient_evidence"),  # too few requests to tell
    ],
    ids=["fast", "at the bound", "slow", "cannot be told"],
)
def test_a_slow_model_is_held_and_a_fast_one_is_not(finding, verdict, outcome):
    decided, checked = check(FAST, finding)
    assert (decided, checked.outcome) == (verdict, outcome)
    assert (checked.observed, checked.lower, checked.upper) == (
        finding.estimate.value, finding.estimate.lower, finding.estimate.upper,
    )  # fmt: skip
    assert checked.evidence == ("serving/serving_latency_p95_ms/overall",)


@pytest.mark.parametrize(
    ("bytes_", "verdict", "outcome"),
    [(400_000, "release", "pass"), (50_000_000, "release", "pass"), (50_000_001, "hold", "fail")],
)
def test_a_large_model_is_held_and_a_small_one_is_not(bytes_, verdict, outcome):
    decided, checked = check(SMALL, size(bytes_))
    assert (decided, checked.outcome) == (verdict, outcome)


@pytest.mark.parametrize("rule", [FAST, SMALL], ids=lambda rule: rule.metric)
def test_without_a_number_nothing_is_fast_or_small(rule):
    assert check(rule)[1].outcome == "error"
    subject = Subject(model=OTHER, examples=SUBJECT.examples)
    verdict, checked = check(rule, latency(6.0, 5.0, 7.5), size(1.0), subject=subject)
    assert (verdict, checked.outcome) == ("hold", "error")
    assert MODEL != OTHER


@pytest.mark.parametrize("rule", [FAST, SMALL], ids=lambda rule: rule.metric)
def test_a_run_that_validated_nothing_keeps_no_rule_on_serving(rule):
    decision = decide(policy(rules=(rule,)))
    assert decision.verdict == "hold"
    assert {entry.outcome for entry in decision.checks if entry.rule == rule.name} == {"error"}
