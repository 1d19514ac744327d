"""Makes an earlier version the live one again.

A server loads the highest number there is, so the earlier bytes come back under a new, higher number, as a version like
any other: its claims are those of the earlier version, line by line, and one more, signed now, which says what it
restores and why. Nothing is removed: the version that is left behind stays to be looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from probity.claims import CLAIMS, ReleaseClaim
from probity.decision import Release
from probity.errors import ReleaseError, SignatureError
from probity.history import DataRejected, EvidenceExpired, HistoryEntry, Moved, Rejected, live_at
from probity.platform.release.history import mend_history, utc_now
from probity.platform.release.project import Project
from probity.platform.release.verification import EXTRA, Verification, verify
from probity.platform.release.version_folder import (
    copy_tree,
    locked,
    next_version,
    publish,
    seal_version,
    sweep,
)
from probity.signed_log import read_lines

__all__ = ["roll_back"]


def roll_back(
    project: Project,
    *,
    to: int | None = None,
    why: str = "",
    now: Callable[[], datetime] = utc_now,
    still_answers: bool = False,
) -> Release:
    """Publishes the bytes of an earlier version as the newest one.

    Guarantees: only a version that verifies and has not expired comes back, byte for byte; it appears by one rename,
    verified once more; a process that is killed leaves the version before or the version after, and a history that says
    which.

    Args:
        project: Config and folder of the model.
        to: The earlier version; absent: the one that was live before the present one.
        why: Why, for the history.
        now: The clock.
        still_answers: Whether the earlier version answers people now, as the incumbent of a rollout does. Then it is no
            obstacle that monitoring declared its evidence expired: the other version is known to be worse.

    Raises:
        ReleaseError: If there is no such version, it is live already, its run was rejected, or its evidence expired.
        SignatureError: If it does not verify, or the history was changed.
    """
    keys, model_name, base_path = project.keys(), project.model_name, project.base_path
    label = project.config.serving.base_path
    with locked(base_path, model_name, label):
        sweep(base_path, model_name)
        mend_history(base_path, model_name, keys=keys, writers=project.writers())
        entries = project.verified_history()
        live = live_at(entries)
        target = _target(entries, to, shown=f"{label}/{model_name}")
        found = verify(base_path / model_name / str(target), trusted_keys=keys.trusted, signing=keys.signing)
        _require_restorable(found, entries, shown=f"{model_name}/{target}", still_answers=still_answers)
        earlier = found.claims[-1]
        if not isinstance(earlier, ReleaseClaim):
            raise AssertionError("a version that verifies states its release last")
        moment = now().astimezone(UTC)
        version = next_version(base_path / model_name, moment, shown=f"{label}/{model_name}")
        release = earlier.release.model_copy(
            update={
                "version": version,
                "path": f"{label}/{model_name}/{version}",
                "released_at": moment.isoformat(),
                "restores": target,
            }
        )

        def write(incoming: Path) -> None:
            copy_tree(found.path, incoming)
            content = (incoming / EXTRA / CLAIMS).read_bytes()
            lines, _ = read_lines(content, keys.trusted, name=CLAIMS)
            seal_version(
                incoming,
                release,
                (content, ()),
                keys=keys,
                after=lines[-1],
                why=why,
                expires_at=earlier.expires_at,
                replaces=live.event.version if live is not None and isinstance(live.event, Moved) else None,
            )

        publish(release, write, base_path=base_path, keys=keys)
        mend_history(base_path, model_name, keys=keys, writers=project.writers())
    return release


def _target(entries: Sequence[HistoryEntry], to: int | None, *, shown: str) -> int:
    """Returns the version to restore: without a wish, the last that was live with other bytes than the live one."""
    moves = [(entry.event.version, entry.model) for entry in entries if isinstance(entry.event, Moved)]
    known = [version for version, _ in moves]
    others = [version for version, model in moves if model != moves[-1][1]]
    if to is None and others:
        return others[-1]
    if to is not None and to in known[:-1]:
        return to
    if to is None:
        seen = "no other model was live before"
    else:
        seen = f"version {to} is live" if known and to == known[-1] else f"version {to} was never live"
    raise ReleaseError(
        shown,
        seen=seen,
        allowed=f"one of {', '.join(map(str, known[:-1]))}" if known[:-1] else "an earlier version, and there is none",
        remedy="list what was live with: probity releases MODEL",
    )


def _require_restorable(
    found: Verification, entries: Sequence[HistoryEntry], *, shown: str, still_answers: bool
) -> None:
    if found.release is None or not found.ok:
        raise SignatureError(
            shown,
            seen=f"it does not verify: {found.problems[0]}",
            allowed="a version as it was released, whose evidence has not expired",
            remedy="roll back to another one",
        )
    run = found.release.run
    if any(isinstance(entry.event, Rejected | DataRejected) and entry.event.run == run for entry in entries):
        raise ReleaseError(
            shown,
            seen="a reviewer rejected its run, or the data of that run",
            allowed="a version whose run nobody rejected",
            remedy="roll back to another one",
        )
    if not still_answers and any(
        isinstance(entry.event, EvidenceExpired) and entry.event.run == run for entry in entries
    ):
        raise ReleaseError(
            shown,
            seen="monitoring declared the evidence of its run expired",
            allowed="a version whose evidence covers what it meets now",
            remedy="roll back to another one, or train and audit again",
        )
