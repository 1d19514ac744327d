"""What the owner asks of a release beside the gate's rules: whose signatures, whose approval."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from probity.keys import PublicKey, read_public_key, trusted
from probity.pkcs11 import is_token_uri, parse_token_uri
from probity.record import Record

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
    """Private key that signs what is released, on P-256: a file relative to the config, mode 0600 (the default one is
    created when it is first needed), or a key in a token, named by a ``pkcs11:`` URI (RFC 7512) without the PIN."""
    public_key: str | None = Field(default=None, exclude_if=lambda path: path is None)
    """For a key in a token: its public half, relative to the config; ``probity key public`` writes it."""
    trusted: tuple[str, ...] = ()
    """Public keys that are believed beside this one, for example those of earlier releases; relative to the config."""
    model_signer: Literal["key", "sigstore"] = "key"
    """What signs the SavedModel itself, in the format of OpenSSF model-signing: the same key, or Sigstore (asks its
    public services)."""
    sigstore_identity: str | None = None
    """For ``sigstore``: the identity that must have signed, for example an e-mail address."""
    sigstore_issuer: str | None = None
    """For ``sigstore``: who vouches for that identity, an OpenID Connect issuer."""

    @model_validator(mode="after")
    def _signer_is_complete(self) -> SigningConfig:
        if self.model_signer == "sigstore" and None in (self.sigstore_identity, self.sigstore_issuer):
            raise ValueError("model_signer sigstore needs sigstore_identity and sigstore_issuer")
        if is_token_uri(self.key):
            parse_token_uri(self.key)
        if is_token_uri(self.key) != (self.public_key is not None):
            raise ValueError("public_key belongs to a key in a token, and only there: a file's lies beside it")
        return self

    @property
    def in_token(self) -> bool:
        """Whether the private key lies in a token, not in a file."""
        return is_token_uri(self.key)


def trusted_in_project(signing: SigningConfig, *, root: Path) -> dict[str, PublicKey]:
    """Returns the public keys that a project believes, by their ids, without touching a private one.

    Args:
        signing: The project's config.
        root: Folder of the config, which its paths are relative to.

    Raises:
        SignatureError: If a key that the config names cannot be read.
    """
    own = root / signing.public_key if signing.public_key else (root / signing.key).with_suffix(".pub")
    known = [own] if signing.in_token or own.is_file() else []
    return trusted(*(read_public_key(path) for path in [*known, *(root / name for name in signing.trusted)]))
