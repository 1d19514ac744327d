"""Every error a user can cause or meet, as one tree.

::

    ProbityError
    ├── ConfigError (ValueError)          what the user asked cannot be built            exit 2
    ├── PluginError                       a trainer or an audit cannot be loaded         exit 2
    │   ├── UnknownPluginError
    │   ├── DuplicatePluginError
    │   └── MissingExtraError (ImportError)
    ├── DataError                         the data cannot be used as it is               exit 2
    │   ├── SchemaViolationError          columns and counts, never values
    │   └── DigestMismatchError           something changed after it was recorded
    ├── BudgetError                                                                      exit 4
    │   └── BudgetExceededError
    ├── TrainingError                     the trainer gave no usable model               exit 1
    ├── WorkerError                                                                      exit 1
    │   ├── WorkerNotReadyError                                                          exit 5
    │   ├── WorkerCrashError
    │   ├── WorkerTimeoutError
    │   ├── WorkerContractError
    │   └── WorkerReportedError
    ├── AuditError                        the audit could not run; the gate turns it into "hold"
    ├── TrackingError                     MLflow or ML Metadata did not take the record  exit 2
    └── ReleaseError                      the push did not happen                        exit 2
        ├── ReleaseHeldError              the verdict is hold                            exit 3
        ├── DataHeldError                 reviewers have not approved the data           exit 3
        └── SignatureError

A message has four parts - which argument, what was seen, what is allowed, what to do - and never a data value:
columns, types and counts only, because messages end up in logs, trackers and tickets that more people can read
than the data.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AuditError",
    "BudgetError",
    "BudgetExceededError",
    "ConfigError",
    "DataError",
    "DataHeldError",
    "DigestMismatchError",
    "DuplicatePluginError",
    "MissingExtraError",
    "PluginError",
    "ProbityError",
    "ReleaseError",
    "ReleaseHeldError",
    "SchemaViolationError",
    "SignatureError",
    "TrackingError",
    "TrainingError",
    "UnknownPluginError",
    "WorkerContractError",
    "WorkerCrashError",
    "WorkerError",
    "WorkerNotReadyError",
    "WorkerReportedError",
    "WorkerTimeoutError",
]


class ProbityError(Exception):
    """An expected error: one short message, no traceback, a documented exit code.

    Args:
        argument: Which argument, config key, file or column the error is about.
        seen: What was found there - a type, a count, a name; never a data value.
        allowed: What would have been accepted.
        remedy: What the user can do now.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, argument: str, *, seen: str, allowed: str, remedy: str) -> None:
        super().__init__(argument)
        self.argument = argument
        self.seen = seen
        self.allowed = allowed
        self.remedy = remedy

    def __str__(self) -> str:
        stop = "" if self.seen.endswith("?") else "."
        return f"{self.argument}: {self.seen}{stop} Allowed: {self.allowed}. To do: {self.remedy}."

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions with keyword-only arguments do not survive pickling by default (Beam pickles them).
        return (_rebuild, (type(self), self.argument, self.seen, self.allowed, self.remedy))


def _rebuild(kind: type[ProbityError], argument: str, seen: str, allowed: str, remedy: str) -> ProbityError:
    return kind(argument, seen=seen, allowed=allowed, remedy=remedy)


class ConfigError(ProbityError, ValueError):
    """What the user asked cannot be built: a key, a value or a combination of settings is wrong."""

    exit_code = 2


class PluginError(ProbityError):
    """A trainer or an audit named in the config cannot be used."""

    exit_code = 2


class UnknownPluginError(PluginError):
    """No installed distribution offers a plug-in of this name; the message lists those that exist."""


class DuplicatePluginError(PluginError):
    """Two installed distributions offer a plug-in of the same name, so the choice would be arbitrary."""


class MissingExtraError(PluginError, ImportError):
    """The plug-in exists, but a package it needs is not installed; the message names the extra."""


class DataError(ProbityError):
    """The data cannot be used as it is: unreadable, ragged, empty, or without what the config names."""

    exit_code = 2


class SchemaViolationError(DataError):
    """The data contradicts the schema. Names features and counts, never values."""


class DigestMismatchError(DataError):
    """A file is not the one that was recorded: its SHA-256 differs from the one in the evidence."""


class BudgetError(ProbityError):
    """The privacy-budget ledger of the dataset does not allow the run."""

    exit_code = 4


class BudgetExceededError(BudgetError):
    """The run would spend more epsilon than the dataset has left."""


class TrainingError(ProbityError):
    """The trainer ended without a usable model (diverged, wrong outputs, no finite weights)."""


class WorkerError(ProbityError):
    """A training worker in its own environment did not deliver a result."""


class WorkerNotReadyError(WorkerError):
    """The worker's environment is missing or does not match its lock file."""

    exit_code = 5


class WorkerCrashError(WorkerError):
    """The worker ended without a valid result."""


class WorkerTimeoutError(WorkerError):
    """The worker passed its deadline and was ended."""


class WorkerContractError(WorkerError):
    """The worker's result does not follow the contract (version, shapes, digests, probe scores)."""


class WorkerReportedError(WorkerError):
    """The worker itself reported an error."""


class AuditError(ProbityError):
    """An audit could not run. The report says ``failed`` and the gate turns that into "hold"."""


class TrackingError(ProbityError):
    """The tracker or the lineage store did not take the record. The run folder itself is unharmed."""

    exit_code = 2


class ReleaseError(ProbityError):
    """The model was not pushed."""

    exit_code = 2


class ReleaseHeldError(ReleaseError):
    """The gate's verdict is hold, so nothing is pushed."""

    exit_code = 3


class DataHeldError(ReleaseError):
    """Reviewers have not approved the data, or rejected them, so nothing is trained or audited on them."""

    exit_code = 3


class SignatureError(ReleaseError):
    """A signature is missing or does not verify."""
