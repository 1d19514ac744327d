"""What a killed training needs to go on: the state after each finished round, and which rounds were begun.

``tff.program.FileProgramStateManager`` writes each state under another name and renames it, so that a kill leaves the
one before. The state crosses as one array of bytes: a state of many tensors takes ten times as long to save.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow_federated as tff
from probity_worker_contract.messages import Task

__all__ = ["Checkpoints", "Saved"]

_BEGUN = "rounds_begun"
_KEPT = 2


@dataclass(frozen=True, kw_only=True)
class Saved:
    """The training after a finished round.

    Attributes:
        round_number: That round, from 1.
        arrays: The process's state, flat, by position.
        noise: What the noise needs to go on; secret, and empty unless it is that of a tree.
        history: One record per finished round.
    """

    round_number: int
    arrays: tuple[np.ndarray, ...]
    noise: Mapping[str, np.ndarray]
    history: tuple[Mapping[str, Any], ...]


class Checkpoints:
    """The saved rounds of one request.

    Guarantees: another request, data or seed does not see them; the folder is readable for its owner alone, since the
    live nodes of tree noise are in it.

    Args:
        task: Names the folder that outlives attempts; without one nothing is saved.
    """

    def __init__(self, task: Task) -> None:
        self._folder = None if task.checkpoints is None else task.checkpoints / _name_of(task)
        self._states = None
        if self._folder is not None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._states = tff.program.FileProgramStateManager(self._folder, keep_total=_KEPT, keep_first=False)

    def load(self) -> Saved | None:
        """Returns the last finished round, or ``None``."""
        if self._states is None:
            return None
        state, version = asyncio.run(self._states.load_latest(np.zeros(0, np.uint8)))
        return None if state is None else _unpack(np.asarray(state).tobytes(), version)

    def save(self, saved: Saved) -> None:
        """Keeps a finished round; it is on disk when this returns."""
        if self._states is not None:
            asyncio.run(self._states.save(np.frombuffer(_pack(saved), np.uint8), saved.round_number))

    def begin(self, round_number: int) -> None:
        """Notes, on disk, that a round is about to look at the clients' rows."""
        if self._folder is not None:
            with open(self._folder / _BEGUN, "a", encoding="ascii") as file:
                file.write(f"{round_number}\n")
                file.flush()
                os.fsync(file.fileno())

    def last_begun(self) -> int:
        """Returns the highest round that was begun, 0 if none was."""
        path = None if self._folder is None else self._folder / _BEGUN
        return max(map(int, path.read_text("ascii").split()), default=0) if path is not None and path.exists() else 0

    def clear(self) -> None:
        """Removes everything; called once the training has ended well."""
        if self._folder is not None and self._states is not None:
            asyncio.run(self._states.remove_all())
            (self._folder / _BEGUN).unlink(missing_ok=True)
            self._folder.rmdir()


def _name_of(task: Task) -> str:
    """Names the folder by all that decides the result; remote workers and deadlines do not."""
    settings = {k: v for k, v in task.body["settings"].items() if k not in ("engine", "client_deadline_seconds")}
    what = [dict(task.body, settings=settings), task.seed, dict(task.files)]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def _pack(saved: Saved) -> bytes:
    state = {f"state_{i}": array for i, array in enumerate(saved.arrays)}
    noise = {f"noise_{name}": array for name, array in saved.noise.items()}
    history = np.frombuffer(json.dumps(list(saved.history)).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, history=history, **state, **noise)
    return buffer.getvalue()


def _unpack(content: bytes, round_number: int) -> Saved:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        count = sum(name.startswith("state_") for name in arrays.files)
        return Saved(
            round_number=round_number,
            arrays=tuple(arrays[f"state_{i}"] for i in range(count)),
            noise={name[6:]: arrays[name] for name in arrays.files if name.startswith("noise_")},
            history=tuple(json.loads(arrays["history"].tobytes())),
        )
