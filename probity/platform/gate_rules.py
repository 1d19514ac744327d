"""One rule of the policy: what it asks for, where its finding is, how it comes out, and the sentence that says so.

Pure, like :mod:`probity.platform.gate`, which decides whether the report may be used at all.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal

from probity.decision import Check, GatePolicy
from probity.findings import AuditReport, Estimate, Finding, JointInterval, finding_id, slice_name
from probity.metric import METRICS, MetricKind
from probity.rule import JudgedBy, Rule

__all__ = ["Condition", "condition_of", "judge", "unusable"]

_PRIVACY_METRICS = ("epsilon", "delta")
"""Stated by the audit ``privacy``; the other privacy metrics are measured by the audit ``attacks``."""

_PROVEN = ("audited_epsilon_lower_bound",)
"""Metrics whose value is an end of an interval already: what an attack proves. Nothing is known of the other end, and
no rule can ask for it."""

_REPORTS = {
    "change_from_baseline_at_least": "baseline",
    "change_from_baseline_at_most": "baseline",
    "change_from_unmitigated_at_least": "mitigation",
    "change_from_unmitigated_at_most": "mitigation",
}
_AGAINST = {"baseline": "the latest release", "mitigation": "the same training without mitigation"}


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One rule in the form in which it is judged and spoken of."""

    rule: Rule
    report: str
    """Name of the audit whose report holds the finding."""
    comparison: Literal["gap", "ratio", "change"] | None
    threshold: float | None
    bound: float
    at_least: bool
    """Whether the bound is a floor; otherwise it is a ceiling."""

    @property
    def required(self) -> str:
        """The condition as it stands in the decision, for example ``ratio >= 0.8``."""
        return f"{self.comparison or self.rule.metric} {'>=' if self.at_least else '<='} {_number(self.bound)}"

    @property
    def subject(self) -> str:
        """What is bounded, in words."""
        metric = self.rule.metric
        if self.rule.label_class is not None:
            metric = f"{metric} for class {self.rule.label_class}"
        if self.comparison == "gap":
            words = f"the largest difference in {metric} between groups of {' x '.join(self.rule.across)}"
        elif self.comparison == "ratio":
            words = f"the smallest ratio of {metric} between groups of {' x '.join(self.rule.across)}"
        else:
            of = f" of {slice_name(self.rule.slice)}" if self.rule.slice else ""
            words = f"{metric}{of}"
            if self.comparison == "change":
                words = f"the change of {words} against {_AGAINST[self.report]}"
        return words if self.threshold is None else f"{words} at threshold {self.threshold:g}"

    def holds_for(self, value: float) -> bool:
        """Whether a finite value keeps the bound; no infinity and no NaN ever does."""
        return math.isfinite(value) and (value >= self.bound if self.at_least else value <= self.bound)


def condition_of(rule: Rule, policy: GatePolicy) -> Condition:
    """Reads a rule; a rate without a threshold of its own is judged at the policy's decision threshold."""
    name = rule.conditions[0]
    bound = float(getattr(rule, name))
    kind = METRICS[rule.metric].kind
    threshold = None
    if kind is MetricKind.RATE and policy.task == "binary":
        threshold = policy.decision_threshold if rule.threshold is None else rule.threshold
    comparisons: dict[str, Literal["gap", "ratio", "change"]] = {
        "gap_at_most": "gap",
        "ratio_at_least": "ratio",
        **dict.fromkeys(_REPORTS, "change"),
    }
    comparison = comparisons.get(name)
    if comparison is not None:
        report = _REPORTS.get(name, "fairness")
    elif kind is MetricKind.PRIVACY:
        report = "privacy" if rule.metric in _PRIVACY_METRICS else "attacks"
    elif kind is MetricKind.DATA:
        report = "data"
    elif kind is MetricKind.SERVING:
        report = "serving"
    elif kind is MetricKind.EDGE_CASES:
        report = "edge_cases"
    else:
        report = "performance"
    return Condition(
        rule=rule,
        report=report,
        comparison=comparison,
        threshold=threshold,
        bound=bound,
        at_least=name.endswith("at_least"),
    )


def unusable(condition: Condition, reason: str) -> Check:
    """Returns the check of a rule that cannot be judged at all."""
    return Check(rule=condition.rule.name, outcome="error", required=condition.required, reason=reason)


def _missing(condition: Condition) -> str:
    return (
        f"The {condition.report} report has no usable finding about {condition.subject}, so the rule cannot be judged; "
        "let the audit measure it, or change the rule."
    )


def _no_baseline(condition: Condition) -> Check:
    return Check(
        rule=condition.rule.name,
        outcome="pass",
        required=condition.required,
        evidence=("baseline",),
        reason="No earlier release of this model exists, so there is nothing that it could fall behind.",
    )


def _nothing_compared(condition: Condition, report: AuditReport) -> Check:
    """A rule that asks what mitigation changed is not kept by a model of which nobody can say."""
    why = "; ".join(reason.rstrip(". ") for reason in report.reasons)
    return Check(
        rule=condition.rule.name,
        outcome="insufficient_evidence",
        required=condition.required,
        evidence=(condition.report,),
        reason=f"Required: {condition.subject}, but nothing was compared: {why}.",
    )


def judge(condition: Condition, report: AuditReport, *, policy: GatePolicy) -> Check:
    """Judges a rule on a report that is there, not failed, and about the candidate.

    Guarantees: ``pass`` only for a finite value within the bound that rests on sufficient evidence, or for a change
    rule when the baseline audit says that there is no earlier release. Judged by ``interval``, the whole interval of
    such a value is within the bound as well.
    """
    if report.status == "not_applicable" and condition.comparison == "change":
        return _no_baseline(condition) if condition.report == "baseline" else _nothing_compared(condition, report)
    finding = _find(report, condition) if report.status == "complete" else None
    return unusable(condition, _missing(condition)) if finding is None else _judge(condition, finding, policy)


def _judge(condition: Condition, finding: Finding, policy: GatePolicy) -> Check:
    judged_by, statements = policy.judged_by, policy.joint_statements
    estimate = finding.estimate
    value = _not_nan(estimate.value)
    outcome: Literal["pass", "fail", "insufficient_evidence"]
    if value is None:
        outcome = "insufficient_evidence"
        reason = f"{_asked(condition)}, but it could not be measured: {_cause(finding)}."
    elif not condition.holds_for(value):
        outcome = "fail"
        reason = f"{_asked(condition)}; observed {_observed(estimate, condition)}, so {_remedy(condition, value)}."
    elif finding.evidence != "sufficient":
        outcome = "insufficient_evidence"
        reason = (
            f"{_asked(condition)}; observed {_observed(estimate, condition)}, but no verdict may rest on it: "
            f"{_cause(finding)}."
        )
    elif not _bounds_hold(condition, finding, judged_by, statements=statements):
        outcome = "insufficient_evidence"
        reason = (
            f"{_asked(condition)}; observed {_observed(estimate, condition)}{_jointly(finding, judged_by)}, so chance "
            "alone may have kept it within the bound. More test rows would narrow the interval; a model with more to "
            "spare would pass with these."
        )
    else:
        outcome = "pass"
        reason = f"{_asked(condition)}; observed {_observed(estimate, condition)}."
    return Check(
        rule=condition.rule.name,
        outcome=outcome,
        required=condition.required,
        observed=value,
        lower=_not_nan(estimate.lower),
        upper=_not_nan(estimate.upper),
        evidence=(finding.id,),
        reason=reason,
    )


def _bounds_hold(condition: Condition, finding: Finding, judged_by: JudgedBy, *, statements: int) -> bool:
    """Whether the interval that decides keeps the bound; an exact number is its own interval.

    A release needs every rule to pass, so intervals at the level of one rule already bound the chance of releasing a
    model that breaks any of them (an intersection-union test: Berger 1982, Technometrics 24, 295-300). The joint ones
    answer another question: whether all the intervals that are shown are right at once. Where the policy asks for them
    and there is none, the narrower interval does not stand in for it.
    """
    if judged_by == "estimate" or condition.rule.metric in _PROVEN:
        return True
    interval: JointInterval | Estimate = finding.estimate
    if judged_by == "joint_interval" and condition.rule.is_statistical and statements > 1:
        if finding.joint is None and finding.estimate.lower is not None:
            return False
        interval = finding.joint or finding.estimate
    return all(bound is None or condition.holds_for(bound) for bound in (interval.lower, interval.upper))


def _find(report: AuditReport, condition: Condition) -> Finding | None:
    """Returns the finding that the rule is about, whichever order the attributes were declared in.

    The id is how a finding is cited; its fields are what it says. A finding whose fields do not match its id is
    somebody's mistake and supports nothing.
    """
    rule = condition.rule
    slices = [dict(items) for items in itertools.permutations(rule.slice.items())]
    for slice_, across in itertools.product(slices, itertools.permutations(rule.across)):
        name = finding_id(
            condition.report,
            rule.metric,
            slice_=slice_,
            across=across,
            comparison=condition.comparison,
            threshold=condition.threshold,
            label_class=rule.label_class,
        )
        finding = report.find(name)
        if finding is not None and _says_what_its_id_says(finding, condition):
            return finding
    return None


def _says_what_its_id_says(finding: Finding, condition: Condition) -> bool:
    rule = condition.rule
    return (
        finding.metric == rule.metric
        and finding.slice == rule.slice
        and sorted(finding.across) == sorted(rule.across)
        and finding.comparison == condition.comparison
        and finding.feature is None
        and finding.attack is None
        and finding.threshold == condition.threshold
        and finding.label_class == rule.label_class
        and finding.predicted_class is None
    )


# --- words ----------------------------------------------------------------------------------------------------------


def _asked(condition: Condition) -> str:
    return f"Required: {condition.subject} at {'least' if condition.at_least else 'most'} {_number(condition.bound)}"


def _cause(finding: Finding) -> str:
    return (finding.reason or "the audit gives no reason").rstrip(". ")


def _observed(estimate: Estimate, condition: Condition) -> str:
    value, lower, upper = _not_nan(estimate.value), _not_nan(estimate.lower), _not_nan(estimate.upper)
    if value is None:
        return "nothing"
    words = _number(value, apart_from=condition.bound)
    rows = f"n = {estimate.n:,}"
    if lower is None or upper is None or estimate.confidence is None:
        return f"{words} ({rows})"
    if condition.rule.metric in _PROVEN:
        return f"{words} (proven with {estimate.confidence * 100:g} % confidence, {rows})"
    interval = f"{words} ({estimate.confidence * 100:g} % interval {_number(lower)} to {_number(upper)}, {rows})"
    if condition.holds_for(lower) != condition.holds_for(upper):
        interval += "; the interval holds values on both sides of the bound"
    return interval


def _jointly(finding: Finding, judged_by: JudgedBy) -> str:
    joint = finding.joint
    if joint is None or judged_by != "joint_interval":
        return ""
    bounds = f"{_number(joint.lower)} to {_number(joint.upper)}"
    return f" (together with the {joint.statements - 1} other rules: {bounds})"


def _remedy(condition: Condition, value: float) -> str:
    """Says what would have to change for the rule to pass."""
    if math.isinf(value) and condition.rule.metric == "epsilon":
        return "the model would have to be trained with differential privacy, which gives a finite epsilon"
    if not math.isfinite(value):
        return "a finite value would have to be measured"
    if not math.isfinite(condition.bound):
        return "the bound in the rule would have to be finite"
    move = "rise" if condition.at_least else "fall"
    return f"it would have to {move} by at least {_number(abs(condition.bound - value))}"


def _number(value: float, *, apart_from: float | None = None) -> str:
    """Writes a number in four digits, or in as many as set it apart from another."""
    for digits in (4, 6, 9, 12, 17):
        text = f"{value:.{digits}g}"
        if apart_from is None or value == apart_from or text != f"{apart_from:.{digits}g}":
            return text.replace("inf", "Infinity")
    return repr(value)


def _not_nan(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value
