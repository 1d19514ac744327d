"""Whether people approved what the policy wants them to approve. Pure, like :mod:`probity.platform.gate`."""

from __future__ import annotations

from collections.abc import Sequence

from probity.decision import APPROVAL, ON_UNCLEAR, Check
from probity.release_policy import Approval
from probity.review import Review, quorum_problem

__all__ = ["with_approval"]


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
    people = "1 reviewer" if approval.quorum == 1 else f"{approval.quorum} reviewers"
    when = f", {ON_UNCLEAR}" if approval.required == "on_insufficient_evidence" else ""
    required = f"approval by {people}{when}"
    against = sorted({review.reviewer for review in reviews if review.outcome == "reject"})
    if against:
        return Check(
            rule=APPROVAL,
            outcome="fail",
            required=required,
            reason=f"{', '.join(against)} rejected this run; train or audit another one.",
        )
    approved = sorted({review.reviewer for review in reviews if review.outcome == "approve"} - set(against))
    problem = quorum_problem(approved, quorum=approval.quorum, started_by=started_by)
    if problem is not None:
        return Check(
            rule=APPROVAL,
            outcome="insufficient_evidence",
            required=required,
            reason=f"The policy requires {required}, and there is {problem}; approve with: probity approve RUN --key "
            "FILE.",
        )
    return Check(
        rule=APPROVAL,
        outcome="pass",
        required=required,
        evidence=tuple(f"review/{name}" for name in approved),
        reason=f"Approved by {', '.join(approved)}, on exactly this evidence.",
    )


def _lift(check: Check, approval: Check) -> Check:
    names = ", ".join(name.removeprefix("review/") for name in approval.evidence)
    reason = f"{check.reason} Released all the same on the approval of {names}."
    return check.model_copy(update={"lifted_by": "approval", "reason": reason})
