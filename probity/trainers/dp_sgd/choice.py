"""Which engine computes the clipped sums of a model."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from probity.errors import ConfigError
from probity.trainers.dp_sgd.engine import ClippedSum, Refusal

__all__ = ["ENGINES", "Choice", "choose"]

ENGINES = ("book_keeping", "tensorflow_privacy")
"""The engines, each a module beside this one, fastest first."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """An engine that can take a model.

    Attributes:
        name: Its name.
        clipped_sum: What it computes for this model.
        warnings: Why it is not the first choice, if it is not.
    """

    name: str
    clipped_sum: ClippedSum
    warnings: tuple[str, ...] = ()


def choose(model: Any, asked: str, *, l2_clip_norm: float) -> Choice:
    """Returns the engine asked for, or with ``auto`` the first that does not refuse the model.

    Args:
        model: A Keras model.
        asked: ``auto`` or one of :data:`ENGINES`.
        l2_clip_norm: Bound on one row's gradient; may be infinite.

    Raises:
        ConfigError: If every engine that may be used refuses the model.
    """
    refusals: list[tuple[str, Refusal]] = []
    for name in ENGINES if asked == "auto" else (asked,):
        made = importlib.import_module(f"probity.trainers.dp_sgd.{name}").clipped_sum(model, l2_clip_norm=l2_clip_norm)
        if not isinstance(made, Refusal):
            return Choice(
                name=name, clipped_sum=made, warnings=tuple(_skipped(*entry, used=name) for entry in refusals)
            )
        refusals.append((name, made))
    raise ConfigError(
        "model",
        seen="; ".join(f"engine {name}: layer {refusal.layer} {refusal.reason}" for name, refusal in refusals),
        allowed="layers whose per-row gradients can be computed, and that treat each row alone",
        remedy="; or ".join(dict.fromkeys(refusal.remedy for _, refusal in refusals)),
    )


def _skipped(name: str, refusal: Refusal, *, used: str) -> str:
    return f"engine {used} was used: {name} refused layer {refusal.layer}, which {refusal.reason}"
