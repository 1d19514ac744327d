"""Predictions on shares: servers that hold shares of the weights, a client that holds rows and nobody's weights.

The client deals shares of its rows, the servers compute shares of the logits, and the client alone puts these together
and takes the sigmoid, in the clear and exactly. No server sees a row, a weight or a score.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from probity_encrypted_worker.cast import MODEL_OWNER
from probity_encrypted_worker.layers import DenseLayer, build, zeros
from probity_encrypted_worker.refusal import Refusal
from probity_encrypted_worker.shares import read_shares, write_shares
from probity_encrypted_worker.sharing import devices_of, reveal_to, shared_weights, tracing
from probity_encrypted_worker.stage import Stage
from probity_encrypted_worker.training import largest_value

__all__ = ["PREFIX", "Answer", "deal", "predict"]

PREFIX = "model"
"""Of the names of the files with shares of a model."""


@dataclass(frozen=True)
class Answer:
    """What the client gets.

    Attributes:
        scores: Probability of each row, float64 of shape (rows,).
        compile_seconds: Time for the first batch, compiling included.
        predict_seconds: Time for all batches after compiling, the first one again included.
    """

    scores: npt.NDArray[np.float64]
    compile_seconds: float
    predict_seconds: float


def deal(
    stage: Stage, layers: tuple[DenseLayer, ...], weights: list[npt.NDArray[np.float32]], *, folders: Mapping[str, str]
) -> None:
    """Deals shares of a model's weights to the servers' folders.

    Raises:
        Refusal: With the code ``range``, if a weight is not finite or beyond the range of the shares.
    """
    _require_range(stage, weights, what="weights of the model")
    model = build(layers, weights, rows=1)
    variables = shared_weights(stage.protocol, devices_of(stage.config), model)
    write_shares(variables, folders=folders, prefix=PREFIX)


def predict(
    stage: Stage,
    layers: tuple[DenseLayer, ...],
    rows: npt.NDArray[np.float32],
    *,
    folders: Mapping[str, str],
    batch_size: int,
) -> Answer:
    """Predicts with a model of which the servers hold shares.

    Args:
        stage: Three servers; the client is this process.
        layers: The architecture, which is public.
        rows: Transformed features, of shape (rows, columns).
        folders: Where each server has its shares.
        batch_size: Rows per computation; the last batch is filled with zeros.

    Raises:
        Refusal: With the code ``range``, if a number is not finite or too large; ``checkpoint``, if shares are missing.
    """
    import tensorflow as tf

    _require_range(stage, [rows], what="rows")
    client = stage.config.get_player(MODEL_OWNER)
    size = min(batch_size, max(1, len(rows)))
    with tf.device(client.device_name):
        model = build(layers, zeros(layers, columns=rows.shape[1]), rows=size)
        variables = shared_weights(stage.protocol, devices_of(stage.config), model)
        read_shares(variables, folders=folders, prefix=PREFIX)
        step = _compiled(stage, model, client, shape=(size, rows.shape[1]))
        batches = _batches(rows, size)
        started = time.monotonic()
        if batches:
            step(batches[0])
        compiled = time.monotonic()
        logits = [np.asarray(step(batch), np.float64)[:, 0] for batch in batches]
    found = np.concatenate(logits)[: len(rows)] if logits else np.empty(0)
    return Answer(
        scores=1.0 / (1.0 + np.exp(-found)),
        compile_seconds=compiled - started,
        predict_seconds=time.monotonic() - compiled,
    )


def _compiled(stage: Stage, model: Any, client: Any, *, shape: tuple[int, int]) -> Any:
    import tensorflow as tf
    import tf_encrypted as tfe

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)], autograph=False)
    def step(rows: Any) -> Any:
        with tracing(stage.protocol):
            private = tfe.define_private_input(client, lambda: rows)
            return reveal_to(stage.protocol, client, model.call(private))

    return step


def _batches(rows: npt.NDArray[np.float32], size: int) -> list[npt.NDArray[np.float32]]:
    padding = np.zeros((-len(rows) % size, rows.shape[1]), np.float32)
    whole = np.concatenate([rows, padding])
    return [whole[i : i + size] for i in range(0, len(whole), size)]


def _require_range(stage: Stage, arrays: list[npt.NDArray[np.float32]], *, what: str) -> None:
    bound = largest_value(stage.protocol)
    if not all(bool((np.abs(array) <= bound).all()) for array in arrays):
        raise Refusal(
            "range",
            what,
            seen="some numbers are not finite, or beyond the range of the shares",
            allowed=f"finite numbers of absolute value at most {bound:g}",
            remedy="scale the columns, or use precision: 128",
        )
