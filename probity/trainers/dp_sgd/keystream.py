"""Random bytes that hide what was drawn with them: AES in counter mode, keyed by the operating system.

Noise and batches of differentially private training are secrets. Whoever can predict the noise can subtract it, and
where batches are known nothing is left of the amplification that sampling is credited with. A generator made for
simulations (Mersenne Twister, PCG, Philox with a small seed) can be predicted from its outputs or its seed; AES-CTR
under a key from ``os.urandom`` cannot, unless AES is broken, and on processors with AES instructions it is faster.

References:
    NIST SP 800-38A (2001), section 6.5: the counter mode.
    Garfinkel and Leclerc (2020), Randomness Concerns When Deploying Differential Privacy.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["KeyStream", "StepBytes"]

_KEY_BYTES = 32
_BLOCK_BYTES = 16


class KeyStream:
    """One stream of random bytes per training step.

    Guarantees: without ``fixed_seed`` the key is 256 bits from ``os.urandom``, never leaves this object, and a process
    that was forked takes a new one, so that parent and child never use the same bytes; each step's bytes are asked for
    once and in order, so that no noise is used twice. With ``fixed_seed`` a step's bytes depend on seed, purpose and
    step alone.

    Args:
        purpose: What the bytes are for; streams of one seed and different purposes are independent.
        fixed_seed: For tests only: makes the stream repeatable, so that it hides nothing.
    """

    def __init__(self, purpose: str, *, fixed_seed: int | None = None) -> None:
        self._fixed = fixed_seed is not None
        self._key = hashlib.sha256(f"probity/{purpose}/{fixed_seed}".encode()).digest() if self._fixed else _entropy()
        self._process = os.getpid()
        self._last_step = -1
        self._buffers = _Buffers()

    def at(self, step: int) -> StepBytes:
        """Returns the bytes of a step.

        Args:
            step: Number of the step, from 0, below 2^64; larger than any asked for before.

        Raises:
            RuntimeError: If this step or a later one was asked for before.
        """
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        if step <= self._last_step:
            raise RuntimeError(f"random bytes of step {step} were asked for after those of step {self._last_step}")
        self._last_step = step
        if self._process != os.getpid() and not self._fixed:
            self._key = _entropy()
        self._process = os.getpid()
        # The counter's upper half is the step, so 2^64 blocks pass before two steps could share one.
        counter = step.to_bytes(8, "big") + bytes(8)
        return StepBytes(Cipher(algorithms.AES(self._key), modes.CTR(counter)).encryptor(), self._buffers)


class _Buffers:
    """Memory that is used again: asking the system for fresh pages costs more than encrypting them."""

    def __init__(self) -> None:
        self.zeros = bytearray()
        self.taken = bytearray()

    def grow(self, count: int) -> None:
        if len(self.zeros) < count:
            self.zeros = bytearray(count)
            # The cipher wants room for one block more than it writes.
            self.taken = bytearray(count + _BLOCK_BYTES)


class StepBytes:
    """The random bytes of one step, in order."""

    def __init__(self, encryptor: Any, buffers: _Buffers) -> None:
        self._encryptor = encryptor
        self._buffers = buffers

    def take(self, count: int) -> npt.NDArray[np.uint8]:
        """Returns the next ``count`` bytes, independent and uniform, of shape (count,).

        The array is the caller's to change, until the stream is asked again: then its memory is used for the answer.
        """
        import numpy as np

        self._buffers.grow(count)
        self._encryptor.update_into(memoryview(self._buffers.zeros)[:count], self._buffers.taken)
        return np.frombuffer(self._buffers.taken, np.uint8, count)


def _entropy() -> bytes:
    return os.urandom(_KEY_BYTES)
