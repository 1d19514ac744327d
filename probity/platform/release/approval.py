"""Human approval: who waits for whom, and the reviews that count for a run.

Reviews lie in the run folder (``10_reviews.jsonl``), each sealed by its reviewer's key over the digest of the evidence.
They are also events of the model's history, so that approvals of a run that was never released, and rejections, are not
lost with the run's folder.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from filelock import FileLock

from probity import runs
from probity.claims import ApprovalTerms
from probity.errors import ReleaseError, SignatureError
from probity.history import Approved, Rejected
from probity.platform.gate_approval import waits_for_approval
from probity.platform.release.evidence import evidence_digest
from probity.platform.release.history import add_event, utc_now
from probity.platform.release.project import Project
from probity.review import Review, SealedReview, seal_review, unseal_review
from probity.runs import RunFolder, Workspace
from probity.signing import Signer

__all__ = ["REVIEWS", "Waiting", "approval_terms", "review", "reviews_of", "waiting_runs"]

REVIEWS = "10_reviews.jsonl"


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A run that nothing holds but the approvals it lacks."""

    run: str
    model_name: str
    approved_by: tuple[str, ...]
    quorum: int
    card: str
    """Path of the card to look at."""


def approval_terms(folder: RunFolder, project: Project) -> ApprovalTerms:
    """Returns who may approve a run, how many have to, and who of them started it."""
    people = project.reviewers()
    release_keys = project.trusted()
    started = set(people.who_started(folder.provenance().get("started_by")))
    started |= {person.name for person in people.reviewers if person.public.keyid in release_keys}
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
    people, evidence, found = project.reviewers(), evidence_digest(folder), {}
    for line in _lines(folder):
        try:
            sealed = unseal_review(line, people)
        except SignatureError:
            continue
        word = sealed.review
        about = (word.run, word.model_name, word.model, word.evidence)
        if about == (folder.id, project.model_name, folder.model().digest, evidence):
            found[word.reviewer] = sealed
    return tuple(found[name] for name in sorted(found))


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
    reviewer = project.reviewers().by_key(signer.keyid)
    if reviewer is None:
        raise SignatureError(
            "--key",
            seen="a key that no reviewer has",
            allowed=f"the key of somebody in {project.config.gate.approval.reviewers}",
            remedy="add the public key to that file, or use another key",
        )
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


def waiting_runs(workspace: Workspace) -> tuple[Waiting, ...]:
    """Returns the runs that wait for approval, newest first."""
    found = []
    for folder in workspace.runs():
        if not (folder.path / runs.DECISION).is_file() or folder.release() is not None:
            continue
        if not waits_for_approval(folder.decision()):
            continue
        project = Project.of_run(folder)
        words = [sealed.review for sealed in reviews_of(folder, project)]
        if any(word.outcome == "reject" for word in words):
            continue
        found.append(
            Waiting(
                run=folder.id,
                model_name=project.model_name,
                approved_by=tuple(word.reviewer for word in words),
                quorum=folder.config().gate.approval.quorum,
                card=str(folder.path / runs.CARD / "card.html"),
            )
        )
    return tuple(found)


def _require_open(folder: RunFolder, outcome: str) -> None:
    if not (folder.path / runs.DECISION).is_file():
        raise ReleaseError(
            f"run {folder.id}",
            seen="no decision yet",
            allowed="a run that came to a decision",
            remedy="run the pipeline again; an approval is about everything that the gate saw",
        )
    if outcome == "approve" and not waits_for_approval(folder.decision()):
        held = folder.decision().verdict == "hold"
        raise ReleaseError(
            f"run {folder.id}",
            seen="it is held by more than a missing approval" if held else "its policy asks for no approval",
            allowed="a run that waits for approval and for nothing else",
            remedy=f"see every check with: probity gate {folder.id}",
        )


def _lines(folder: RunFolder) -> list[str]:
    try:
        content = (folder.path / REVIEWS).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return []
    return content.split("\n")[:-1]


def _append(folder: RunFolder, line: str) -> None:
    with FileLock(folder.path / ".run" / "reviews.lock"), (folder.path / REVIEWS).open("ab") as file:
        file.write(f"{line}\n".encode())
        file.flush()
        os.fsync(file.fileno())
