"""The environments of the training workers: where they are, whether they are what their locks say, how they are made.

A worker is a folder of ``workers/`` with a ``pyproject.toml``, a hash-locked ``requirements.txt`` and, in
``.python-version``, the Python that it needs; its environment is the folder ``.venv`` in it. ``workers/`` is part of a
source checkout and of no wheel: where probity was installed from one, ``PROBITY_WORKERS`` names a copy of the folder.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from probity.digest import digest_file, digest_json
from probity.errors import WorkerNotReadyError
from probity.storage import write_atomically
from probity.trainers.worker import run_tool

__all__ = ["VARIABLE", "WorkerEnvironment", "environment_of", "environments", "sync", "workers_folder"]

VARIABLE = "PROBITY_WORKERS"
"""Environment variable that names the folder of the workers, where it is not beside the package."""

_CONTRACT = "contract"
_STAMP = ".synced"
_LOCKED = (".python-version", "pyproject.toml", "requirements.txt")


@dataclass(frozen=True, kw_only=True)
class WorkerEnvironment:
    """Where a worker is and where its environment would be.

    Attributes:
        name: ``federated``, ``encrypted`` or the name of another folder of ``workers/``.
        folder: The worker's project.
    """

    name: str
    folder: Path

    @property
    def venv(self) -> Path:
        """The environment's folder."""
        return self.folder / ".venv"

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.venv / "bin" / "python"

    @property
    def python_version(self) -> str:
        """The Python version that the worker needs, such as ``3.11``."""
        return (self.folder / ".python-version").read_text(encoding="utf-8").strip()

    @property
    def module(self) -> str:
        """The package that the worker runs."""
        return f"probity_{self.name}_worker"

    @property
    def lock(self) -> str:
        """Digest of everything that decides what is in the environment."""
        contract = self.folder.parent / _CONTRACT / "pyproject.toml"
        return digest_json([*(digest_file(self.folder / name) for name in _LOCKED), digest_file(contract)])

    @property
    def code(self) -> str:
        """Digest of the locks and of all source that the worker runs: what decides its numbers beside its request."""
        roots = (self.folder / self.module, self.folder.parent / _CONTRACT / "probity_worker_contract")
        sources = [[f"{root.name}/{path.relative_to(root).as_posix()}", digest_file(path)]
                   for root in roots for path in sorted(root.rglob("*.py"))]  # fmt: skip
        return digest_json([self.lock, sources])

    def why_not_ready(self) -> str | None:
        """Returns why the worker cannot run, in words, or ``None`` if it can."""
        missing = [name for name in _LOCKED if not (self.folder / name).is_file()]
        if missing:
            return f"its project has no {', '.join(missing)}"
        if not self.python.is_file():
            return "its environment is missing"
        stamp = self.venv / _STAMP
        if not stamp.is_file():
            return "its environment is incomplete: an earlier sync did not finish"
        if stamp.read_text(encoding="utf-8").strip() != self.lock:
            return "its environment is not the one that the lock file describes"
        return None

    def require_ready(self) -> None:
        """Raises unless the worker can run.

        Raises:
            WorkerNotReadyError: With the command that mends it.
        """
        if (reason := self.why_not_ready()) is not None:
            raise WorkerNotReadyError(
                f"worker {self.name}",
                seen=reason,
                allowed="an environment of its own, made from its lock file",
                remedy=f"run: probity workers sync {self.name}",
            )

    def command(self, *arguments: str, program: str | None = None) -> list[str]:
        """Returns the command that runs the worker's package, or one of its modules, isolated from ours."""
        return [
            str(self.python),
            "-I",
            "-m",
            self.module if program is None else f"{self.module}.{program}",
            *arguments,
        ]


def workers_folder() -> Path:
    """Returns the folder of the workers.

    Raises:
        WorkerNotReadyError: If there is none.
    """
    given = os.environ.get(VARIABLE)
    folder = Path(given) if given else Path(__file__).resolve().parents[2] / "workers"
    if not (folder / _CONTRACT / "pyproject.toml").is_file():
        raise WorkerNotReadyError(
            VARIABLE,
            seen=f"{'it names a folder that holds no workers' if given else 'no folder workers/ beside the package'}",
            allowed="the folder workers/ of a source checkout of this version",
            remedy=f"clone the project, or set {VARIABLE} to such a folder",
        )
    return folder.resolve()


def environments() -> tuple[WorkerEnvironment, ...]:
    """Returns the workers that there are, by name."""
    folders = sorted(path.parent for path in workers_folder().glob("*/requirements.txt"))
    return tuple(WorkerEnvironment(name=folder.name, folder=folder) for folder in folders)


def environment_of(name: str) -> WorkerEnvironment:
    """Returns the worker of this name.

    Raises:
        WorkerNotReadyError: If there is none.
    """
    found = {entry.name: entry for entry in environments()}
    if name not in found:
        raise WorkerNotReadyError(
            f"worker {name}",
            seen="no such worker",
            allowed=", ".join(found) or "a folder of workers/ with a requirements.txt",
            remedy="name one of these",
        )
    return found[name]


def sync(environment: WorkerEnvironment) -> None:
    """Makes the environment of a worker exactly what its lock says.

    Guarantees: after any failure the worker counts as not ready.

    Raises:
        WorkerNotReadyError: If uv or the Python version is missing, or a package cannot be had.
    """
    uv = _uv()
    stamp = environment.venv / _STAMP
    stamp.unlink(missing_ok=True)
    if not environment.python.is_file():
        python = _python(uv, environment.python_version)
        _run(environment, [uv, "venv", "--quiet", "--clear", "--python", python, str(environment.venv)])
    into = ["--quiet", "--python", str(environment.python)]
    locked = str(environment.folder / "requirements.txt")
    # Compiled now, or the first training would do it: half a minute for TensorFlow Federated.
    _run(environment, [uv, "pip", "sync", *into, "--compile-bytecode", "--require-hashes", locked])
    projects = [str(environment.folder.parent / _CONTRACT), str(environment.folder)]
    editable = [part for project in projects for part in ("--editable", project)]
    _run(environment, [uv, "pip", "install", *into, "--no-deps", "--no-build-isolation", *editable])
    write_atomically(stamp, f"{environment.lock}\n".encode())


def _uv() -> str:
    own = Path(__file__).resolve().parents[2] / ".tools" / "bin" / "uv"
    found = shutil.which("uv") or (str(own) if own.is_file() else None)
    if found is None:
        raise WorkerNotReadyError(
            "uv",
            seen="it is not on the PATH",
            allowed="uv 0.8 or newer, which makes the workers' environments",
            remedy="install it: pip install uv",
        )
    return found


def _python(uv: str, version: str) -> str:
    """Returns an interpreter of this version: one that uv finds, else one of pyenv's.

    pyenv's shims answer for a version only when it is among those chosen for the folder, and uv stops at them.
    """
    code, found = run_tool([uv, "python", "find", "--no-python-downloads", version])
    if code == 0:
        return found.splitlines()[-1]
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = sorted(path for path in root.glob(f"{version}.*/bin/python") if path.is_file())
    if candidates:
        return str(candidates[-1])
    raise WorkerNotReadyError(
        f"Python {version}",
        seen="neither uv nor pyenv has it on this machine",
        allowed=f"a Python {version} that uv can find",
        remedy=f"install it, for example with: uv python install {version}",
    )


def _run(environment: WorkerEnvironment, command: list[str]) -> None:
    code, printed = run_tool(command)
    if code != 0:
        raise WorkerNotReadyError(
            f"worker {environment.name}",
            seen=f"uv {' '.join(command[1:3])} ended with exit code {code}: {printed}",
            allowed="a machine on which the locked packages can be installed",
            remedy=f"mend what it says, then run: probity workers sync {environment.name}",
        )
