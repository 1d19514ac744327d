"""What a trainer is: one method that turns transformed examples into a trained, exported model.

Every trainer - plain, differentially private, federated, encrypted - has this form, so that whatever comes before and
after it is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from probity.config import ModelConfig
from probity.data import Dataset, Transform, TransformedExamples
from probity.model import TrainedModel
from probity.record import Record

__all__ = ["Progress", "Trainer", "TrainerSettings", "TrainingRequest"]

Progress = Callable[[float, str], None]
"""Called with the fraction done, in [0, 1], and a short text without data values."""


class TrainerSettings(Record):
    """Settings of a trainer, as they stand beside ``name`` in the config's ``trainer``. Each trainer has a subclass."""


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """Everything that training may depend on.

    Attributes:
        examples: The transformed rows. A trainer fits on ``train``, chooses on ``eval`` and does not read ``test``.
        transform: Layout of the transform's outputs.
        transform_folder: Folder that holds the transform graph under the name ``transform.graph``.
        dataset: The columns' roles.
        model: The architecture.
        root: The config file's folder, where a user's module is looked for.
        settings: The trainer's own settings, an instance of its ``settings_type``.
        seed: Decides initial weights and the order of rows.
    """

    examples: TransformedExamples
    transform: Transform
    transform_folder: Path
    dataset: Dataset
    model: ModelConfig
    root: Path
    settings: TrainerSettings
    seed: int


class Trainer(Protocol):
    """Trains a model. Found by name through the entry-point group ``probity.trainers``.

    :class:`probity.trainers.testing.TrainerContract` is the suite that every implementation has to pass.
    """

    name: ClassVar[str]
    """The name of its entry point."""
    settings_type: ClassVar[type[TrainerSettings]]

    def train(self, request: TrainingRequest, *, workdir: Path, report: Progress) -> TrainedModel:
        """Trains, exports ``workdir/saved_model`` and ``workdir/model.keras``, and says what happened.

        Guarantees: nothing is written outside ``workdir``; the test split is not read; the returned mechanism is what
        was executed, and no epsilon is stated.

        Args:
            request: What to train on, and how.
            workdir: An empty folder.
            report: Told how far training is.

        Raises:
            ConfigError: If settings or architecture cannot be used.
            TrainingError: If no usable model came out.
        """
        ...
