"""The run folder: where each noun lies on disk, and nothing else.

``.run/`` below it is the run's own bookkeeping: lock, receipts, work in progress, error. A file appears in a run folder
by rename, complete, and is never changed afterwards. A stage counts as finished only when its receipt exists, which is
written last and lists the SHA-256 of every file of the stage; so whatever a killed process leaves behind is either
complete or not counted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import yaml
from filelock import FileLock, Timeout
from pydantic import Field

from probity.canaries import TRAIN, Canaries
from probity.card import ModelCard, Picture
from probity.config import RunConfig
from probity.config_file import parse_config
from probity.data import (
    Anomalies,
    Dataset,
    Examples,
    Schema,
    SplitFile,
    Statistics,
    Transform,
    TransformedExamples,
)
from probity.decision import GateDecision, Release
from probity.digest import digest_file
from probity.edge_cases import EdgeCases
from probity.errors import DataError, DataHeldError
from probity.findings import AuditReport
from probity.model import TrainedModel
from probity.record import Digest, Record
from probity.storage import read_record, write_atomically, write_record

__all__ = [
    "ANOMALIES",
    "AUDITS",
    "CANARIES",
    "CARD",
    "CLAIMS",
    "CONFIG",
    "DATASET",
    "DECISION",
    "EDGE_CASES",
    "EXAMPLES",
    "MODEL",
    "RELEASE",
    "RELEASE_DECISION",
    "SCHEMA",
    "SCHEMA_RECORD",
    "SCORED_ROWS",
    "SHADOWS",
    "STATISTICS",
    "TRANSFORM",
    "Receipt",
    "RunError",
    "RunFolder",
    "RunStatus",
    "write_splits",
]

CONFIG = "01_config.yaml"
DATASET = "02_dataset.json"
EXAMPLES = "03_examples"
STATISTICS = "04_statistics"
SCHEMA = "05_schema.pbtxt"
SCHEMA_RECORD = "05_schema.json"
ANOMALIES = "05_anomalies.json"
EDGE_CASES = "05_edge_cases.parquet"
"""Cases that were chosen by hand, with the outcomes that must come out: rows, never for publication."""
TRANSFORM = "06_transform"
CANARIES = "06_canaries"
MODEL = "07_model"
SHADOWS = "07_shadows"
AUDITS = "08_audits"
CARD = "09_card"
DECISION = "10_decision.json"
RELEASE = "11_release.json"
RELEASE_DECISION = "11_decision.json"
"""The decision that a release rests on, where approvals made it another one than that of the run."""
CLAIMS = "11_claims.jsonl"
"""What was attested about the released model."""

SCORED_ROWS = f"{AUDITS}/scored_rows.parquet"
"""Row-level scores, labels and groups of the test split: for audits and dashboards, never for publication."""

RunStatus = Literal["running", "released", "approved", "held", "failed", "interrupted", "stopped"]


class Receipt(Record):
    """That a stage finished, under which key, and what it left."""

    schema_version: Literal[1] = 1
    stage: str
    key: Digest
    """Digest of everything that decides the outputs: settings, inputs, code and library versions."""
    outputs: dict[str, Digest]
    """Every file of the stage, relative to the run folder."""
    seconds: float = Field(ge=0.0)
    reused_from: str | None = None
    """The run that computed the outputs, when they were taken over."""
    finished_at: str


class RunError(Record):
    """Why a run ended without a decision."""

    schema_version: Literal[1] = 1
    stage: str | None
    kind: str
    message: str


@dataclass(frozen=True)
class RunFolder:
    """One run on disk."""

    path: Path

    @property
    def id(self) -> str:
        """The run's id: time of creation, name of the project, four random hex digits."""
        return self.path.name

    @property
    def created_at(self) -> str:
        """UTC time of creation, ISO 8601, as the id gives it."""
        return datetime.strptime(self.id[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).isoformat()

    # -- bookkeeping ---------------------------------------------------------------------------------------------

    @property
    def work(self) -> Path:
        """Where stages write before their outputs are renamed into place."""
        return self.path / ".run" / "work"

    @property
    def lock(self) -> FileLock:
        """Held by the process that executes the run; the operating system frees it when that process dies."""
        return FileLock(self.path / ".run" / "lock")

    def receipt(self, stage: str) -> Receipt | None:
        """Returns the receipt of a finished stage, or ``None``."""
        path = self.path / ".run" / "receipts" / f"{stage}.json"
        return read_record(path, Receipt) if path.is_file() else None

    def receipts(self) -> list[Receipt]:
        """Returns the receipts of all finished stages, oldest first."""
        folder = self.path / ".run" / "receipts"
        found = [read_record(path, Receipt) for path in folder.glob("*.json")]
        return sorted(found, key=lambda receipt: receipt.finished_at)

    def write_receipt(self, receipt: Receipt) -> None:
        """Declares a stage finished."""
        write_record(self.path / ".run" / "receipts" / f"{receipt.stage}.json", receipt)

    def intact(self, receipt: Receipt) -> bool:
        """Whether every file of a stage is still the one that the receipt names."""
        try:
            return all(digest_file(self.path / name) == digest for name, digest in receipt.outputs.items())
        except OSError:
            return False

    @property
    def error(self) -> RunError | None:
        """Why the run failed, if it did."""
        path = self.path / ".run" / "error.json"
        return read_record(path, RunError) if path.is_file() else None

    def write_error(self, error: RunError) -> None:
        """Records why the run failed."""
        write_record(self.path / ".run" / "error.json", error)

    def status(self) -> RunStatus:
        """Where the run stands, from what is on disk and whether its process lives."""
        if (self.path / RELEASE).is_file():
            return "released"
        try:
            if not (self.path / ".run" / "lock").is_file():
                raise FileNotFoundError
            with self.lock.acquire(blocking=False):
                pass
        except Timeout:
            return "running"
        except OSError:  # a read-only workspace can still be looked at
            pass
        if (self.path / DECISION).is_file():
            return "approved" if self.decision().verdict == "release" else "held"
        error = self.error
        if error is not None:
            return "held" if error.kind == DataHeldError.__name__ else "failed"
        return "stopped" if (self.path / ".run" / "stopped").is_file() else "interrupted"

    # -- nouns -----------------------------------------------------------------------------------------------------

    def config(self) -> RunConfig:
        """Returns the config that the run was made from."""
        value = _asked(self.path)
        return parse_config(value["config"], origin=f"{self.id}/{CONFIG}")

    def provenance(self) -> dict[str, Any]:
        """Returns what else ``01_config.yaml`` records: where the config lay, versions, the environment's digest."""
        value = _asked(self.path)
        return {name: entry for name, entry in value.items() if name != "config"}

    def dataset(self) -> Dataset:
        """Returns what was read."""
        return read_record(self.path / DATASET, Dataset)

    def examples(self) -> Examples:
        """Returns the raw rows by split."""
        folder = self.path / EXAMPLES
        return Examples(folder=folder, files=_read_splits(folder), columns=self.dataset().columns)

    def statistics(self) -> Statistics:
        """Returns the index of the statistics."""
        return read_record(self.path / STATISTICS / "statistics.json", Statistics)

    def schema(self) -> Schema:
        """Returns the schema in force."""
        return read_record(self.path / SCHEMA_RECORD, Schema)

    def anomalies(self) -> Anomalies:
        """Returns what the validation found."""
        return read_record(self.path / ANOMALIES, Anomalies)

    def transform(self) -> Transform:
        """Returns the layout of the transform graph."""
        return read_record(self.path / TRANSFORM / "transform.json", Transform)

    def transformed(self) -> TransformedExamples:
        """Returns the model's inputs by split."""
        folder = self.path / TRANSFORM / "examples"
        made = self.transform()
        return TransformedExamples(
            folder=folder, files=_read_splits(folder), outputs=made.outputs, label_kind=made.label_kind
        )

    def canaries(self) -> Canaries | None:
        """Returns what was planted in the training, or ``None`` if nothing was to be."""
        path = self.path / CANARIES / "canaries.json"
        return read_record(path, Canaries) if path.exists() else None

    def planted(self) -> TransformedExamples:
        """Returns the rows to train on: the model's inputs by split, with the planted rows in the training split."""
        plain, path = self.transformed(), self.path / CANARIES / TRAIN
        if not path.exists():
            return plain
        rows = plain.files["train"].num_rows + (self.canaries() or Canaries()).rows_planted
        planted = SplitFile(path=f"../../{CANARIES}/{TRAIN}", digest=digest_file(path), num_rows=rows)
        return replace(plain, files={**plain.files, "train": planted})

    def shadows(self) -> Path | None:
        """Returns the file of what shadow models gave, or ``None`` if none were trained."""
        path = self.path / SHADOWS / "shadows.npz"
        return path if path.exists() else None

    def edge_cases(self) -> EdgeCases | None:
        """Returns the cases that were chosen by hand, or ``None`` if none were named."""
        path = self.path / EDGE_CASES
        return EdgeCases.read(path) if path.exists() else None

    def model(self) -> TrainedModel:
        """Returns the record of the trained model."""
        return read_record(self.path / MODEL / "model.json", TrainedModel)

    def reports(self) -> dict[str, AuditReport | None]:
        """Returns every audit report by name; ``None`` for one that is unreadable or not the file that was audited.

        Guarantees: a report that was edited, truncated or replaced after its audit is ``None``, so the gate sees it
        as missing.
        """
        found: dict[str, AuditReport | None] = {}
        recorded = {name: digest for receipt in self.receipts() for name, digest in receipt.outputs.items()}
        for path in sorted((self.path / AUDITS).glob("*.json")):
            name = path.relative_to(self.path).as_posix()
            try:
                intact = recorded.get(name) == digest_file(path)
                found[path.stem] = read_record(path, AuditReport) if intact else None
            except (DataError, OSError):
                found[path.stem] = None
        return found

    def pictures(self) -> tuple[Picture, ...]:
        """Returns what the audits drew for readers, by audit; a file that is not the one that was drawn is left out."""
        recorded = {name: digest for receipt in self.receipts() for name, digest in receipt.outputs.items()}
        return tuple(
            Picture(audit=path.parent.name, title=path.stem.replace("_", " "), svg=path.read_text(encoding="utf-8"))
            for path in sorted((self.path / AUDITS).glob("*/*.svg"))
            if recorded.get(path.relative_to(self.path).as_posix()) == digest_file(path)
        )

    def card(self) -> ModelCard:
        """Returns the model card."""
        return read_record(self.path / CARD / "card.json", ModelCard)

    def decision(self) -> GateDecision:
        """Returns the gate's decision."""
        return read_record(self.path / DECISION, GateDecision)

    def release(self) -> Release | None:
        """Returns the release that followed, if one did."""
        path = self.path / RELEASE
        return read_record(path, Release) if path.is_file() else None


def write_splits(folder: Path, files: Mapping[str, SplitFile]) -> None:
    """Writes the index of a folder of split files."""
    value = {split: entry.to_json() for split, entry in files.items()}
    write_atomically(folder / "splits.json", (json.dumps(value, indent=1) + "\n").encode())


def _asked(path: Path) -> dict[str, Any]:
    # The safe loader in C: ten times as fast, and pages read hundreds of these files.
    value: dict[str, Any] = yaml.load((path / CONFIG).read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    return value


def _read_splits(folder: Path) -> dict[str, SplitFile]:
    try:
        value = json.loads((folder / "splits.json").read_text(encoding="utf-8"))
        return {split: SplitFile.from_json(entry) for split, entry in value.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(
            f"{folder.name}/splits.json",
            seen="absent or unreadable",
            allowed="the index of split files",
            remedy="run the pipeline again",
        ) from error
