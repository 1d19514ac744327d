"""Finished runs side by side: whether they can be compared at all, and what differs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from probity.audits.task_rows import read_rows
from probity.audits.two_models import compare_models
from probity.digest import digest_file
from probity.errors import DataError, DigestMismatchError
from probity.findings import AuditReport, Finding, Subject, slice_name
from probity.metric import Direction
from probity.runs import SCORED_ROWS, RunFolder

__all__ = ["Judged", "diff", "judge", "words"]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A change, and what may be said of it."""

    finding: Finding
    verdict: str
    """``better``, ``worse``, ``different`` (without a better), ``no evidence``, or ``too small to say``."""


def diff(run: RunFolder, *, reference: RunFolder) -> AuditReport:
    """Compares a run's model with that of a reference, on the test rows that both were audited on.

    Raises:
        DataError: If they were audited on different test rows, predict different things, or were not scored.
        DigestMismatchError: If scored rows are not those that were audited.
    """
    ours, theirs = run.examples().files["test"].digest, reference.examples().files["test"].digest
    if ours != theirs or run.dataset().task != reference.dataset().task:
        raise DataError(
            f"runs {reference.id} and {run.id}",
            seen="other test rows, or another task",
            allowed="runs on the same test rows: the same data, label, split and columns",
            remedy="run both configs on the same data section",
        )
    mine, other = (read_rows(_scored(folder), folder.dataset().task) for folder in (run, reference))
    config = run.config()
    return compare_models(
        mine,
        other,
        subject=Subject(model=run.model().digest, examples=ours),
        settings=config.audits,
        seed=config.seed,
        intersections=run.dataset().intersections,
    )


def _scored(folder: RunFolder) -> Path:
    path, receipt = folder.path / SCORED_ROWS, folder.receipt("score")
    if receipt is None or not path.is_file():
        raise DataError(
            f"run {folder.id}",
            seen="no scored test rows",
            allowed="a run that reached the stage score",
            remedy="run the pipeline again without --until",
        )
    if receipt.outputs.get(SCORED_ROWS) != digest_file(path):
        raise DigestMismatchError(
            f"scored rows of run {folder.id}",
            seen="another file than was audited",
            allowed="the file that the audits read",
            remedy="run the pipeline again",
        )
    return path


def judge(report: AuditReport, *, threshold: float) -> list[Judged]:
    """Returns the changes that a reader looks at first: all rows, gaps, and whoever lost or gained for sure.

    Args:
        report: Of :func:`diff`.
        threshold: The decision threshold.
    """
    judged = []
    for finding in report.findings:
        if finding.comparison != "change" or finding.threshold not in (None, threshold):
            continue
        verdict = _verdict(finding)
        if not finding.slice or (verdict in ("better", "worse") and finding.metric in ("accuracy", "auc")):
            judged.append(Judged(finding=finding, verdict=verdict))
    return judged


def _verdict(finding: Finding) -> str:
    estimate = finding.estimate
    if finding.evidence == "insufficient" or estimate.lower is None or estimate.upper is None:
        return "too small to say"
    if estimate.lower <= 0.0 <= estimate.upper:
        return "no evidence"
    if finding.direction is Direction.NEITHER:
        return "different"
    up = estimate.lower > 0.0
    return "better" if up == (finding.direction is Direction.HIGHER_IS_BETTER) else "worse"


def words(finding: Finding) -> str:
    """Returns what a change speaks of, for example ``gap of selection_rate across sex at 0.5``."""
    what = f"gap of {finding.metric}" if finding.across else finding.metric
    if finding.label_class is not None:
        what += f" of class {finding.label_class}"
    where = f" across {' x '.join(finding.across)}" if finding.across else ""
    where += f", {slice_name(finding.slice)}" if finding.slice else ""
    return what + where + ("" if finding.threshold is None else f" at {finding.threshold:g}")
