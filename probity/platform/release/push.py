"""GateDecision -> Release: the audited bytes, copied into TensorFlow Serving's layout, or nothing at all (Pusher).

::

    <base_path>/
    ├── .<model_name>.lock                 one push of a model at a time, across processes
    ├── .incoming-<model_name>.<random>/   a version that is still being written; a server never looks here
    └── <model_name>/
        └── <version>/                     appears by rename, complete, and is never touched again
            ├── saved_model.pb, variables/, …
            └── assets.extra/probity/      RELEASE.json, 10_decision.json, card.json, card.md, card.html

TensorFlow Serving scans ``<base_path>/<model_name>`` for folders with numeric names. The copy is made outside of it, on
the same file system, so a reader sees a version either not at all or whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import ValidationError

from probity.decision import GateDecision, Release
from probity.digest import digest_file, digest_tree, require_digest
from probity.errors import DigestMismatchError, ReleaseError, ReleaseHeldError

__all__ = ["EXTRA", "latest", "push", "releases", "verify_release"]

EXTRA = "assets.extra/probity"
"""Where a version holds what is not the SavedModel: the SavedModel's own place for extra files."""

_RELEASE, _DECISION = "RELEASE.json", "10_decision.json"
_CARD_FILES = ("card.json", "card.md", "card.html")
_LOCK_SECONDS = 600.0
"""How long to wait for another push of the same model before giving up."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


def push(
    saved_model: Path,
    *,
    card_folder: Path,
    decision: GateDecision,
    run: str,
    model_name: str,
    base_path: Path,
    base_label: str,
    dataset: str,
    now: Callable[[], datetime] = _utc_now,
) -> Release:
    """Pushes a model whose verdict is release.

    Guarantees: the pushed bytes are the audited bytes (digested before and after the copy, both equal to the decision's
    model); the version appears by one rename, after everything was flushed to disk; a version that is there already is
    never changed; its number is above every other one, so that it is what a server loads. A model that is already the
    latest release, intact, is not pushed again: that release is returned, with the run and the evidence that led to it.

    Args:
        saved_model: The exported model, exactly as it was audited.
        card_folder: Holds ``card.json``, ``card.md`` and ``card.html``.
        decision: The gate's decision about this model and this card.
        run: Id of the run.
        model_name: Name under which a server finds it.
        base_path: Folder of TensorFlow Serving's layout; created if absent.
        base_label: How the config names ``base_path``; the release records this instead of an absolute path.
        dataset: Content digest of the data.
        now: The clock.

    Raises:
        ReleaseHeldError: If the verdict is hold.
        DigestMismatchError: If model or card are not what was decided on.
        ReleaseError: If the folder cannot be written, or another push holds it for too long.
    """
    _require_release(decision, run)
    _require_safe(model_name, base_path, base_label)
    _require_audited(saved_model, card_folder, decision)
    with _locked(base_path, model_name, base_label):
        _sweep(base_path, model_name)
        found = latest(base_path, model_name)
        if found is not None and _is_live(found, decision):
            return found[0]
        moment = now().astimezone(UTC)
        version = _next_version(base_path / model_name, moment)
        release = Release(
            run=run,
            model_name=model_name,
            version=version,
            path=f"{base_label}/{model_name}/{version}",
            model=str(decision.model),
            card=str(decision.card),
            decision=decision.record_digest(),
            dataset=dataset,
            released_at=moment.isoformat(),
        )
        _publish(saved_model, card_folder=card_folder, decision=decision, release=release, base_path=base_path)
    return release


def releases(base_path: Path, model_name: str) -> tuple[tuple[Release, Path], ...]:
    """Returns the released versions of a model with their folders, newest first.

    Version folders without a readable ``RELEASE.json`` of this model and version are not ours and are left out.
    """
    found = []
    for path in _versions(base_path / model_name):
        release = _read_release(path)
        if release is not None and release.model_name == model_name and str(release.version) == path.name:
            found.append((release, path))
    return tuple(sorted(found, key=lambda entry: entry[0].version, reverse=True))


def latest(base_path: Path, model_name: str) -> tuple[Release, Path] | None:
    """Returns the newest released version of a model and its folder, or ``None`` if there is none."""
    return next(iter(releases(base_path, model_name)), None)


def verify_release(path: Path) -> Release:
    """Checks that a version still is what was released.

    Raises:
        ReleaseError: If there is no readable release record.
        DigestMismatchError: If the SavedModel, the card or the decision in it were changed.
    """
    release = _read_release(path)
    if release is None:
        raise ReleaseError(
            path.name,
            seen="no readable release record",
            allowed=f"a version folder with {EXTRA}/{_RELEASE}",
            remedy="release the model again; a version without a record was not pushed by probity",
        )
    extra = path / EXTRA
    require_digest("SavedModel", found=digest_tree(path, exclude=(EXTRA,)), recorded=release.model)
    require_digest(_CARD_FILES[0], found=_digest_or_absent(extra / _CARD_FILES[0]), recorded=release.card)
    decision = _read_decision(extra / _DECISION)
    require_digest(
        _DECISION, found="absent" if decision is None else decision.record_digest(), recorded=release.decision
    )
    return release


# --- before anything is written -------------------------------------------------------------------------------------


def _require_release(decision: GateDecision, run: str) -> None:
    if decision.verdict != "release":
        raise ReleaseHeldError(
            f"run {run}",
            seen=f"the gate says hold: {', '.join(check.rule for check in decision.blocking)}",
            allowed="a run whose verdict is release",
            remedy=f"see every check with: probity gate {run}",
        )


def _require_safe(model_name: str, base_path: Path, base_label: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", model_name):
        raise ReleaseError(
            "serving.model_name",
            seen="a name that is no single safe path component",
            allowed="letters, digits, _ and -, starting with a letter or digit",
            remedy="rename the model in the config",
        )
    if (base_path / model_name).is_symlink():
        raise ReleaseError(
            f"{base_label}/{model_name}",
            seen="a symbolic link",
            allowed="a folder inside the serving folder",
            remedy="make it a folder, or point serving.base_path at the link's target",
        )


def _require_audited(saved_model: Path, card_folder: Path, decision: GateDecision) -> None:
    if not saved_model.is_dir():
        raise ReleaseError(
            "SavedModel", seen="no such folder", allowed="the model that was audited", remedy="run the pipeline again"
        )
    if (saved_model / EXTRA).exists():
        raise DigestMismatchError(
            "SavedModel",
            seen=f"files in {EXTRA}",
            allowed="no files there, because that is where the release record goes",
            remedy="run the pipeline again",
        )
    require_digest("SavedModel", found=digest_tree(saved_model), recorded=str(decision.model))
    require_digest("card.json", found=_digest_or_absent(card_folder / _CARD_FILES[0]), recorded=str(decision.card))
    absent = [name for name in _CARD_FILES if not (card_folder / name).is_file()]
    if absent:
        raise ReleaseError(
            "model card",
            seen=f"no {' and no '.join(absent)}",
            allowed=", ".join(_CARD_FILES),
            remedy="run the pipeline again; a model is released with its card only",
        )


def _digest_or_absent(path: Path) -> str:
    return digest_file(path) if path.is_file() else "absent"


def _is_live(found: tuple[Release, Path], decision: GateDecision) -> bool:
    release, path = found
    if release.model != decision.model:
        return False
    try:
        verify_release(path)
    except (DigestMismatchError, ReleaseError, OSError):
        return False  # it was damaged since: a new version mends what is served
    return True


# --- writing --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _locked(base_path: Path, model_name: str, base_label: str) -> Iterator[None]:
    """Holds the model's lock and says in one message what the file system refused.

    The operating system frees the lock when its process dies, however it dies.
    """
    try:
        base_path.mkdir(parents=True, exist_ok=True)
        with FileLock(base_path / f".{model_name}.lock", timeout=_LOCK_SECONDS):
            yield
    except Timeout as error:
        raise ReleaseError(
            f"{base_label}/{model_name}",
            seen=f"another push has held it for {_LOCK_SECONDS:g} seconds",
            allowed="one push of a model at a time",
            remedy="wait for the other push to end, then: probity release RUN",
        ) from error
    except OSError as error:
        raise ReleaseError(
            f"serving.base_path {base_label}",
            seen=f"it cannot be written ({error.strerror or type(error).__name__})",
            allowed="a writable folder with space for the model",
            remedy="free some space or choose another folder, then: probity release RUN",
        ) from error


def _incoming(base_path: Path, model_name: str) -> Path:
    # No model name holds a dot, so the folders of one model cannot be taken for those of another.
    return base_path / f".incoming-{model_name}.{secrets.token_hex(8)}"


def _sweep(base_path: Path, model_name: str) -> None:
    """Removes what killed pushes of this model left; the lock says that none is alive."""
    for path in base_path.glob(f".incoming-{model_name}.*"):
        shutil.rmtree(path, ignore_errors=True)


def _versions(model_folder: Path) -> list[Path]:
    try:
        entries = list(model_folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [path for path in entries if re.fullmatch(r"[0-9]+", path.name) and path.is_dir() and not path.is_symlink()]


def _next_version(model_folder: Path, moment: datetime) -> int:
    """Epoch seconds, or one above the highest number there is, so that the newest push is always the highest."""
    entries = model_folder.iterdir() if model_folder.is_dir() else ()
    taken = [int(path.name) for path in entries if re.fullmatch(r"[0-9]+", path.name)]
    return max([int(moment.timestamp()), *(number + 1 for number in taken)])


def _publish(
    saved_model: Path, *, card_folder: Path, decision: GateDecision, release: Release, base_path: Path
) -> None:
    incoming = _incoming(base_path, release.model_name)
    try:
        _copy_tree(saved_model, incoming)
        require_digest("SavedModel", found=digest_tree(incoming), recorded=release.model)
        extra = incoming / EXTRA
        extra.mkdir(parents=True)
        for name in _CARD_FILES:
            shutil.copyfile(card_folder / name, extra / name)
        require_digest(_CARD_FILES[0], found=digest_file(extra / _CARD_FILES[0]), recorded=release.card)
        _write_json(extra / _DECISION, decision.to_json())
        _write_json(extra / _RELEASE, release.to_json())
        _flush_tree(incoming)
        target = base_path / release.model_name / str(release.version)
        target.parent.mkdir(exist_ok=True)
        incoming.rename(target)
        _flush(target.parent)
        _flush(base_path)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _copy_tree(source: Path, target: Path) -> None:
    # Not shutil.copytree: it gathers errors into one that no longer says what the disk said.
    target.mkdir()
    for path in sorted(source.rglob("*")):
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir()
        else:
            shutil.copyfile(path, copy)


def _write_json(path: Path, value: object) -> None:
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(f"{text}\n", encoding="utf-8")


def _flush_tree(root: Path) -> None:
    """Forces files and folders to disk, so that a power cut after the rename cannot leave a hollow version."""
    for path in [*root.rglob("*"), root]:
        _flush(path)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- reading --------------------------------------------------------------------------------------------------------


def _read_release(path: Path) -> Release | None:
    try:
        return Release.from_json(json.loads((path / EXTRA / _RELEASE).read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError):
        return None


def _read_decision(path: Path) -> GateDecision | None:
    try:
        return GateDecision.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError):
        return None
