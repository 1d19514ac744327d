"""Content digests in one form, ``sha256:<hex>``, for bytes, JSON values, files and folders.

Every record of a run names the digests of what it was made from, which is what makes a card traceable to the
data and lets the gate notice evidence that belongs to another model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from probity.errors import DigestMismatchError

__all__ = ["canonical_json", "digest_bytes", "digest_file", "digest_json", "digest_tree", "require_digest"]

_CHUNK_BYTES = 1 << 20


def canonical_json(value: object) -> bytes:
    """Returns the one byte form of a JSON value: sorted keys, no spaces, UTF-8, no NaN.

    Raises:
        ValueError: If the value holds NaN or an infinity (infinity has a written form: ``"Infinity"``).
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def digest_bytes(data: bytes) -> str:
    """Returns the SHA-256 of ``data`` as ``sha256:<hex>``."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def digest_json(value: object) -> str:
    """Returns the digest of a JSON value's canonical form, so key order and layout do not matter."""
    return digest_bytes(canonical_json(value))


def digest_file(path: Path) -> str:
    """Returns the digest of a file's bytes, read in pieces."""
    state = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            state.update(chunk)
    return f"sha256:{state.hexdigest()}"


def digest_tree(root: Path, *, exclude: Iterable[str] = ()) -> str:
    """Returns the digest of a folder: the names and bytes of all files below it.

    Guarantees: adding, removing, renaming or changing any file changes the digest; times, owners and the order of
    the directory listing do not. Empty folders do not count.

    Args:
        root: The folder.
        exclude: Folders or files below ``root`` (POSIX form) to leave out.

    Raises:
        DigestMismatchError: If there is no such folder (it has no digest, not that of an empty one), or if the tree
            holds a symbolic link, whose target could change unseen.
    """
    if not root.is_dir():
        raise DigestMismatchError(
            root.name, seen="no such folder", allowed="the folder that was recorded", remedy="run the pipeline again"
        )
    left_out = tuple(exclude)
    lines = []
    for path in sorted(root.rglob("*"), key=lambda entry: entry.relative_to(root).as_posix()):
        name = path.relative_to(root).as_posix()
        if any(name == prefix or name.startswith(f"{prefix}/") for prefix in left_out):
            continue
        if path.is_symlink():
            raise DigestMismatchError(
                name,
                seen="a symbolic link",
                allowed="plain files, whose bytes the digest covers",
                remedy="copy the file in place of the link",
            )
        if path.is_file():
            lines.append([name, digest_file(path)])
    return digest_json(lines)


def require_digest(name: str, *, found: str, recorded: str) -> None:
    """Raises unless what is there now is what was recorded.

    Raises:
        DigestMismatchError: If the digests differ.
    """
    if found != recorded:
        raise DigestMismatchError(
            name,
            seen=f"digest {found[:19]}…, recorded as {recorded[:19]}…",
            allowed="exactly the bytes that were recorded",
            remedy="run the pipeline again; what is here now was changed after it was written",
        )
