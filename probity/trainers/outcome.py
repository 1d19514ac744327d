"""What every trainer of Keras models checks and records once its weights are final."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from probity.errors import TrainingError
from probity.task import Task

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["environment", "require_probabilities", "require_scores"]

_ROWS = 8192
_ROUNDING = 1e-4
"""By how much the sum of a softmax in single precision may miss 1, for a hundred classes."""
_PACKAGES = ("tensorflow", "keras", "tensorflow-transform", "numpy")


def require_probabilities(model: Any, inputs: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Raises unless the model gives probabilities.

    Args:
        model: A Keras model.
        inputs: Rows by input name, of which the first few thousand are scored.

    Raises:
        TrainingError: If a score is not in [0, 1].
    """
    import numpy as np

    scores = model.predict({name: array[:_ROWS] for name, array in inputs.items()}, batch_size=1024, verbose=0)
    if not np.isfinite(scores).all() or scores.min() < 0 or scores.max() > 1:
        raise TrainingError(
            "model",
            seen="scores that are not in [0, 1]",
            allowed="one probability per row",
            remedy="end build_model in a sigmoid",
        )


def require_scores(model: Any, inputs: Mapping[str, npt.NDArray[np.float32]], task: Task) -> None:
    """Raises unless the model gives what the task asks for: see :mod:`probity.trainers.objective`.

    Args:
        model: A Keras model.
        inputs: Rows by input name, of which the first few thousand are scored.
        task: What is predicted.

    Raises:
        TrainingError: If a score is not finite or, where it has to be a probability, none.
    """
    import numpy as np

    if task == "binary":
        require_probabilities(model, inputs)
        return
    scores = model.predict({name: array[:_ROWS] for name, array in inputs.items()}, batch_size=1024, verbose=0)
    if not np.isfinite(scores).all():
        raise TrainingError(
            "model",
            seen="scores that are not finite numbers",
            allowed="finite scores",
            remedy="use a smaller learning_rate, or mend build_model",
        )
    if task == "multiclass" and (scores.min() < 0 or np.abs(scores.sum(axis=1) - 1).max() > _ROUNDING):
        raise TrainingError(
            "model",
            seen="scores that are negative or do not sum to 1",
            allowed="one probability per class, which sum to 1",
            remedy="end build_model in a softmax",
        )


def environment(*, devices: int, packages: tuple[str, ...] = ()) -> dict[str, str]:
    """Returns what decides a trainer's numbers beside its settings: versions, the kind of machine, devices.

    Args:
        devices: Number of devices that trained.
        packages: Distributions beyond those that every trainer of Keras models uses.
    """
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in (*_PACKAGES, *packages)},
        "machine": platform.machine(),
        "devices": str(devices),
    }
