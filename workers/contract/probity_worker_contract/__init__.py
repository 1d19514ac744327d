"""What probity and its training workers say to each other: files, a version, the standard library."""

from probity_worker_contract.messages import CONTRACT_VERSION, ContractError, Outcome, Task, WorkerFailure

__all__ = ["CONTRACT_VERSION", "ContractError", "Outcome", "Task", "WorkerFailure"]
