"""Append-only files of sealed lines, each tied to the one before it: claims about a model, and a model's history.

Every line is an in-toto statement (in-toto/attestation, Statement v1) about one model. Its predicate carries the
line's number and the digest of the line before, so a line that was changed, dropped, added or moved is noticed
wherever it stands - but for the last ones: a file that was cut at a line's end is a shorter, valid file. Whoever keeps
such a file says what its last line must be.

A line counts once its line end is on disk. What a killed process left behind it is not part of the file, and the
next one who appends removes it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from probity.digest import digest_bytes
from probity.errors import ReleaseError, SignatureError
from probity.keys import Signer, TrustedKeys
from probity.signing import Sealed, seal, unseal

__all__ = ["GENESIS", "Line", "SignedLog", "next_line", "read_lines"]

GENESIS = "sha256:" + "0" * 64
"""What stands before the first line."""

_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "urn:probity:v1:"
_PATIENCE_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class Line:
    """One statement of a signed log."""

    number: int
    previous: str
    """Digest of the line before."""
    kind: str
    """What is stated, for example ``audit`` or ``promoted``."""
    subject: str
    """Digest of the model that it is about."""
    name: str
    """Name of the model."""
    facts: dict[str, Any]
    """The statement itself."""
    keyid: str
    """The key that signed it."""
    digest: str
    """Digest of the line's bytes; the next line repeats it."""


def next_line(
    kind: str, facts: Mapping[str, Any], *, subject: str, name: str, after: Line | None, signer: Signer
) -> tuple[bytes, Line]:
    """Returns the line that comes after another one, with its end, and what reading it gives.

    Args:
        kind: What is stated.
        facts: The statement, a JSON object.
        subject: Digest of the model's SavedModel.
        name: Name of the model.
        after: The last line; ``None`` for the first.
        signer: Who says so.
    """
    number, previous = (1, GENESIS) if after is None else (after.number + 1, after.digest)
    statement = {
        "_type": _STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": subject.removeprefix("sha256:")}}],
        "predicateType": f"{_PREDICATE}{kind}",
        "predicate": {"number": number, "previous": previous, "facts": dict(facts)},
    }
    line = seal(statement, signer)
    return line + b"\n", _parsed(Sealed(payload=statement, keyid=signer.keyid), digest_bytes(line))


def read_lines(content: bytes, keys: TrustedKeys, *, name: str) -> tuple[tuple[Line, ...], tuple[str, ...]]:
    """Reads a file of sealed lines.

    Guarantees: the lines that are returned are unchanged, in their places, and signed by trusted keys; what stopped the
    reading is named, and nothing behind it is returned.

    Args:
        content: The file. What stands behind its last line end is not part of it.
        keys: Who is believed.
        name: The file's name, for the problems.
    """
    lines: list[Line] = []
    for number, raw in enumerate(content.split(b"\n")[:-1], 1):
        where = f"{name}, line {number}"
        try:
            line = _parsed(unseal(raw, keys, name=where), digest_bytes(raw))
        except SignatureError as error:
            return tuple(lines), (f"{where}: {error.seen}",)
        except (ValueError, TypeError, LookupError, AttributeError):
            return tuple(lines), (f"{where}: no statement of this version",)
        if (line.number, line.previous) != (number, lines[-1].digest if lines else GENESIS):
            return tuple(lines), (f"{where}: not the line that was written here; one was dropped, added or moved",)
        lines.append(line)
    return tuple(lines), ()


def _parsed(sealed: Sealed, digest: str) -> Line:
    statement = sealed.payload
    (subject,) = statement["subject"]
    predicate, predicate_type = statement["predicate"], statement["predicateType"]
    if statement["_type"] != _STATEMENT or not predicate_type.startswith(_PREDICATE):
        raise ValueError("another kind of statement")
    return Line(
        number=predicate["number"],
        previous=predicate["previous"],
        kind=predicate_type.removeprefix(_PREDICATE),
        subject=f"sha256:{subject['digest']['sha256']}",
        name=subject["name"],
        facts=predicate["facts"],
        keyid=sealed.keyid,
        digest=digest,
    )


class SignedLog:
    """A signed log on disk, which several processes may append to.

    Args:
        path: The file; it need not be there.
        shown: How messages call it.
    """

    def __init__(self, path: Path, *, shown: str | None = None) -> None:
        self.path = path
        self._shown = shown or path.name

    def read(self, keys: TrustedKeys) -> tuple[Line, ...]:
        """Returns all lines, oldest first.

        Raises:
            SignatureError: If a line was changed, dropped, added or moved, or its key is not trusted.
        """
        lines, problems = self.look(keys)
        if problems:
            raise SignatureError(
                self._shown,
                seen=problems[0],
                allowed="lines as they were signed, in their order, by keys that are trusted here",
                remedy="restore the file from a copy, or give the public key of whoever signed the line",
            )
        return lines

    def look(self, keys: TrustedKeys) -> tuple[tuple[Line, ...], tuple[str, ...]]:
        """Returns the lines up to the first problem, and that problem, as :func:`read_lines` does."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return (), ()
        return read_lines(content, keys, name=self._shown)

    def append(
        self,
        kind: str,
        facts: Mapping[str, Any] | Callable[[tuple[Line, ...]], Mapping[str, Any] | None],
        *,
        subject: str,
        name: str,
        keys: TrustedKeys,
        signer: Signer,
    ) -> Line | None:
        """Adds a line, on disk when this returns.

        Args:
            kind: What is stated.
            facts: The statement; or what makes it from the lines before, ``None`` to add nothing.
            subject: Digest of the model's SavedModel.
            name: Name of the model.
            keys: Whose lines may stand before it; the signer's own key need not be among them.
            signer: Who says so.

        Raises:
            SignatureError: If what is there already does not verify: nothing is added to a log that was changed.
            ReleaseError: If the file cannot be written, or is held by others for too long.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.with_name(f".{self.path.name}.lock"), timeout=_PATIENCE_SECONDS):
                lines = self.read(keys)
                stated = facts(lines) if callable(facts) else facts
                if stated is None:
                    return None
                raw, line = next_line(
                    kind, stated, subject=subject, name=name, after=lines[-1] if lines else None, signer=signer
                )
                self._write(raw)
                return line
        except (OSError, Timeout) as error:
            raise ReleaseError(
                self._shown,
                seen=f"it cannot be written ({type(error).__name__})",
                allowed="a writable file that nobody holds for minutes",
                remedy="check the folder's permissions and space, and try again",
            ) from error

    def _write(self, raw: bytes) -> None:
        with open(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)  # half a line of a process that was killed
            file.seek(0, os.SEEK_END)
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
