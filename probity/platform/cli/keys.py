"""``key``: make a key pair of your own."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Keys that sign releases, approvals and waivers.")


class Kind(StrEnum):
    """What a key can be."""

    ED25519 = "ed25519"
    P256 = "p256"


@app.callback()
def _keys() -> None:
    """Keys that sign releases, approvals and waivers."""


@app.command()
def create(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Where the private key goes; the public one beside it.")],
    kind: Annotated[
        Kind, typer.Option("--kind", help="p256 for the key of releases, either for a reviewer's.")
    ] = Kind.P256,
) -> None:
    """Create a key pair: FILE (mode 0600) and FILE with the suffix .pub, which may be given to anybody.

    Example: probity key create ~/.keys/kim.pem --kind ed25519
    """
    from probity.keys import create_key

    public = create_key(path, kind="ed25519" if kind is Kind.ED25519 else "p256")
    typer.echo(f"wrote {path} and {path.with_suffix('.pub')}, key {public.keyid[:19]}…")


@app.command()
def public(
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="A private key's file, or the pkcs11: URI of a key in a token.")
    ],
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Where the public half goes.")],
) -> None:
    """Write the public half of a key, for those who verify; a token's is read without its PIN.

    Example: probity key public 'pkcs11:token=release;object=model?module-path=/usr/lib/softhsm/libsofthsm2.so'
    keys/release.pub
    """
    from probity.keys import load_key, write_public_key

    found = load_key(key).public
    write_public_key(found, path)
    typer.echo(f"wrote {path}, key {found.keyid[:19]}…")
