"""The signature of the SavedModel itself, in the format of OpenSSF model-signing (``model.sig``).

It covers the SavedModel's files and nothing else, so whoever has the version's folder and the public key can check it
with that project's own command:

    model_signing verify key VERSION --signature VERSION/assets.extra/probity/model.sig --public_key release.pub

(The signature itself says that ``assets.extra/probity`` is no part of the model.)
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from probity.errors import SignatureError
from probity.keys import PublicKey, TokenKey
from probity.pkcs11 import token_answer
from probity.platform.release.keys import ReleaseKeys
from probity.release_policy import SigningConfig

__all__ = ["MODEL_SIGNATURE", "model_signature_problem", "sign_model"]

MODEL_SIGNATURE = "model.sig"


def sign_model(model: Path, signature: Path, *, keys: ReleaseKeys, ignoring: Path) -> None:
    """Signs a SavedModel.

    Args:
        model: The SavedModel.
        signature: Where the signature goes.
        keys: Whose key, or which service.
        ignoring: What below ``model`` is not the SavedModel.

    Raises:
        SignatureError: If the service or the token does not sign.
    """
    with _quiet():
        from model_signing import hashing, signing

        # A fixed list of what is left out, written into the signature: nothing is ignored because of its name alone.
        config = signing.Config().set_hashing_config(
            hashing.Config().set_ignored_paths(paths=[ignoring.relative_to(model)], ignore_git_paths=False)
        )
        how = keys.signing.model_signer
        try:
            if how == "sigstore":
                # In a pipeline the identity comes from its surroundings; at a desk a browser asks for it.
                config.use_sigstore_signer(use_ambient_credentials="CI" in os.environ)
            elif isinstance(keys.signer, TokenKey):
                config.use_pkcs11_signer(pkcs11_uri=keys.signer.uri.with_pin())
            else:
                config.use_elliptic_key_signer(private_key=keys.root / keys.signing.key)
            config.sign(model, signature)
        except Exception as error:  # every back end has errors of its own
            raise SignatureError(
                f"signing.model_signer {how}",
                seen=f"the SavedModel was not signed ({token_answer(error) or type(error).__name__})",
                allowed="a key, a token or a service that signs",
                remedy="check signing in the config, that the token is plugged in, or that Sigstore can be reached",
            ) from error


def model_signature_problem(
    model: Path, signature: Path, *, keys: tuple[PublicKey, ...], signing: SigningConfig | None = None
) -> str | None:
    """Returns what is wrong with the signature of a SavedModel, or ``None``.

    Args:
        model: The SavedModel's folder.
        signature: Its signature.
        keys: One of these must have signed.
        signing: For Sigstore: whose identity must have signed. Absent: a key.
    """
    if not signature.is_file():
        return "absent"
    if _is_of_sigstore(signature) and (signing is None or signing.model_signer != "sigstore"):
        return "signed by Sigstore, which public keys cannot verify; only the project whose config names the signer can"
    with _quiet():
        from model_signing import verifying

        configs: list[Any] = []
        if signing is not None and signing.model_signer == "sigstore":
            configs.append(
                verifying.Config().use_sigstore_verifier(
                    identity=str(signing.sigstore_identity), oidc_issuer=str(signing.sigstore_issuer)
                )
            )
        with tempfile.TemporaryDirectory() as folder:
            for number, key in enumerate(key for key in keys if key.kind == "p256"):
                path = Path(folder) / f"{number}.pub"
                path.write_text(key.pem, encoding="utf-8")
                configs.append(verifying.Config().use_elliptic_key_verifier(public_key=path))
            return None if any(_verifies(config, model, signature) for config in configs) else "it does not verify"


def _is_of_sigstore(signature: Path) -> bool:
    """Whether a bundle carries a certificate of Sigstore's in the place of a public key."""
    try:
        material = json.loads(signature.read_bytes())["verificationMaterial"]
        return "certificate" in material or "x509CertificateChain" in material
    except (ValueError, LookupError, TypeError):
        return False


def _verifies(config: Any, model: Path, signature: Path) -> bool:
    try:
        config.verify(model, signature)
    except Exception:  # a malformed signature fails in many ways; none of them is a signature that verifies
        return False
    return True


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the notes of the libraries that model-signing imports off the terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
