"""Sealed lines: one JSON value, one signature, one byte form.

A sealed line is a DSSE envelope (secure-systems-lab/dsse, protocol v1) whose payload is canonical JSON (RFC 8785), and
is canonical JSON itself. So one signed value has exactly one line: another spacing, another base64 or another
spelling of the same signature is refused, and every byte of a line can be tied to the next one by a digest.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import rfc8785

from probity.errors import SignatureError
from probity.keys import Signer, TrustedKeys

__all__ = ["PAYLOAD_TYPE", "Sealed", "seal", "unseal"]

PAYLOAD_TYPE = "application/vnd.in-toto+json"
"""What every payload is: an in-toto statement."""


@dataclass(frozen=True)
class Sealed:
    """What a sealed line says, and whose key says it."""

    payload: dict[str, Any]
    keyid: str


def seal(payload: Mapping[str, Any], signer: Signer) -> bytes:
    """Returns the sealed line of a JSON value, without a line end.

    Raises:
        SignatureError: If the value has no canonical form (a number beyond 2**53, NaN, an infinity).
    """
    try:
        body = rfc8785.dumps(dict(payload))
    except rfc8785.CanonicalizationError as error:
        raise SignatureError(
            "statement",
            seen="a number or a text without a canonical form",
            allowed="JSON values that RFC 8785 covers",
            remedy="write infinities as text, and keep whole numbers below 2**53",
        ) from error
    return _envelope(body, signature=signer.sign(_pae(body)), keyid=signer.keyid)


def unseal(line: bytes, keys: TrustedKeys, *, name: str) -> Sealed:
    """Returns what a sealed line says, if a trusted key says so.

    Args:
        line: The line, without its end.
        keys: Who is believed.
        name: What the line is, for the message.

    Raises:
        SignatureError: If it is no sealed line in its one form, its key is not trusted, or the signature is wrong.
    """
    try:
        value = json.loads(line)
        (signature,) = value["signatures"]
        body = base64.b64decode(value["payload"], validate=True)
        raw = base64.b64decode(signature["sig"], validate=True)
        payload = json.loads(body)
        canonical = _envelope(body, signature=raw, keyid=signature["keyid"])
        intact = canonical == line and isinstance(payload, dict) and rfc8785.dumps(payload) == body
    except (ValueError, TypeError, LookupError, RecursionError, rfc8785.CanonicalizationError) as error:
        raise _refused(name, "no envelope in canonical form") from error
    if not intact:
        raise _refused(name, "an envelope that is not in canonical form")
    key = keys.get(signature["keyid"])
    if key is None:
        raise _refused(name, f"signed by key {signature['keyid'][:19]}…, which is not trusted")
    if not key.verifies(raw, _pae(body)):
        raise _refused(name, "a signature that does not fit")
    return Sealed(payload=payload, keyid=key.keyid)


def _refused(name: str, seen: str) -> SignatureError:
    return SignatureError(
        name,
        seen=seen,
        allowed="a line as it was signed, by a key that is trusted here",
        remedy="restore it from a copy, or give the public key of whoever signed it",
    )


def _pae(body: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is signed (protocol.md, v1)."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)


def _envelope(body: bytes, *, signature: bytes, keyid: str) -> bytes:
    return rfc8785.dumps(
        {
            "payload": base64.b64encode(body).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"keyid": keyid, "sig": base64.b64encode(signature).decode()}],
        }
    )
