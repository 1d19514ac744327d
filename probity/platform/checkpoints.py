"""Where a training keeps what another attempt at it can continue."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["checkpoint_folder"]


@contextmanager
def checkpoint_folder(folder: Path) -> Iterator[Path | None]:
    """Holds the folder in which attempts at one training keep what a next attempt can continue.

    Yields ``None`` while another process works at the same training: two of them must not share checkpoints. The
    operating system frees the lock of a killed process. After a training that ended well the folder is removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_suffix(".lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield None
        return
    try:
        yield folder
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        lock.release()
