"""The training loop: every step of the mechanism once, whatever interrupts it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from probity.errors import TrainingError
from probity.model import DpSgd
from probity.trainers.base import Progress
from probity.trainers.dp_sgd.checkpoints import Checkpoints, Snapshot
from probity.trainers.dp_sgd.evaluation import Evaluation
from probity.trainers.dp_sgd.noise import GaussianNoise
from probity.trainers.dp_sgd.sampling import Batches, BoundedRows
from probity.trainers.dp_sgd.steps import Steps

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Average", "Loop", "Outcome", "averaging_weight", "epoch_ends"]

Average = Literal["none", "ema", "tail"]

_REPORT_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a training did.

    Attributes:
        steps: Steps that the model went through, each counted once, over all interruptions.
        epochs: Epochs that were completed.
        best_epoch: The epoch whose weights were kept.
        stopped_early: Whether the eval split ended training before the mechanism's last step.
        history: Per metric, one number for each epoch.
        resumed_at: The step at which an interrupted training was taken up; ``None`` if it started anew.
    """

    steps: int
    best_epoch: int
    epochs: int
    stopped_early: bool
    history: dict[str, tuple[float, ...]]
    resumed_at: int | None


class Loop:
    """Executes a mechanism from its first step, or from a checkpoint, to its last.

    Guarantees: the model has gone through steps ``0, 1, ..., steps - 1``, each exactly once; rows, noise and counts of
    other steps did not touch it.

    Args:
        steps: Executes one step.
        mechanism: What is executed.
        batches: Draws the units of a step.
        rows: Turns them into rows; ``None`` where each row is a unit.
        noise: Draws the noise of a step; ``None`` where the mechanism adds none.
        evaluation: Measures the model on the eval split.
        checkpoints: Where the state is kept from time to time.
        average: Which weights are released.
        patience: Epochs without a smaller eval loss after which training stops; ``None``: never.
    """

    def __init__(
        self,
        steps: Steps,
        *,
        mechanism: DpSgd,
        batches: Batches,
        rows: BoundedRows | None,
        noise: GaussianNoise | None,
        evaluation: Evaluation,
        checkpoints: Checkpoints,
        average: Average = "none",
        patience: int | None = None,
    ) -> None:
        self._steps = steps
        self._mechanism = mechanism
        self._batches = batches
        self._rows = rows
        self._noise = noise
        self._evaluation = evaluation
        self._checkpoints = checkpoints
        self._average: Average = average
        self._patience = patience
        self._ends = epoch_ends(mechanism)
        self._done = 0
        self._epochs = 0
        self._told = 0
        """Epochs whose numbers may be told: what is told must not be executed again with other noise."""
        self._history: dict[str, list[float]] = {}
        self._best_epoch, self._best_loss = 0, math.inf
        self._best_weights: tuple[npt.NDArray[np.generic], ...] = ()

    def run(self, report: Progress, *, resume: Snapshot | None = None) -> Outcome:
        """Runs to the end and leaves the weights to release in the model.

        Args:
            report: Told how far training is; of an epoch's numbers once they are in a checkpoint, if any is kept.
            resume: State to go on from.

        Raises:
            TrainingError: If weights or losses are no longer finite.
        """
        if resume is not None:
            self._restore(resume)
        reported = time.monotonic()
        while self._done < self._mechanism.steps and not self._out_of_patience:
            self._step(self._done)
            self._done += 1
            over = self._done == self._ends[self._epochs]
            if over:
                self._end_epoch()
            if self._checkpoints.due or (over and self._checkpoints.worth(_REPORT_SECONDS)):
                self._checkpoints.write(self._snapshot())
                self._told = self._epochs
            if over or time.monotonic() - reported >= _REPORT_SECONDS:
                report(self._done / (self._mechanism.steps + 1), self._text())
                reported = time.monotonic()
        return self._finish(resumed_at=None if resume is None else resume.steps)

    def _step(self, step: int) -> None:
        units = self._batches.draw(step)
        self._steps.execute(
            units if self._rows is None else self._rows.of(units, step=step),
            noise=None if self._noise is None else self._noise.draw(step),
            averaging_weight=averaging_weight(self._average, step, self._mechanism, epochs=len(self._ends)),
        )

    def _end_epoch(self) -> None:
        with self._steps.released():
            measured = self._evaluation.measure()
            weights = self._steps.weights
        _require_finite(weights, measured, epoch=self._epochs + 1)
        self._epochs += 1
        for name, number in measured.items():
            self._history.setdefault(name, []).append(number)
        loss = measured.get("val_loss")
        if self._patience is None or loss is None:
            self._best_epoch = self._epochs
        elif loss < self._best_loss:
            self._best_epoch, self._best_loss, self._best_weights = self._epochs, loss, weights

    @property
    def _out_of_patience(self) -> bool:
        return self._patience is not None and self._epochs - self._best_epoch >= self._patience

    def _finish(self, *, resumed_at: int | None) -> Outcome:
        # The optimiser counts for itself, and its count is stored with its own variables: a checkpoint or a loop that
        # forgot steps would not agree with it.
        if (counted := int(self._steps.optimizer.iterations.numpy())) != self._done:
            raise TrainingError(
                "trainer dp_sgd",
                seen=f"the optimiser executed {counted} steps and the loop counted {self._done}",
                allowed="equal counts, because epsilon is computed from them",
                remedy="delete the run's checkpoints and train again",
            )
        self._steps.release(self._best_weights)
        return Outcome(
            steps=self._done,
            epochs=self._epochs,
            best_epoch=self._best_epoch,
            stopped_early=self._done < self._mechanism.steps,
            history={name: tuple(numbers) for name, numbers in self._history.items()},
            resumed_at=resumed_at,
        )

    def _snapshot(self) -> Snapshot:
        return Snapshot(
            steps=self._done,
            epochs=self._epochs,
            weights=self._steps.weights,
            optimizer=self._steps.optimizer_state,
            average=self._steps.averages,
            best_epoch=self._best_epoch,
            best_loss=self._best_loss,
            best_weights=self._best_weights,
            watched=(self._steps.watched_sums,),
            batches=(self._batches.state,),
            history={name: tuple(numbers) for name, numbers in self._history.items()},
        )

    def _restore(self, state: Snapshot) -> None:
        self._steps.restore(
            weights=state.weights, optimizer=state.optimizer, averages=state.average, watched=state.watched[0]
        )
        self._done, self._epochs, self._told = state.steps, state.epochs, state.epochs
        self._best_epoch, self._best_loss, self._best_weights = state.best_epoch, state.best_loss, state.best_weights
        self._history = {name: list(numbers) for name, numbers in state.history.items()}

    def _text(self) -> str:
        told = self._told if self._checkpoints.kept else self._epochs
        scores = self._history.get("val_auc", [])[:told]
        after = "" if told == self._epochs else f" after epoch {told}"
        return f"epoch {self._epochs} of {len(self._ends)}" + (f", eval AUC{after} {scores[-1]:.4f}" if scores else "")


def epoch_ends(mechanism: DpSgd) -> tuple[int, ...]:
    """Returns after how many steps each epoch ends; the last ends with the mechanism.

    An epoch is one pass (``shuffled``), or the steps in which a unit takes part once on average (``poisson``).
    """
    if mechanism.sampling == "shuffled":
        passes = mechanism.max_participations or 1
        return tuple(mechanism.steps * (i + 1) // passes for i in range(passes))
    ends: list[int] = []
    while (end := math.floor((len(ends) + 1) / mechanism.sampling_prob + 0.5)) < mechanism.steps:
        ends.append(end)
    return (*ends, mechanism.steps)


def averaging_weight(average: Average, step: int, mechanism: DpSgd, *, epochs: int) -> float:
    """Returns the weight of the weights after a step in their running average.

    ``none``: 1, which gives the last weights. ``tail``: ``1 / (t + 1)`` from the middle of training on, which gives the
    mean from there (Rakhlin et al. 2012). ``ema``: the same from the start until it is one over the steps of an epoch,
    and constant from there on (De et al. 2022, section 3.3).
    """
    if average == "none":
        return 1.0
    if average == "tail":
        begin = mechanism.steps // 2
        return 1.0 / (max(step - begin, 0) + 1)
    return max(1.0 / (step + 1), epochs / mechanism.steps)


def _require_finite(weights: tuple[npt.NDArray[Any], ...], measured: dict[str, float], *, epoch: int) -> None:
    import numpy as np

    if all(np.isfinite(array).all() for array in weights) and all(map(math.isfinite, measured.values())):
        return
    raise TrainingError(
        "trainer dp_sgd",
        seen=f"weights or losses that are not finite numbers in epoch {epoch}",
        allowed="finite weights and losses after every epoch",
        remedy="use a smaller optimizer.learning_rate, or a larger target_epsilon, which needs less noise",
    )
