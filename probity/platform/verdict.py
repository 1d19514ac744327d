"""What the gate says of a run, from what is stored of it: at its end, and at any time after."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from probity import runs
from probity.decision import GateDecision, GatePolicy
from probity.digest import digest_file
from probity.errors import ReleaseHeldError
from probity.platform import gate
from probity.platform.release.approval import approval_terms, reviews_of
from probity.platform.release.data_review import data_words
from probity.platform.release.evidence import expired_audits, outdated_comparison
from probity.platform.release.history import utc_now
from probity.platform.release.project import Project
from probity.review import SealedReview
from probity.run_publication import waivers_of
from probity.runs import RunFolder

__all__ = ["decide", "policy_of", "require_permission"]


def decide(folder: RunFolder, *, reviews: Sequence[SealedReview] = (), now: datetime | None = None) -> GateDecision:
    """Decides again from the stored evidence of a run. Equal evidence gives an equal decision, byte for byte.

    Args:
        folder: The run.
        reviews: What reviewers sealed about this run.
        now: The time at which waivers must be in force and evidence may not be expired; absent: now.
    """
    reports, moment, project = folder.reports(), now or utc_now(), Project.of_run(folder)
    policy, model, examples = policy_of(folder), folder.model(), folder.examples()
    history = project.history()
    card_path = folder.path / runs.CARD / "card.json"
    recorded = folder.receipt("card")
    intact = recorded is not None and folder.intact(recorded)
    return gate.decide(
        policy,
        reports=reports,
        model=model.digest,
        examples=examples.files["test"].digest,
        card=digest_file(card_path) if intact else None,
        card_subject=folder.card().subject if intact else None,
        open_risks=folder.card().open_risks() if intact else None,
        expired={
            **outdated_comparison(folder, policy, history[0]),
            **expired_audits(folder, policy, history, now=moment),
        },
        waivers=[sealed.waiver for sealed in waivers_of(folder, now=moment)],
        reviews=[sealed.review for sealed in reviews],
        started_by=approval_terms(folder, project).started_by,
        data=data_words(folder, project, history[0]),
    )


def policy_of(folder: RunFolder) -> GatePolicy:
    """Returns what a release of a run needs: the rules of its config, resolved against its data."""
    # What the run set out to audit, not what it happened to finish: an audit that is missing is a reason to hold.
    required = ("baseline", *folder.provenance()["audits"])
    return gate.make_policy(folder.config(), folder.dataset(), required_reports=required)


def require_permission(folder: RunFolder) -> GateDecision:
    """Returns the decision that a release of a run rests on, made now, with the approvals that were given.

    Guarantees: what the gate said at the time of the run, still as it was written, was ``release``, or ``hold`` for
    want of approval only; and what it says now, by the same policy, of the evidence as it is now, is ``release``.

    Raises:
        ReleaseHeldError: Otherwise.
    """
    first, words = folder.decision(), reviews_of(folder, Project.of_run(folder))
    again, written = decide(folder, reviews=words), folder.receipt("gate")
    if written is None or not folder.intact(written) or again.policy != first.policy:
        raise ReleaseHeldError(
            f"run {folder.id}",
            seen="its decision, or the policy in its config, was changed after the gate decided",
            allowed="a decision as it was written, by the policy that the config still states",
            remedy="run the pipeline again; a changed policy is a new decision, and never an old one edited",
        )
    if again.verdict != "release" or not (first.verdict == "release" or first.waits_for_approval):
        raise ReleaseHeldError(
            f"run {folder.id}",
            seen=f"the gate says hold: {', '.join(check.rule for check in again.blocking) or 'at the time of the run'}",
            allowed="a run whose verdict is release",
            remedy=f"see every check with: probity gate {folder.id}",
        )
    return again
