"""The signed history of a run's model, as far as the keys beside its config vouch for it. Verifies; holds no key.

What is read stops at the first line that does not verify, and that problem is shown: a history that was cut or changed
is not shown as if it were whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probity.config import RunConfig
from probity.dashboards.report import Report
from probity.dashboards.words import digest_text, moment
from probity.errors import ConfigError, ProbityError
from probity.history import (
    Approved,
    DataApproved,
    DataRejected,
    HistoryEntry,
    Moved,
    Rejected,
    history_path,
    read_history,
)
from probity.release_policy import trusted_in_project
from probity.review import Reviewers
from probity.run_reviews import evidence_files, read_reviewers
from probity.runs import CLAIMS
from probity.signed_log import Line, read_lines

__all__ = [
    "Attested",
    "History",
    "attested",
    "history_rows",
    "history_words",
    "known_history",
    "live_rows",
    "released_below",
    "words_on_run",
]


@dataclass(frozen=True, kw_only=True)
class History:
    """What is known of a model since its runs.

    Attributes:
        entries: Events that verified, oldest first.
        problems: Why there are no more of them; empty where the history is whole.
        exists: Whether there is a history at all.
    """

    entries: tuple[HistoryEntry, ...] = ()
    problems: tuple[str, ...] = ()
    exists: bool = False


@dataclass(frozen=True, kw_only=True)
class Attested:
    """What was signed about a run when its model was released.

    Attributes:
        lines: Statements that verified, in order.
        problems: Why there are no more of them; empty where the file is whole.
        changed: Files of the run that are not any more what was decided on.
    """

    lines: tuple[Line, ...] = ()
    problems: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


def known_history(report: Report) -> History:
    """Returns the history of the chosen run's model; an empty one where the run names none."""
    place = released_below(report)
    if place is None:
        return History()
    config, root, base = place
    if not history_path(base, config.serving.model_name).is_file():
        return History()
    try:
        movers = trusted_in_project(config.signing, root=root)
        keys = {**movers, **_reviewers(config, root).keys}
        entries, problems = read_history(base, config.serving.model_name, keys=keys, movers=movers)
    except ProbityError as error:
        return History(problems=(str(error),), exists=True)
    return History(entries=entries, problems=problems, exists=True)


def released_below(report: Report) -> tuple[RunConfig, Path, Path] | None:
    """Returns the config of the chosen run, its folder, and the folder that the model's versions lie below."""
    config = report.config() if report.run is not None else None
    root = report.config_folder() if config is not None else None
    return None if config is None or root is None else (config, root, (root / config.serving.base_path).resolve())


def attested(report: Report) -> Attested | None:
    """Returns what was signed about the chosen run at its release; ``None`` where nothing was."""
    place = released_below(report)
    try:
        content = (report.folder.path / CLAIMS).read_bytes()
    except OSError:
        return None
    if place is None:
        return Attested(problems=("the run's config cannot be read, so it is not known whose keys count",))
    try:
        lines, problems = read_lines(content, trusted_in_project(place[0].signing, root=place[1]), name=CLAIMS)
        decided = [line.facts.get("files", {}) for line in lines if line.kind == "decision"]
        present = evidence_files(report.folder)
    except ProbityError as error:
        return Attested(problems=(str(error),))
    changed = {name for files in decided for name in {*files, *present} if files.get(name) != present.get(name)}
    return Attested(lines=lines, problems=problems, changed=tuple(sorted(changed)))


def words_on_run(history: History, run: str) -> tuple[HistoryEntry, ...]:
    """Returns what reviewers said about a run and about its data."""
    said = Approved | Rejected | DataApproved | DataRejected
    return tuple(entry for entry in history.entries if isinstance(entry.event, said) and entry.event.run == run)


def history_rows(entries: tuple[HistoryEntry, ...], *, public: bool) -> list[dict[str, str]]:
    """Returns one line per event, newest first; who and why are for viewers."""
    rows = []
    for entry in reversed(entries):
        event = entry.event
        cells = {"when (UTC)": event.at[:16].replace("T", " "), "what": history_words(event)}
        rows.append(cells if public else {**cells, "who": event.by, "why": event.why, "key": entry.keyid})
    return rows


def live_rows(entries: tuple[HistoryEntry, ...]) -> list[dict[str, str]]:
    """Returns one line per version that was live, oldest first, with the time until the next move."""
    moves = [entry for entry in entries if isinstance(entry.event, Moved)]
    ends = [*(later.event.at for later in moves[1:]), None][: len(moves)]
    return [
        {
            "version": str(entry.event.version),
            "from (UTC)": moment(entry.event.at),
            "until (UTC)": moment(end) if end else "now",
            "run": entry.event.run,
            "by": entry.event.kind.replace("_", " "),
            "model": digest_text(entry.model),
        }
        for entry, end in zip(moves, ends, strict=True)
        if isinstance(entry.event, Moved)
    ]


def history_words(event: Any) -> str:
    """Returns what an event says, in words."""
    words = {
        "promoted": "version {version} went live",
        "rolled_back": "version {version} went live: the bytes of {restores} again",
        "approved": "{run} was approved",
        "rejected": "{run} was rejected",
        "data_approved": "the data of {run} were approved",
        "data_rejected": "the data of {run} were rejected",
        "waived": "rule {rule} was waived until {until}",
        "stage_entered": "version {version}: {stage}",
        "evidence_expired": "evidence of {run} no longer counts",
    }
    facts = event.model_dump()
    return words[event.kind].format_map(facts) if event.kind in words else str(event.kind).replace("_", " ")


def _reviewers(config: RunConfig, root: Path) -> Reviewers:
    try:
        return read_reviewers(root / config.gate.approval.reviewers)
    except ConfigError:
        return Reviewers()  # their lines then do not verify, and the page says so
