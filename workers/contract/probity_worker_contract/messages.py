"""The messages: a request that is read, progress that is appended, a result that appears whole and last.

Nothing here trusts the other side: a request of another version, with unknown keys, or whose files are not the ones
that it names is refused before any work. The JSON Schemas beside this module say the same to whoever writes a worker in
another language.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

__all__ = [
    "CONTRACT_VERSION",
    "LOG",
    "PROBE",
    "PROBE_INPUTS",
    "PROGRESS",
    "REQUEST",
    "RESULT",
    "WEIGHTS",
    "ContractError",
    "Outcome",
    "Task",
    "WorkerFailure",
    "digest_file",
    "read_request",
    "weight_names",
    "write_error",
    "write_ok",
]

CONTRACT_VERSION = 1
"""Raised whenever a message changes its meaning; each side refuses any other."""

REQUEST = "request.json"
RESULT = "result.json"
PROGRESS = "progress.jsonl"
LOG = "log.txt"
WEIGHTS = "weights.npz"
PROBE = "probe.npz"
PROBE_INPUTS = "probe_inputs.npz"

_REQUEST_TYPES: Mapping[str, tuple[type, ...]] = {
    "contract_version": (int,),
    "worker": (str,),
    "seed": (int,),
    "deadline_seconds": (int, float),
    "files": (dict,),
    "checkpoints": (str, type(None)),
    "body": (dict,),
}
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CHUNK_BYTES = 1 << 20


class ContractError(Exception):
    """A message that does not follow the contract. The text names keys and files, never a data value."""


class WorkerFailure(Exception):
    """The worker cannot do what was asked, and says why.

    Args:
        code: Lower-case words joined by underscores, for programs.
        message: For people; without data values.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code if _CODE.fullmatch(code) else "unexpected"
        self.message = message


@dataclass(frozen=True)
class Task:
    """A request that was read and checked.

    Attributes:
        folder: The worker folder.
        seed: Decides initial weights and, where privacy does not forbid it, the order of rows.
        deadline_seconds: After this time since its start the worker is ended from outside.
        files: Digest of each file of the request, by its path below ``folder``.
        checkpoints: An existing folder that outlives this attempt; ``None``: an interrupted training starts over.
        body: What this kind of worker is asked, in its own words.
        digest: Of the bytes of ``request.json``.
    """

    folder: Path
    seed: int
    deadline_seconds: float
    files: Mapping[str, str]
    checkpoints: Path | None
    body: Mapping[str, Any]
    digest: str

    def report(self, progress: Mapping[str, Any]) -> None:
        """Appends one line of progress; it is on disk when this returns.

        Args:
            progress: JSON values without NaN, infinities or data values.
        """
        line = json.dumps(progress, allow_nan=False, ensure_ascii=False) + "\n"
        with open(self.folder / PROGRESS, "a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


@dataclass(frozen=True)
class Outcome:
    """What a worker hands back when all went well; ``weights.npz`` and ``probe.npz`` are written before.

    Attributes:
        body: What was executed, in this worker's own words: JSON values, no NaN.
        environment: Versions of what decided the numbers.
        warnings: For people; without data values.
    """

    body: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def read_request(folder: Path, *, worker: str) -> Task:
    """Reads and checks the request in a worker folder.

    Args:
        folder: The worker folder.
        worker: Name of the worker that reads.

    Raises:
        ContractError: If it is of another version or form, for another worker, or a file is not the one it names.
    """
    try:
        raw = (folder / REQUEST).read_bytes()
        value = json.loads(raw)
    except (OSError, ValueError) as error:
        raise ContractError(f"{REQUEST} cannot be read as JSON ({type(error).__name__})") from error
    _require_form(value, worker=worker)
    for name, digest in value["files"].items():
        _require_file(folder, name, digest)
    checkpoints = value["checkpoints"]
    return Task(
        folder=folder,
        seed=value["seed"],
        deadline_seconds=float(value["deadline_seconds"]),
        files=dict(value["files"]),
        checkpoints=None if checkpoints is None else Path(checkpoints),
        body=value["body"],
        digest=f"sha256:{hashlib.sha256(raw).hexdigest()}",
    )


def write_ok(task: Task, outcome: Outcome) -> None:
    """Writes the result of a training that went well, with the digests of what it left.

    Raises:
        ContractError: If a file is missing or the body is no JSON.
    """
    missing = [name for name in (WEIGHTS, PROBE) if not (task.folder / name).is_file()]
    if missing:
        raise ContractError(f"the worker left no {' and no '.join(missing)}")
    _write_result(
        task.folder,
        {
            "contract_version": CONTRACT_VERSION,
            "status": "ok",
            "request": task.digest,
            "files": {name: digest_file(task.folder / name) for name in (WEIGHTS, PROBE)},
            "body": dict(outcome.body),
            "environment": dict(outcome.environment),
            "warnings": list(outcome.warnings),
        },
    )


def write_error(folder: Path, *, code: str, message: str) -> None:
    """Writes that the worker could not do what was asked."""
    value = {"contract_version": CONTRACT_VERSION, "status": "error", "code": code, "message": message}
    _write_result(folder, value)


def digest_file(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes as ``sha256:<hex>``."""
    state = hashlib.sha256()
    with open(path, "rb") as file:
        while True:
            chunk = file.read(_CHUNK_BYTES)
            if not chunk:
                return f"sha256:{state.hexdigest()}"
            state.update(chunk)


def weight_names(number: int) -> tuple[str, ...]:
    """Returns the names of so many arrays in ``weights.npz``, in the order of Keras's ``get_weights()``."""
    return tuple(f"w{i:04d}" for i in range(number))


def _require_form(value: Any, *, worker: str) -> None:
    if not isinstance(value, dict):
        raise ContractError(f"{REQUEST} is no JSON object")
    version = value.get("contract_version")
    if version != CONTRACT_VERSION or isinstance(version, bool):
        raise ContractError(f"{REQUEST} is of another contract version; this worker speaks {CONTRACT_VERSION}")
    if set(value) != set(_REQUEST_TYPES):
        odd = ", ".join(sorted(set(value) ^ set(_REQUEST_TYPES)))
        raise ContractError(f"{REQUEST} has missing or unknown keys: {odd}")
    for key, types in _REQUEST_TYPES.items():
        if not isinstance(value[key], types) or isinstance(value[key], bool):
            raise ContractError(f"{REQUEST}: {key} is of another type")
    if value["worker"] != worker:
        raise ContractError(f"{REQUEST} is for another worker than {worker}")
    if not 0 < value["deadline_seconds"] < float("inf"):
        raise ContractError(f"{REQUEST}: deadline_seconds is not a positive number")


def _require_file(folder: Path, name: Any, digest: Any) -> None:
    parts = PurePosixPath(name).parts
    if not parts or PurePosixPath(name).is_absolute() or ".." in parts:
        raise ContractError(f"{REQUEST} names a file outside the worker folder")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise ContractError(f"{REQUEST}: the digest of {name} is none")
    if not (folder / name).is_file():
        raise ContractError(f"{name} is not in the worker folder")
    if digest_file(folder / name) != digest:
        raise ContractError(f"{name} is not the file that {REQUEST} names")


def _write_result(folder: Path, value: Mapping[str, Any]) -> None:
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, indent=1) + "\n"
    except (TypeError, ValueError) as error:
        raise ContractError(f"{RESULT} cannot be written as JSON ({type(error).__name__})") from error
    temporary = folder / f".{RESULT}.{os.getpid()}.tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, folder / RESULT)
