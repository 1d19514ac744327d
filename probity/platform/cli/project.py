"""``init``: a project to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["init"]


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to put it; created if absent.")] = Path("."),
) -> None:
    """Scaffold a project: config, curated schema, example data, README, a key that signs releases. Overwrites nothing.

    Example: probity init my-project
    """
    from importlib.resources import files

    from probity.errors import ConfigError
    from probity.platform.release.keys import create_release_key
    from probity.release_policy import SigningConfig

    scaffold = files("probity.platform") / "scaffold"
    entries = sorted((entry for entry in scaffold.iterdir() if entry.is_file()), key=lambda entry: entry.name)
    there = [entry.name for entry in entries if (folder / entry.name).exists()]
    if there:
        raise ConfigError(
            str(folder),
            seen=f"{', '.join(there)} exists already",
            allowed="a folder without these files",
            remedy="choose another folder, or move the file away",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for entry in entries:
            (folder / entry.name).write_bytes(entry.read_bytes())
    except OSError as error:
        raise ConfigError(
            str(folder),
            seen=f"cannot be written ({error.strerror})",
            allowed="a writable folder",
            remedy="choose another folder",
        ) from error
    written = [folder / entry.name for entry in entries]
    key = folder / SigningConfig().key
    if not key.exists():
        create_release_key(key)
        written += [key, key.with_suffix(".pub")]
    for path in written:
        typer.echo(f"wrote {path}")
    typer.echo(f"next: probity run {folder / 'probity.yaml'}")
