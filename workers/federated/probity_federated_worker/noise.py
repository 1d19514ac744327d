"""Noise of the aggregation, from the operating system's cryptographic generator.

TensorFlow's own operations are not used for it: their stateful normals are seeded by 32 bits, the noise queries that
TensorFlow Federated offers seed by the clock or by those normals, and Philox underneath is made for simulations. Who
can guess the seed can subtract the noise. Here every number comes from :func:`os.urandom` by the Box-Muller transform
in double precision, whose 53-bit uniforms end at 8.5 standard deviations, where a normal has mass 1e-17.

Sums are rounded to a grid after the noise (see :mod:`probity_federated_worker.aggregation`), which removes the known
floating-point attack and proves nothing: the guarantee is one of exact arithmetic.

References:
    Box and Muller (1958), A Note on the Generation of Random Normal Deviates.
    Kairouz et al. (2021), Practical and Private (Deep) Learning without Sampling or Shuffling, appendix B.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

import numpy as np

__all__ = ["FreshNoise", "Noise", "TreeNoise", "entropy_normals", "fixed_normals"]

Normals = Callable[[int], np.ndarray]


def entropy_normals(count: int) -> np.ndarray:
    """Returns independent standard normals, float64 of shape (count,), that cannot be predicted or repeated."""
    pairs = (count + 1) // 2
    words = np.frombuffer(os.urandom(16 * pairs), np.uint64) >> np.uint64(11)
    # (0, 1]: the half keeps the logarithm finite.
    uniforms = (words.astype(np.float64) + 0.5) * 2.0**-53
    radius = np.sqrt(-2.0 * np.log(uniforms[:pairs]))
    angle = 2.0 * np.pi * uniforms[pairs:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]


def fixed_normals(seed: int) -> Normals:
    """Returns repeatable normals, for tests only."""
    return np.random.default_rng(seed).standard_normal


class Noise(Protocol):
    """Unit noise for one round after the other."""

    def draw(self) -> np.ndarray:
        """Returns the noise of the next round, float32 of shape (size,), in units of the noise's deviation."""

    def skip(self) -> None:
        """Lets a round pass whose noise was drawn by a process that is gone."""

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns what a later process needs to go on; secret where it is not empty."""

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Goes on where :meth:`arrays` was taken."""


class FreshNoise:
    """Independent noise in each round: nothing of it is ever written to disk."""

    def __init__(self, size: int, *, normals: Normals) -> None:
        self._size = size
        self._normals = normals

    def draw(self) -> np.ndarray:
        """See :class:`Noise`."""
        return self._normals(self._size).astype(np.float32)

    def skip(self) -> None:
        """See :class:`Noise`."""

    def arrays(self) -> dict[str, np.ndarray]:
        """See :class:`Noise`."""
        return {}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """See :class:`Noise`."""


class TreeNoise:
    """Noise of the binary-tree mechanism, handed out as differences of successive rounds.

    Guarantees: the noises of the first t rounds add up to the sum of the tree's nodes that cover rounds 1 to t: one
    node per one in the binary form of t. Each round is a leaf below at most one node of each level. A restart begins a
    new tree and leaves what the last one added.

    Args:
        size: Length of the vectors.
        normals: Where each node's standard normals come from.
        restart_every: Rounds per tree; ``None``: one tree.
    """

    def __init__(self, size: int, *, normals: Normals, restart_every: int | None = None) -> None:
        self._size = size
        self._normals = normals
        self._restart_every = restart_every
        self._step = 0
        self._last = np.zeros(size)
        self._nodes: dict[int, np.ndarray] = {}

    def draw(self) -> np.ndarray:
        """See :class:`Noise`."""
        if self._restart_every is not None and self._step == self._restart_every:
            self._step, self._last, self._nodes = 0, np.zeros(self._size), {}
        self._advance()
        total = sum(self._nodes.values(), np.zeros(self._size))
        difference, self._last = total - self._last, total
        return difference.astype(np.float32)

    def skip(self) -> None:
        """Spends the leaf of a round whose result is lost; its noise joins that of the next round."""
        if self._restart_every is not None and self._step == self._restart_every:
            self._step, self._last, self._nodes = 0, np.zeros(self._size), {}
        self._advance()

    def arrays(self) -> dict[str, np.ndarray]:
        """See :class:`Noise`: the live nodes, at most one per level."""
        nodes = {f"node_{level}": node for level, node in self._nodes.items()}
        return {"step": np.array(self._step), "last": self._last, **nodes}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """See :class:`Noise`."""
        self._step, self._last = int(arrays["step"]), arrays["last"]
        self._nodes = {int(name[5:]): node for name, node in arrays.items() if name.startswith("node_")}

    def _advance(self) -> None:
        """Adds a leaf: the nodes of the trailing ones of the step's number are covered by a new one above them."""
        self._step += 1
        level = (self._step & -self._step).bit_length() - 1
        self._nodes = {at: node for at, node in self._nodes.items() if at > level}
        self._nodes[level] = self._normals(self._size)
