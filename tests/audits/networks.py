"""Small networks, rows for them, and Shapley values by definition, for the tests of explanations."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np

from probity.data import TransformedFeature


def outputs(**widths: int) -> tuple[TransformedFeature, ...]:
    return tuple(TransformedFeature(name=f"{name}_xf", source=name, width=width) for name, width in widths.items())


def inputs_of(features: tuple[TransformedFeature, ...]) -> dict[str, Any]:
    import tensorflow as tf

    return {feature.name: tf.keras.Input((feature.width,), name=feature.name) for feature in features}


def save(path: Path, model: Any) -> Path:
    model.save(path)
    return path


def draw(features: tuple[TransformedFeature, ...], rows: int, *, seed: int) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    return {feature.name: rng.normal(size=(rows, feature.width)).astype(np.float32) for feature in features}


def row_of(rows: dict[str, Any], i: int) -> dict[str, Any]:
    return {name: values[i] for name, values in rows.items()}


def brute_force(predict: Any, row: dict[str, Any], background: dict[str, Any]) -> list[float]:
    """Shapley 1953 by definition: all coalitions, each averaged over the whole background."""
    names = list(row)

    def value(coalition: tuple[str, ...]) -> float:
        rows = len(background[names[0]])
        mixed = {n: np.repeat(row[n][None], rows, 0) if n in coalition else background[n] for n in names}
        return float(predict(mixed).mean())

    totals = []
    for name in names:
        others = [other for other in names if other != name]
        total = 0.0
        for size in range(len(names)):
            weight = math.factorial(size) * math.factorial(len(names) - size - 1) / math.factorial(len(names))
            for coalition in itertools.combinations(others, size):
                total += weight * (value((*coalition, name)) - value(coalition))
        totals.append(total)
    return totals
