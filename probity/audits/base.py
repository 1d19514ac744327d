"""What an audit is: evidence in, one report out.

An audit reads what earlier stages made and measures one thing about it. It sets no threshold of its own, does not look
at the trainer's name, and writes only below the ``workdir`` it is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol

from probity.findings import AuditReport, Subject
from probity.task import Task

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from probity.audit_plan import AuditsConfig
    from probity.audits.scoring import ScoredRows
    from probity.audits.task_rows import ClassifiedRows, PredictedRows
    from probity.canaries import Canaries
    from probity.data import Dataset, Examples, Schema, Transform, TransformedExamples
    from probity.edge_cases import EdgeCases
    from probity.model import TrainedModel

    Rows_co = TypeVar("Rows_co", bound=ScoredRows | ClassifiedRows | PredictedRows, default=ScoredRows, covariant=True)
else:  # the default is for the type checker, and Python 3.11 has none
    from typing import TypeVar

    Rows_co = TypeVar("Rows_co", covariant=True)

__all__ = ["Audit", "AuditInput", "not_applicable", "tasks_of"]


@dataclass(frozen=True, kw_only=True)
class AuditInput(Generic[Rows_co]):
    """Everything an audit may look at. In memory only: it holds rows of data.

    ``AuditInput`` alone holds the rows of a binary label, ``AuditInput[ClassifiedRows]`` those of a multi-class one and
    ``AuditInput[PredictedRows]`` those of a regression; ``dataset.task`` says which it is.
    """

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
    scored: Rows_co
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
    edge_cases: EdgeCases | None = None
    """Cases that were chosen by hand, if any were named."""

    @property
    def subject(self) -> Subject:
        """Which model and which rows a report made from this evidence speaks of."""
        return Subject(model=self.model.digest, examples=self.examples.files["test"].digest)


class Audit(Protocol):
    """One kind of measurement, found through the entry-point group ``probity.audits``.

    It is asked about binary decisions only, unless it has an attribute ``tasks`` with the tasks that it can measure
    (:func:`tasks_of`).

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


def tasks_of(audit: Audit) -> frozenset[Task]:
    """Returns the tasks that an audit can measure; one that does not say can measure binary decisions only."""
    tasks: frozenset[Task] = getattr(audit, "tasks", frozenset({"binary"}))
    return tasks


def not_applicable(audit: str, evidence: AuditInput[ScoredRows | ClassifiedRows | PredictedRows]) -> AuditReport:
    """Returns the report of an audit that has nothing to say about the task of this run."""
    words = {"multiclass": "a multi-class label", "regression": "a regression"}[evidence.dataset.task]
    return AuditReport(
        audit=audit,
        status="not_applicable",
        subject=evidence.subject,
        reasons=(f"this audit speaks of binary decisions, and this is {words}",),
    )
