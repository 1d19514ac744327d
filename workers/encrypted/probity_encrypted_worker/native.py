"""Refuses to work where TF Encrypted's compiled operations did not load.

Without them the library goes on with TensorFlow's ordinary random numbers and says so in a log line only: shares drawn
from a generator that can be predicted hide nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from probity_encrypted_worker.refusal import Refusal

__all__ = ["loaded_operations", "require_operations"]


def loaded_operations() -> dict[str, bool]:
    """Returns which families of compiled operations are there: ``secure randomness``, ``int128`` and ``aux``."""
    from tf_encrypted.operations.aux import aux
    from tf_encrypted.operations.secure_random import secure_random
    from tf_encrypted.operations.tf_i128 import tf_i128

    return {
        "secure randomness": secure_random.supports_secure_randomness(),
        "int128": tf_i128.tf_i128 is not None,
        "aux": aux.aux_module is not None,
    }


def require_operations(loaded: Mapping[str, bool]) -> None:
    """Raises unless all of them are there.

    Args:
        loaded: The answer of :func:`loaded_operations`.

    Raises:
        Refusal: With the code ``native_operations``, naming what is missing.
    """
    import tensorflow as tf

    missing = sorted(name for name, there in loaded.items() if not there)
    if missing:
        raise Refusal(
            "native_operations",
            "the worker's environment",
            seen=f"TF Encrypted's compiled operations for {', '.join(missing)} did not load on TensorFlow "
            f"{tf.__version__}",
            allowed="TF Encrypted 0.9.1 on TensorFlow 2.9.1 with all of them; without them shares could be predicted",
            remedy="probity workers sync",
        )
