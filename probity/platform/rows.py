"""The identity of rows: one canonical byte form, from which content digests, splits and file order follow.

**Canonical form.** The values of a row in the order of the column names, each as a tag, its length in eight bytes and
its bytes: ``m`` missing; ``n`` a number in shortest decimal form (39 for the whole number 39 and for 39.0, else
Python's ``repr`` of the float64, which is exact); ``t`` UTF-8 text. Every value announces its length, so no two
different rows have the same form, whatever the cells hold.

**Content digest.** SHA-256 over the column names and the sorted SHA-256 digests of all rows, repeated rows repeated.
The sorted list determines the multiset of row digests, so two data sets with equal content digests hold the same rows,
or someone has found a collision of SHA-256. (A sum or an exclusive-or of row digests would be cheaper, and forgeable by
Wagner's generalised birthday attack.) Neither row order nor file format enters.

**The limit of that.** A value has to be the same value. TFRecord stores numbers with a fraction as float32, so 0.1 from
CSV or Parquet and 0.1 from TFRecord differ in the eighth digit and give different digests; whole numbers, text and
numbers that float32 holds exactly do not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from probity.digest import canonical_json

__all__ = ["buckets", "content_digest", "row_hashes", "value_hashes"]

_LARGEST_EXACT = 2.0**63


def row_hashes(columns: dict[str, pa.Array]) -> list[bytes]:
    """Returns the SHA-256 of the canonical form of each row.

    Args:
        columns: At least one column, each int64, float64 or string.
    """
    encoded = [_canonical_values(columns[name]) for name in sorted(columns)]
    return [hashlib.sha256(b"".join(values)).digest() for values in zip(*encoded, strict=True)]


def value_hashes(column: pa.Array) -> list[bytes]:
    """Returns the SHA-256 of the canonical form of each value of one column."""
    return row_hashes({"": column})


def content_digest(names: Sequence[str], hashes: Sequence[bytes]) -> str:
    """Returns the digest of a multiset of rows.

    Args:
        names: The column names, in any order.
        hashes: What :func:`row_hashes` gave for the rows, in any order.
    """
    state = hashlib.sha256(b"probity rows 1\n")
    state.update(canonical_json(sorted(names)) + b"\n")
    state.update(b"".join(sorted(hashes)))
    return f"sha256:{state.hexdigest()}"


def buckets(hashes: Sequence[bytes], total: int) -> np.ndarray[Any, Any]:
    """Returns the hash bucket of each digest: its first eight bytes, as a big-endian number, modulo ``total``."""
    heads = np.frombuffer(b"".join(digest[:8] for digest in hashes), ">u8")
    places: np.ndarray[Any, Any] = (heads % np.uint64(total)).astype(np.int64)
    return places


def _canonical_values(column: pa.Array) -> list[bytes]:
    # Each distinct value is spelled once: columns repeat themselves, and Python is slow.
    encoded = column.dictionary_encode()
    if pa.types.is_string(column.type):
        spelled = [_framed(b"t", text.encode("utf-8")) for text in encoded.dictionary.to_pylist()]
    else:
        spelled = [_framed(b"n", _number(value)) for value in encoded.dictionary.to_pylist()]
    spelled.append(b"m")
    places = encoded.indices.fill_null(len(spelled) - 1).to_numpy(zero_copy_only=False)
    return [spelled[place] for place in places.tolist()]


def _number(value: float) -> bytes:
    if isinstance(value, float) and value.is_integer() and abs(value) < _LARGEST_EXACT:
        value = int(value)
    return repr(value).encode()


def _framed(tag: bytes, content: bytes) -> bytes:
    return tag + len(content).to_bytes(8, "big") + content
