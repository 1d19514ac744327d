"""Human approval: the reviews that count for a run, and adding another.

Reviews lie in the run folder (``10_reviews.jsonl``), each sealed by its reviewer's key over the digest of the evidence.
They are also events of the model's history, so that approvals of a run that was never released, and rejections, are not
lost with the run's folder.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Literal

from filelock import FileLock

from probity import runs
from probity.claims import ApprovalTerms
from probity.errors import ReleaseError, SignatureError
from probity.history import Approved, Rejected
from probity.keys import Signer
from probity.platform.release.history import add_event, utc_now
from probity.platform.release.project import Project
from probity.review import Review, Reviewer, SealedReview, quorum_problem, seal_review
from probity.run_reviews import REVIEWS, counting_reviews, evidence_digest, waiting_for
from probity.runs import RunFolder

__all__ = ["approval_terms", "await_reviews", "require_reviewer", "review", "reviews_of"]

_PAUSE_SECONDS = 2.0


def approval_terms(folder: RunFolder, project: Project) -> ApprovalTerms:
    """Returns who may approve a run, how many have to, and who of them started it."""
    people = project.reviewers()
    started = people.who_started(folder.provenance().get("started_by"), release_keys=project.trusted())
    return ApprovalTerms(
        quorum=folder.config().gate.approval.quorum,
        reviewers={person.name: person.key for person in people.reviewers},
        started_by=tuple(sorted(started)),
    )


def reviews_of(folder: RunFolder, project: Project) -> tuple[SealedReview, ...]:
    """Returns the last word of each reviewer on a run as it is now.

    Guarantees: sealed by somebody whom ``reviewers.yaml`` names now, about this run, this model and this very evidence.
    Whatever else lies in the file - a review of another run, or of evidence that was changed since - does not count.
    """
    return counting_reviews(folder, project.reviewers(), model_name=project.model_name)


def review(
    folder: RunFolder, project: Project, *, outcome: Literal["approve", "reject"], signer: Signer, comment: str = ""
) -> SealedReview:
    """Seals a reviewer's word on a run, and writes it down in the run and in the model's history.

    Args:
        folder: The run.
        project: What it was started from.
        outcome: Their word.
        signer: Their key.
        comment: Why.

    Raises:
        SignatureError: If the key is none of the reviewers'.
        ReleaseError: If the run has nothing to approve, or was released already.
    """
    reviewer = require_reviewer(project, signer)
    _require_open(folder, outcome)
    word = Review(
        run=folder.id,
        model_name=project.model_name,
        model=folder.model().digest,
        evidence=evidence_digest(folder),
        outcome=outcome,
        reviewer=reviewer.name,
        at=utc_now().isoformat(),
        comment=comment,
    )
    line = seal_review(word, signer)
    kind = Approved if outcome == "approve" else Rejected
    event = kind(at=word.at, by=word.reviewer, why=comment, run=word.run, evidence=word.evidence)
    add_event(project.base_path, project.model_name, event, model=word.model, keys=project.writers(), signer=signer)
    _append(folder, line)
    return SealedReview(review=word, line=line, keyid=signer.keyid)


def require_reviewer(project: Project, signer: Signer, *, which: str = "") -> Reviewer:
    """Returns whose key this is.

    Args:
        project: Names the reviewers.
        signer: The key.
        which: What is asked of them beside, for the message.

    Raises:
        SignatureError: If it is none of the reviewers'.
    """
    reviewer = project.reviewers().by_key(signer.keyid)
    if reviewer is None:
        raise SignatureError(
            "--key",
            seen="a key that no reviewer has",
            allowed=f"the key of somebody in {project.config.gate.approval.reviewers}{which}",
            remedy="add the public key to that file, or use another key",
        )
    return reviewer


def await_reviews(folder: RunFolder, *, seconds: float, sleep: Callable[[float], None] = time.sleep) -> bool:
    """Waits until reviewers have decided about a run: enough of them approved it, or one rejected it.

    It permits nothing: whoever goes on asks whether the release is permitted then.

    Args:
        folder: The run.
        seconds: How long at most.
        sleep: Waits for some seconds.

    Returns:
        Whether it waits no longer; false if the time was over.

    Raises:
        ConfigError: If the list of reviewers cannot be read.
    """
    end = time.monotonic() + seconds
    while _lacks_words(folder):
        left = end - time.monotonic()
        if left <= 0:
            return False
        sleep(min(left, _PAUSE_SECONDS))
    return True


def _lacks_words(folder: RunFolder) -> bool:
    waiting = waiting_for(folder)
    if waiting is None or waiting.of == "data":
        return False  # no word on its data makes a run come to a decision
    terms = approval_terms(folder, Project.of_run(folder))
    return quorum_problem(waiting.approved_by, quorum=terms.quorum, started_by=terms.started_by) is not None


def _require_open(folder: RunFolder, outcome: str) -> None:
    if not (folder.path / runs.DECISION).is_file():
        raise ReleaseError(
            f"run {folder.id}",
            seen="no decision yet",
            allowed="a run that came to a decision",
            remedy="run the pipeline again; an approval is about everything that the gate saw",
        )
    if folder.release() is not None:
        raise ReleaseError(
            f"run {folder.id}",
            seen="it was released already, on the words that were there then",
            allowed="a run that is not released",
            remedy="take its version back with: probity rollback MODEL --comment WHY, which the history keeps",
        )
    if outcome == "approve" and not folder.decision().waits_for_approval:
        held = folder.decision().verdict == "hold"
        raise ReleaseError(
            f"run {folder.id}",
            seen="it is held by more than a missing approval" if held else "its policy asks for no approval",
            allowed="a run that waits for approval and for nothing else",
            remedy=f"see every check with: probity gate {folder.id}",
        )


def _append(folder: RunFolder, line: str) -> None:
    with FileLock(folder.path / ".run" / "reviews.lock"), (folder.path / REVIEWS).open("ab") as file:
        file.write(f"{line}\n".encode())
        file.flush()
        os.fsync(file.fileno())
