"""Keys in files: for their owner alone, never overwritten, and of two kinds."""

from __future__ import annotations

import os
import stat

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from probity.errors import SignatureError
from probity.keys import create_key, load_key, parse_public_key, read_public_key


def test_a_key_file_is_for_its_owner_alone_and_its_public_half_for_all(tmp_path):
    old = os.umask(0)
    try:
        public = create_key(tmp_path / "deep" / "key.pem")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "deep" / "key.pem").stat().st_mode) == 0o600
    assert read_public_key(tmp_path / "deep" / "key.pub") == public == load_key(tmp_path / "deep" / "key.pem").public
    assert b"PRIVATE" not in (tmp_path / "deep" / "key.pub").read_bytes()


def test_a_key_is_never_overwritten(tmp_path):
    create_key(tmp_path / "key.pem")
    before = (tmp_path / "key.pem").read_bytes()
    with pytest.raises(SignatureError, match="never overwritten"):
        create_key(tmp_path / "key.pem")
    assert (tmp_path / "key.pem").read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_key_that_others_may_read_is_refused(tmp_path, mode):
    create_key(tmp_path / "key.pem")
    (tmp_path / "key.pem").chmod(mode)
    with pytest.raises(SignatureError, match=f"mode {mode:04o}"):
        load_key(tmp_path / "key.pem")


def test_a_run_folder_holds_no_private_key(tmp_path):
    (tmp_path / "run" / ".run").mkdir(parents=True)
    with pytest.raises(SignatureError, match="inside a run's folder"):
        create_key(tmp_path / "run" / "keys" / "key.pem")
    create_key(tmp_path / "key.pem")
    (tmp_path / "key.pem").rename(tmp_path / "run" / "key.pem")
    with pytest.raises(SignatureError, match="inside a run's folder"):
        load_key(tmp_path / "run" / "key.pem")


@pytest.mark.parametrize(
    "content", [None, b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"]
)
def test_what_is_no_key_is_one_message(tmp_path, content):
    path = tmp_path / "key.pem"
    if content is not None:
        path.write_bytes(content)
        path.chmod(0o600)
    with pytest.raises(SignatureError, match="probity key create"):
        load_key(path)
    with pytest.raises(SignatureError, match=r"\.pub"):
        read_public_key(path)


def test_other_kinds_of_keys_are_refused(tmp_path):
    for number, private in enumerate((rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1()))):
        path = tmp_path / f"{number}.pem"
        path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        path.chmod(0o600)
        with pytest.raises(SignatureError):
            load_key(path)
        pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        with pytest.raises(ValueError, match="neither P-256 nor Ed25519"):
            parse_public_key(pem)
