"""What the owner asks of a release beside the gate's rules: whose signatures, whose approval."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from probity.record import Record
from probity.signing import PublicKey, read_public_key, trusted

__all__ = ["Approval", "SigningConfig", "trusted_in_project"]


class Approval(Record):
    """Whether people must sign before a release, and how many."""

    required: Literal["always", "on_insufficient_evidence", "never"] = "never"
    """When people must sign: for every release, or when the data cannot tell whether a rule is kept (their approval
    then stands in for that evidence; it never lifts a rule that is broken)."""
    quorum: int = Field(default=1, ge=1, le=20, exclude_if=lambda quorum: quorum == 1)
    """How many reviewers must approve. Whoever started the run counts only beside another reviewer."""
    reviewers: str = Field(default="reviewers.yaml", exclude_if=lambda path: path == "reviewers.yaml")
    """File with the reviewers and their public keys, relative to the config file."""
    data: Literal["always", "on_anomalies", "never"] = Field(default="never", exclude_if=lambda when: when == "never")
    """When people must sign what the data are before anything is trained on them: for all data, or for data in which
    the comparison with the schema and between the splits found something. As many must as for a release."""
    webhook_variable: str | None = Field(default=None, exclude_if=lambda name: name is None)
    """Name of the environment variable that holds the address of a webhook, which is told when a run waits for
    approval (the JSON that Slack's incoming webhooks take). The address is a secret and never stands in a config."""
    card_link: str | None = Field(default=None, exclude_if=lambda link: link is None)
    """Link to the card in such a message; ``{run}`` stands for the run's id. Absent: the card's path."""


class SigningConfig(Record):
    """Whose key signs a release, and whose signatures are believed."""

    key: str = "keys/release.pem"
    """Private key that signs what is released, relative to the config file; P-256, mode 0600. The default one is
    created when it is first needed."""
    trusted: tuple[str, ...] = ()
    """Public keys that are believed beside this one, for example those of earlier releases; relative to the config."""
    model_signer: Literal["key", "sigstore", "pkcs11"] = "key"
    """What signs the SavedModel itself, in the format of OpenSSF model-signing: the same key, Sigstore (asks its public
    services), or a token that PKCS #11 reaches."""
    sigstore_identity: str | None = None
    """For ``sigstore``: the identity that must have signed, for example an e-mail address."""
    sigstore_issuer: str | None = None
    """For ``sigstore``: who vouches for that identity, an OpenID Connect issuer."""
    pkcs11_uri: str | None = None
    """For ``pkcs11``: the key's URI (RFC 7512), without the PIN."""
    pkcs11_public_key: str | None = None
    """For ``pkcs11``: the public key of that token, relative to the config."""

    @model_validator(mode="after")
    def _signer_is_complete(self) -> SigningConfig:
        needed = {
            "key": (),
            "sigstore": ("sigstore_identity", "sigstore_issuer"),
            "pkcs11": ("pkcs11_uri", "pkcs11_public_key"),
        }
        absent = [name for name in needed[self.model_signer] if getattr(self, name) is None]
        if absent:
            raise ValueError(f"model_signer {self.model_signer} needs {' and '.join(absent)}")
        if self.pkcs11_uri is not None and "pin-value" in self.pkcs11_uri:
            raise ValueError("a config is recorded and shared: leave pin-value out of pkcs11_uri, use pin-source")
        return self


def trusted_in_project(signing: SigningConfig, *, root: Path) -> dict[str, PublicKey]:
    """Returns the public keys that a project believes, by their ids, without touching a private one.

    Args:
        signing: The project's config.
        root: Folder of the config, which its paths are relative to.

    Raises:
        SignatureError: If a key that the config names cannot be read.
    """
    own = (root / signing.key).with_suffix(".pub")
    token = () if signing.pkcs11_public_key is None else (signing.pkcs11_public_key,)
    named = [root / name for name in (*signing.trusted, *token)]
    return trusted(*(read_public_key(path) for path in [*([own] if own.is_file() else []), *named]))
