"""The parties file: who takes part, and where. Each operator has a copy of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probity_encrypted_worker.cast import SERVERS, Cast
from probity_encrypted_worker.refusal import Refusal

__all__ = ["PartyFile"]

_KEYS = {"address", "folder", "tunnel"}


@dataclass(frozen=True)
class PartyFile:
    """A parties file, read and checked.

    ::

        parties:
          server0: {address: "127.0.0.1:4440"}
          server1: {address: "127.0.0.1:4441"}
          server2: {address: "127.0.0.1:4442"}
          hospital: {address: "127.0.0.1:4443", folder: /srv/hospital}    # a data owner; any other name

    Attributes:
        home: The file's folder; a party without ``folder`` has one of its own name there.
        entries: By party: ``address``, and where given ``folder`` and ``tunnel``.
    """

    home: Path
    entries: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, path: Path) -> PartyFile:
        """Reads a file.

        Raises:
            Refusal: With the code ``parties``, if it is not of that form.
        """
        import yaml

        try:
            found = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise _malformed(path, f"it cannot be read ({type(error).__name__})") from error
        entries = found.get("parties") if isinstance(found, dict) and set(found) == {"parties"} else None
        if not isinstance(entries, dict) or not all(
            isinstance(entry, dict) and set(entry) <= _KEYS and isinstance(entry.get("address"), str)
            for entry in entries.values()
        ):
            raise _malformed(path, "it has another form")
        return cls(home=path.resolve().parent, entries=entries)

    def cast(self) -> Cast:
        """Returns the parties; whoever is no server owns data."""
        return Cast(
            data_owners=tuple(name for name in self.entries if name not in SERVERS),
            addresses={name: str(entry["address"]) for name, entry in self.entries.items()},
            tunnelled=tuple(name for name, entry in self.entries.items() if entry.get("tunnel") is True),
        )

    def folder(self, name: str) -> str:
        """Returns the folder of a party: of its shares, or of its rows."""
        return str(self.home / self.entries[name].get("folder", name))


def _malformed(path: Path, seen: str) -> Refusal:
    return Refusal(
        "parties",
        path.name,
        seen=seen,
        allowed="parties: {server0: {address: host:port}, server1: ..., server2: ..., and one entry per data owner}, "
        "each with address and optionally folder and tunnel",
        remedy="mend the file",
    )
