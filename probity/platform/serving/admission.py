"""What may be loaded: a version that still is what was released, and from then on nobody can change.

A check of the serving folder followed by a load from it would leave a moment in which the files can be swapped. So a
version is copied into a folder of the server's own, the copy is checked, and the copy is loaded.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from probity.errors import ProbityError
from probity.keys import TrustedKeys
from probity.platform.release.keys import keys_in
from probity.platform.release.verification import require_verified
from probity.platform.serving.options import ServerOptions
from probity.platform.serving.status import Code, ServingError

__all__ = ["Admission", "admission", "admit_any", "admit_verified"]

Admission = Callable[[Path, Path], Path]
"""Returns the folder to load: from a version's folder, and a place ``<model name>/<version>`` for a copy of it."""


def admission(options: ServerOptions) -> Admission:
    """Returns what decides for a server.

    Raises:
        SignatureError: If versions are to be verified and there is no key to do it with.
    """
    return admit_verified(keys_in(options.trusted_keys)) if options.require_verified else admit_any


def admit_verified(trusted_keys: TrustedKeys) -> Admission:
    """Returns an admission that copies a version and checks the copy.

    It raises ``ServingError`` (``FAILED_PRECONDITION``) if the copy does not verify under the name and the number of
    its place, and ``UNAVAILABLE`` if the version cannot be read.
    """

    def admit(path: Path, place: Path) -> Path:
        shutil.rmtree(place, ignore_errors=True)
        try:
            shutil.copytree(path, place, symlinks=True)
            require_verified(place, trusted_keys=trusted_keys)
        except (OSError, shutil.Error) as error:
            raise ServingError(Code.UNAVAILABLE, f"The version cannot be read ({type(error).__name__})") from error
        except ProbityError as error:
            raise ServingError(Code.FAILED_PRECONDITION, f"The version does not verify: {error.seen}") from error
        return place

    return admit


def admit_any(path: Path, place: Path) -> Path:
    """Takes a version as it is."""
    return path
