"""What is said about a run after its stages, for the lineage: reviews by people, and that its evidence expired.

The model's signed history is the truth. Its events about a run become artifacts here, each identified by the digest of
its signed line, made by an execution of its own from what it is about: a review of the data from dataset, statistics,
schema and anomalies, a review of the model from card and decision, an expiry from the release. So the lineage of a
release answers who signed off, and when, and why, and whether what it meets began to drift.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from probity import runs
from probity.history import Approved, DataApproved, DataRejected, EvidenceExpired, HistoryEntry, Rejected
from probity.platform.lineage import Lineage
from probity.platform.lineage_artifacts import ArtifactRef, Fact, Word
from probity.platform.release.project import Project
from probity.run_reviews import data_evidence_digest
from probity.runs import RunFolder
from probity.workspace import Workspace

__all__ = ["keep_words", "words_about"]

_DATA = ("ingest", "statistics", "schema", "anomalies")
_OUTCOMES = {Approved: "approved", Rejected: "rejected", DataApproved: "approved", DataRejected: "rejected"}


def keep_words(folder: RunFolder, project: Project) -> None:
    """Writes into the lineage what the history says about a run; what is there already is left alone.

    Raises:
        TrackingError: If the lineage cannot be written. The history itself is complete, and the next call makes up
            for it.
    """
    entries, _ = project.history()
    words = tuple(words_about(folder, entries, model_name=project.model_name))
    if words:
        Lineage(Workspace(folder.path.parents[1]).metadata).add(folder.id, project.config.name, words)


def words_about(folder: RunFolder, entries: Sequence[HistoryEntry], *, model_name: str) -> Iterator[Word]:
    """Yields what a history says about a run, oldest first: about itself, or about data that equal its own."""
    has_data = (folder.path / runs.ANOMALIES).is_file()
    data = data_evidence_digest(folder) if has_data else None
    for entry in entries:
        event = entry.event
        if isinstance(event, DataApproved | DataRejected) and event.evidence == data:
            yield _word(entry, model_name=model_name, of="data", about=_DATA, reused=event.run != folder.id)
        elif isinstance(event, Approved | Rejected) and event.run == folder.id:
            yield _word(entry, model_name=model_name, of="model", about=("card", "gate"))
        elif isinstance(event, EvidenceExpired) and event.run == folder.id:
            facts = {**_facts(entry), "audits": ", ".join(event.audits) or "all"}
            yield Word(
                stage="monitor",
                reference=_reference("EvidenceExpiry", entry, model_name=model_name, facts=facts),
                about=("release",),
            )


def _word(entry: HistoryEntry, *, model_name: str, of: str, about: tuple[str, ...], reused: bool = False) -> Word:
    event = entry.event
    if not isinstance(event, Approved | Rejected | DataApproved | DataRejected):
        raise AssertionError("only reviews have an outcome")
    facts = {**_facts(entry), "of": of, "outcome": _OUTCOMES[type(event)], "evidence": event.evidence}
    reference = _reference("Review", entry, model_name=model_name, facts=facts)
    return Word(stage="review", reference=reference, about=about, reused_from=event.run if reused else None)


def _facts(entry: HistoryEntry) -> dict[str, Fact]:
    said = {"by": entry.event.by, "at": entry.event.at, "key": entry.keyid}
    return {**said, "why": entry.event.why} if entry.event.why else {**said}


def _reference(kind: str, entry: HistoryEntry, *, model_name: str, facts: dict[str, Fact]) -> ArtifactRef:
    where = f"{model_name}.history.jsonl#{entry.number}"
    return ArtifactRef(type=kind, digest=entry.digest, uri=where, facts=facts)
