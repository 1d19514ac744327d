"""The workspace: the folder that holds runs and what they share, such as finished stages that one takes over.

::

    .probity/
    ├── runs/<run_id>/             one run, one folder: see :mod:`probity.runs`
    ├── stages/<key>               which run holds the finished outputs of a stage with this key
    ├── metadata.sqlite            ML Metadata
    └── mlflow.sqlite, mlartifacts/
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from probity.digest import digest_file
from probity.errors import ConfigError, DataError, DigestMismatchError
from probity.runs import CONFIG, Receipt, RunFolder
from probity.storage import write_atomically

__all__ = ["Workspace", "copy_outputs"]


@dataclass(frozen=True)
class Workspace:
    """The folder that holds runs and what they share."""

    root: Path

    @property
    def metadata(self) -> Path:
        """ML Metadata's SQLite file."""
        return self.root / "metadata.sqlite"

    def new_run(self, name: str, *, now: datetime | None = None) -> RunFolder:
        """Creates an empty run folder whose id nobody else has.

        Raises:
            ConfigError: If the workspace cannot be written.
        """
        moment = now or datetime.now(UTC)
        folder = RunFolder(self.root / "runs" / f"{moment:%Y%m%dT%H%M%SZ}-{name}-{secrets.token_hex(2)}")
        try:
            (folder.path / ".run" / "receipts").mkdir(parents=True)
            folder.work.mkdir()
        except OSError as error:
            raise ConfigError(
                "--workspace",
                seen=f"{self.root} cannot be written ({error.strerror})",
                allowed="a writable folder",
                remedy="choose another with --workspace DIR",
            ) from error
        return folder

    def runs(self) -> list[RunFolder]:
        """Returns all runs, newest first."""
        folders = (self.root / "runs").glob("*-*")
        named = [path for path in folders if re.match(r"\d{8}T\d{6}Z-", path.name)]
        # Two runs of one second are ordered by their configs, which are written within milliseconds of creation.
        return [RunFolder(path) for path in sorted(named, key=_age, reverse=True)]

    def find(self, reference: str) -> RunFolder:
        """Returns the run with this id, unique prefix, or the newest for ``latest``.

        Raises:
            ConfigError: If no run, or more than one, fits.
        """
        runs = self.runs()
        fitting = runs[:1] if reference == "latest" else [run for run in runs if run.id.startswith(reference)]
        exact = [run for run in fitting if run.id == reference]
        if len(exact or fitting) == 1:
            return (exact or fitting)[0]
        raise ConfigError(
            f"RUN {reference!r}",
            seen=f"{len(fitting)} runs fit" if fitting else f"no such run in {self.root}",
            allowed="a run id, a unique prefix, or latest",
            remedy="list them with: probity runs"
            if runs
            else "start one with: probity run CONFIG, or give --workspace",
        )

    def finished_stage(self, key: str) -> tuple[RunFolder, Receipt] | None:
        """Returns a run that holds the outputs of a stage with this key, intact, or ``None``."""
        pointer = self.root / "stages" / key.removeprefix("sha256:")
        try:
            stage, run_id = json.loads(pointer.read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError):
            return None
        folder = RunFolder(self.root / "runs" / run_id)
        try:
            receipt = folder.receipt(stage)
        except DataError:
            return None
        if receipt is None or receipt.key != key or not folder.intact(receipt):
            return None
        return folder, receipt

    def remember_stage(self, receipt: Receipt, run: RunFolder) -> None:
        """Makes the outputs of a finished stage findable by their key."""
        pointer = self.root / "stages" / receipt.key.removeprefix("sha256:")
        write_atomically(pointer, json.dumps([receipt.stage, run.id]).encode())


def _age(path: Path) -> tuple[str, int]:
    try:
        return path.name[:16], (path / CONFIG).stat().st_mtime_ns
    except OSError:
        return path.name[:16], 0


def copy_outputs(source: RunFolder, receipt: Receipt, *, into: Path) -> None:
    """Copies the files of a finished stage.

    Raises:
        DigestMismatchError: If a file changed between the check and the copy.
    """
    for name, digest in receipt.outputs.items():
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.path / name, target)
        if digest_file(target) != digest:
            raise DigestMismatchError(
                name,
                seen="another file than recorded",
                allowed="the recorded bytes",
                remedy="run again with --no-cache",
            )
