"""Whether people approved what the policy wants them to approve. Pure, like :mod:`probity.platform.gate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from probity.decision import APPROVAL, ON_UNCLEAR, Check
from probity.release_policy import Approval
from probity.review import Review, quorum_problem

__all__ = ["DataWords", "data_check", "with_approval"]

_DATA_REVIEW = "data review"


@dataclass(frozen=True, kw_only=True)
class DataWords:
    """What is known of a review of the data.

    Attributes:
        said: Reviewer to their last word on data with exactly this evidence: whether they approve.
        anomalies: How many anomalies, warnings included, the data have.
    """

    said: Mapping[str, bool] = field(default_factory=dict)
    anomalies: int = 0


def data_check(approval: Approval, words: DataWords, *, started_by: Sequence[str]) -> Check | None:
    """Returns the check of what people said about the data; ``None`` where nobody is asked and nobody objects.

    Args:
        approval: What the policy asks.
        words: What people said.
        started_by: Reviewers who do not count alone.
    """
    asked = approval.data == "always" or (approval.data == "on_anomalies" and words.anomalies > 0)
    if not asked and all(words.said.values()):
        return None
    wording = _Wording(
        rule=_DATA_REVIEW,
        required=f"approval of the data by {_people(approval)}",
        evidence="data review/",
        rejected="{} rejected these data; train on others.",
        approved="The data, their statistics and their anomalies were approved by {}.",
    )
    return _judged(wording, words.said, quorum=approval.quorum, started_by=started_by)


def with_approval(
    judged: Sequence[Check], approval: Approval, reviews: Sequence[Review], *, started_by: Sequence[str]
) -> list[Check]:
    """Returns the checks of the rules, with that of the approval if one is needed.

    Guarantees: approval lifts nothing but rules that the data cannot judge, and those only where the policy says
    ``on_insufficient_evidence``; one rejection outweighs any number of approvals, also where nobody had to be asked.

    Args:
        judged: The checks of the rules.
        approval: What the policy asks.
        reviews: What reviewers signed about exactly this evidence.
        started_by: Reviewers who do not count alone.
    """
    unclear = [check for check in judged if check.blocks and check.outcome == "insufficient_evidence"]
    asked = approval.required == "always" or (approval.required == "on_insufficient_evidence" and bool(unclear))
    if not asked and not any(review.outcome == "reject" for review in reviews):
        return list(judged)
    check = _check(approval, reviews, started_by)
    if check.outcome != "pass" or approval.required == "always":
        return [*judged, check]
    lifted = [_lift(entry, check) if entry in unclear else entry for entry in judged]
    return [*lifted, check]


def _check(approval: Approval, reviews: Sequence[Review], started_by: Sequence[str]) -> Check:
    when = f", {ON_UNCLEAR}" if approval.required == "on_insufficient_evidence" else ""
    wording = _Wording(
        rule=APPROVAL,
        required=f"approval by {_people(approval)}{when}",
        evidence="review/",
        rejected="{} rejected this run; train or audit another one.",
        approved="Approved by {}, on exactly this evidence.",
        to_do="; approve with: probity approve RUN --key FILE",
    )
    against = {review.reviewer for review in reviews if review.outcome == "reject"}
    said = {review.reviewer: review.reviewer not in against for review in reviews}
    return _judged(wording, said, quorum=approval.quorum, started_by=started_by)


@dataclass(frozen=True, kw_only=True)
class _Wording:
    """How a check of people's words speaks; ``{}`` stands for their names."""

    rule: str
    required: str
    evidence: str
    rejected: str
    approved: str
    to_do: str = ""


def _judged(wording: _Wording, said: Mapping[str, bool], *, quorum: int, started_by: Sequence[str]) -> Check:
    """Returns the check of who approved (true) and who rejected: one rejection outweighs any number of approvals."""
    rule, required = wording.rule, wording.required
    against = sorted(name for name, approves in said.items() if not approves)
    if against:
        reason = wording.rejected.format(", ".join(against))
        return Check(rule=rule, outcome="fail", required=required, reason=reason)
    approved = sorted(said)
    problem = quorum_problem(approved, quorum=quorum, started_by=started_by)
    if problem is not None:
        reason = f"The policy requires {required}, and there is {problem}{wording.to_do}."
        return Check(rule=rule, outcome="insufficient_evidence", required=required, reason=reason)
    evidence = tuple(f"{wording.evidence}{name}" for name in approved)
    reason = wording.approved.format(", ".join(approved))
    return Check(rule=rule, outcome="pass", required=required, evidence=evidence, reason=reason)


def _people(approval: Approval) -> str:
    return "1 reviewer" if approval.quorum == 1 else f"{approval.quorum} reviewers"


def _lift(check: Check, approval: Check) -> Check:
    names = ", ".join(name.removeprefix("review/") for name in approval.evidence)
    reason = f"{check.reason} Released all the same on the approval of {names}."
    return check.model_copy(update={"lifted_by": "approval", "reason": reason})
