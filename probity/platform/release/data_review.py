"""The review of data before anything is trained on them: whether it is needed and given, and adding a word.

A review of data is an event of the model's history and nothing else: it is about the data's evidence
(:func:`probity.run_reviews.data_evidence_digest`), which equal data have in every run. So a run that was held for want
of it is simply started again, and later runs on the same data are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from probity import runs
from probity.errors import DataHeldError, ReleaseError
from probity.history import DataApproved, DataRejected, HistoryEntry
from probity.keys import Signer
from probity.platform.gate_approval import DataWords, data_check
from probity.platform.release.approval import approval_terms, require_reviewer
from probity.platform.release.history import add_event, utc_now
from probity.platform.release.project import Project
from probity.run_reviews import data_evidence_digest, words_on_data
from probity.runs import RunFolder

__all__ = ["data_words", "require_reviewed_data", "review_data"]


def data_words(folder: RunFolder, project: Project, entries: Sequence[HistoryEntry]) -> DataWords:
    """Returns what people have said about the data of a run.

    Args:
        folder: The run.
        project: Names the reviewers.
        entries: The model's history; one that does not verify says nothing from its first problem on.
    """
    return DataWords(
        said=words_on_data(entries, project.reviewers(), evidence=data_evidence_digest(folder)),
        anomalies=len(folder.anomalies().anomalies),
    )


def require_reviewed_data(folder: RunFolder, project: Project) -> None:
    """Raises unless the data of a run may be trained on, as far as reviewers are asked.

    Raises:
        DataHeldError: If they were rejected, or the policy asks for approvals and there are too few.
    """
    policy = project.config.gate.approval
    started_by = approval_terms(folder, project).started_by
    check = data_check(policy, data_words(folder, project, project.history()[0]), started_by=started_by)
    if check is None or check.outcome == "pass":
        return
    raise DataHeldError(
        f"the data of run {folder.id}",
        seen=check.reason.rstrip("."),
        allowed=check.required,
        remedy=f"look at {runs.STATISTICS} and {runs.ANOMALIES} of the run, or at the dashboard's page Run; then "
        f"probity approve {folder.id} --data --key FILE, and start the run again: what was computed is taken over"
        if check.outcome == "insufficient_evidence"
        else "mend the data, or their config, and start the run again",
    )


def review_data(
    folder: RunFolder, project: Project, *, outcome: Literal["approve", "reject"], signer: Signer, comment: str = ""
) -> HistoryEntry:
    """Signs a reviewer's word on the data of a run, and writes it into the model's history.

    Args:
        folder: A run that has read these data.
        project: What it was started from.
        outcome: Their word. The last one of a person counts.
        signer: Their key.
        comment: Why.

    Raises:
        SignatureError: If the key is none of the reviewers', or the history does not verify.
        ReleaseError: If the run has not come as far as its anomalies.
    """
    reviewer = require_reviewer(project, signer)
    if not (folder.path / runs.ANOMALIES).is_file():
        raise ReleaseError(
            f"run {folder.id}",
            seen="its data were not compared with the schema yet",
            allowed="a run that has its statistics and its anomalies",
            remedy="start the run again, as far as that: probity run CONFIG --until anomalies",
        )
    kind = DataApproved if outcome == "approve" else DataRejected
    event = kind(
        at=utc_now().isoformat(), by=reviewer.name, why=comment, run=folder.id, evidence=data_evidence_digest(folder)
    )
    return add_event(project.base_path, project.model_name, event, keys=project.writers(), signer=signer)
