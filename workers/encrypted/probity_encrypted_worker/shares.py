"""Shares on disk: each server writes and reads, on its own device, the shares that it holds.

One server's files say nothing about the numbers: each share by itself is uniformly distributed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from probity_encrypted_worker.refusal import Refusal

__all__ = ["SharedVariables", "read_shares", "write_shares"]

SharedVariables = Sequence[tuple[str, Any, Any]]
"""Server, its device, and a variable that it holds, in a fixed order."""


def write_shares(variables: SharedVariables, *, folders: Mapping[str, str], prefix: str) -> None:
    """Writes every variable to its server's folder.

    Args:
        variables: What to write.
        folders: Folder of each server, as its own machine names it.
        prefix: Of the file names.
    """
    import tensorflow as tf

    for i, (server, device, variable) in enumerate(variables):
        with tf.device(device):
            path = _path(folders[server], prefix, i)
            # A rename would need an operation that TensorFlow lacks; whoever reads is told when all are whole.
            tf.io.write_file(path, tf.io.serialize_tensor(variable.read_value()))


def read_shares(variables: SharedVariables, *, folders: Mapping[str, str], prefix: str) -> None:
    """Assigns every variable what its server has in its folder.

    Raises:
        Refusal: With the code ``checkpoint``, if a server no longer has its shares, or has others.
    """
    import tensorflow as tf

    for i, (server, device, variable) in enumerate(variables):
        with tf.device(device):
            try:
                share = tf.io.parse_tensor(tf.io.read_file(_path(folders[server], prefix, i)), variable.dtype)
                variable.assign(tf.ensure_shape(share, variable.shape))
            except (tf.errors.NotFoundError, tf.errors.InvalidArgumentError, ValueError) as error:
                raise Refusal(
                    "checkpoint",
                    f"party {server}",
                    seen=f"its shares {prefix} are not there, or of another shape",
                    allowed="the shares that every server wrote at the same time",
                    remedy="remove the checkpoints to start over, or deal the shares again",
                ) from error


def _path(folder: str, prefix: str, position: int) -> str:
    return f"{folder}/{prefix}_{position:04d}.share"
