"""The worker's expected error: a code for programs, and a text of four parts for people, without data values."""

from __future__ import annotations

from probity_worker_contract.messages import WorkerFailure

__all__ = ["refused"]


def refused(code: str, argument: str, *, seen: str, allowed: str, remedy: str) -> WorkerFailure:
    """Returns the error; the codes are those of the other engine."""
    return WorkerFailure(code, f"{argument}: {seen}. Allowed: {allowed}. To do: {remedy}")
