"""What an audit is: evidence in, one report out.

An audit reads what earlier stages made and measures one thing about it. It sets no threshold of its own, does not look
at the trainer's name, and writes only below the ``workdir`` it is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from probity.findings import AuditReport, Subject

if TYPE_CHECKING:
    from probity.audits.scoring import ScoredRows
    from probity.canaries import Canaries
    from probity.config import AuditsConfig
    from probity.data import Dataset, Examples, Schema, Transform, TransformedExamples
    from probity.model import TrainedModel

__all__ = ["Audit", "AuditInput"]


@dataclass(frozen=True, kw_only=True)
class AuditInput:
    """Everything an audit may look at. In memory only: it holds rows of data."""

    model: TrainedModel
    model_folder: Path
    """Holds ``saved_model/``, the exported model that would be released, and ``model.keras`` where there is one; below
    ``unmitigated/`` the same of the training without its mitigation, if it had one."""
    dataset: Dataset
    examples: Examples
    schema: Schema
    transform: Transform
    transform_folder: Path
    transformed: TransformedExamples
    scored: ScoredRows
    """The test split as the exported model scores it, in file order."""
    settings: AuditsConfig
    seed: int
    joint_statements: int = 1
    """How many rules of the gate are judged by an interval: intervals that hold together are made for so many."""
    canaries: Canaries | None = None
    """What was planted in the training, if anything."""
    canaries_folder: Path | None = None
    """Holds the planted rows and the coins."""
    shadows: Path | None = None
    """What shadow models gave for the rows of the training and test splits, if any were trained."""

    @property
    def subject(self) -> Subject:
        """Which model and which rows a report made from this evidence speaks of."""
        return Subject(model=self.model.digest, examples=self.examples.files["test"].digest)


class Audit(Protocol):
    """One kind of measurement, found through the entry-point group ``probity.audits``.

    Guarantees that :mod:`probity.audits.testing` checks: the report carries the name of the audit and the subject of
    the evidence; equal evidence and seed give an equal report; nothing is written outside ``workdir`` and nothing is
    logged; data that cannot be measured gives insufficient findings or a failed report, not an exception.
    """

    name: str
    """Name of the entry point, of the report, and the first part of every finding id."""

    def run(self, evidence: AuditInput, *, workdir: Path) -> AuditReport:
        """Measures.

        Args:
            evidence: What earlier stages made.
            workdir: An existing empty folder for whatever the audit wants to keep beside its report.

        Raises:
            AuditError: If the audit cannot run at all.
        """
        ...
