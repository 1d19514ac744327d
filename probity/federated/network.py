"""The network as it crosses to the worker and comes back: one vector in, one logit out, as Keras JSON.

Code objects do not cross, so the network has to be one of the built-in ones. The worker's Keras is another version;
that the same model came back is shown by the probe.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probity.data import TransformedFeature
from probity.errors import ConfigError
from probity.recipe import ModelConfig
from probity.trainers.architecture import LOGIT, build

__all__ = ["FEATURES", "crossing", "joined", "probe_rows", "rebuilt", "require_built_in"]

FEATURES = "features"
"""The worker's only input: all outputs of the transform, side by side in their order."""

_PROBE_ROWS = 64


def require_built_in(config: ModelConfig, *, trainer: str) -> None:
    """Raises for a model of the user's own code.

    Raises:
        ConfigError: If ``model.module`` is given.
    """
    if config.module is not None:
        raise ConfigError(
            "model.module",
            seen=f"a module of your own with the trainer {trainer}",
            allowed="model.kind: logistic or mlp: code does not cross into a worker's environment",
            remedy="use a built-in model, or the trainer plain or dp_sgd",
        )


def joined(
    inputs: dict[str, npt.NDArray[np.float32]], outputs: tuple[TransformedFeature, ...]
) -> npt.NDArray[np.float32]:
    """Returns the model's inputs side by side, float32 of shape (rows, width)."""
    parts = [np.asarray(inputs[feature.name], np.float32).reshape(-1, feature.width) for feature in outputs]
    return np.concatenate(parts, axis=1)


def crossing(config: ModelConfig, outputs: tuple[TransformedFeature, ...], *, root: Path) -> Any:
    """Returns the network that the worker trains, with initial weights from TensorFlow's global seed.

    Its layers, and so its weights, are those of the model that is served; only the inputs are joined already, and the
    last activation is left out.
    """
    import tensorflow as tf

    width = sum(feature.width for feature in outputs)
    whole = build(config, [TransformedFeature(name=FEATURES, source=FEATURES, width=width)], root=root)
    return tf.keras.Model(whole.input[FEATURES] if isinstance(whole.input, dict) else whole.input,
                          whole.get_layer(LOGIT).output, name=config.kind)  # fmt: skip


def rebuilt(
    config: ModelConfig,
    outputs: tuple[TransformedFeature, ...],
    weights: list[npt.NDArray[np.float32]],
    *,
    root: Path,
) -> Any:
    """Returns the model that is served, with the weights that came back."""
    model = build(config, outputs, root=root)
    model.set_weights(weights)
    return model


def probe_rows(width: int, *, seed: int) -> npt.NDArray[np.float32]:
    """Returns made-up inputs in [-1, 1), float32 of shape (64, width): a probe holds no row of anybody."""
    return np.random.default_rng(seed).uniform(-1.0, 1.0, (_PROBE_ROWS, width)).astype(np.float32)
