"""What is written to a training worker and read from it.

The other side is a program of another environment, whose own half is ``workers/contract`` (standard library only). The
two halves share no code: :data:`CONTRACT_VERSION`, the file names and the JSON Schemas there are compared with these
records by a test, and both halves read the same example messages.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from probity.record import Digest, Record

__all__ = [
    "CONTRACT_VERSION",
    "LOG",
    "PROBE",
    "PROBE_INPUTS",
    "PROGRESS",
    "REQUEST",
    "RESULT",
    "WEIGHTS",
    "WorkerFailed",
    "WorkerFinished",
    "WorkerRequest",
    "WorkerResult",
]

CONTRACT_VERSION: Literal[1] = 1
"""Raised whenever a message changes its meaning; each side refuses any other."""

REQUEST = "request.json"
RESULT = "result.json"
PROGRESS = "progress.jsonl"
LOG = "log.txt"
WEIGHTS = "weights.npz"
PROBE = "probe.npz"
PROBE_INPUTS = "probe_inputs.npz"


class WorkerRequest(Record):
    """What a worker is asked (``request.json``). Every other file of its folder is named here, with its digest."""

    contract_version: Literal[1] = CONTRACT_VERSION
    worker: str
    """The worker that is meant, for example ``federated``."""
    seed: int
    """Decides initial weights and, where privacy does not forbid it, the order of rows."""
    deadline_seconds: float = Field(gt=0.0)
    """Time after which the worker is ended."""
    files: dict[str, Digest]
    """Digest of each file, by its path below the worker folder."""
    checkpoints: str | None = None
    """An existing folder that outlives this attempt; ``None``: an interrupted training starts over."""
    body: dict[str, Any]
    """The task, in the words of this kind of worker; its trainer has a record for it."""


class WorkerFinished(Record):
    """The result of a training that went well (``result.json``)."""

    contract_version: Literal[1] = CONTRACT_VERSION
    status: Literal["ok"] = "ok"
    request: Digest
    """Of the bytes of the request that was answered."""
    files: dict[str, Digest]
    """Digests of ``weights.npz`` and ``probe.npz``."""
    body: dict[str, Any]
    """What was executed, in the words of this kind of worker."""
    environment: dict[str, str]
    """Versions of what decided the numbers."""
    warnings: tuple[str, ...] = ()


class WorkerFailed(Record):
    """The result of a training that the worker could not do (``result.json``)."""

    contract_version: Literal[1] = CONTRACT_VERSION
    status: Literal["error"] = "error"
    code: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    """For programs; ``contract``: the request was refused; ``unexpected``: an error that nobody foresaw."""
    message: str = Field(max_length=2000)
    """For people; without data values."""


WorkerResult = Annotated[WorkerFinished | WorkerFailed, Field(discriminator="status")]
"""Either all of a result or why there is none."""
