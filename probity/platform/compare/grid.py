"""The grid: which trainer with which epsilon and which seed, and the config of each cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from probity.config import RunConfig
from probity.config_file import parse_config
from probity.digest import digest_json
from probity.errors import ConfigError
from probity.record import Record
from probity.trainers import registry

__all__ = ["Cell", "cell_config", "cells_of", "comparison_id"]

_ASKED = "target_epsilon"
_INSTEAD = "noise_multiplier"


class Cell(Record):
    """One run of a comparison."""

    trainer: str
    target_epsilon: float | None
    """``None`` for a trainer that takes none."""
    seed: int

    @property
    def name(self) -> str:
        """Its name in files and logs."""
        asked = "" if self.target_epsilon is None else f"-epsilon-{self.target_epsilon:g}"
        return f"{self.trainer}{asked}-seed-{self.seed}"


def cells_of(config: RunConfig, *, trainers: Sequence[str], epsilons: Sequence[float], seeds: int) -> tuple[Cell, ...]:
    """Returns the grid: every seed for each trainer, and for each epsilon where the trainer takes one.

    Raises:
        ConfigError: If there is nothing to compare, or a trainer that takes an epsilon is given none.
        PluginError: If a trainer cannot be loaded.
    """
    if not trainers or seeds < 1 or len(set(trainers)) < len(trainers):
        raise ConfigError(
            "--trainers, --seeds",
            seen=f"{', '.join(trainers) or 'no trainer'}; {seeds} seeds",
            allowed="at least one trainer, each once, and at least one seed",
            remedy="for example: --trainers plain,dp_sgd --seeds 3",
        )
    cells = []
    for trainer in trainers:
        takes_epsilon = _ASKED in registry.load(trainer).settings_type.model_fields
        if takes_epsilon and (not epsilons or min(epsilons) <= 0):
            raise ConfigError(
                "--epsilons",
                seen="none" if not epsilons else f"{min(epsilons):g}",
                allowed="numbers greater than 0, at least one for a trainer that takes them",
                remedy="for example: --epsilons 0.5,1,3",
            )
        for asked in sorted(set(epsilons)) if takes_epsilon else (None,):
            cells += [Cell(trainer=trainer, target_epsilon=asked, seed=config.seed + offset) for offset in range(seeds)]
    return tuple(cells)


def cell_config(
    config: RunConfig, cell: Cell, *, settings_of: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
) -> RunConfig:
    """Returns the config of one cell: the trainer's settings in the config are kept for that trainer only.

    Everything else is the config's own, so all cells see the same rows in the same splits: splits depend on the rows'
    content and not on the seed.

    Args:
        config: What all cells have in common.
        cell: The cell.
        settings_of: Further settings, by trainer.
    """
    own = config.trainer.settings if config.trainer.name == cell.trainer else {}
    settings: dict[str, Any] = {**own, **settings_of.get(cell.trainer, {})}
    if cell.target_epsilon is not None:
        settings.pop(_INSTEAD, None)
        settings[_ASKED] = cell.target_epsilon
    value = {**config.to_json(), "seed": cell.seed, "trainer": {"name": cell.trainer, **settings}}
    return parse_config(value, origin=f"comparison, cell {cell.name}")


def comparison_id(configs: Mapping[str, RunConfig]) -> str:
    """Returns the id of a comparison: the same for the same cells, so that it can be continued.

    Args:
        configs: Config by name of the cell.
    """
    config = next(iter(configs.values()))
    digest = digest_json({name: entry.to_json() for name, entry in configs.items()})
    return f"{config.name}-{digest.removeprefix('sha256:')[:8]}"
