"""``Report``: what a page is given. Finished runs as nouns, read when a page asks and kept while they do not change."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import yaml

from probity.access import Role
from probity.card import ModelCard
from probity.config import RunConfig
from probity.dashboards.catalogue import Line, fingerprint
from probity.dashboards.evidence import Audited, from_card, from_report
from probity.data import Anomalies, Dataset, Schema, Statistics
from probity.decision import GateDecision, Release
from probity.digest import digest_file
from probity.errors import ProbityError
from probity.findings import AuditReport, EpsilonByEpoch
from probity.model import TrainedModel
from probity.model_cards.publication import Publication
from probity.review import SealedReview
from probity.run_publication import publication_of
from probity.run_reviews import counting_reviews, reviewers_of
from probity.runs import AUDITS, Receipt, RunError, RunFolder
from probity.storage import read_record
from probity.workspace import Workspace

__all__ = ["Report"]

_Noun = TypeVar("_Noun")


@dataclass(frozen=True, kw_only=True)
class Report:
    """One run and its workspace, as a reader with this role may see them.

    Guarantees: an absent or unreadable file is ``None``, never an exception; a reader with the role ``PUBLIC`` gets
    numbers from the model card only.

    Attributes:
        workspace: Where the runs lie.
        role: Of the reader.
        lines: The runs that the reader may know of, newest first.
        run: The chosen one; ``None`` where there is none.
        dark: Whether the page is dark.
        printing: Whether tables and details are to be open, for paper.
    """

    workspace: Workspace
    role: Role
    lines: tuple[Line, ...]
    run: RunFolder | None = None
    dark: bool = False
    printing: bool = False

    @property
    def folder(self) -> RunFolder:
        """The chosen run; only pages that need one ask, and these are shown only where there is one."""
        if self.run is None:
            raise LookupError("no run was chosen")
        return self.run

    def at(self, run: str) -> Report:
        """Returns the same for another run of the workspace."""
        return replace(self, run=RunFolder(self.workspace.root / "runs" / run))

    @property
    def line(self) -> Line | None:
        """The chosen run's line of the catalogue."""
        return next((line for line in self.lines if self.run is not None and line.run == self.run.id), None)

    @property
    def internal(self) -> bool:
        """Whether the reader may see what speaks of single rows."""
        return self.role is Role.INTERNAL

    @property
    def public(self) -> bool:
        """Whether the reader may see published numbers only."""
        return self.role is Role.PUBLIC

    # -- the run's nouns -------------------------------------------------------------------------------------------

    def audited(self, audit: str) -> Audited:
        """Returns what is known of one audit."""
        if self.public:
            return from_card(audit, self.card())
        return _audited(self.folder.path, fingerprint(self.folder), audit)

    def audits(self) -> tuple[str, ...]:
        """Returns the names of all reports that are there."""
        return tuple(_reports(self.folder.path, fingerprint(self.folder)))

    def statement(self) -> AuditReport | None:
        """Returns the privacy report as it is; its statement is on the card word for word."""
        return _reports(self.folder.path, fingerprint(self.folder)).get("privacy")

    def card(self) -> ModelCard | None:
        """Returns the model card."""
        return _card(self.folder.path, fingerprint(self.folder))

    def publication(self) -> Publication | None:
        """Returns what is published of the run; ``None`` where its card is no longer the one that was decided about."""
        return _readable(lambda: publication_of(self.folder))

    def file_digest(self, name: str) -> str | None:
        """Returns the digest of a file of the run as it is now; ``None`` if it is absent."""
        return _readable(lambda: digest_file(self.folder.path / name))

    def decision(self) -> GateDecision | None:
        """Returns the gate's decision."""
        return _readable(self.folder.decision)

    def reviews(self) -> tuple[SealedReview, ...]:
        """Returns the reviews that count for the run as it is now."""
        config = self.config()
        if config is None:
            return ()
        folder, name = self.folder, config.serving.model_name
        return _readable(lambda: counting_reviews(folder, reviewers_of(folder), model_name=name)) or ()

    def release(self) -> Release | None:
        """Returns the release that followed."""
        return _readable(self.folder.release)

    def receipts(self) -> list[Receipt]:
        """Returns what is known of finished stages, oldest first."""
        return _readable(self.folder.receipts) or []

    def error(self) -> RunError | None:
        """Returns why the run ended without a decision, if it did."""
        return _readable(lambda: self.folder.error)

    @property
    def _asked(self) -> tuple[RunConfig | None, dict[str, Any]]:
        return _asked(self.folder.path, fingerprint(self.folder))

    def environment(self) -> dict[str, str]:
        """Returns versions and digests of what the run was made with."""
        found = self._asked[1].get("environment", {})
        return {name: str(entry) for name, entry in found.items()} if isinstance(found, dict) else {}

    def config_folder(self) -> Path | None:
        """Returns the folder of the config that the run was started from."""
        found = self._asked[1].get("config_folder")
        return (self.workspace.root / str(found)).resolve() if found is not None else None

    def config(self) -> RunConfig | None:
        """Returns the config."""
        return self._asked[0]

    def model(self) -> TrainedModel | None:
        """Returns the record of the trained model."""
        return _readable(self.folder.model)

    def dataset(self) -> Dataset | None:
        """Returns what was read."""
        return _readable(self.folder.dataset)

    def schema(self) -> Schema | None:
        """Returns the schema in force."""
        return _readable(self.folder.schema)

    def anomalies(self) -> Anomalies | None:
        """Returns what the validation found."""
        return _readable(self.folder.anomalies)

    def statistics(self) -> Statistics | None:
        """Returns the index of the statistics: exact numbers, so for internal readers only."""
        return _readable(self.folder.statistics) if self.internal else None

    def epsilon_by_epoch(self) -> EpsilonByEpoch | None:
        """Returns what the training had spent after single epochs, where the audit wrote that down."""
        path = self.folder.path / AUDITS / "privacy" / "by_epoch.json"
        return _readable(lambda: read_record(path, EpsilonByEpoch))

    def decision_threshold(self) -> float | None:
        """Returns the score above which a decision is positive, as far as the reader's sources say it."""
        if self.public:
            card = self.card()
            return None if card is None or card.metrics.task != "binary" else card.metrics.decision_threshold
        config = self.config()
        return None if config is None or config.data.task != "binary" else config.audits.decision_threshold

    # -- what speaks of single rows --------------------------------------------------------------------------------

    def kept(self, audit: str, name: str) -> Any:
        """Returns an internal JSON file that an audit kept beside its report; ``None`` for other readers."""
        if not self.internal:
            return None
        return _kept(self.folder.path / AUDITS / audit / "internal" / name, fingerprint(self.folder))


def _readable(read: Callable[[], _Noun]) -> _Noun | None:
    try:
        return read()
    except (ProbityError, OSError, ValueError, LookupError, TypeError, yaml.YAMLError):
        return None


@lru_cache(maxsize=512)
def _asked(path: Path, _: tuple[int, ...]) -> tuple[RunConfig | None, dict[str, Any]]:
    folder = RunFolder(path)
    return _readable(folder.config), _readable(folder.provenance) or {}


@lru_cache(maxsize=64)
def _reports(path: Path, _: tuple[int, ...]) -> dict[str, AuditReport | None]:
    return _readable(RunFolder(path).reports) or {}


@lru_cache(maxsize=512)
def _audited(path: Path, mark: tuple[int, ...], audit: str) -> Audited:
    return from_report(audit, _reports(path, mark).get(audit))


@lru_cache(maxsize=64)
def _card(path: Path, _: tuple[int, ...]) -> ModelCard | None:
    return _readable(RunFolder(path).card)


@lru_cache(maxsize=256)
def _kept(path: Path, _: tuple[int, ...]) -> Any:
    return _readable(lambda: json.loads(path.read_text(encoding="utf-8")))
