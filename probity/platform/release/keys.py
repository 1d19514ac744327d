"""Which key signs a project's releases, and whose signatures the project believes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from probity.errors import SignatureError
from probity.keys import PublicKey, SigningKey, create_key, load_key, read_public_key, trusted
from probity.release_policy import SigningConfig, trusted_in_project

__all__ = ["KEYS_FOLDER", "ReleaseKeys", "create_release_key", "keys_in", "project_keys"]

KEYS_FOLDER = "keys"
_DEFAULT = SigningConfig().key


@dataclass(frozen=True, kw_only=True)
class ReleaseKeys:
    """The key that signs, and the keys that are believed (its own among them)."""

    signer: SigningKey
    trusted: dict[str, PublicKey]
    signing: SigningConfig
    root: Path
    """Folder of the config, which the paths of ``signing`` are relative to."""
    created: bool = False
    """Whether the key was made just now."""


def create_release_key(path: Path) -> PublicKey:
    """Creates a release key, and a ``.gitignore`` beside it that keeps private keys out of version control.

    Raises:
        SignatureError: As :func:`probity.keys.create_key`.
    """
    public = create_key(path, kind="p256")
    ignore = path.parent / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*.pem\n", encoding="utf-8")
    return public


def project_keys(signing: SigningConfig, *, root: Path) -> ReleaseKeys:
    """Returns the keys of a project; the default key is created if it is not there.

    A key that the config names and that is absent is not created: somebody meant another key than a new one.

    Raises:
        SignatureError: If a key cannot be read, is not P-256, may be read by others, or is in a token that is not there
            or holds another key than the config says.
    """
    path = root / signing.key
    created = signing.key == _DEFAULT and not path.exists()
    if created:
        create_release_key(path)
    signer = load_key(signing.key if signing.in_token else path)
    if signing.public_key and read_public_key(root / signing.public_key) != signer.public:
        raise SignatureError(
            "signing.public_key",
            seen="another key than the one in the token",
            allowed="the public half of signing.key, which is what others verify with",
            remedy="if the key in the token is the right one: probity key public URI FILE",
        )
    if signer.public.kind != "p256":
        raise SignatureError(
            "signing.key",
            seen=f"a key of kind {signer.public.kind}",
            allowed="a P-256 key, which also signs the SavedModel in the format of OpenSSF model-signing",
            remedy="create one with: probity key create FILE",
        )
    return ReleaseKeys(
        signer=signer,
        trusted={**trusted(signer.public), **trusted_in_project(signing, root=root)},
        signing=signing,
        root=root,
        created=created,
    )


def keys_in(paths: Iterable[Path]) -> dict[str, PublicKey]:
    """Reads public keys from files, and from all ``.pub`` files of folders.

    Raises:
        SignatureError: If one cannot be read, or there is none.
    """
    files = [file for path in paths for file in (sorted(path.glob("*.pub")) if path.is_dir() else [path])]
    if not files:
        raise SignatureError(
            "--key",
            seen="no public key",
            allowed="PEM files, or folders with .pub files",
            remedy="ask whoever released the model for their public key; one that came with the model proves nothing",
        )
    return trusted(*(read_public_key(file) for file in files))
