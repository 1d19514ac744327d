"""A token made of software, by SoftHSM, for tests of keys that never lie in a file."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest

LIBRARY = next(
    (
        path
        for folder in ("/usr/lib", "/usr/lib64", "/usr/local/lib")
        for path in Path(folder).glob("**/libsofthsm2.so")
    ),
    None,
)
PIN, LABEL = "81 72/6%?&x", "re lease;1"  # what a URI has to escape
needs_token = pytest.mark.skipif(
    LIBRARY is None or shutil.which("softhsm2-util") is None, reason="SoftHSM is not installed (package softhsm2)"
)


class SoftToken:
    """A token in a folder, with no key in it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        (folder / "tokens").mkdir(parents=True)
        (folder / "pin").write_text(f"{PIN}\n")
        (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\n")
        monkeypatch.setenv("SOFTHSM2_CONF", str(folder / "softhsm2.conf"))
        self.folder = folder
        self._do("--init-token", "--free", "--so-pin", "12345678", "--pin", PIN, "--label", LABEL)

    def take(self, key: Path, *, name: str, number: str = "0A") -> str:
        """Takes a key file's key in, and returns its URI, whose PIN lies in a file."""
        self._do("--import", str(key), "--token", LABEL, "--pin", PIN, "--label", name, "--id", number)
        return f"{self.uri(name)}&pin-source=file:{self.folder / 'pin'}"

    def uri(self, name: str) -> str:
        """Returns the URI of a key, without a PIN."""
        return f"pkcs11:token={quote(LABEL)};object={name}?module-path={LIBRARY}"

    def _do(self, *words: str) -> None:
        subprocess.run(["softhsm2-util", "--module", str(LIBRARY), *words], check=True, capture_output=True)
