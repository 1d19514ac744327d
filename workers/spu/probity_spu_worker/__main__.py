"""The worker's program: one folder with a request in, a result out."""

from __future__ import annotations

from probity_worker_contract.harness import main
from probity_worker_contract.messages import Outcome, Task


def work(task: Task) -> Outcome:
    """Does what is asked; what is heavy is imported here, so that the process that supervises stays small."""
    from probity_spu_worker.work import work as do

    return do(task)


if __name__ == "__main__":
    raise SystemExit(main(work, worker="spu"))
