"""Sealed lines: one value, one signature, one byte form - and an independent implementation that agrees."""

from __future__ import annotations

import base64
import json
import warnings

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric import ec, utils
from hypothesis import given, settings
from hypothesis import strategies as st

from probity.errors import SignatureError
from probity.keys import create_key, load_key, trusted
from probity.signing import PAYLOAD_TYPE, seal, unseal

VALUE = {"b": [1, None, "ü"], "a": {"x": 0.5}}


@pytest.fixture(scope="module", params=["p256", "ed25519"])
def key(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "key.pem"
    create_key(path, kind=request.param)
    return load_key(path)


def test_what_was_sealed_is_read_back(key):
    line = seal(VALUE, key)
    sealed = unseal(line, trusted(key.public), name="a line")
    assert (sealed.payload, sealed.keyid) == (VALUE, key.keyid)
    assert b"\n" not in line


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 2**53])
def test_what_has_no_canonical_form_is_not_signed(key, number):
    with pytest.raises(SignatureError, match="RFC 8785"):
        seal({"a": number}, key)


def test_a_key_that_is_not_trusted_says_nothing(key, tmp_path):
    other = create_key(tmp_path / "key.pem")
    with pytest.raises(SignatureError, match="not trusted"):
        unseal(seal(VALUE, key), trusted(other), name="a line")


def test_every_changed_byte_is_noticed(key):
    line, keys = seal(VALUE, key), trusted(key.public)
    for place in range(len(line)):
        for bit in (0x01, 0x20):
            changed = bytearray(line)
            changed[place] ^= bit
            with pytest.raises(SignatureError):
                unseal(bytes(changed), keys, name="a line")


def test_the_twin_of_an_ecdsa_signature_is_no_second_line(tmp_path):
    create_key(tmp_path / "key.pem")
    key = load_key(tmp_path / "key.pem")
    envelope = json.loads(seal(VALUE, key))
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    r, s = utils.decode_dss_signature(base64.b64decode(envelope["signatures"][0]["sig"]))
    twin = utils.encode_dss_signature(r, order - s)
    body = base64.b64decode(envelope["payload"])
    private = key._private.public_key()
    pae = b"DSSEv1 %d %b %d %b" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(body), body)
    from cryptography.hazmat.primitives.hashes import SHA256

    private.verify(twin, pae, ec.ECDSA(SHA256()))  # the curve's mathematics take it
    envelope["signatures"][0]["sig"] = base64.b64encode(twin).decode()
    with pytest.raises(SignatureError, match="does not fit"):
        unseal(rfc8785.dumps(envelope), trusted(key.public), name="a line")


@pytest.mark.parametrize(
    "spell",
    [
        lambda text: text.replace('","', '", "'),
        lambda text: text + " ",
        lambda text: text.replace("=", "\\u003d"),
        lambda text: "{" + text[1:-1] + ',"extra":1}',
        lambda text: text[:-1] + ',"payload":"e30="}',
    ],
    ids=["spacing", "trailing", "escape", "extra field", "repeated field"],
)
def test_another_spelling_of_the_same_line_is_refused(key, spell):
    line = seal({"a": "xx"}, key)
    other = spell(line.decode()).encode()
    if other != line:
        with pytest.raises(SignatureError):
            unseal(other, trusted(key.public), name="a line")


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=100))
def test_whatever_is_given_is_refused_in_one_way(content):
    with pytest.raises(SignatureError):
        unseal(content, {}, name="a line")


def test_an_independent_implementation_of_the_envelope_agrees(key):
    """Secure-systems-lab's own library verifies our lines (imported here only: it brings cloud clients with it)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from securesystemslib.dsse import Envelope
        from securesystemslib.exceptions import VerificationError
        from securesystemslib.signer import SSlibKey

        envelope = json.loads(seal(VALUE, key))
        theirs = SSlibKey.from_crypto(key._private.public_key(), keyid=key.keyid)
        read = Envelope.from_dict(envelope)
        assert read.payload_type == PAYLOAD_TYPE
        assert json.loads(read.payload) == VALUE
        assert set(read.verify([theirs], 1)) == {key.keyid}
        read.payload += b" "
        with pytest.raises(VerificationError):
            read.verify([theirs], 1)
