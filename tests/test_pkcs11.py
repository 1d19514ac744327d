"""Keys in a token: named by RFC 7512, signing as the same key in a file would, refused in words when they cannot."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from probity.errors import SignatureError
from probity.keys import create_key, load_key, trusted
from probity.pkcs11 import PIN_VARIABLE, parse_token_uri
from probity.signing import seal, unseal
from tests.tokens import LABEL, PIN, SoftToken, needs_token

WHOLE = "pkcs11:token=a%20b;object=m;id=%0A%ff?module-path=/usr/lib/x.so&pin-source=file:/run/pin"


# --- names -----------------------------------------------------------------------------------------------------------


def test_a_uri_is_read_as_the_standard_says():
    uri = parse_token_uri(WHOLE)
    assert (uri.token, uri.label, uri.id, uri.slot_id) == ("a b", "m", b"\n\xff", None)
    assert (uri.module_path, uri.pin_source, uri.text) == ("/usr/lib/x.so", "file:/run/pin", WHOLE)


@pytest.mark.parametrize(
    ("uri", "missing"),
    [
        ("keys/release.pem", "starts with pkcs11:"),
        ("pkcs11:", "names a token"),
        ("pkcs11:token=a?module-path=/x.so", "and an object"),
        ("pkcs11:object=m?module-path=/x.so", "names a token"),
        ("pkcs11:token=a;object=m", "module-path"),
        ("pkcs11:token=a;object=m?module-path=x.so", "absolute path"),
        ("pkcs11:token=a;token=b;object=m?module-path=/x.so", "once"),
        ("pkcs11:token=a;object?module-path=/x.so", "NAME=VALUE"),
        ("pkcs11:slot-id=-1;object=m?module-path=/x.so", "whole number"),
        ("pkcs11:token=a;object=m?module-path=/x.so&pin-source=pin", "absolute path"),
        ("pkcs11:token=a;object=m?module-path=/x.so&pin-source=https://a/pin", "absolute path"),
        ("pkcs11:token=a;object=m?module-path=/x.so&pin-value=1234", "leave pin-value out"),
    ],
)
def test_what_leaves_something_open_is_refused_and_a_pin_is_not_repeated(uri, missing):
    with pytest.raises(ValueError, match=missing) as caught:
        parse_token_uri(uri)
    assert "1234" not in str(caught.value)
    if uri.startswith("pkcs11:"):
        with pytest.raises(SignatureError, match=missing):
            load_key(uri)


def test_a_library_that_is_not_there_is_a_message():
    with pytest.raises(SignatureError, match="no file at module-path"):
        load_key("pkcs11:token=a;object=m?module-path=/nowhere/x.so")


# --- a token of software ---------------------------------------------------------------------------------------------


@pytest.fixture
def token(tmp_path, monkeypatch):
    monkeypatch.delenv(PIN_VARIABLE, raising=False)
    return SoftToken(tmp_path / "token", monkeypatch)


@pytest.fixture
def file(tmp_path):
    """A key file, whose key goes into the token too: what it verifies, the token signed with that key."""
    create_key(tmp_path / "key.pem")
    return tmp_path / "key.pem"


@needs_token
def test_a_key_in_a_token_signs_what_the_same_key_in_a_file_verifies(token, file):
    in_file, in_token = load_key(file), load_key(token.take(file, name="model"))
    assert in_token.public == in_file.public
    for number in range(40):  # half of all signatures come with the larger s, which is not taken
        line = seal({"number": number}, in_token)
        assert unseal(line, trusted(in_file.public), name="a line").payload == {"number": number}


@needs_token
def test_a_key_is_found_by_its_id_and_its_slot(token, file):
    uri = token.take(file, name="model").replace("object=model", "id=%0A")
    assert load_key(uri).keyid == load_key(file).keyid
    with pytest.raises(SignatureError, match="no such token"):
        load_key(uri.replace("token=", "slot-id=4294967295;token="))


@needs_token
def test_the_pin_comes_from_a_file_the_environment_or_a_person(token, file, monkeypatch):
    from_file, uri = token.take(file, name="model"), token.uri("model")
    assert load_key(from_file).sign(b"a")
    assert load_key(uri, pin=PIN).sign(b"a")
    with pytest.raises(SignatureError, match=PIN_VARIABLE):
        load_key(uri).sign(b"a")
    monkeypatch.setenv(PIN_VARIABLE, PIN)
    assert load_key(uri).sign(b"a")
    (token.folder / "pin").unlink()
    with pytest.raises(SignatureError, match="pin-source: no readable file"):
        load_key(from_file).sign(b"a")


@needs_token
def test_a_wrong_pin_is_tried_once_and_never_said(token, file, monkeypatch):
    token.take(file, name="model")
    key = load_key(token.uri("model"), pin="no such pin")
    tries = []
    from PyKCS11 import Session

    login = Session.login
    monkeypatch.setattr(Session, "login", lambda self, *words: tries.append(1) or login(self, *words))
    with pytest.raises(SignatureError, match="CKR_PIN_INCORRECT") as caught:
        key.sign(b"a")
    assert len(tries) == 1
    assert "no such pin" not in str(caught.value) + repr(key) + repr(caught.value.__cause__)
    assert load_key(token.uri("model"), pin=PIN).sign(b"a")  # one failure leaves nothing behind


@needs_token
def test_a_token_or_a_key_that_is_not_there_is_one_message(token, file):
    uri = token.take(file, name="model")
    with pytest.raises(SignatureError, match="no such token"):
        load_key(uri.replace("lease", "other"))
    with pytest.raises(SignatureError, match="no public EC keys of that name"):
        load_key(uri.replace("object=model", "object=other"))


@needs_token
def test_a_name_that_two_keys_have_is_refused(token, file):
    token.take(file, name="model", number="0A")
    uri = token.take(file, name="model", number="0B")
    with pytest.raises(SignatureError, match="2 public EC keys"):
        load_key(uri)


@needs_token
def test_a_key_on_another_curve_is_refused(token, tmp_path):
    private = ec.generate_private_key(ec.SECP384R1())
    (tmp_path / "384.pem").write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(SignatureError, match="not on the curve P-256"):
        load_key(token.take(tmp_path / "384.pem", name="other"))


@needs_token
def test_the_uri_with_its_pin_is_made_for_one_call_and_stands_nowhere_else(token, file):
    key = load_key(token.take(file, name="model"))
    assert "pin-source" not in key.uri.with_pin()
    assert "pin-value=81%2072%2F6%25%3F%26x" in key.uri.with_pin()
    assert PIN not in repr(key)
    assert LABEL not in key.uri.text  # escaped, as it was given
