"""Data owners: each one's rows are read on its own device, checked there, and leave it as shares only.

A data owner's folder holds ``features.npy`` (float32, C order, of shape (rows, columns)) and, where it knows the
labels, ``label.npy`` (float32, of shape (rows,)). The graph reads them with operations on the owner's device; what the
model owner learns before training is their shapes and whether the values are in range, one bit per owner.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any

from probity_encrypted_worker.refusal import Refusal

__all__ = ["Owner", "Shard", "load"]

_MAGIC = b"\x93NUMPY"
_PREFIX = 10
"""Bytes before the text of a version 1 header: magic, version, length."""


@dataclass(frozen=True)
class Owner:
    """A data owner as the model owner expects it.

    Attributes:
        name: Its party.
        folder: Its folder, as its own machine names it.
        rows: Number of rows it has.
        columns: Number of feature columns it has.
        has_label: Whether it knows the labels.
    """

    name: str
    folder: str
    rows: int
    columns: int
    has_label: bool


@dataclass(frozen=True)
class Shard:
    """A data owner's rows, on its device.

    Attributes:
        player: TF Encrypted's name for the owner.
        features: A variable on the owner's device, float32 of shape (rows, columns).
        label: The same of shape (rows,); ``None`` where it has none.
    """

    player: Any
    features: Any
    label: Any | None


def load(owner: Owner, player: Any, *, bound: float) -> Shard:
    """Reads an owner's files into variables on its device.

    Args:
        owner: What is expected.
        player: Its device.
        bound: Largest absolute value that a feature may have.

    Raises:
        Refusal: With the code ``data_owner``, if a file is missing or has another shape; ``range``, if a value is not
            finite or too large for the fixed-point numbers.
    """
    features = _read(owner, player, "features.npy", shape=(owner.rows, owner.columns))
    label = _read(owner, player, "label.npy", shape=(owner.rows,)) if owner.has_label else None
    _require_range(owner, player, features, bound=bound, what="features")
    if label is not None:
        _require_range(owner, player, label, bound=1.0, what="labels")
    return Shard(player=player, features=features, label=label)


def _read(owner: Owner, player: Any, file: str, *, shape: tuple[int, ...]) -> Any:
    import tensorflow as tf

    with tf.device(player.device_name):
        try:
            contents = tf.io.read_file(f"{owner.folder}/{file}")
            head = tf.strings.substr(contents, 0, 512).numpy()
        except tf.errors.NotFoundError as error:
            raise _refused(owner, seen=f"it has no file {file}", allowed="features.npy, and label.npy") from error
        length = _require_header(owner, file, head, shape=shape)
        data = tf.io.decode_raw(tf.strings.substr(contents, length, -1), tf.float32)
        if int(tf.size(data)) != _count(shape):
            raise _refused(owner, seen=f"{file} ends early", allowed=f"{_count(shape)} numbers")
        return tf.Variable(tf.reshape(data, shape), trainable=False)


def _require_header(owner: Owner, file: str, head: bytes, *, shape: tuple[int, ...]) -> int:
    """Returns where the numbers begin."""
    if not head.startswith(_MAGIC + b"\x01"):
        raise _refused(owner, seen=f"{file} is not a version 1 file of numpy.save", allowed="what numpy.save writes")
    length = _PREFIX + int.from_bytes(head[8:10], "little")
    described = ast.literal_eval(head[_PREFIX:length].decode("latin1"))
    found = tuple(described["shape"])
    if described["descr"] != "<f4" or described["fortran_order"]:
        raise _refused(owner, seen=f"{file} is not float32 in C order", allowed="float32 in C order")
    if found != shape:
        raise _refused(owner, seen=f"{file} has shape {found}", allowed=f"shape {shape}, which the run was planned for")
    return length


def _require_range(owner: Owner, player: Any, numbers: Any, *, bound: float, what: str) -> None:
    """Asks the owner's device for one bit."""
    import tensorflow as tf

    with tf.device(player.device_name):
        # A comparison with NaN is false, so that NaN is out of range.
        fits = bool(tf.reduce_all(tf.abs(numbers) <= bound))
    if not fits:
        raise Refusal(
            "range",
            f"data owner {owner.name}",
            seen=f"some of its {what} are not finite, or beyond the range of the shares",
            allowed=f"finite numbers of absolute value at most {bound:g}",
            remedy="scale the column (transform.numeric), or use precision: 128",
        )


def _count(shape: tuple[int, ...]) -> int:
    return shape[0] * (shape[1] if len(shape) > 1 else 1)


def _refused(owner: Owner, *, seen: str, allowed: str) -> Refusal:
    return Refusal(
        "data_owner", f"data owner {owner.name}", seen=seen, allowed=allowed, remedy="give that owner the right files"
    )
