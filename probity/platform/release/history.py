"""Writes a model's history, and mends it after a process was killed between a push and its entry.

A version appears by one rename, its entry by one appended line; a process can die between the two. The version's own
signed claims say who released it, when and why, so whoever reads the history reads it there, and whoever writes next
adds the entry that is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from probity.claims import CLAIMS, ReleaseClaim
from probity.digest import digest_file
from probity.history import Event, HistoryEntry, Moved, Promoted, RolledBack, log_of, parse_entry
from probity.keys import Signer, TrustedKeys
from probity.platform.release.keys import ReleaseKeys
from probity.platform.release.verification import EXTRA, verify
from probity.record import Record
from probity.release_policy import SigningConfig
from probity.signed_log import Line, read_lines

__all__ = ["NO_MODEL", "add_event", "add_missing", "facts_of", "mend_history", "untold", "utc_now"]

NO_MODEL = "sha256:" + "0" * 64
"""Subject of an event that is about no single SavedModel."""

_MOVES = ("promoted", "rolled_back")


def utc_now() -> datetime:
    """Returns the time, in UTC."""
    return datetime.now(UTC)


def add_event(
    base_path: Path,
    model_name: str,
    event: Event,
    *,
    model: str = NO_MODEL,
    keys: TrustedKeys,
    signer: Signer,
) -> HistoryEntry:
    """Appends an event to a model's history; it is on disk when this returns.

    Args:
        base_path: Folder of TensorFlow Serving's layout; created if absent.
        model_name: The model.
        event: What happened.
        model: Digest of the SavedModel that it is about.
        keys: Public keys of those who may have written the history so far.
        signer: Who says so.

    Raises:
        SignatureError: If the history does not verify.
        ReleaseError: If it cannot be written.
    """
    line = log_of(base_path, model_name).append(
        event.kind, facts_of(event), subject=model, name=model_name, keys=keys, signer=signer
    )
    if line is None:
        raise AssertionError("an event that raised nothing was not written")
    return parse_entry(line)


def add_missing(
    base_path: Path,
    model_name: str,
    event: Moved,
    *,
    model: str,
    keys: TrustedKeys,
    signer: Signer,
) -> HistoryEntry | None:
    """Appends the entry of a version unless the history has one already.

    Returns:
        The new entry, or ``None`` if it was there.

    Raises:
        SignatureError: If the history does not verify.
        ReleaseError: If it cannot be written.
    """
    line = log_of(base_path, model_name).append(
        event.kind, _unless_there(event), subject=model, name=model_name, keys=keys, signer=signer
    )
    return None if line is None else parse_entry(line)


def _unless_there(event: Moved) -> Callable[[tuple[Line, ...]], dict[str, object] | None]:
    def facts(lines: tuple[Line, ...]) -> dict[str, object] | None:
        told = [line.facts.get("version") for line in lines if line.kind in _MOVES]
        return None if event.version in told else facts_of(event)

    return facts


def facts_of(event: Record) -> dict[str, object]:
    """Returns what a line of a signed log states: a record without its kind, which the line has elsewhere."""
    return {name: entry for name, entry in event.to_json().items() if name != "kind"}


def untold(
    base_path: Path, model_name: str, entries: Sequence[HistoryEntry], *, keys: TrustedKeys, signing: SigningConfig
) -> tuple[HistoryEntry, ...]:
    """Returns the entries that a history will get for versions that appeared and were not told, lowest version first.

    What they say is what the versions' own signed claims say, so a reader need not wait for the next writer.
    """
    told = {entry.event.version for entry in entries if isinstance(entry.event, Moved)}
    found = list(_untold(base_path, model_name, told, keys=keys, signing=signing))
    last = entries[-1].number if entries else 0
    return tuple(
        HistoryEntry(number=number, event=event, model=line.subject, keyid=line.keyid, digest=line.digest)
        for number, (event, line) in enumerate(found, last + 1)
    )


def mend_history(base_path: Path, model_name: str, *, keys: ReleaseKeys, writers: TrustedKeys) -> None:
    """Adds the entries of versions that have none: whoever released them died before they could write it.

    Raises:
        SignatureError: If the history was changed.
    """
    told = {line.facts.get("version") for line in log_of(base_path, model_name).read(writers) if line.kind in _MOVES}
    for event, line in _untold(base_path, model_name, told, keys=keys.trusted, signing=keys.signing):
        add_missing(base_path, model_name, event, model=line.subject, keys=writers, signer=keys.signer)


def _untold(
    base_path: Path, model_name: str, told: Collection[object], *, keys: TrustedKeys, signing: SigningConfig | None
) -> Iterator[tuple[Moved, Line]]:
    for path in _versions(base_path / model_name):
        if int(path.name) in told:
            continue
        found = verify(path, trusted_keys=keys, signing=signing)
        claim = found.claims[-1] if found.claims else None
        if found.release is not None and found.intact and isinstance(claim, ReleaseClaim):
            claims = path / EXTRA / CLAIMS
            lines, _ = read_lines(claims.read_bytes(), keys, name=CLAIMS)
            yield _event(claim, digest_file(claims)), lines[-1]


def _versions(model_folder: Path) -> list[Path]:
    entries = model_folder.iterdir() if model_folder.is_dir() else ()
    return sorted((path for path in entries if path.name.isdecimal()), key=lambda path: int(path.name))


def _event(claim: ReleaseClaim, claims: str) -> Moved:
    release = claim.release
    fields = {
        "at": release.released_at,
        "by": claim.by,
        "why": claim.why,
        "run": release.run,
        "version": release.version,
        "number": release.number,
        "claims": claims,
    }
    if release.restores is not None:
        return RolledBack.from_json({**fields, "restores": release.restores, "replaces": claim.replaces})
    return Promoted.from_json(fields)
