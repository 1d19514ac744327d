"""What every trainer of Keras models checks and records once its weights are final."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from probity.errors import TrainingError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["environment", "require_probabilities"]

_ROWS = 8192
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
