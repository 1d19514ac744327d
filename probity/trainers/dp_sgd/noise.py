"""Gaussian noise from a cryptographic stream.

The Box-Muller transform (1958) in single precision, on whole arrays: for independent uniform ``U`` and ``V``,
``sqrt(-2 ln U) * (cos(2 pi V), sin(2 pi V))`` is a pair of independent standard normals.

**Tails.** ``U`` has 63 bits, so nothing beyond 9.4 standard deviations comes out, where a normal has mass 1e-20: to
leave that out changes the distribution of 1e10 numbers by 1e-10 in total variation. With the usual 32 bits the end is
at 6.7 and the mass 3e-11, which for 50,000 weights and 500 steps adds up to 7e-4: more than any delta worth stating.

**Floating point.** The theorem is about real numbers. A sum of two single-precision numbers can take some values and
not others, depending on the summands, and so tell about the data (Mironov 2012; shown for DP-SGD by Jin et al. 2022).
Noisy sums are therefore rounded to a grid that is far coarser than the numbers' own and does not depend on the data:
each point of it is reached from every sum, in about the right proportion. That removes the known attack and proves
nothing, so the privacy statement takes exact arithmetic as an assumption.

References:
    Box and Muller (1958), A Note on the Generation of Random Normal Deviates.
    Mironov (2012), On Significance of the Least Significant Bits for Differential Privacy.
    Jin et al. (2022), Are We There Yet? Timing and Floating-Point Attacks on Differential Privacy Systems.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from probity.trainers.dp_sgd.keystream import KeyStream

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["GaussianNoise", "rounding_grid"]

_RADIUS_BYTES, _ANGLE_BYTES = 8, 4


class GaussianNoise:
    """Standard normal vectors, one per step.

    Guarantees: the numbers of a step are independent of each other and of every other step's; all are finite.

    Args:
        size: Length of the vectors.
        stream: Where the randomness comes from; used for nothing else.
    """

    def __init__(self, size: int, *, stream: KeyStream) -> None:
        import numpy as np

        self._size = size
        self._stream = stream
        self._pairs = (size + 1) // 2
        self._radius = np.empty(self._pairs, np.float32)
        self._angle = np.empty(self._pairs, np.float32)
        self._normals = np.empty((2, self._pairs), np.float32)

    def draw(self, step: int) -> npt.NDArray[np.float32]:
        """Returns the noise of a step, float32 of shape (size,); the next call uses its memory again.

        Raises:
            RuntimeError: If this step or a later one was asked for before.
        """
        import numpy as np

        bytes_ = self._stream.at(step).take(self._pairs * (_RADIUS_BYTES + _ANGLE_BYTES))
        split = self._pairs * _RADIUS_BYTES
        _to_radius(bytes_[:split].view(np.uint64), out=self._radius)
        np.copyto(self._angle, bytes_[split:].view(np.int32), casting="unsafe")
        self._angle *= np.float32(math.pi / 2**31)
        # Not in place: numpy's fast sine and cosine are for arrays that do not overlap.
        np.cos(self._angle, out=self._normals[0])
        np.sin(self._angle, out=self._normals[1])
        self._normals *= self._radius
        return self._normals.reshape(-1)[: self._size]


def rounding_grid(deviation: float) -> float:
    """Returns the distance of the points to which a noisy sum is rounded: at most a 1024th of its noise.

    Guarantees: a power of two, so that its multiples below ``2^13`` times the deviation are exact in single precision;
    rounding adds less than one part in ten million to the variance, and takes none away.

    Args:
        deviation: Standard deviation of the noise, greater than 0.
    """
    return float(2.0 ** (math.floor(math.log2(deviation)) - 10))


def _to_radius(words: npt.NDArray[np.uint64], *, out: npt.NDArray[np.float32]) -> None:
    """Sets ``out`` to ``sqrt(-2 ln U)`` for ``U`` uniform in (0, 1], made from 63 bits of each word."""
    import numpy as np

    words >>= np.uint64(1)
    # Signed integers become floats several times faster than unsigned ones. The half keeps the logarithm finite.
    np.copyto(out, words.view(np.int64), casting="unsafe")
    out += np.float32(0.5)
    out *= np.float32(2.0**-63)
    np.log(out, out=out)
    out *= np.float32(-2.0)
    np.sqrt(out, out=out)
