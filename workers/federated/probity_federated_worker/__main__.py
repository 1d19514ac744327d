"""``python -m probity_federated_worker WORKER_FOLDER``: does what ``request.json`` there asks."""

from __future__ import annotations

from probity_worker_contract.harness import main
from probity_worker_contract.messages import Outcome, Task


def work(task: Task) -> Outcome:
    """Trains. TensorFlow is imported here, in the child, so that the process that supervises it stays small."""
    from probity_federated_worker.isolation import enter_private_network
    from probity_federated_worker.request import read_body

    request = read_body(task.body)
    # TensorFlow Federated runs its executor as a server without authentication that listens on every interface.
    isolated = not request.remote_workers and enter_private_network()

    from probity_federated_worker.training import train

    return train(task, request, isolated=isolated)


if __name__ == "__main__":
    raise SystemExit(main(work, worker="federated"))
