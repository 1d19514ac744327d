"""What happened to a model after its runs: who moved which version, when, and on whose word.

The file ``<base_path>/<model_name>.history.jsonl`` is a signed log (:mod:`probity.signed_log`): it is only added to,
and each line is signed by the key of whoever did it. This module reads it; :mod:`probity.platform.release.history`
writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from probity.keys import TrustedKeys
from probity.record import Digest, Record
from probity.signed_log import Line, SignedLog

__all__ = [
    "Approved",
    "DataApproved",
    "DataRejected",
    "Event",
    "EvidenceExpired",
    "HistoryEntry",
    "Moment",
    "Moved",
    "Promoted",
    "Rejected",
    "RolledBack",
    "StageEntered",
    "Waived",
    "answering_at",
    "history_path",
    "live_at",
    "log_of",
    "parse_entry",
    "parse_time",
    "read_history",
    "stage_at",
]

_ROLLOUT_ENDS = ("completed", "rolled_back", "stopped")
"""Ends of a rollout (:class:`probity.rollout.RolloutState`), after which one version answers everybody."""


def _spelt(text: str) -> str:
    return parse_time(text).isoformat()


Moment = Annotated[str, AfterValidator(_spelt)]
"""A time, in UTC and ISO 8601; read in any zone."""


class _Event(Record):
    """When, who, why."""

    schema_version: Literal[1] = 1
    at: Moment
    by: str = Field(min_length=1)
    """Who did it, as the machine or the reviewers' file names them."""
    why: str = ""


class Promoted(_Event):
    """A version became the one that servers load."""

    kind: Literal["promoted"] = "promoted"
    run: str
    version: int = Field(ge=1)
    number: str | None = None
    """The release number."""
    claims: Digest
    """Digest of the version's ``claims.jsonl``."""


class RolledBack(_Event):
    """An earlier version's bytes became, under a new number, what servers load."""

    kind: Literal["rolled_back"] = "rolled_back"
    run: str
    version: int = Field(ge=1)
    restores: int = Field(ge=1)
    """The earlier version."""
    replaces: int | None
    """The version that was live until then."""
    number: str | None = None
    claims: Digest


class _Reviewed(_Event):
    """A reviewer's word; ``evidence`` is what they looked at."""

    run: str
    evidence: Digest


class Approved(_Reviewed):
    """A reviewer approved a run."""

    kind: Literal["approved"] = "approved"


class Rejected(_Reviewed):
    """A reviewer rejected a run."""

    kind: Literal["rejected"] = "rejected"


class DataApproved(_Reviewed):
    """A reviewer approved the data of a run before anything was trained on them; it holds for equal data and checks.

    ``evidence`` is what they looked at: the data's record, statistics, schema and anomalies.
    """

    kind: Literal["data_approved"] = "data_approved"


class DataRejected(_Reviewed):
    """A reviewer rejected the data of a run."""

    kind: Literal["data_rejected"] = "data_rejected"


class Waived(_Event):
    """Somebody answers for a rule that is not kept, for a while."""

    kind: Literal["waived"] = "waived"
    rule: str
    until: Moment


class StageEntered(_Event):
    """A rollout came to a stage, or to its end."""

    kind: Literal["stage_entered"] = "stage_entered"
    version: int = Field(ge=1)
    stage: str
    """``shadow``, a percentage such as ``10%``, or ``completed``, ``rolled_back`` or ``stopped``."""
    incumbent: int | None = None


class EvidenceExpired(_Event):
    """What audits found about a run no longer counts; it has to be audited again."""

    kind: Literal["evidence_expired"] = "evidence_expired"
    run: str
    audits: tuple[str, ...] = ()
    """Names of the audits; empty: all of them."""


Event = Annotated[
    Promoted | RolledBack | Approved | Rejected | DataApproved | DataRejected | Waived | StageEntered | EvidenceExpired,
    Field(discriminator="kind"),
]

Moved = Promoted | RolledBack
"""The events that change what is live."""

_SAID = Approved | Rejected | DataApproved | DataRejected | Waived
"""The events that reviewers may write."""

_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


@dataclass(frozen=True, kw_only=True)
class HistoryEntry:
    """One event in its place."""

    number: int
    event: Event
    model: str
    """Digest of the SavedModel that it is about; of nothing (zeros) for events that are about no single model."""
    keyid: str
    digest: str


def history_path(base_path: Path, model_name: str) -> Path:
    """Returns where a model's history lies: beside its folder, where no server looks."""
    return base_path / f"{model_name}.history.jsonl"


def log_of(base_path: Path, model_name: str) -> SignedLog:
    """Returns a model's history as a file."""
    return SignedLog(history_path(base_path, model_name))


def read_history(
    base_path: Path, model_name: str, *, keys: TrustedKeys, movers: TrustedKeys | None = None
) -> tuple[tuple[HistoryEntry, ...], tuple[str, ...]]:
    """Returns a model's history, oldest first, up to the first problem, and that problem.

    Args:
        base_path: Folder of TensorFlow Serving's layout.
        model_name: The model.
        keys: Public keys of those who may have written it.
        movers: The keys among them that may move a version; ``None``: all. A reviewer approves and rejects, and says
            nothing about what is live.
    """
    lines, problems = log_of(base_path, model_name).look(keys)
    entries: list[HistoryEntry] = []
    for line in lines:
        where = f"{model_name}.history.jsonl, line {line.number}"
        try:
            entry = parse_entry(line)
        except ValidationError:
            return tuple(entries), (f"{where}: no event that this version knows",)
        moves = not isinstance(entry.event, _SAID)
        if moves and movers is not None and line.keyid not in movers:
            return tuple(entries), (f"{where}: a key that may not move versions says what is live",)
        entries.append(entry)
    return tuple(entries), problems


def parse_entry(line: Line) -> HistoryEntry:
    """Reads one line of a history.

    Raises:
        pydantic.ValidationError: If it states no event that this version knows.
    """
    event = _EVENT.validate_python({**line.facts, "kind": line.kind})
    return HistoryEntry(number=line.number, event=event, model=line.subject, keyid=line.keyid, digest=line.digest)


def live_at(entries: Sequence[HistoryEntry], moment: datetime | None = None) -> HistoryEntry | None:
    """Returns the entry that made live what was live at a moment, or ``None`` if nothing was.

    Live is the newest version in the serving folder, which servers without a router load. While a rollout is under way
    its router divides the requests between two versions: :func:`stage_at`.

    Args:
        entries: The history, oldest first.
        moment: The moment, with its time zone; ``None``: now.
    """
    moved = [entry for entry in entries if isinstance(entry.event, Moved)]
    if moment is not None:
        moved = [entry for entry in moved if parse_time(entry.event.at) <= moment]
    return moved[-1] if moved else None


def stage_at(entries: Sequence[HistoryEntry], moment: datetime | None = None) -> StageEntered | None:
    """Returns the stage that a rollout was at at a moment, or ``None`` if none was under way.

    Args:
        entries: The history, oldest first.
        moment: The moment, with its time zone; ``None``: now.
    """
    stages = [entry.event for entry in entries if isinstance(entry.event, StageEntered)]
    if moment is not None:
        stages = [event for event in stages if parse_time(event.at) <= moment]
    return stages[-1] if stages and stages[-1].stage not in _ROLLOUT_ENDS else None


def answering_at(entries: Sequence[HistoryEntry], moment: datetime | None = None) -> tuple[HistoryEntry, ...]:
    """Returns the entries that made live what answered at a moment, newest first: one, or both versions of a rollout.

    Args:
        entries: The history, oldest first.
        moment: The moment, with its time zone; ``None``: now.
    """
    live, stage = live_at(entries, moment), stage_at(entries, moment)
    divided = () if stage is None else (stage.version, stage.incumbent)
    return tuple(
        entry
        for entry in reversed(entries)
        if isinstance(entry.event, Moved) and (entry is live or entry.event.version in divided)
    )


def parse_time(text: str) -> datetime:
    """Reads an ISO 8601 time; without a time zone it is UTC.

    Raises:
        ValueError: If it is none.
    """
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
