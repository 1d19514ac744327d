"""The gate: policy, audit reports and card in, a verdict with every check out. Pure, and it fails closed.

Nothing is read, computed or looked up here. A check passes only on evidence that is present, complete, about exactly
this candidate, sufficient and finite; everything else is ``hold`` with its reason, on the first run as on any other.
(TFX's Pusher pushes when no blessing is wired to it: our counter-example.)

=========================================================== =====================
what the gate meets                                         outcome of the check
=========================================================== =====================
no policy, or a policy without rules                        ``error``
report missing, unreadable, failed, or of another candidate ``error``
finding missing; attribute or group unknown                 ``error``
value infinite, or beyond the bound                         ``fail``
value not computable, or a group too small                  ``insufficient_evidence``
value within the bound, its interval on both sides of it    ``insufficient_evidence``
either, but the value is beyond the bound already           ``fail``
no earlier release to compare with                          ``pass`` of change rules
no model without mitigation to compare with                 ``insufficient_evidence``
finite epsilon, preprocessing not covered by it             ``fail``
an attack proves more than the finite epsilon allows        ``fail``
evidence older than the policy lets it count                ``error``
approval required, of the model or its data, and not given  ``insufficient_evidence``
a reviewer rejected it, or its data                         ``fail``
a question on risk to be answered, and open                 ``insufficient_evidence``
=========================================================== =====================

What did not pass holds the release, with three exceptions, each stated in the check: a rule of severity ``warn``; a
rule that is waived as it stands, by signature and until a day; and, where the policy says so, a rule that the data
cannot judge and that reviewers approved. An ``error`` is never lifted: nobody can answer for what nobody looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from probity.config import RunConfig
from probity.data import MISSING_GROUP, Dataset
from probity.decision import RISK_ANSWERS, Check, GateDecision, GatePolicy
from probity.digest import digest_json
from probity.findings import AuditReport, Subject, finding_id
from probity.metric import METRICS, MetricKind
from probity.platform.gate_approval import DataWords, data_check, with_approval
from probity.platform.gate_rules import condition_of, judge, unusable
from probity.review import Review, Waiver
from probity.rule import Rule
from probity.task import Task

__all__ = ["decide", "make_policy", "resolved"]

_EPSILON = finding_id("privacy", "epsilon")
_LOWER_BOUND = finding_id("attacks", "audited_epsilon_lower_bound")
_ABOUT_DATA_ALONE = ("data",)
"""Audits whose subject names no model."""


def make_policy(config: RunConfig, dataset: Dataset, *, required_reports: tuple[str, ...]) -> GatePolicy:
    """Resolves the rules of the config against the data, so that the decision needs nothing else.

    Guarantees: every rule on a rate of a binary label carries its threshold and no other rule does; the attributes are
    those that the audits report on, with their groups.

    Args:
        config: What was asked.
        dataset: What was read: the declared sensitive attributes and every group found or declared.
        required_reports: Audits that must have run, whether or not a rule names their metrics.
    """
    at = config.audits.decision_threshold
    return GatePolicy(
        rules=tuple(resolved(rule, decision_threshold=at, task=dataset.task) for rule in config.gate.rules),
        decision_threshold=at,
        attributes={attribute.name: attribute.groups for attribute in dataset.sensitive},
        required_reports=required_reports,
        task=dataset.task,
        classes=dataset.classes,
        approval=config.gate.approval,
        judged_by=config.gate.judged_by,
        uncovered_preprocessing=config.gate.uncovered_preprocessing,
        require_risk_answers=config.gate.require_risk_answers,
        expires_after_days=config.gate.expires_after_days,
    )


def resolved(rule: Rule, *, decision_threshold: float, task: Task) -> Rule:
    """Returns a rule as the policy has it: one on a rate of a binary label names the threshold that it means."""
    is_rate = task == "binary" and METRICS[rule.metric].kind is MetricKind.RATE
    asked = decision_threshold if rule.threshold is None else rule.threshold
    return rule.model_copy(update={"threshold": asked if is_rate else None})


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """What the decision is about; reports and card must name exactly this."""

    model: str | None
    examples: str | None
    reports: Mapping[str, AuditReport | None]
    expired: Mapping[str, str]


def decide(
    policy: GatePolicy | None,
    *,
    reports: Mapping[str, AuditReport | None],
    model: str | None,
    examples: str | None,
    card: str | None,
    card_subject: Subject | None,
    open_risks: Sequence[str] | None = None,
    expired: Mapping[str, str] | None = None,
    waivers: Sequence[Waiver] = (),
    reviews: Sequence[Review] = (),
    started_by: Sequence[str] = (),
    data: DataWords | None = None,
) -> GateDecision:
    """Decides whether the candidate may be released.

    Guarantees: pure and deterministic; never raises on valid records; the verdict is ``release`` only if every check
    passed; tightening a bound never turns hold into release; the order of the rules does not change the verdict.

    Args:
        policy: What a release needs; ``None`` when there is none, which holds.
        reports: Reports by name of the audit; ``None`` for one that is there and cannot be read.
        model: Digest of the candidate's SavedModel.
        examples: Digest of the raw examples of the test split.
        card: Digest of the model card.
        card_subject: What the card says it speaks of.
        open_risks: Questions on risk that the card leaves open; ``None`` where there is no readable card.
        expired: Audits whose reports no longer count, each with the reason.
        waivers: Waivers in force, their signatures checked.
        reviews: What reviewers signed about exactly this evidence, their signatures checked.
        started_by: Names of the reviewers who started the run; they do not count alone.
        data: What reviewers signed about exactly these data, their signatures checked; ``None``: nothing.
    """
    candidate = _Candidate(model=model, examples=examples, reports=reports, expired=expired or {})
    checks = [*_check_candidate(candidate)]
    if policy is not None:
        checks += [_check_report(name, candidate, policy) for name in policy.required_reports]
    checks.append(_check_card(card, card_subject, candidate))
    checks += _check_policy(policy)
    if policy is not None:
        checks += _check_risks(policy, open_risks)
        checks += _check_preprocessing(policy, candidate)
        checks += _check_contradiction(candidate)
        judged = [_waive(_check_rule(rule, candidate, policy), rule, waivers) for rule in policy.rules]
        reviewed = data_check(policy.approval, data or DataWords(), started_by=started_by)
        checks += [] if reviewed is None else [reviewed]
        checks += with_approval(judged, policy.approval, reviews, started_by=started_by)
    blocked = any(check.blocks for check in checks) or not any(check.outcome == "pass" for check in checks)
    return GateDecision(
        verdict="hold" if blocked else "release",
        model=model,
        policy=digest_json(None) if policy is None else policy.record_digest(),
        card=card,
        checks=tuple(checks),
    )


# --- evidence -------------------------------------------------------------------------------------------------------


def _check_candidate(candidate: _Candidate) -> Iterator[Check]:
    absent = [
        name for name, digest in (("model", candidate.model), ("test examples", candidate.examples)) if digest is None
    ]
    if absent:
        yield Check(
            rule="candidate",
            outcome="error",
            required="a model and test examples on record",
            reason=f"There is no readable record of the {' and the '.join(absent)}, so no evidence can be tied to this "
            "candidate; run the pipeline again.",
        )


def _check_policy(policy: GatePolicy | None) -> Iterator[Check]:
    if policy is None or not policy.rules:
        yield Check(
            rule="policy",
            outcome="error",
            required="at least one rule",
            reason="Nobody has said what a release needs, and without a rule nothing is released; add rules under "
            "gate.rules.",
        )


def _check_report(name: str, candidate: _Candidate, policy: GatePolicy) -> Check:
    rule, required = f"evidence: {name}", f"a complete {name} report about this model and these test examples"
    problem = _report_problem(name, candidate, policy)
    if problem is not None:
        return Check(rule=rule, outcome="error", required=required, reason=problem)
    report = candidate.reports[name]
    status = "complete" if report is None or report.status == "complete" else "not applicable to this run"
    return Check(
        rule=rule,
        outcome="pass",
        required=required,
        evidence=(name,),
        reason=f"The {name} report is {status} and speaks of this candidate.",
    )


def _report_problem(name: str, candidate: _Candidate, policy: GatePolicy) -> str | None:
    """Returns why nothing may rest on this report, or ``None`` if it is usable."""
    if name not in candidate.reports:
        return f"The {name} audit left no report; run it before deciding."
    report = candidate.reports[name]
    if report is None:
        return f"The {name} report cannot be read; run the audit again."
    if report.audit != name:
        return f"The {name} report was written by another audit, {report.audit}; run the audit again."
    if report.status == "failed":
        return f"The {name} audit failed; mend what its report says and run it again."
    if name in candidate.expired:
        return f"The {name} report no longer counts: {candidate.expired[name]}; audit the model again."
    if report.status == "not_applicable" and not _may_be_not_applicable(name, policy):
        return f"The {name} audit says that it does not apply to this run, but this policy requires it."
    stale = _stale(report.subject, candidate, without_model=name in _ABOUT_DATA_ALONE)
    if stale:
        return f"The {name} report speaks of {stale} than this candidate's; run the audit again."
    return None


def _may_be_not_applicable(name: str, policy: GatePolicy) -> bool:
    # Without an earlier release there is nothing to compare with; without sensitive attributes, nobody to compare.
    # What nothing could be tried on cannot be attacked; a rule on an attack's metric holds then by itself.
    # Without mitigation, or without a model to compare with, it changed nothing that could be measured; a rule on that
    # change holds then by itself.
    # A model of pooled rows has no clients; one that was trained in the clear has no cost of encryption.
    # The mechanism of a model that was trained elsewhere is not known; a rule on epsilon then holds, as it should.
    # Explanations and the tables of particular rules are about binary decisions, and so are single people's.
    if policy.task != "binary" and name in ("explanations", "individuals", "regulatory"):
        return True
    alone = ("attacks", "baseline", "encryption", "federation", "mitigation", "privacy")
    return name in alone or (name == "fairness" and not policy.attributes)


def _stale(subject: Subject, candidate: _Candidate, *, without_model: bool = False) -> str | None:
    """Returns what the subject disagrees on, or ``None`` if it is the candidate."""
    model_differs = subject.model != candidate.model and not (without_model and subject.model is None)
    differing = []
    if model_differs or candidate.model is None:
        differing.append("another model")
    if subject.examples != candidate.examples:
        differing.append("other test examples")
    return " and ".join(differing) or None


def _check_card(card: str | None, subject: Subject | None, candidate: _Candidate) -> Check:
    stale = None if subject is None else _stale(subject, candidate)
    reason = None
    if card is None or subject is None:
        reason = "There is no readable model card, and no model is released without one; compose the card again."
    elif stale:
        reason = f"The model card speaks of {stale} than this candidate's; compose the card again."
    return Check(
        rule="evidence: card",
        outcome="error" if reason else "pass",
        required="a model card about this model and these test examples",
        evidence=() if reason else ("card",),
        reason=reason or "The model card is there and speaks of this candidate.",
    )


def _check_risks(policy: GatePolicy, open_risks: Sequence[str] | None) -> Iterator[Check]:
    """Whether the owner said something to every question; nobody here can tell whether it is a good answer."""
    if not policy.require_risk_answers:
        return
    required = "an answer on the card to every question on risk"
    if open_risks is None:
        reason = "There is no readable model card, so nobody can tell what was answered; compose the card again."
        yield Check(rule=RISK_ANSWERS, outcome="error", required=required, reason=reason)
        return
    yield Check(
        rule=RISK_ANSWERS,
        outcome="insufficient_evidence" if open_risks else "pass",
        required=required,
        observed=len(open_risks),
        evidence=("card",),
        reason=f"Nobody answered {', '.join(open_risks)}; say it under card.risks and run again, which takes over what "
        "is finished."
        if open_risks
        else "The card answers every question on risk.",
    )


def _check_preprocessing(policy: GatePolicy, candidate: _Candidate) -> Iterator[Check]:
    """An epsilon that leaves out what preprocessing read is a claim about half of the training."""
    report = candidate.reports.get("privacy")
    if policy.uncovered_preprocessing == "allowed" or report is None or report.status != "complete":
        return  # a report that is missing or failed has a check of its own
    finding, statement = report.find(_EPSILON), report.privacy_statement
    rule, required = "uncovered preprocessing", "no constant computed from private rows without noise"
    if statement is None or (finding is not None and finding.estimate.value != statement.epsilon):
        yield Check(
            rule=rule,
            outcome="error",
            required=required,
            reason="The privacy report has no statement of its epsilon, or one of another, so nobody can tell what "
            "the number "
            "covers; run the audit again.",
        )
        return
    if math.isinf(statement.epsilon):
        return  # nothing is claimed, so nothing is left out
    columns, trained = statement.uncovered_preprocessing, statement.uncovered_training
    yield Check(
        rule=rule,
        outcome="fail" if columns or trained else "pass",
        required=required,
        observed=len(columns) + len(trained),
        evidence=(_EPSILON,),
        reason=_uncovered_words(columns, trained),
    )


def _uncovered_words(columns: tuple[str, ...], trained: tuple[str, ...]) -> str:
    words = []
    if columns:
        words.append(
            f"The constants of {', '.join(columns)} were computed from training rows without noise, which epsilon does "
            "not cover; state their domains and bounds in a curated schema or under transform.boundaries, or give "
            "transform.private_statistics."
        )
    if trained:
        words.append(
            f"The trainer read {'; '.join(trained)}, without noise, which epsilon does not cover; train without that, "
            "or say gate: {uncovered_preprocessing: allowed}."
        )
    return " ".join(words) or (
        "All constants of the transform are public facts, or were computed with noise that epsilon covers."
    )


def _check_contradiction(candidate: _Candidate) -> Iterator[Check]:
    """An attack that shows more than the accountant allows shows that the mechanism is not what was accounted for."""
    promised, measured = candidate.reports.get("privacy"), candidate.reports.get("attacks")
    if promised is None or measured is None or {promised.status, measured.status} != {"complete"}:
        return  # a report that is missing or failed has a check of its own
    epsilon, bound = promised.find(_EPSILON), measured.find(_LOWER_BOUND)
    claimed = None if epsilon is None else epsilon.estimate.value
    proven = None if bound is None else bound.estimate.value
    if claimed is None or proven is None or bound is None or math.isinf(claimed):
        return  # nothing is claimed, or nothing was measured
    # Written so that no comparison with something that is not a number passes.
    passed = proven <= claimed
    yield Check(
        rule="attacks against epsilon",
        outcome="pass" if passed else "fail",
        required="audited_epsilon_lower_bound <= epsilon",
        observed=None if math.isnan(proven) else proven,
        evidence=(_EPSILON, _LOWER_BOUND),
        reason=f"The attacks prove an epsilon of at least {proven:.4g}; the accountant says {claimed:.4g}."
        if passed
        else f"The implementation does not do what the accountant assumes: the attacks prove an epsilon of at least "
        f"{proven:.4g} with {100 * (bound.estimate.confidence or 0.0):g} % confidence, and the accountant says "
        f"{claimed:.4g}. Find out why before anything is released; neither number can be believed alone.",
    )


# --- rules ----------------------------------------------------------------------------------------------------------


def _check_rule(rule: Rule, candidate: _Candidate, policy: GatePolicy) -> Check:
    condition = condition_of(rule, policy)
    problem = _unknown_names(rule, policy) or _report_problem(condition.report, candidate, policy)
    if problem is not None:
        return unusable(condition, problem)
    report = candidate.reports[condition.report]
    if report is None:  # _report_problem says so too; here for the type checker
        return unusable(condition, f"The {condition.report} report cannot be read.")
    return judge(condition, report, policy=policy)


def _waive(check: Check, rule: Rule, waivers: Sequence[Waiver]) -> Check:
    """Returns the check of a rule as its severity and a waiver, if one is in force, leave it."""
    check = check.model_copy(update={"severity": rule.severity})
    condition = rule.record_digest()
    waiver = next((entry for entry in waivers if (entry.rule, entry.condition) == (rule.name, condition)), None)
    if waiver is None or not check.blocks or check.outcome == "error":
        return check
    return check.model_copy(
        update={
            "lifted_by": "waiver",
            "reason": f"{check.reason} Waived until {waiver.until} by {waiver.owner}: {waiver.reason.rstrip('. ')}.",
        }
    )


def _unknown_names(rule: Rule, policy: GatePolicy) -> str | None:
    if rule.label_class is not None and rule.label_class not in policy.classes:
        known = ", ".join(policy.classes) or "none"
        return (
            f"The rule names class {rule.label_class!r}, which is no class of the label (classes: {known}); correct it."
        )
    for attribute in (*rule.slice, *rule.across):
        if attribute not in policy.attributes:
            known = ", ".join(policy.attributes) or "none"
            return f"The rule names {attribute!r}, which is no audited attribute (audited: {known}); correct the rule."
    for attribute, group in rule.slice.items():
        if group not in (*policy.attributes[attribute], MISSING_GROUP):
            known = ", ".join(policy.attributes[attribute]) or "none"
            return f"The rule names {group!r}, which is no group of {attribute} (groups: {known}); correct the rule."
    return None
