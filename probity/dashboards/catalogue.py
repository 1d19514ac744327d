"""The runs of a workspace as lines of a table, read once and kept while their folders stay as they are.

A line costs about a millisecond, so hundreds of runs are listed at once. What has to be looked up in reports is in
:func:`measures`, and is read for the runs that are on the screen.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from probity.access import Role
from probity.dashboards.words import STATUSES
from probity.errors import ProbityError
from probity.findings import finding_id
from probity.runs import AUDITS, DECISION, MODEL, RELEASE, RunFolder, RunStatus
from probity.workspace import Workspace

__all__ = [
    "GAP_METRICS",
    "ON_A_PAGE",
    "Line",
    "Measures",
    "audited_auc",
    "catalogue",
    "fingerprint",
    "held_first",
    "measures",
    "started_by",
]

ON_A_PAGE = 25
"""Runs that the overview shows at once; their measures are read, those of the others are not."""

GAP_METRICS = ("true_positive_rate", "false_positive_rate", "selection_rate")
"""Rates whose gaps between groups are looked at for the largest one."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """What the list of runs says about one run.

    Attributes:
        run: Its id.
        project: The project's name, as the id gives it.
        created_at: UTC, ISO 8601.
        status: Where it stands; ``unreadable`` where its folder says nothing that can be understood.
        trainer: Name of the trainer, if it came to a model.
        verdict: The gate's, if it decided.
        model_name: Under which it was released.
        version: Under which it was released.
        model: Digest of the model, if it was released.
        dataset: Content digest of the data, if it was released.
        released_at: UTC, ISO 8601, if it was released.
        waits: Whether the run lacks nothing but approvals, of its data where there is no decision yet; words that were
            said since are not looked at.
    """

    run: str
    project: str
    created_at: str
    status: RunStatus | str
    trainer: str | None = None
    verdict: str | None = None
    model_name: str | None = None
    version: int | None = None
    model: str | None = None
    dataset: str | None = None
    released_at: str | None = None
    waits: bool = False


@dataclass(frozen=True, kw_only=True)
class Measures:
    """The main numbers of a run, as its reports have them; ``None``: not assessed.

    Attributes:
        epsilon: Of the privacy statement; infinite without differential privacy.
        auc: Over all test rows.
        gap: The largest gap that rests on enough rows, over :data:`GAP_METRICS` and the single attributes, at the
            decision threshold.
        gap_of: Metric and attribute of that gap, in words.
    """

    epsilon: float | None = None
    auc: float | None = None
    gap: float | None = None
    gap_of: str = ""


def catalogue(workspace: Workspace, role: Role) -> tuple[Line, ...]:
    """Returns a line for every run that a role may know of, newest first. The public knows of released runs only."""
    lines = [_current(folder) for folder in workspace.runs()]
    return tuple(line for line in lines if role > Role.PUBLIC or line.status == "released")


def held_first(lines: Sequence[Line]) -> list[Line]:
    """Returns the lines in the order in which they need a reviewer; within a status the newest stay first."""
    order = {status: place for place, status in enumerate(STATUSES)}
    return sorted(lines, key=lambda line: order.get(line.status, len(order)))


def measures(folder: RunFolder) -> Measures:
    """Returns the main numbers of a run. What is absent or unreadable is ``None``; nothing is raised."""
    return _measures(folder.path, fingerprint(folder))


def audited_auc(folder: RunFolder) -> tuple[float, float | None, float | None] | None:
    """Returns the AUC over all test rows with its interval; ``None`` where it is absent or rests on too little."""
    return _audited_auc(folder.path, fingerprint(folder))


def started_by(folder: RunFolder) -> str | None:
    """Returns the user who started a run, as its machine knew them; ``None`` where nothing was recorded."""
    return _started_by(folder.path, fingerprint(folder))


def fingerprint(folder: RunFolder) -> tuple[int, ...]:
    """Returns numbers that change whenever a stage of the run ends: what was read of it before is then read again."""
    names = (".run/receipts", AUDITS, DECISION, RELEASE, ".run/error.json")
    return tuple(_changed(folder.path / name) for name in names)


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _current(folder: RunFolder) -> Line:
    line = _line(folder.path, fingerprint(folder))
    # Nothing on disk changes when the process of a run dies, or comes back for it.
    return _line.__wrapped__(folder.path, ()) if line.status in ("running", "interrupted") else line


@lru_cache(maxsize=4096)
def _line(path: Path, _: tuple[int, ...]) -> Line:
    folder = RunFolder(path)
    project = folder.id[17:].rpartition("-")[0]
    try:
        status: RunStatus | str = folder.status()
        decision = folder.decision() if (path / DECISION).is_file() else None
        released = folder.release()
        return Line(
            run=folder.id,
            project=project,
            created_at=folder.created_at,
            status=status,
            trainer=folder.model().trainer if (path / MODEL / "model.json").is_file() else None,
            verdict=decision.verdict if decision else None,
            model_name=released.model_name if released else None,
            version=released.version if released else None,
            model=released.model if released else None,
            dataset=released.dataset if released else None,
            released_at=released.released_at if released else None,
            waits=(released is None and decision.waits_for_approval) if decision else status == "held",
        )
    except (ProbityError, OSError, ValueError):
        return Line(run=folder.id, project=project, created_at=folder.created_at, status="unreadable")


@lru_cache(maxsize=4096)
def _measures(path: Path, _: tuple[int, ...]) -> Measures:
    gap, gap_of = _largest_gap(_findings(path, "fairness"), _threshold(path))
    return Measures(
        epsilon=_value(_findings(path, "privacy"), finding_id("privacy", "epsilon")),
        auc=_value(_findings(path, "performance"), finding_id("performance", "auc")),
        gap=gap,
        gap_of=gap_of,
    )


@lru_cache(maxsize=4096)
def _audited_auc(path: Path, _: tuple[int, ...]) -> tuple[float, float | None, float | None] | None:
    found = _estimate(_findings(path, "performance"), finding_id("performance", "auc"))
    return None if found is None else (float(found["value"]), found["lower"], found["upper"])


@lru_cache(maxsize=4096)
def _started_by(path: Path, _: tuple[int, ...]) -> str | None:
    try:
        found = RunFolder(path).provenance().get("started_by")
    except (OSError, ValueError, AttributeError, yaml.YAMLError):
        return None
    return None if found is None else str(found)


def _findings(path: Path, audit: str) -> list[dict[str, Any]]:
    """Reads the findings of a report without checking each of them; the pages of the run itself do check."""
    try:
        return list(json.loads((path / AUDITS / f"{audit}.json").read_text(encoding="utf-8"))["findings"])
    except (OSError, ValueError, LookupError, TypeError):
        return []


def _value(findings: Sequence[dict[str, Any]], wanted: str) -> float | None:
    found = _estimate(findings, wanted)
    return None if found is None else float(found["value"])  # "Infinity" is a float's name too


def _estimate(findings: Sequence[dict[str, Any]], wanted: str) -> dict[str, Any] | None:
    """Returns the estimate of the finding with an id, if it rests on enough rows."""
    sufficient = (finding for finding in findings if finding["evidence"] == "sufficient")
    return next((finding["estimate"] for finding in sufficient if finding["id"] == wanted), None)


def _largest_gap(findings: Sequence[dict[str, Any]], threshold: float | None) -> tuple[float | None, str]:
    found = [
        (float(finding["estimate"]["value"]), f"{finding['metric'].replace('_', ' ')} by {finding['across'][0]}")
        for finding in findings
        if finding["comparison"] == "gap"
        and finding["metric"] in GAP_METRICS
        and len(finding["across"]) == 1
        and finding["threshold"] == threshold
        and finding["evidence"] == "sufficient"
    ]
    return max(found, default=(None, ""))


def _threshold(path: Path) -> float | None:
    try:
        return RunFolder(path).config().audits.decision_threshold
    except (ProbityError, OSError, LookupError, TypeError, ValueError, yaml.YAMLError):
        return None
