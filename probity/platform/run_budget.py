"""What a run pays from the budget of its data: before anything is executed, and for no more than was executed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from probity.card import CumulativeSpending
from probity.config import RunConfig
from probity.data import Dataset, PrivateStatistics
from probity.errors import TrainingError
from probity.model import TrainedModel, Unknown
from probity.platform.checkpoints import checkpoint_folder
from probity.trainers.base import Population, Progress, Trainer, TrainingRequest
from probity.workspace import Workspace

if TYPE_CHECKING:
    from probity.audits.privacy_events import Spent

__all__ = ["RunBudget", "cumulative_spending"]


class RunBudget:
    """Pays from the budget of a run's data set: before anything is executed, and for no more than was executed.

    Args:
        config: Names the ledger and, perhaps, the account.
        workspace: Holds the ledger by default, and checkpoints.
        dataset: Whose budget it is.
        population: The training rows.
        run: The run that spends.
        target_delta: The delta at which the run states its epsilon; ``None``: the accountant's rule.
    """

    def __init__(
        self,
        config: RunConfig,
        workspace: Workspace,
        dataset: Dataset,
        population: Population,
        *,
        run: str,
        target_delta: float | None,
    ) -> None:
        from probity.audits.accounting import default_delta

        self._config = config
        self._workspace = workspace
        self._dataset = dataset
        self._run = run
        self.delta = target_delta or default_delta(population.num_units)

    @contextmanager
    def pay_for_statistics(self, planned: PrivateStatistics | None) -> Iterator[None]:
        """Reserves what differentially private statistics will cost, and pays it when they were computed."""
        if planned is None:
            yield
            return
        with self._spending(planned) as executed:
            yield
            executed.append(planned)

    def pay_for_training(
        self, trainer: Trainer, request: TrainingRequest, *, key: str, workdir: Path, report: Progress
    ) -> TrainedModel:
        """Reserves, trains, and pays for the mechanism that was executed.

        Args:
            trainer: Who trains.
            request: What; it gets a folder for checkpoints.
            key: Digest of everything that decides the training: attempts with equal keys continue each other.
            workdir: Where the model goes.
            report: Told how far training is.

        Raises:
            BudgetError: If the budget does not allow it; nothing was trained then.
        """
        folder = self._workspace.root / "checkpoints" / key.removeprefix("sha256:")
        with checkpoint_folder(folder) as kept:
            resume = kept is not None and any(kept.iterdir())
            with self._spending(request.mechanism, work=key, resume=resume) as executed:
                model = trainer.train(replace(request, checkpoints=kept), workdir=workdir, report=report)
                if isinstance(model.mechanism, Unknown):
                    raise TrainingError(
                        f"trainer {model.trainer}",
                        seen="it does not say which mechanism it executed",
                        allowed="the mechanism that was proposed and paid for",
                        remedy="tell the author of the trainer; its reservation stays counted",
                    )
                executed.append(model.mechanism)
        return model

    def _spending(
        self, spending: Spent, *, work: str | None = None, resume: bool = False
    ) -> AbstractContextManager[list[Spent]]:
        from probity.platform.budget.ledger import account_of, open_ledger

        account = account_of(self._config, self._dataset)
        return open_ledger(self._config, self._workspace).spending(
            account, spending, run=self._run, delta=self.delta, work=work, resume=resume
        )


def cumulative_spending(
    config: RunConfig, workspace: Workspace, dataset: Dataset, model: TrainedModel
) -> CumulativeSpending | None:
    """Returns what all trainings on a run's data set reveal together, at the delta of the run's own statement.

    Leaves a statement of the account in the workspace, for those who only read.
    """
    from probity.audits.accounting import default_delta
    from probity.platform.budget.ledger import account_of, open_ledger
    from probity.platform.budget.statement import leave_statement

    delta = model.target_delta or default_delta(model.num_train_units)
    account, ledger = account_of(config, dataset).id, open_ledger(config, workspace)
    leave_statement(ledger, account, workspace)
    unit = getattr(model.mechanism, "unit", dataset.privacy_unit)  # a client may be another unit than the data declares
    return ledger.cumulative(account, unit=unit, delta=delta)
