"""What the exported model answers for cases that somebody chose by hand, each with the outcome that must come out.

The share that is answered as expected is exact: the list is fixed and is no sample of anything, so the number has no
interval and says nothing about rows that are not on the list. A rule of the gate can require all of it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probity.audits.base import AuditInput
from probity.audits.slices import exact_threshold
from probity.edge_cases import EdgeCases
from probity.errors import AuditError, DataError
from probity.findings import AuditReport, Estimate, Finding, finding_id
from probity.metric import metric
from probity.storage import write_atomically
from probity.task import Task

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["ANSWERS", "EdgeCasesAudit"]

ANSWERS = "internal/answers.csv"
"""What the model answered, a line for each case; beside the report, and never on the card."""
_METHOD = "exact: a fixed list, not a sample"
_NAMED = 20
"""So many failed cases are named by their positions in the report; the others are counted."""


class EdgeCasesAudit:
    """The share of curated cases that the exported model answers as expected, and how many there are.

    A binary case is answered positively if its score is greater than ``audits.decision_threshold``; one of several
    classes, with the class of the highest score (the first of them, where several are equal).

    Guarantees: the model is asked through its own signatures; the report names failed cases by their position in the
    file alone, never by a value or by what was said of them.
    """

    name = "edge_cases"
    tasks: frozenset[Task] = frozenset({"binary", "multiclass"})

    def run(self, evidence: AuditInput[Any], *, workdir: Path) -> AuditReport:
        """Asks; see :class:`probity.audits.base.Audit`. Writes ``internal/answers.csv``.

        Raises:
            AuditError: If the model cannot be asked about the cases.
        """
        cases = evidence.edge_cases
        if cases is None:
            return AuditReport(
                audit=self.name,
                status="not_applicable",
                subject=evidence.subject,
                reasons=("nobody named edge cases under audits.edge_cases",),
            )
        scores = _scores(evidence, cases)
        answered = _answers(scores, threshold=evidence.settings.decision_threshold)
        right = answered == cases.expected
        write_atomically(workdir / ANSWERS, _table(cases, scores, answered).encode())
        return AuditReport(
            audit=self.name,
            status="complete",
            subject=evidence.subject,
            reasons=tuple(_reasons(cases, right, evidence)),
            findings=(
                self._finding("edge_case_accuracy", float(right.mean()), n=len(cases)),
                self._finding("edge_case_count", float(len(cases)), n=len(cases)),
            ),
        )

    def _finding(self, name: str, value: float, *, n: int) -> Finding:
        return Finding(
            id=finding_id(self.name, name),
            metric=name,
            estimate=Estimate(value=value, method=_METHOD, n=n),
            direction=metric(name).direction,
        )


def _scores(evidence: AuditInput[Any], cases: EdgeCases) -> npt.NDArray[np.float32]:
    """Returns all scores of each case, float32 of shape (cases, scores)."""
    import numpy as np

    from probity.predictor import load_predictor

    folder = evidence.model_folder / "saved_model"
    try:
        scores: npt.NDArray[np.float32] = load_predictor(folder).scores(cases.rows)
    except DataError as error:
        raise AuditError(
            "audits.edge_cases",
            seen=f"{error.argument}, {error.seen}, in the cases",
            allowed="every column that the exported model asks for, also one that it reads to decide by group",
            remedy="add the column to the file of edge cases",
        ) from error
    if scores.shape != (len(cases), evidence.dataset.num_scores) or not np.isfinite(scores).all():
        raise AuditError(
            "audits.edge_cases",
            seen=f"scores of shape {scores.shape} for {len(cases)} cases, {int((~np.isfinite(scores)).sum())} of them "
            "not finite",
            allowed="finite scores for every case",
            remedy="make the model answer for values it never saw, or for missing ones",
        )
    return scores


def _answers(scores: npt.NDArray[np.float32], *, threshold: float) -> npt.NDArray[np.int32]:
    """Returns 1 for a positive answer and 0 for a negative one, or the position of the class that was chosen."""
    import numpy as np

    if scores.shape[1] == 1:
        return np.asarray(scores[:, 0] > exact_threshold(threshold), np.int32)
    return np.asarray(scores.argmax(axis=1), np.int32)


def _table(cases: EdgeCases, scores: npt.NDArray[np.float32], answered: npt.NDArray[np.int32]) -> str:
    """Returns one line for each case: position, outcomes, the score that decided, and why it is a case."""
    text = io.StringIO()
    lines = csv.writer(text)
    lines.writerow(("case", "expected", "answered", "as_expected", "score", "why"))
    for position, (expected, answer, row, why) in enumerate(
        zip(cases.expected.tolist(), answered.tolist(), scores, cases.why, strict=True), start=1
    ):
        lines.writerow((position, expected, answer, expected == answer, f"{row.max():.6g}", why or ""))
    return text.getvalue()


def _reasons(cases: EdgeCases, right: npt.NDArray[np.bool_], evidence: AuditInput[Any]) -> Iterator[str]:
    yield (
        f"{len(cases)} cases that were chosen by hand ({cases.digest}): a fixed list and no sample, so its numbers "
        "have no interval and say nothing about other rows."
    )
    if evidence.dataset.task == "binary":
        yield f"A case is answered positively if its score is greater than {evidence.settings.decision_threshold:g}."
    failed = [str(position + 1) for position in (~right).nonzero()[0]]
    if failed:
        more = "" if len(failed) <= _NAMED else f" and {len(failed) - _NAMED} more"
        yield (
            f"Not answered as expected: {len(failed)} of {len(cases)}, cases {', '.join(failed[:_NAMED])}{more} of the "
            f"file, counted from 1. What the model answered is in {ANSWERS} beside this report."
        )
