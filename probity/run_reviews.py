"""The reviews of a run: the evidence that they are about, which of them count, and which runs wait for more.

Reviews lie in the run folder (``10_reviews.jsonl``), each sealed by its reviewer's key over the digest of the evidence.
This module reads them; :mod:`probity.platform.release.approval` writes. What people say of the data, before anything is
trained on them, is in the model's history alone: it holds for every run on equal data.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml
from pydantic import ValidationError

from probity import runs
from probity.digest import digest_file, digest_json, digest_tree
from probity.errors import ConfigError, SignatureError
from probity.history import DataApproved, DataRejected, HistoryEntry, read_history
from probity.release_policy import trusted_in_project
from probity.review import Reviewers, SealedReview, quorum_problem, unseal_review
from probity.runs import RunFolder
from probity.workspace import Workspace

__all__ = [
    "CARD_FILES",
    "REVIEWS",
    "SAVED_MODEL",
    "Waiting",
    "counting_reviews",
    "data_evidence_digest",
    "evidence_digest",
    "evidence_files",
    "read_reviewers",
    "reviewers_of",
    "waiting_for",
    "waiting_runs",
    "words_on_data",
]

REVIEWS = "10_reviews.jsonl"
SAVED_MODEL = f"{runs.MODEL}/saved_model"
CARD_FILES = ("card.json", "card.md", "card.html")


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A run that nothing holds but the approvals it lacks, of its model or, before it has one, of its data."""

    run: str
    model_name: str
    approved_by: tuple[str, ...]
    quorum: int
    card: str
    """Path of the card to look at; of the run folder, if it waits for the review of its data."""
    of: Literal["model", "data"] = "model"


def evidence_digest(folder: RunFolder) -> str:
    """Returns the digest of everything that a reviewer of a run can look at.

    Guarantees: a change of any byte of the config, the data's record, the examples' digests, the SavedModel and its
    record, a report, the card or the decision changes it.
    """
    return digest_json(evidence_files(folder))


def evidence_files(folder: RunFolder) -> dict[str, str]:
    """Returns that evidence: name in the run folder to digest, or ``absent``."""
    files = [
        folder.path / runs.CONFIG,
        folder.path / runs.DATASET,
        folder.path / runs.EXAMPLES / "splits.json",
        folder.path / runs.MODEL / "model.json",
        *sorted((folder.path / runs.AUDITS).glob("*.json")),
        *(folder.path / runs.CARD / name for name in CARD_FILES),
        folder.path / runs.DECISION,
    ]
    named = {path.relative_to(folder.path).as_posix(): _digest(path) for path in files}
    model = folder.path / runs.MODEL / "saved_model"
    named[SAVED_MODEL] = digest_tree(model) if model.is_dir() else "absent"
    return named


def data_evidence_digest(folder: RunFolder) -> str:
    """Returns the digest of everything that is known of a run's data before anything is trained on them.

    Guarantees: a change of any byte of the data's record, the examples' digests, the statistics, the schema or the
    anomalies changes it; equal data that were checked in the same way have the same one, whatever the run.
    """
    names = (runs.DATASET, f"{runs.EXAMPLES}/splits.json", runs.SCHEMA, runs.SCHEMA_RECORD, runs.ANOMALIES)
    statistics = folder.path / runs.STATISTICS
    return digest_json(
        {
            **{name: _digest(folder.path / name) for name in names},
            runs.STATISTICS: digest_tree(statistics) if statistics.is_dir() else "absent",
        }
    )


def words_on_data(entries: Iterable[HistoryEntry], people: Reviewers, *, evidence: str) -> dict[str, bool]:
    """Returns who has approved (true) or rejected (false) the data with this evidence: each reviewer's last word.

    Args:
        entries: The model's history, verified.
        people: Who may say so; whoever signed in another's name does not count.
        evidence: Digest of the data's evidence, :func:`data_evidence_digest`.
    """
    found = {}
    for entry in entries:
        event, person = entry.event, people.by_key(entry.keyid)
        if not isinstance(event, DataApproved | DataRejected) or event.evidence != evidence:
            continue
        if person is not None and person.name == event.by:
            found[person.name] = isinstance(event, DataApproved)
    return found


def counting_reviews(folder: RunFolder, people: Reviewers, *, model_name: str) -> tuple[SealedReview, ...]:
    """Returns the last word of each reviewer on a run as it is now.

    Guarantees: sealed by one of these people, about this run, this model and this very evidence. Whatever else lies in
    the file - a review of another run, or of evidence that was changed since - does not count.
    """
    lines = _lines(folder)
    if not lines:
        return ()
    evidence, model, found = evidence_digest(folder), folder.model().digest, {}
    for line in lines:
        try:
            sealed = unseal_review(line, people)
        except SignatureError:
            continue
        word = sealed.review
        if (word.run, word.model_name, word.model, word.evidence) == (folder.id, model_name, model, evidence):
            found[word.reviewer] = sealed
    return tuple(found[name] for name in sorted(found))


def waiting_for(folder: RunFolder) -> Waiting | None:
    """Returns what a run waits for, or ``None`` if it does not wait for approval.

    Raises:
        ConfigError: If the list of reviewers cannot be read.
        DataError: If the run's decision or release cannot be read.
        SignatureError: If a key that the config names cannot be read.
    """
    if folder.release() is not None:
        return None
    if not (folder.path / runs.DECISION).is_file():
        return _waiting_with_its_data(folder) if folder.status() == "held" else None
    if not folder.decision().waits_for_approval:
        return None
    config = folder.config()
    model_name = config.serving.model_name
    words = [entry.review for entry in counting_reviews(folder, reviewers_of(folder), model_name=model_name)]
    if any(word.outcome == "reject" for word in words):
        return None
    return Waiting(
        run=folder.id,
        model_name=model_name,
        approved_by=tuple(word.reviewer for word in words),
        quorum=config.gate.approval.quorum,
        card=str(folder.path / runs.CARD / "card.html"),
    )


def _waiting_with_its_data(folder: RunFolder) -> Waiting | None:
    config, people = folder.config(), reviewers_of(folder)
    root, name = _config_folder(folder), config.serving.model_name
    movers = trusted_in_project(config.signing, root=root)
    base_path = (root / config.serving.base_path).resolve()
    entries, _ = read_history(base_path, name, keys={**movers, **people.keys}, movers=movers)
    said = words_on_data(entries, people, evidence=data_evidence_digest(folder))
    started_by = people.who_started(folder.provenance().get("started_by"), release_keys=movers)
    quorum = config.gate.approval.quorum
    if not all(said.values()) or quorum_problem(said, quorum=quorum, started_by=started_by) is None:
        return None  # rejected, or enough have approved: another run goes on with these data
    return Waiting(
        run=folder.id, model_name=name, approved_by=tuple(sorted(said)), quorum=quorum, card=str(folder.path), of="data"
    )


def waiting_runs(workspace: Workspace) -> tuple[Waiting, ...]:
    """Returns the runs that wait for approval, newest first.

    Raises:
        ConfigError: If a list of reviewers cannot be read.
        DataError: If a run's decision or release cannot be read.
    """
    found = (waiting_for(folder) for folder in workspace.runs())
    return tuple(entry for entry in found if entry is not None)


def reviewers_of(folder: RunFolder) -> Reviewers:
    """Returns who may approve a run, as the file beside its config has it now.

    Raises:
        ConfigError: If it cannot be read.
    """
    return read_reviewers(_config_folder(folder) / folder.config().gate.approval.reviewers)


def read_reviewers(path: Path) -> Reviewers:
    """Reads ``reviewers.yaml``; an absent file names nobody.

    Raises:
        ConfigError: If it cannot be read.
    """
    try:
        return Reviewers.from_json(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Reviewers()
    except (OSError, ValueError, ValidationError, yaml.YAMLError) as error:
        raise ConfigError(
            path.name,
            seen="no readable list of reviewers",
            allowed="reviewers: [{name, key: public key in PEM, users, may_waive}], names and keys all different",
            remedy="correct the file; a public key is what probity key create wrote to the .pub file",
        ) from error


def _config_folder(folder: RunFolder) -> Path:
    root: Path = (folder.path.parents[1] / folder.provenance()["config_folder"]).resolve()
    return root


def _digest(path: Path) -> str:
    return digest_file(path) if path.is_file() else "absent"


def _lines(folder: RunFolder) -> list[str]:
    try:
        content = (folder.path / REVIEWS).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return []
    return content.split("\n")[:-1]
