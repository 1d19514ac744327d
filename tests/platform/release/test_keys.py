"""A project whose release key lies in a token: all that a version carries is signed there and verifies anywhere."""

from __future__ import annotations

import warnings

import pytest
from pydantic import ValidationError

from probity.errors import SignatureError
from probity.keys import create_key
from probity.platform.release.keys import keys_in, project_keys
from probity.platform.release.push import push
from probity.platform.release.verification import EXTRA, verify
from probity.release_policy import SigningConfig
from tests.platform.release.candidates import Candidate
from tests.tokens import SoftToken, needs_token

URI = "pkcs11:token=a;object=m?module-path=/nowhere.so"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"key": URI}, "public_key belongs to a key in a token"),
        ({"public_key": "keys/release.pub"}, "public_key belongs to a key in a token"),
        ({"key": f"{URI}&pin-value=1234", "public_key": "a.pub"}, "leave pin-value out"),
        ({"model_signer": "sigstore", "sigstore_identity": "a@b.org"}, "needs sigstore_identity and sigstore_issuer"),
    ],
)
def test_a_config_that_leaves_the_signer_open_is_refused(config, words):
    with pytest.raises(ValidationError, match=words):
        SigningConfig(**config)


@pytest.fixture
def in_token(tmp_path, monkeypatch):
    """The config of a project whose key lies in a token and nowhere else, and the folder of that config."""
    create_key(tmp_path / "made.pem")
    uri = SoftToken(tmp_path / "token", monkeypatch).take(tmp_path / "made.pem", name="model")
    (tmp_path / "made.pem").unlink()
    return SigningConfig(key=uri, public_key="made.pub"), tmp_path


@needs_token
def test_a_release_is_signed_in_the_token_and_verifies_with_the_public_key_alone(in_token):
    signing, root = in_token
    candidate, keys = Candidate(root / "run"), project_keys(signing, root=root)
    release = push(candidate.model, **candidate.push_arguments(base_path=root / "serving", keys=keys))
    path = root / "serving" / "m" / str(release.version)
    found = verify(path, trusted_keys=keys_in([root / "made.pub"]))
    assert (found.problems, len(found.claims), found.release) == ((), 6, release)
    assert not keys.created
    assert not (root / "keys").exists()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from click.testing import CliRunner
        from model_signing._cli import main

        command = ["verify", "key", str(path), "--signature", str(path / EXTRA / "model.sig")]
        command += ["--public_key", str(root / "made.pub")]
        assert CliRunner().invoke(main, command).exit_code == 0
    (path / "variables" / "variables.index").write_bytes(b"other")
    assert not verify(path, trusted_keys=keys_in([root / "made.pub"])).ok


@needs_token
def test_the_token_must_hold_the_key_that_others_verify_with(in_token):
    signing, root = in_token
    create_key(root / "other.pem")
    with pytest.raises(SignatureError, match="another key than the one in the token"):
        project_keys(signing.model_copy(update={"public_key": "other.pub"}), root=root)


@needs_token
def test_without_the_token_nothing_is_released_and_nothing_is_left(in_token):
    signing, root = in_token
    candidate, keys = Candidate(root / "run"), project_keys(signing, root=root)
    (root / "token" / "pin").write_text("wrong")
    with pytest.raises(SignatureError, match="CKR_PIN_INCORRECT"):
        push(candidate.model, **candidate.push_arguments(base_path=root / "serving", keys=keys))
    assert not list((root / "serving").glob("m/[0-9]*"))
