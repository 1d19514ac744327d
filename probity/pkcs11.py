"""A P-256 key inside a token: a smart card, a YubiKey, a hardware security module, reached through PKCS #11.

The private half never leaves the token. A key is named by a URI (RFC 7512), for example

    pkcs11:token=release;object=model?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/run/secrets/pin

with the library of the token's maker as ``module-path`` and the file that holds the PIN as ``pin-source``. Without one,
the PIN is read from the environment variable ``PROBITY_TOKEN_PIN``. The package PyKCS11 is needed
(``probity[pkcs11]``).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit

from probity.errors import SignatureError

__all__ = [
    "PIN_VARIABLE",
    "TokenUri",
    "is_token_uri",
    "parse_token_uri",
    "public_point",
    "sign_digest",
    "token_answer",
    "uri_problem",
]

PIN_VARIABLE = "PROBITY_TOKEN_PIN"
"""Name of the environment variable that a PIN is read from where the URI names no file."""

_SCHEME = "pkcs11:"
_P256 = bytes.fromhex("06082a8648ce3d030107")  # the DER of its object identifier, which CKA_EC_PARAMS holds (RFC 5480)


@dataclass(frozen=True, kw_only=True)
class TokenUri:
    """Where a key is, and whence its PIN comes."""

    module_path: str
    token: str | None
    slot_id: int | None
    label: str | None
    id: bytes | None
    pin_source: str | None
    text: str
    """The URI as it was written; without a PIN, as a config may be shared."""
    typed_pin: str | None = field(default=None, repr=False)
    """What a person entered."""

    def pin(self) -> str | None:
        """Returns the PIN, or ``None`` for a token that asks for none.

        Raises:
            SignatureError: If the file that should hold it cannot be read.
        """
        if self.typed_pin is not None:
            return self.typed_pin
        if self.pin_source is None:
            return os.environ.get(PIN_VARIABLE)
        try:
            return Path(urlsplit(self.pin_source).path).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, ValueError) as error:
            raise SignatureError(
                "pin-source",
                seen="no readable file",
                allowed="the absolute path of a file that holds the PIN",
                remedy=f"mend the URI, or leave pin-source out and set {PIN_VARIABLE}",
            ) from error

    def with_pin(self) -> str:
        """Returns the URI with the PIN inside, for a library that takes it no other way. Not to be shown or stored."""
        pin = self.pin()
        path, _, query = self.text.partition("?")
        kept = [part for part in query.split("&") if not part.startswith("pin-source=")]
        if pin is not None:
            kept.append(f"pin-value={quote(pin, safe='')}")
        return f"{path}?{'&'.join(kept)}"


def is_token_uri(text: str) -> bool:
    """Whether a key's name is a URI of a token, not the path of a file."""
    return text.startswith(_SCHEME)


def parse_token_uri(text: str) -> TokenUri:
    """Reads a URI (RFC 7512, section 2.3).

    Raises:
        ValueError: If it is none, leaves open which key is meant or which library reaches it, or holds the PIN itself.
    """
    if not is_token_uri(text):
        raise ValueError(f"a key in a token is named by a URI that starts with {_SCHEME}")
    path, _, query = text.removeprefix(_SCHEME).partition("?")
    parts = [part.partition("=") for part in [*filter(None, path.split(";")), *filter(None, query.split("&"))]]
    given = {name: value for name, _, value in parts}
    if len(given) < len(parts) or not all(sign for _, sign, _ in parts):
        raise ValueError("each attribute of a pkcs11 URI is NAME=VALUE, and stands there once")
    if "pin-value" in given:
        raise ValueError(
            f"a key's URI is recorded and shared: leave pin-value out, use pin-source or the variable {PIN_VARIABLE}"
        )
    if not {"object", "id"} & set(given) or not {"token", "slot-id"} & set(given):
        raise ValueError("a pkcs11 URI names a token (or slot-id) and an object (or id)")
    module, source, slot = unquote(given.get("module-path", "")), given.get("pin-source"), given.get("slot-id")
    if not Path(module).is_absolute():
        raise ValueError("a pkcs11 URI names the library of the token's maker by its absolute path, as module-path")
    if source is not None and not (
        urlsplit(unquote(source)).scheme in {"", "file"} and Path(urlsplit(unquote(source)).path).is_absolute()
    ):
        raise ValueError("pin-source is the absolute path of a file")
    if slot is not None and not slot.isdecimal():
        raise ValueError("slot-id is a whole number")
    return TokenUri(
        module_path=module,
        token=unquote(given["token"]) if "token" in given else None,
        slot_id=None if slot is None else int(slot),
        label=unquote(given["object"]) if "object" in given else None,
        id=unquote_to_bytes(given["id"]) if "id" in given else None,
        pin_source=None if source is None else unquote(source),
        text=text,
    )


def uri_problem(text: str) -> str | None:
    """Returns why a text is no URI of a key in a token, or ``None``."""
    try:
        parse_token_uri(text)
    except ValueError as error:
        return str(error)
    return None


def token_answer(error: Exception) -> str | None:
    """Returns the name of a token's refusal, such as ``CKR_PIN_INCORRECT``, or ``None`` for another error."""
    if type(error).__name__ != "PyKCS11Error":
        return None
    import PyKCS11

    return str(PyKCS11.CKR.get(getattr(error, "value", None), "that it cannot be loaded"))


def public_point(uri: TokenUri) -> bytes:
    """Returns the public half as an uncompressed point (SEC 1, section 2.3.3); no PIN is needed.

    Raises:
        SignatureError: If the token is not there, or has no such key on P-256.
    """
    with _session(uri) as (library, session):
        key = _object(library, session, uri, kind=library.CKO_PUBLIC_KEY)
        curve, point = session.getAttributeValue(key, [library.CKA_EC_PARAMS, library.CKA_EC_POINT])
        if bytes(curve or ()) != _P256:
            _refuse(
                uri, "a key that is not on the curve P-256", remedy="make one in the token, for example by pkcs11-tool"
            )
        return bytes(point)[2:]  # the point lies in a DER octet string: one byte of tag, one of length (65)


def sign_digest(uri: TokenUri, digest: bytes) -> tuple[int, int]:
    """Returns ECDSA's (r, s) over a SHA-256 digest, made in the token.

    The session ends with the signature: another library of the same process can then log in. A wrong PIN is tried once,
    since a token locks itself after a few.

    Raises:
        SignatureError: If the token is not there, refuses the PIN, or does not sign.
    """
    with _session(uri) as (library, session):
        pin = uri.pin()
        if pin is not None:
            session.login(pin)
        try:
            key = _object(library, session, uri, kind=library.CKO_PRIVATE_KEY)
            raw = bytes(session.sign(key, digest, library.Mechanism(library.CKM_ECDSA, None)))
        finally:
            if pin is not None:
                session.logout()
    half = len(raw) // 2
    return int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big")


@contextlib.contextmanager
def _session(uri: TokenUri) -> Iterator[tuple[Any, Any]]:
    try:
        import PyKCS11
    except ImportError as error:
        raise SignatureError(
            "a key in a token",
            seen="PyKCS11 is not installed",
            allowed="the package that speaks PKCS #11",
            remedy="pip install 'probity[pkcs11]'",
        ) from error
    if not Path(uri.module_path).is_file():  # the loader would print its own words to the terminal
        _refuse(uri, "no file at module-path", remedy="name the library of the token's maker, for example OpenSC's")
    try:
        with contextlib.ExitStack() as opened:
            token = PyKCS11.PyKCS11Lib().load(uri.module_path)
            opened.callback(token.unload)  # not when it is collected: a traceback can keep it, and with it the login
            session = token.openSession(_slot(token, uri))
            opened.callback(session.closeSession)
            yield PyKCS11, session
    except PyKCS11.PyKCS11Error as error:
        _refuse(uri, f"the token answers {token_answer(error)}", cause=error)


def _slot(token: Any, uri: TokenUri) -> int:
    for slot in token.getSlotList(tokenPresent=True):
        label = str(token.getTokenInfo(slot).label).rstrip(" \0")
        if uri.slot_id in (None, slot) and uri.token in (None, label):
            return int(slot)
    _refuse(uri, "no such token", remedy="plug it in, and look at what is there: pkcs11-tool --module LIBRARY -L")


def _object(library: Any, session: Any, uri: TokenUri, *, kind: int) -> Any:
    wanted = [(library.CKA_CLASS, kind), (library.CKA_KEY_TYPE, library.CKK_EC)]
    if uri.label is not None:
        wanted.append((library.CKA_LABEL, uri.label))
    if uri.id is not None:
        wanted.append((library.CKA_ID, tuple(uri.id)))
    found = session.findObjects(wanted)
    if len(found) != 1:
        half = "public" if kind == library.CKO_PUBLIC_KEY else "private"
        hint = f"; a private key is seen after its PIN only (pin-source or {PIN_VARIABLE})" if half == "private" else ""
        _refuse(
            uri, f"{len(found) or 'no'} {half} EC keys of that name in the token", remedy=f"mend object and id{hint}"
        )
    return found[0]


def _refuse(
    uri: TokenUri,
    seen: str,
    *,
    remedy: str = f"check the URI, the token and the PIN (pin-source or {PIN_VARIABLE})",
    cause: Exception | None = None,
) -> NoReturn:
    raise SignatureError(
        f"key {uri.text.partition('?')[0]}",
        seen=seen,
        allowed="a P-256 key in a token that can be reached",
        remedy=remedy,
    ) from cause
