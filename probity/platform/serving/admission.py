"""What may be loaded: a version that still is what was released, and from then on nobody can change.

A check of the serving folder followed by a load from it would leave a moment in which the files can be swapped. So a
version is copied into a folder of the server's own, the copy is checked, and the copy is loaded.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from probity.errors import ProbityError
from probity.platform.release.push import verify_release
from probity.platform.serving.status import Code, ServingError

__all__ = ["Admission", "admit_any", "admit_verified"]

Admission = Callable[[Path, str, int, Path], Path]
"""Returns the folder to load: from a version's folder, the model's name, the number and a place for a copy."""


def admit_verified(path: Path, name: str, version: int, place: Path) -> Path:
    """Copies a version to ``place`` and checks the copy.

    Raises:
        ServingError: ``FAILED_PRECONDITION`` if it is not what was released, or was released as another model or
            version.
    """
    shutil.rmtree(place, ignore_errors=True)
    try:
        shutil.copytree(path, place, symlinks=True)
        release = verify_release(place)
    except OSError as error:
        raise ServingError(Code.UNAVAILABLE, f"The version cannot be read ({type(error).__name__})") from error
    except ProbityError as error:
        raise ServingError(
            Code.FAILED_PRECONDITION, f"The version is not what was released: {error.argument}: {error.seen}"
        ) from error
    if (release.model_name, release.version) != (name, version):
        raise ServingError(
            Code.FAILED_PRECONDITION,
            f"The version was released as version {release.version} of {release.model_name}",
        )
    return place


def admit_any(path: Path, name: str, version: int, place: Path) -> Path:
    """Takes a version as it is."""
    return path
