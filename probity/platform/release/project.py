"""What lies beside a config and decides about releases: keys, reviewers, waivers, the model's history."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from probity.config import RunConfig
from probity.errors import ConfigError, SignatureError
from probity.history import HistoryEntry, parse_time, read_history
from probity.keys import PublicKey, TrustedKeys
from probity.platform.release.history import untold
from probity.platform.release.keys import ReleaseKeys, project_keys
from probity.release_policy import trusted_in_project
from probity.review import Reviewers, SealedWaiver, unseal_waiver
from probity.run_reviews import read_reviewers
from probity.runs import RunFolder

__all__ = ["Project"]


@dataclass(frozen=True, kw_only=True)
class Project:
    """A config in its folder."""

    config: RunConfig
    root: Path
    """Folder of the config."""

    @classmethod
    def of_run(cls, folder: RunFolder) -> Self:
        """Returns the project that a run was started from."""
        workspace = folder.path.parents[1]
        return cls(config=folder.config(), root=(workspace / folder.provenance()["config_folder"]).resolve())

    @property
    def model_name(self) -> str:
        """Name under which a server finds the model."""
        return self.config.serving.model_name

    @property
    def base_path(self) -> Path:
        """Folder of TensorFlow Serving's layout."""
        return (self.root / self.config.serving.base_path).resolve()

    @property
    def waivers_path(self) -> Path:
        """File of the sealed waivers."""
        return self.root / self.config.gate.waivers

    def keys(self) -> ReleaseKeys:
        """Returns the keys that sign and are believed; the default one is created if it is not there.

        Raises:
            SignatureError: If a key cannot be read.
        """
        return project_keys(self.config.signing, root=self.root)

    def trusted(self) -> dict[str, PublicKey]:
        """Returns the public keys of releases that are believed; no private key is touched.

        Raises:
            SignatureError: If a key that the config names cannot be read.
        """
        return trusted_in_project(self.config.signing, root=self.root)

    def reviewers(self) -> Reviewers:
        """Returns who may approve, as ``reviewers.yaml`` has it now.

        Raises:
            ConfigError: If it cannot be read.
        """
        return read_reviewers(self.root / self.config.gate.approval.reviewers)

    def writers(self) -> TrustedKeys:
        """Returns the keys of all who may write into the model's history."""
        return {**self.trusted(), **self.reviewers().keys}

    def history(self) -> tuple[tuple[HistoryEntry, ...], tuple[str, ...]]:
        """Returns the model's history, oldest first, up to the first problem, and that problem.

        A version that appeared and whose entry a killed process could not write has one here all the same.
        """
        trusted = self.trusted()
        entries, problems = read_history(self.base_path, self.model_name, keys=self.writers(), movers=trusted)
        if problems:
            return entries, problems
        owed = untold(self.base_path, self.model_name, entries, keys=trusted, signing=self.config.signing)
        return (*entries, *owed), ()

    def verified_history(self) -> tuple[HistoryEntry, ...]:
        """Returns the model's history, oldest first, if all of it verifies.

        Raises:
            SignatureError: If it does not; what was live before cannot be told without it.
        """
        entries, problems = self.history()
        if problems:
            raise SignatureError(
                f"{self.model_name}.history.jsonl",
                seen=problems[0],
                allowed="a history as it was signed",
                remedy="restore it from a copy; what was live before cannot be told without it",
            )
        return entries

    def waivers(self) -> tuple[SealedWaiver, ...]:
        """Returns the waivers of this model that were sealed by reviewers who may waive, whether in force or not.

        Raises:
            ConfigError: If the file holds anything else: a waiver that does not count is not silently left out.
        """
        try:
            lines = self.waivers_path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return ()
        except (OSError, ValueError) as error:
            raise _unusable(self.waivers_path.name, "it cannot be read") from error
        people, found = self.reviewers(), []
        for number, line in enumerate(lines, 1):
            try:
                sealed = unseal_waiver(line, people)
            except SignatureError as error:
                raise _unusable(f"{self.waivers_path.name}, line {number}", error.seen) from error
            if sealed.waiver.model_name == self.model_name:
                found.append(sealed)
        return tuple(sorted(found, key=lambda sealed: parse_time(sealed.waiver.at)))


def _unusable(argument: str, seen: str) -> ConfigError:
    return ConfigError(
        argument,
        seen=seen,
        allowed="waivers as probity waive writes them, by reviewers who may waive",
        remedy="sign it again with: probity waive CONFIG --rule NAME --key FILE, or remove the line",
    )
