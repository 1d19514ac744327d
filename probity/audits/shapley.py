"""Shapley values of any function, by asking it: by enumerating coalitions, or by sampling orders of the players.

The game of a row x against background rows z^1 .. z^m is interventional: the value of a coalition S is the mean output
over the rows that hold x's values for the players of S and z^k's for all others (Lundberg & Lee 2017, eq. 11; Janzing
et al. 2020). The value of a player is its mean contribution over all orders of the players (Shapley 1953).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Inputs", "Predict", "enumerate_shapley", "sample_shapley"]

Inputs = Mapping[str, np.ndarray[Any, Any]]
"""Model inputs by name, float32 of shape (rows, width) each."""

Predict = Callable[[Inputs], np.ndarray[Any, Any]]
"""Output for each row, shape (rows,)."""

_ASKED_ROWS = 262_144
"""Rows that one question may hold, to bound memory."""


def enumerate_shapley(
    predict: Predict, rows: Inputs, *, background: Inputs, groups: Sequence[Sequence[str]]
) -> npt.NDArray[np.float64]:
    """Computes Shapley values exactly, from the values of all ``2 ** players`` coalitions.

    Guarantees: exact for this background, up to the precision of ``predict``; the values of a row add up to its output
    minus the mean output of the background. It asks for ``rows * background rows * 2 ** players`` outputs.

    Args:
        predict: The model.
        rows: The rows to explain.
        background: The background rows.
        groups: Input names per player.

    Returns:
        Float64 of shape (rows, players).

    References:
        Shapley 1953, "A value for n-person games", eq. 2.
    """
    players = len(groups)
    members = (np.arange(2**players)[:, None] >> np.arange(players)) & 1 == 1
    player_of = {name: player for player, names in enumerate(groups) for name in names}
    num_rows, num_background = _length(rows), _length(background)
    size = members.sum(axis=1)
    weight = np.array([1.0 / (players * math.comb(players - 1, s)) for s in range(players)])
    values = np.zeros((num_rows, players))
    at_once = max(1, _ASKED_ROWS // (num_background * len(members)))
    for begin in range(0, num_rows, at_once):
        part = slice(begin, begin + at_once)
        mixed = {
            name: np.where(
                members[None, :, None, player_of[name], None],
                rows[name][part][:, None, None, :],
                background[name][None, None, :, :],
            ).reshape(-1, rows[name].shape[1])
            for name in player_of
        }
        worth = predict(mixed).reshape(-1, len(members), num_background).mean(axis=2)
        for player in range(players):
            without = np.flatnonzero(~members[:, player])
            gain = worth[:, without | (1 << player)] - worth[:, without]
            values[part, player] = gain @ weight[size[without]]
    return values


def sample_shapley(
    predict: Predict, rows: Inputs, *, background: Inputs, groups: Sequence[Sequence[str]], seed: int
) -> npt.NDArray[np.float64]:
    """Estimates Shapley values by random orders of the players.

    Guarantees: unbiased; the values of a row add up to its output minus the mean output of the background, whatever
    the draws, because each walk from a background row to the explained row telescopes; a player that the model
    ignores gets exactly 0. It asks for ``rows * background rows * (players + 1)`` outputs.

    Args:
        predict: The model.
        rows: The rows to explain.
        background: The background rows; each is the start of one walk per explained row.
        groups: Input names per player.
        seed: Seed of the orders.

    Returns:
        Float64 of shape (rows, players).

    References:
        Castro, Gómez & Tejada 2009, algorithm 1.
    """
    rng = np.random.default_rng(seed)
    num_rows, num_background = _length(rows), _length(background)
    player_of = {name: player for player, names in enumerate(groups) for name in names}
    steps = np.arange(len(groups) + 1)
    values = np.zeros((num_rows, len(groups)))
    at_once = max(1, _ASKED_ROWS // (8 * num_background * len(steps)))
    for begin in range(0, num_rows, at_once):
        part = np.arange(begin, min(begin + at_once, num_rows))
        rank = rng.random((len(part), num_background, len(groups))).argsort(axis=2).argsort(axis=2)
        # Step s of a walk holds the explained row's values for the players whose rank is below s.
        walk = {
            name: np.where(
                (rank[:, :, None, player_of[name]] < steps)[..., None],
                rows[name][part][:, None, None, :],
                background[name][None, :, None, :],
            ).reshape(-1, rows[name].shape[1])
            for name in player_of
        }
        outputs = predict(walk).reshape(len(part), num_background, len(steps))
        values[part] = np.take_along_axis(np.diff(outputs, axis=2), rank, axis=2).mean(axis=1)
    return values


def _length(inputs: Inputs) -> int:
    return len(next(iter(inputs.values())))
