"""What a trainer is: one method that turns transformed examples into a trained, exported model.

Every trainer - plain, differentially private, federated, encrypted - has this form, so that whatever comes before and
after it is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from probity.data import Dataset, Transform, TransformedExamples
from probity.model import DpFedAvg, DpFtrl, DpSgd, Mechanism, TrainedModel
from probity.recipe import ModelConfig
from probity.record import Record
from probity.task import Task

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "Groups",
    "Population",
    "Progress",
    "Rounds",
    "Trainer",
    "TrainerSettings",
    "TrainingRequest",
    "Uncalibrated",
]

Progress = Callable[[float, str], None]
"""Called with the fraction done, in [0, 1], and a short text without data values."""


class TrainerSettings(Record):
    """Settings of a trainer, as they stand beside ``name`` in the config's ``trainer``. Each trainer has a subclass."""

    @property
    def across(self) -> tuple[str, ...]:
        """Sensitive attributes whose groups the trainer reads, one intersection; the trainer is given no others."""
        return ()

    @property
    def client_column(self) -> str | None:
        """The raw column whose values are clients; the trainer is given the number of each training row's client."""
        return None

    @property
    def protects_clients(self) -> bool:
        """Whether the unit of privacy is a client, whatever unit the data declares."""
        return False

    @property
    def num_clients(self) -> int | None:
        """How many clients the trainer makes up itself."""
        return None

    @property
    def public_preprocessing(self) -> bool:
        """Whether public facts come before facts of the training rows in the preprocessing."""
        return False

    def require_packages(self) -> None:
        """Raises :class:`~probity.errors.MissingExtraError` if what the settings need is not installed."""
        return


@dataclass(frozen=True, kw_only=True, eq=False)
class Groups:
    """The sensitive group of each row, for settings that ask for it. Row-level personal data; internal.

    Attributes:
        across: The attributes that form the groups.
        names: For each group, its value of each of these attributes.
        codes: By split, ``train`` and ``eval``: each row's position in ``names``, int64 of shape (rows,); -1 for
            planted rows, which belong to no group.
    """

    across: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]
    codes: Mapping[str, npt.NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True)
class Population:
    """The training rows as a mechanism sees them. Their numbers are taken to be public.

    Attributes:
        num_rows: Number of training rows.
        num_units: Number of protected units among them.
        unit: ``row``, ``client``, or the name of the privacy-unit column.
        num_clients: Number of clients, where they are the values of a column.
    """

    num_rows: int
    num_units: int
    unit: str
    num_clients: int | None = None


@dataclass(frozen=True, kw_only=True)
class Uncalibrated:
    """A mechanism whose noise is still to be found, because the settings name an epsilon and not a noise multiplier.

    A trainer has no accountant: whoever called :meth:`Trainer.propose` finds the noise multiplier.

    Attributes:
        target_epsilon: The epsilon asked for.
        target_delta: The delta asked for; ``None``: the accountant's rule for the number of units.
        with_noise_multiplier: Returns what would be executed with this noise multiplier.
    """

    target_epsilon: float
    target_delta: float | None
    with_noise_multiplier: Callable[[float], DpSgd | DpFedAvg | DpFtrl]


class Rounds(Protocol):
    """Who is told of each round while training goes on, and knows what rounds cost."""

    def epsilon_after(self, rounds: int) -> float | None:
        """Returns what so many rounds of the agreed mechanism cost, at most; ``None`` where nothing is known."""

    def finished(self, number: int, numbers: Mapping[str, float]) -> None:
        """A round, counted from 1, is over. Its numbers go to the tracker, so that they may be seen by all who do."""


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
        seed: Decides initial weights and, where privacy does not forbid it, the order of rows.
        mechanism: What to execute, calibrated and paid for: the answer to the trainer's own proposal.
        groups: The sensitive group of each row, where ``settings.across`` asks for it; ``None`` where it does not.
        decision_threshold: A row will be predicted positive when its score is greater than this.
        units: For each training row, the number of its protected unit, from 0, of shape (rows,); ``None`` where each
            row is a unit.
        gradient_canaries: Which gradient canaries take part, of shape (canaries,), for trainers that plant them: they
            leave :data:`probity.canaries.GRADIENT_SCORES` beside the model. ``None``: none are wanted.
        clients: For each training row the number of its client, from 0, of shape (rows,), where the settings name a
            column of clients.
        checkpoints: An existing folder that outlives this attempt and belongs to attempts at this very training;
            ``None``: an interrupted training starts over.
        rounds: Who is told of rounds as they end; ``None``: nobody.
    """

    examples: TransformedExamples
    transform: Transform
    transform_folder: Path
    dataset: Dataset
    model: ModelConfig
    root: Path
    settings: TrainerSettings
    seed: int
    mechanism: Mechanism
    groups: Groups | None = None
    decision_threshold: float = 0.5
    units: npt.NDArray[np.int64] | None = None
    gradient_canaries: npt.NDArray[np.bool_] | None = None
    clients: npt.NDArray[np.int64] | None = None
    checkpoints: Path | None = None
    rounds: Rounds | None = None

    @property
    def num_rows(self) -> int:
        """Number of rows that take part in training, planted ones included."""
        return self.examples.files["train"].num_rows + self._planted

    @property
    def num_units(self) -> int:
        """Number of protected units among them; each planted gradient is one."""
        return self.num_rows if self.units is None else int(self.units.max()) + 1 + self._planted

    @property
    def _planted(self) -> int:
        return 0 if self.gradient_canaries is None else int(self.gradient_canaries.sum())


class Trainer(Protocol):
    """Trains a model. Found by name through the entry-point group ``probity.trainers``.

    :class:`probity.trainers.testing.TrainerContract` is the suite that every implementation has to pass.
    """

    name: ClassVar[str]
    """The name of its entry point."""
    settings_type: ClassVar[type[TrainerSettings]]
    plants_gradients: ClassVar[bool]
    """Whether it can plant gradient canaries: it clips and adds noise, and can say what the noisy sums held."""
    tasks: ClassVar[frozenset[Task]]
    """What it can train for; a trainer that does not say can train for a binary label only."""

    def propose(self, settings: TrainerSettings, population: Population) -> Mechanism | Uncalibrated:
        """Returns what :meth:`train` would execute on such data, before anything is trained or paid for.

        Guarantees: reads no data; the answer depends on the arguments alone.

        Raises:
            ConfigError: If settings and population do not go together.
        """
        ...

    def train(self, request: TrainingRequest, *, workdir: Path, report: Progress) -> TrainedModel:
        """Trains, exports ``workdir/saved_model`` and ``workdir/model.keras``, and says what happened.

        Guarantees: nothing is written outside ``workdir`` and ``request.checkpoints``; the test split is not read; the
        returned mechanism is what was executed, never more than ``request.mechanism`` allows, and no epsilon is stated.

        Args:
            request: What to train on, and how.
            workdir: An empty folder.
            report: Told how far training is.

        Raises:
            ConfigError: If settings or architecture cannot be used.
            TrainingError: If no usable model came out.
        """
        ...
