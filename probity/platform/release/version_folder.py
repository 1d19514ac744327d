"""One version in TensorFlow Serving's layout: written aside, sealed, verified, and made to appear by one rename."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from probity.claims import CLAIMS, ReleaseClaim
from probity.decision import Release
from probity.digest import digest_file
from probity.errors import ReleaseError, SignatureError
from probity.platform.person import current_user
from probity.platform.release.history import facts_of
from probity.platform.release.keys import ReleaseKeys
from probity.platform.release.verification import EXTRA, verify
from probity.signed_log import Line, next_line

__all__ = [
    "RELEASE_FILE",
    "copy_tree",
    "locked",
    "next_version",
    "publish",
    "seal_version",
    "sweep",
    "versions_in",
    "write_json",
]

RELEASE_FILE = "RELEASE.json"
_HIGHEST = 2**63 - 1
"""The highest version number that TensorFlow Serving reads."""
_LOCK_SECONDS = 600.0
"""How long to wait for another push of the same model before giving up."""


@contextlib.contextmanager
def locked(base_path: Path, model_name: str, base_label: str) -> Iterator[None]:
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


def sweep(base_path: Path, model_name: str) -> None:
    """Removes what killed pushes of this model left; the lock says that none is alive."""
    for path in base_path.glob(f".incoming-{model_name}.*"):
        shutil.rmtree(path, ignore_errors=True)


def versions_in(model_folder: Path) -> list[Path]:
    """Returns the folders that a server takes for versions, in no order; symbolic links are none."""
    try:
        entries = list(model_folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [path for path in entries if re.fullmatch(r"[0-9]+", path.name) and path.is_dir() and not path.is_symlink()]


def next_version(model_folder: Path, moment: datetime, *, shown: str) -> int:
    """Returns epoch seconds, or one above the highest number there is, so that the newest push is always the highest.

    Raises:
        ReleaseError: If somebody left a folder with a number that nothing can come after.
    """
    entries = model_folder.iterdir() if model_folder.is_dir() else ()
    taken = [int(path.name) for path in entries if re.fullmatch(r"[0-9]+", path.name)]
    number = max([int(moment.timestamp()), *(number + 1 for number in taken)])
    if number > _HIGHEST:
        raise ReleaseError(
            shown,
            seen="a folder whose number is the highest that a server reads, so nothing can come after it",
            allowed="version numbers below 2**63 - 1",
            remedy="find out who put it there, and remove it",
        )
    return number


def publish(release: Release, write: Callable[[Path], None], *, base_path: Path, keys: ReleaseKeys) -> None:
    """Makes a version appear, complete, flushed to disk and verified, or not at all.

    Args:
        release: What is released.
        write: Writes the version's files into the folder it is given.
        base_path: Folder of TensorFlow Serving's layout.
        keys: By whose keys the version has to verify.

    Raises:
        SignatureError: If what was written does not verify.
    """
    incoming = base_path / f".incoming-{release.model_name}.{secrets.token_hex(8)}"  # no model name holds a dot
    try:
        write(incoming)
        _flush_tree(incoming)
        _require_servable(incoming, release, keys)
        target = base_path / release.model_name / str(release.version)
        target.parent.mkdir(exist_ok=True)
        incoming.rename(target)
        _flush(target.parent)
        _flush(base_path)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _require_servable(incoming: Path, release: Release, keys: ReleaseKeys) -> None:
    found = verify(incoming, trusted_keys=keys.trusted, signing=keys.signing, placed=False)
    if not found.ok or found.release != release:
        first = found.problems[0] if found.problems else "another release than was meant"
        raise SignatureError(
            f"{release.model_name}/{release.version}",
            seen=f"it would not verify: {first}",
            allowed="evidence, approvals and bytes that belong together",
            remedy="audit and approve the run again; nothing was pushed",
        )


def seal_version(
    folder: Path,
    release: Release,
    before: tuple[bytes, Sequence[tuple[str, dict[str, object]]]],
    *,
    keys: ReleaseKeys,
    after: Line | None = None,
    why: str = "",
    expires_at: str | None = None,
    replaces: int | None = None,
) -> None:
    """Writes the release record and the claims of a version whose other files are there.

    Args:
        folder: The version.
        release: What is released.
        before: Claims that were signed before, as they lie on disk, and those that are to be signed now.
        keys: Who signs.
        after: The last line of the claims that were signed before.
        why: Why it is released.
        expires_at: When the first thing expires that it rests on.
        replaces: After a rollback, the version that was live until then.
    """
    extra = folder / EXTRA
    content, stated = before
    write_json(extra / RELEASE_FILE, release.to_json())
    files = {path.relative_to(folder).as_posix(): digest_file(path) for path in folder.rglob("*") if path.is_file()}
    files.pop(f"{EXTRA}/{CLAIMS}", None)
    last = ReleaseClaim(
        release=release, by=current_user(), why=why, files=files, expires_at=expires_at, replaces=replaces
    )
    for kind, facts in (*stated, (last.kind, facts_of(last))):
        raw, after = next_line(
            kind, facts, subject=release.model, name=release.model_name, after=after, signer=keys.signer
        )
        content += raw
    (extra / CLAIMS).write_bytes(content)


def copy_tree(source: Path, target: Path) -> None:
    """Copies a folder's files to a new folder; the error of a full disk stays what it is."""
    # Not shutil.copytree: it gathers errors into one that no longer says what the disk said.
    target.mkdir()
    for path in sorted(source.rglob("*")):
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir()
        else:
            shutil.copyfile(path, copy)


def write_json(path: Path, value: object) -> None:
    """Writes readable JSON into a version that nobody sees yet."""
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
