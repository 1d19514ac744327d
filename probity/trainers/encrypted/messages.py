"""What the encrypted worker is asked: the files of its folder, and the body of its request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probity.errors import ConfigError
from probity.trainers.encrypted.parts import Part, Plan, deal
from probity.trainers.encrypted.settings import EncryptedSettings
from probity.trainers.encrypted.stack import Stack
from probity.trainers.worker_messages import PROBE_INPUTS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["INITIAL", "party_file", "write_arrays", "write_files"]

INITIAL = "initial.npz"
_SCHEDULE = "schedule.npz"


def write_files(
    folder: Path,
    settings: EncryptedSettings,
    plan: Plan,
    stack: Stack,
    *,
    joined: npt.NDArray[np.float32],
    labels: npt.NDArray[np.float32],
    probe: npt.NDArray[np.float32],
    root: Path,
) -> dict[str, Any]:
    """Writes what the worker reads, and returns the body of the request.

    Args:
        folder: The worker folder.
        settings: The trainer's.
        plan: Parts and batches.
        stack: The architecture and the initial weights.
        joined: The training rows; dealt to the owners' folders where owners are simulated, and not written otherwise.
        labels: Their labels.
        probe: Rows whose scores show that the same model came back.
        root: The config file's folder, where the parties file is looked for.

    Raises:
        ConfigError: If there is no parties file where one is named.
    """
    import numpy as np

    dealt = settings.data_owners.files == "dealt"
    order = plan.column_order
    if dealt:
        deal(plan, joined, labels, folder=folder / "owners")
    weights = stack.weights()
    write_arrays(folder / INITIAL, [weights[0][order], *weights[1:]])
    np.savez(folder / _SCHEDULE, **{f"owner{i}": rows for i, rows in enumerate(plan.schedule)})
    np.savez(folder / PROBE_INPUTS, features=probe[:, order])
    return {
        "operation": "train",
        "protocol": settings.protocol,
        "precision": settings.precision,
        "architecture": stack.sequential().to_json(),
        "mode": settings.mode,
        "party_file": party_file(settings.parties, root=root) if settings.mode == "remote" else None,
        "start_seconds": settings.start_seconds,
        "owners": [_owner(part, dealt=dealt) for part in plan.parts],
        "by": plan.by,
        "schedule": _SCHEDULE,
        "initial_weights": INITIAL,
        "learning_rate": settings.learning_rate,
        "reveal_loss": settings.reveal.loss,
    }


def write_arrays(path: Path, arrays: Sequence[npt.NDArray[np.float32]]) -> None:
    """Writes arrays under the names ``w0000``, ``w0001``, …, which give their order."""
    import numpy as np

    np.savez(path, **{f"w{i:04d}": array for i, array in enumerate(arrays)})


def party_file(given: str, *, root: Path) -> str:
    """Returns the absolute path of a parties file.

    Raises:
        ConfigError: If there is none.
    """
    path = (root / given).resolve()
    if not path.is_file():
        raise ConfigError(
            "trainer.parties",
            seen=f"there is no file {path.name} in {path.parent}",
            allowed="local, processes, or the path of a parties file",
            remedy="write the file; docs/how-to/train-encrypted.md shows one",
        )
    return str(path)


def _owner(part: Part, *, dealt: bool) -> dict[str, Any]:
    return {
        "name": part.name,
        "folder": f"owners/{part.name}" if dealt else "",
        "rows": len(part.rows),
        "columns": list(part.names),
        "has_label": part.labelled,
    }
