"""Mitigation beside DP-SGD: what goes into its losses, and what is done to its scores afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from probity.model import UNMITIGATED, Mitigation
from probity.trainers.base import TrainingRequest
from probity.trainers.mitigation.settings import (
    MitigationSettings,
    NoMitigation,
    ReweighingSettings,
    ThresholdOptimizerSettings,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from probity.trainers.mitigation.methods import Applied

__all__ = ["after_training", "row_weights"]

_NO_SECOND_TRAINING = (
    "a second private training, without reweighing, would be charged to the budget of the data for the comparison alone"
)

Settings = NoMitigation | MitigationSettings


def row_weights(
    request: TrainingRequest, settings: Settings, labels: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32] | None:
    """Returns the weight of each training row's loss before clipping, or ``None`` where no method weighs rows.

    Clipping bounds a row's gradient whatever its weight. But the weights of all rows depend on counts of all rows, so a
    neighbouring data set changes more than one row's gradient: no epsilon of the noisy sums covers that.

    Raises:
        ConfigError: If the request has not the groups.
    """
    from probity.trainers.mitigation.methods import groups_for
    from probity.trainers.mitigation.reweighing import group_weights

    if not isinstance(settings, ReweighingSettings):
        return None
    groups = groups_for(request, settings)
    codes = groups.codes["train"]
    return group_weights(codes, labels, groups=len(groups.names)).of(codes, labels)


def after_training(
    request: TrainingRequest,
    settings: Settings,
    *,
    model: Any,
    validation: tuple[dict[str, Any], Any],
    workdir: Path,
) -> tuple[Applied | None, Mitigation | None]:
    """Applies what is done after training, and says what was done.

    The model without threshold optimisation is the same model, so it is exported for the comparison at no cost. A model
    without reweighing would be another training.

    Raises:
        ConfigError: If the request has not the groups.
        TrainingError: If the method cannot be applied to these rows.
    """
    from probity.trainers.export import export
    from probity.trainers.fitting import Rows, rows_of
    from probity.trainers.mitigation.methods import optimized_thresholds, recorded, reweighed

    if isinstance(settings, ReweighingSettings):
        applied = reweighed()
        return applied, recorded(settings, applied, request.dataset, no_comparison=_NO_SECOND_TRAINING)
    if not isinstance(settings, ThresholdOptimizerSettings):
        return None, None
    applied = optimized_thresholds(
        request,
        settings,
        model=model,
        train=rows_of(request, "train"),
        validation=Rows(inputs=validation[0], labels=validation[1]),
    )
    before = export(model, request.transform, transform_folder=request.transform_folder, workdir=workdir / UNMITIGATED)
    return applied, recorded(settings, applied, request.dataset, unmitigated=before)
