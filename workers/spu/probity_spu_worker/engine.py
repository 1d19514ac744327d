"""SPU's virtual machine as this worker uses it, and shares as files.

ABY3 (Mohassel & Rindal 2018) between three servers on the ring of 2^64 or 2^128, secure against one corrupt server that
follows the protocol. A share is opaque bytes; one server's are uniformly distributed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["LARGEST", "SERVERS", "configuration", "deal", "join", "read_share", "rows_file", "write_share"]

SERVERS = ("server0", "server1", "server2")
LARGEST = {64: 2.0**11, 128: 2.0**20}
"""Largest absolute value of a feature or weight, by bits of a share: as for the other engine, far from wrapping."""


def configuration(precision: int) -> Any:
    """Returns the settings that every server, and whoever deals or joins shares, has to agree on."""
    from spu import libspu

    fields = {64: libspu.FieldType.FM64, 128: libspu.FieldType.FM128}
    return libspu.RuntimeConfig(protocol=libspu.ProtocolKind.ABY3, field=fields[precision])


def join(shares: Sequence[Any], *, precision: int) -> npt.NDArray[Any]:
    """Puts the shares of all servers together."""
    from spu import api

    found: npt.NDArray[Any] = api.Io(len(SERVERS), configuration(precision)).reconstruct(list(shares))
    return found


def deal(value: npt.NDArray[Any], paths: Sequence[Path], *, precision: int) -> None:
    """Draws shares of an array in this process, and writes each server's to its path."""
    from spu import api, libspu

    shares = api.Io(len(SERVERS), configuration(precision)).make_shares(value, libspu.Visibility.VIS_SECRET)
    for path, share in zip(paths, shares, strict=True):
        write_share(path, share)


def rows_file(name: str, epoch: int) -> str:
    """Returns the file with a server's share of the rows of an epoch, numbered from 0, in the order of its batches."""
    return f"{name}_epoch{epoch:05d}.share"


def write_share(path: Path, share: Any) -> None:
    """Writes a share; it appears whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    chunks = [bytes(chunk) for chunk in share.share_chunks]
    arrays = {"meta": bytes(share.meta), **{f"chunk{i:04d}": chunk for i, chunk in enumerate(chunks)}}
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        np.savez(file, **{name: np.frombuffer(content, np.uint8) for name, content in arrays.items()})
    os.replace(part, path)


def read_share(path: Path) -> Any:
    """Reads what :func:`write_share` wrote."""
    from spu import libspu

    with np.load(path, allow_pickle=False) as stored:
        share = libspu.Share()
        share.meta = stored["meta"].tobytes()
        share.share_chunks = [stored[name].tobytes() for name in sorted(stored.files) if name != "meta"]
    return share
