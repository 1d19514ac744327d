"""Runs one stage: reuse it if its inputs did not change, else compute, publish by rename, leave a receipt.

A stage is keyed by the digest of everything that decides its outputs: its settings, the outputs of the stages it reads,
the code of this package and the versions of the libraries under it. An equal key means that an earlier run - finished,
killed or still going on - already holds the outputs, and they are taken over after every digest was checked.
"""

from __future__ import annotations

import errno
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Protocol

from probity.digest import digest_file, digest_json
from probity.errors import ConfigError, ProbityError, TrackingError
from probity.runs import Receipt, RunFolder
from probity.storage import files_below
from probity.workspace import Workspace, copy_outputs

__all__ = [
    "Execution",
    "Observer",
    "Produce",
    "Progress",
    "Recorder",
    "Stages",
    "Stopped",
    "environment",
    "installed_digest",
    "subfolder",
]

Progress = Callable[[float, str], None]
"""Called by long work with the fraction done, in [0, 1], and a short text without data values."""

Produce = Callable[[Path, Progress], object]
"""Writes a stage's outputs below the folder it is given, under their names in the run folder."""

_DECISIVE_PACKAGES = (
    "tensorflow",
    "tensorflow-data-validation",
    "tensorflow-transform",
    "tensorflow-model-analysis",
    "tfx-bsl",
    "apache-beam",
    "dp-accounting",
    "tensorflow-privacy",
    "opendp",
    "shap",
    "numpy",
    "scipy",
    "scikit-learn",
    "pyarrow",
)


class Observer(Protocol):
    """Who is told how the run goes: a progress display, or nobody."""

    def stage_started(self, name: str) -> None:
        """A stage begins."""

    def stage_progress(self, fraction: float, text: str) -> None:
        """The current stage is so far."""

    def stage_finished(self, name: str, *, seconds: float, reused_from: str | None) -> None:
        """A stage is done."""

    def note(self, text: str) -> None:
        """Something the user should know, in one line."""


class Execution(Protocol):
    """The record of one stage being executed."""

    def finish(self, receipt: Receipt) -> None:
        """The stage is done and left this."""

    def fail(self, kind: str) -> None:
        """The stage ended with an error of this kind."""


class Recorder(Protocol):
    """Who writes down which stage read and made what."""

    def start(self, stage: str, *, inputs: Sequence[Receipt]) -> Execution:
        """A stage begins, reading what these earlier stages left."""


class Stopped(Exception):
    """The stage named by ``--until`` is finished."""


class Stages:
    """Performs the stages of one run, in the order they are called.

    Attributes:
        workspace: Where the run folder is, beside those of other runs.
        folder: The run folder: what earlier stages left, and where each stage's outputs go.
        observer: Who is told how it goes.
        current: The stage that was begun last.
    """

    def __init__(
        self,
        workspace: Workspace,
        folder: RunFolder,
        *,
        lineage: Recorder,
        observer: Observer,
        use_cache: bool = True,
        until: str | None = None,
    ) -> None:
        self.workspace = workspace
        self.folder = folder
        self.observer = observer
        self._lineage = lineage
        self._use_cache = use_cache
        self._until = until
        self.current: str | None = None

    def perform(
        self, name: str, *, produce: Produce, settings: object = None, inputs: Sequence[str] = (), cached: bool = True
    ) -> Receipt:
        """Makes sure that the outputs of a stage are in the run folder.

        Args:
            name: Name of the stage.
            produce: Computes the outputs; called only if no intact outputs with the same key exist.
            settings: JSON value of everything beside earlier stages that decides the outputs.
            inputs: Names of the earlier stages that it reads.
            cached: Whether another run's outputs may be taken over.

        Raises:
            Stopped: If this was the stage to stop after.
            ConfigError: If the workspace cannot be written or is full.
        """
        self.current = name
        self.observer.stage_started(name)
        key = self.key(name, settings=settings, inputs=inputs)
        started = time.monotonic()
        with _disk_errors(self.workspace.root), self._recorded(name, inputs) as execution:
            found = self.workspace.finished_stage(key) if cached and self._use_cache else None
            work = self.folder.work / name.replace(":", "-")
            shutil.rmtree(work, ignore_errors=True)  # what a failed attempt at this stage left
            work.mkdir(parents=True)
            if found is not None:
                source, earlier = found
                copy_outputs(source, earlier, into=work)
            else:
                produce(work, self.observer.stage_progress)
            receipt = Receipt(
                stage=name,
                key=key,
                outputs=self._publish(work),
                seconds=round(time.monotonic() - started, 3),
                reused_from=None if found is None else (found[1].reused_from or found[0].id),
                finished_at=datetime.now(UTC).isoformat(),
            )
            self.folder.write_receipt(receipt)
            self.workspace.remember_stage(receipt, self.folder)
            execution.finish(receipt)
        self.observer.stage_finished(name, seconds=receipt.seconds, reused_from=receipt.reused_from)
        if name == self._until:
            raise Stopped(name)
        return receipt

    def key(self, name: str, *, settings: object, inputs: Sequence[str]) -> str:
        """Returns the digest of everything that decides the outputs of a stage."""
        outputs = {stage: self._output_digest(stage) for stage in inputs}
        return digest_json({"stage": name, "settings": settings, "inputs": outputs, **environment()})

    def _output_digest(self, stage: str) -> str:
        receipt = self.folder.receipt(stage)
        if receipt is None:
            raise AssertionError(f"stage {stage} was not performed")
        return digest_json(receipt.outputs)

    def _publish(self, work: Path) -> dict[str, str]:
        """Digests the outputs and renames each file or new folder to its place in the run folder."""
        outputs = {path.relative_to(work).as_posix(): digest_file(path) for path in files_below(work)}
        for entry in sorted(work.iterdir()):
            _move(entry, self.folder.path / entry.name)
        shutil.rmtree(work)
        return outputs

    @contextmanager
    def _recorded(self, name: str, inputs: Sequence[str]) -> Iterator[Execution]:
        receipts = [receipt for receipt in map(self.folder.receipt, inputs) if receipt is not None]
        execution = self._lineage.start(name, inputs=receipts)
        try:
            yield execution
        except BaseException as error:
            execution.fail(type(error).__name__)
            raise


def subfolder(out: Path, name: str) -> Path:
    """Returns a folder with this name below the one that a stage writes its outputs to, made if it is not there."""
    target = out / name
    target.mkdir(parents=True, exist_ok=True)
    return target


def _move(source: Path, target: Path) -> None:
    """Renames; a folder that is there already (several stages write into ``08_audits``) is entered."""
    if source.is_dir() and target.is_dir():
        for entry in sorted(source.iterdir()):
            _move(entry, target / entry.name)
    elif target.exists():
        raise AssertionError(f"{target.name} was written twice")
    else:
        source.rename(target)


@contextmanager
def _disk_errors(root: Path) -> Iterator[None]:
    """Turns a full or read-only disk into an error that says so, whoever met it.

    TensorFlow, Beam and Arrow report a failed write through exceptions of their own, so the disk itself is asked.
    """
    try:
        yield
    except Exception as error:
        number = getattr(error, "errno", None)
        full = number == errno.ENOSPC or "No space left" in str(error) or shutil.disk_usage(root).free < 1 << 20
        # An expected error says what is wrong by itself, but for the stores: they only see a write that failed.
        expected = isinstance(error, ProbityError) and not (full and isinstance(error, TrackingError))
        if expected or not (full or number in (errno.EROFS, errno.EACCES, errno.EPERM, errno.EDQUOT)):
            raise
        raise ConfigError(
            "--workspace",
            seen=f"{root} is {'full' if full else 'not writable'}",
            allowed="a writable folder with free space",
            remedy="free some space or choose another folder with --workspace DIR; what was finished is kept",
        ) from error


@cache
def environment() -> dict[str, str]:
    """Returns what decides the numbers beside config and data: this code, Python, the libraries.

    Guarantees: any edit of this package's source changes it.
    """
    package = Path(__file__).parents[1]
    sources = [[path.relative_to(package).as_posix(), digest_file(path)] for path in files_below(package)
               if path.suffix in (".py", ".j2")]  # fmt: skip
    packages = {}
    for name in _DECISIVE_PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:  # pragma: no cover - doctor reports it
            packages[name] = "absent"
    return {
        "code": digest_json(sources),
        "python": ".".join(map(str, sys.version_info[:3])),
        "packages": digest_json(packages),
    }


def installed_digest() -> str:
    """Returns the digest of the names and versions of all installed distributions: the lock file's effect."""
    return digest_json(sorted({f"{entry.name}=={entry.version}" for entry in distributions()}))
