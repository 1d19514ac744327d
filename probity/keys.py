"""Keys that sign, and keys that verify.

A private key is a file, ECDSA on NIST P-256 (which OpenSSF model-signing can use too) or Ed25519, or lies in a token
(:mod:`probity.pkcs11`), on P-256. A key is known by the SHA-256 of its public half (SubjectPublicKeyInfo, DER).
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from probity.digest import digest_bytes
from probity.errors import SignatureError
from probity.pkcs11 import TokenUri, is_token_uri, parse_token_uri, public_point, sign_digest, uri_problem

__all__ = [
    "FileKey",
    "KeyKind",
    "PublicKey",
    "Signer",
    "SigningKey",
    "TokenKey",
    "TrustedKeys",
    "create_key",
    "load_key",
    "parse_public_key",
    "read_public_key",
    "trusted",
    "write_public_key",
]

KeyKind = Literal["p256", "ed25519"]

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class Signer(Protocol):
    """Who can sign."""

    @property
    def keyid(self) -> str:
        """Id of the public key that verifies."""

    def sign(self, data: bytes) -> bytes:
        """Returns the signature of these bytes."""


class SigningKey(Signer, Protocol):
    """A private key, wherever it lies."""

    @property
    def public(self) -> PublicKey:
        """The half that verifies."""


@dataclass(frozen=True)
class PublicKey:
    """What verifies signatures of one key; ``pem`` is its SubjectPublicKeyInfo."""

    pem: str
    keyid: str
    kind: KeyKind

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Whether this is the one signature form of the key over these bytes.

        ECDSA has a twin for each signature, (r, n - s); only the one with the smaller s is taken.
        """
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        key = load_pem_public_key(self.pem.encode())
        try:
            if isinstance(key, ed25519.Ed25519PublicKey):
                key.verify(signature, data)
            elif isinstance(key, ec.EllipticCurvePublicKey):
                if utils.decode_dss_signature(signature)[1] > _P256_ORDER // 2:
                    return False
                key.verify(signature, data, ec.ECDSA(SHA256()))
            else:
                return False
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True)
class FileKey:
    """A private key read from a file."""

    path: Path
    public: PublicKey
    _private: Any

    @property
    def keyid(self) -> str:
        """Id of the public key that verifies."""
        return self.public.keyid

    def sign(self, data: bytes) -> bytes:
        """Returns the signature of these bytes."""
        if self.public.kind == "ed25519":
            return bytes(self._private.sign(data))
        from cryptography.hazmat.primitives.asymmetric import ec, utils
        from cryptography.hazmat.primitives.hashes import SHA256

        return _one_form(*utils.decode_dss_signature(self._private.sign(data, ec.ECDSA(SHA256()))))


@dataclass(frozen=True)
class TokenKey:
    """A private key that stays in a token."""

    uri: TokenUri
    public: PublicKey

    @property
    def keyid(self) -> str:
        """Id of the public key that verifies."""
        return self.public.keyid

    def sign(self, data: bytes) -> bytes:
        """Returns the signature of these bytes.

        Raises:
            SignatureError: If the token is not there, refuses the PIN, or does not sign.
        """
        return _one_form(*sign_digest(self.uri, hashlib.sha256(data).digest()))


TrustedKeys = Mapping[str, PublicKey]
"""Public keys by their ids."""


def create_key(path: Path, *, kind: KeyKind = "p256") -> PublicKey:
    """Creates a key pair: the private key at ``path`` (mode 0600), the public one beside it with the suffix ``.pub``.

    Raises:
        SignatureError: If a file is there already, the folder cannot be written, or it is a run's folder.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    _refuse_run_folder(path)
    private: Any = (
        ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else ec.generate_private_key(ec.SECP256R1())
    )
    content = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = _public_of(private.public_key())
    _write_new(path, content, mode=0o600)
    write_public_key(public, path.with_suffix(".pub"))
    return public


def write_public_key(key: PublicKey, path: Path) -> None:
    """Writes a public key as PEM.

    Raises:
        SignatureError: If a file is there already, or the folder cannot be written.
    """
    _write_new(path, key.pem.encode(), mode=0o644)


def load_key(where: Path | str, *, pin: str | None = None) -> SigningKey:
    """Returns a private key: a file's, or one in a token.

    Args:
        where: The file, or a ``pkcs11:`` URI.
        pin: The token's PIN where a person entered it; else it comes from where :mod:`probity.pkcs11` says.

    Raises:
        SignatureError: If a file is absent, not a P-256 or Ed25519 key in PEM, readable by others, or in a run's
            folder; if a URI is none, or its token or key is not there.
    """
    return _token_key(where, pin) if isinstance(where, str) and is_token_uri(where) else _file_key(Path(where))


def _token_key(text: str, pin: str | None) -> TokenKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    problem = uri_problem(text)
    if problem is not None:
        raise SignatureError(
            "a key's URI",
            seen=problem,
            allowed="pkcs11:token=NAME;object=NAME?module-path=LIBRARY&pin-source=FILE",
            remedy="mend the URI",
        )
    uri = dataclasses.replace(parse_token_uri(text), typed_pin=pin)
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public_point(uri))
    return TokenKey(uri, _public_of(point))


def _file_key(path: Path) -> FileKey:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    _refuse_run_folder(path)
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        private: Any = load_pem_private_key(path.read_bytes(), None)
        public = _public_of(private.public_key())
    except (OSError, ValueError, TypeError) as error:
        absent = isinstance(error, FileNotFoundError)
        raise SignatureError(
            path.name,
            seen="no such key" if absent else "no readable private key",
            allowed="an unencrypted P-256 or Ed25519 key in PEM",
            remedy="create one with: probity key create FILE",
        ) from error
    if mode & 0o077:
        raise SignatureError(
            path.name,
            seen=f"others may read it (mode {mode:04o})",
            allowed="mode 0600",
            remedy=f"chmod 600 {path.name}, and ask whether somebody copied it already",
        )
    return FileKey(path, public, private)


def read_public_key(path: Path) -> PublicKey:
    """Reads a public key from a PEM file.

    Raises:
        SignatureError: If it is absent or not a P-256 or Ed25519 public key.
    """
    try:
        return parse_public_key(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SignatureError(
            path.name,
            seen="no such file" if isinstance(error, FileNotFoundError) else "no readable public key",
            allowed="a P-256 or Ed25519 public key in PEM",
            remedy="name the .pub file that lies beside the private key",
        ) from error


def parse_public_key(pem: str) -> PublicKey:
    """Reads a public key from its PEM text.

    Raises:
        ValueError: If it is none, or of another kind than P-256 and Ed25519.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        return _public_of(load_pem_public_key(pem.encode()))
    except UnsupportedAlgorithm as error:
        raise ValueError("unsupported kind of key") from error


def trusted(*keys: PublicKey) -> dict[str, PublicKey]:
    """Returns keys by their ids."""
    return {key.keyid: key for key in keys}


def _public_of(key: Any) -> PublicKey:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    kind: KeyKind
    if isinstance(key, ed25519.Ed25519PublicKey):
        kind = "ed25519"
    elif isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        kind = "p256"
    else:
        raise ValueError("neither P-256 nor Ed25519")
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return PublicKey(
        pem=key.public_bytes(serialization.Encoding.PEM, form).decode(),
        keyid=digest_bytes(key.public_bytes(serialization.Encoding.DER, form)),
        kind=kind,
    )


def _one_form(r: int, s: int) -> bytes:
    """Returns the one of ECDSA's two signature forms that is taken."""
    from cryptography.hazmat.primitives.asymmetric import utils

    return utils.encode_dss_signature(r, min(s, _P256_ORDER - s))


def _refuse_run_folder(path: Path) -> None:
    """A run's folder is copied, tracked and shown; a private key has no place in it."""
    if any((folder / ".run").is_dir() for folder in path.absolute().parents):
        raise SignatureError(
            path.name,
            seen="a place inside a run's folder",
            allowed="a folder of its own, such as keys/ beside the config",
            remedy="choose another place; if a key lay there, replace it",
        )


def _write_new(path: Path, content: bytes, *, mode: int) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)  # whatever the umask says
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise SignatureError(
            path.name,
            seen=f"a key cannot be written there ({error.strerror})",
            allowed="a path in a writable folder where no file is yet",
            remedy="choose another path; a key is never overwritten",
        ) from error
