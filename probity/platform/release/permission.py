"""Whether the approvals and waivers that a release rests on are there, as their owners sealed them."""

from __future__ import annotations

import json
from collections.abc import Iterator

from probity.claims import ApprovalClaim, ApprovalTerms, Claim, DecisionClaim, ReleaseClaim, WaiverClaim
from probity.decision import GateDecision, GatePolicy, Release
from probity.errors import SignatureError
from probity.history import parse_time
from probity.keys import parse_public_key, trusted
from probity.review import Reviewer, Reviewers, SealedReview, Waiver, quorum_problem, unseal_review
from probity.signing import unseal

__all__ = ["approval_problems", "waiver_problems"]


def approval_problems(claims: tuple[Claim, ...], decision: DecisionClaim, release: Release) -> Iterator[str]:
    """Yields what is wrong with the approvals that a release claims.

    Guarantees: nothing is yielded only if none was needed, or as many different reviewers as were needed approved this
    run, this model and this very evidence, and not only whoever started the run.
    """
    terms, approved = decision.approval, set()
    for claim in claims:
        if isinstance(claim, ApprovalClaim):
            sealed = None if terms is None else _review(claim, terms)
            if sealed is None:
                yield "it was not sealed by a reviewer who could approve"
                continue
            review = sealed.review
            same = (release.run, release.model, release.model_name, decision.evidence, "approve")
            if (review.run, review.model, review.model_name, review.evidence, review.outcome) != same:
                yield f"what {review.reviewer} approved is not what was released"
                continue
            approved.add(review.reviewer)
    if terms is not None:
        problem = quorum_problem(approved, quorum=terms.quorum, started_by=terms.started_by)
        if problem is not None:
            yield problem


def waiver_problems(claims: tuple[Claim, ...], decision: GateDecision, last: ReleaseClaim) -> Iterator[str]:
    """Yields what is wrong with the waivers and approvals that lift checks of the decision."""
    stated = next((claim for claim in claims if isinstance(claim, DecisionClaim)), None)
    asked = {} if stated is None else _conditions(stated)
    waived = {}
    for claim in claims:
        if isinstance(claim, WaiverClaim):
            found = _waiver(claim)
            if found is None:
                yield "it was not sealed by its owner"
            elif found.model_name != last.release.model_name:
                yield f"the waiver of rule {found.rule} is for another model"
            elif asked.get(found.rule) != found.condition:
                yield f"the waiver of rule {found.rule} is for another condition than the policy's"
            else:
                waived[found.rule] = parse_time(found.until)
    first = next(claim.release for claim in claims if isinstance(claim, ReleaseClaim))
    for check in decision.checks:
        if check.lifted_by == "waiver":
            if check.rule not in waived or waived[check.rule] <= parse_time(first.released_at):
                yield f"no waiver in force lifts the rule {check.rule}"
        elif check.lifted_by == "approval" and (stated is None or stated.approval is None):
            yield f"no approval lifts the rule {check.rule}"


def _conditions(stated: DecisionClaim) -> dict[str, str]:
    """Returns the rules of the policy that was applied, name to digest; none of one that this version cannot read."""
    try:
        policy = GatePolicy.from_json(json.loads(stated.policy))
    except ValueError:
        return {}
    return {rule.name: rule.record_digest() for rule in policy.rules}


def _review(claim: ApprovalClaim, terms: ApprovalTerms) -> SealedReview | None:
    try:
        people = Reviewers(reviewers=tuple(Reviewer(name=name, key=key) for name, key in terms.reviewers.items()))
        return unseal_review(claim.sealed, people)
    except (SignatureError, ValueError):
        return None


def _waiver(claim: WaiverClaim) -> Waiver | None:
    try:
        key = parse_public_key(claim.owner_key)
        sealed = unseal(claim.sealed.encode(), trusted(key), name="waiver")
        return Waiver.from_json(sealed.payload.get("predicate"))
    except (SignatureError, ValueError):
        return None
