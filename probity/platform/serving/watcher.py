"""Which versions should be live, and the steps from those that are to those that should be.

One thread looks at the base paths. A version is admitted, loaded by every process, and only then published; the old one
goes after that, so that a model which answered before a swap answers during it.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event, Lock

from probity.platform.serving.admission import Admission
from probity.platform.serving.catalogue import Fleet, ModelView, State, VersionStatus
from probity.platform.serving.options import All, Latest, ModelSource, Policy
from probity.platform.serving.status import Code, ServingError

__all__ = ["VersionWatcher", "present_versions"]

_REMEMBERED = 32
"""How many versions that are gone a status still tells of, per model."""

_log = logging.getLogger(__name__)


def present_versions(base_path: Path) -> dict[int, Path]:
    """Returns the folders below ``base_path`` whose names are numbers.

    Raises:
        OSError: If the folder is there and cannot be read.
    """
    try:
        entries = list(base_path.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {int(path.name): path for path in entries if re.fullmatch(r"[0-9]{1,18}", path.name) and path.is_dir()}


class VersionWatcher:
    """Keeps a fleet on the versions that its sources ask for.

    Guarantees: of a model that is served, some version answers at every moment as long as one of those asked for can
    be loaded; where the newest cannot, the next one does, and the status says why. A version that failed is tried
    again when its files change.

    Args:
        sources: What to serve.
        fleet: Who answers.
        admit: Decides what may be loaded, and from where.
        copies: Folder for copies, which nobody else can write.
    """

    def __init__(self, sources: Sequence[ModelSource], *, fleet: Fleet, admit: Admission, copies: Path) -> None:
        self._sources = {source.name: source for source in sources}
        self._fleet = fleet
        self._admit = admit
        self._copies = copies
        self._views: dict[str, ModelView] = {name: ModelView() for name in self._sources}
        self._folders: dict[tuple[str, int], Path] = {}
        self._failed: dict[tuple[str, int], object] = {}
        self._lock = Lock()

    def watch(self, stop: Event, *, poll_seconds: float) -> None:
        """Looks at the base paths until told to stop."""
        while not stop.wait(poll_seconds):
            try:
                self.step()
            except Exception:  # whatever a file system may say, the next look is another chance
                _log.exception("a look at the base paths failed")

    def step(self) -> None:
        """Looks once, and loads and unloads what has to be."""
        with self._lock:
            self._step()

    def reload(self, sources: Sequence[ModelSource]) -> None:
        """Serves these models from now on, and returns when they are loaded.

        Raises:
            ServingError: If a model has no version that can be served, or a label names a version that is not
                available. The other models are served nevertheless.
        """
        with self._lock:
            self._sources = {source.name: source for source in sources}
            self._step()
            for source in sources:
                available = self._views[source.name].available
                if not available:
                    raise ServingError(Code.NOT_FOUND, f"No version of model {source.name} could be loaded")
                lost = sorted(label for label, version in source.labels.items() if version not in available)
                if lost:
                    raise ServingError(
                        Code.FAILED_PRECONDITION,
                        f"Labels {', '.join(lost)} of model {source.name} name versions that are not available",
                    )

    @property
    def views(self) -> Mapping[str, ModelView]:
        """What requests see."""
        return self._views

    @property
    def loaded(self) -> Mapping[tuple[str, int], Path]:
        """The folder that each loaded version came from; a process that starts anew loads these."""
        return self._folders

    def _step(self) -> None:
        for source in self._sources.values():
            self._follow(source)
        for name in [name for name in self._views if name not in self._sources]:
            self._retire(name, keep=())
            del self._views[name]
        self._publish()

    def _follow(self, source: ModelSource) -> None:
        try:
            present = present_versions(source.base_path)
        except OSError as error:
            _log.warning("base path of %s cannot be read (%s); nothing changes", source.name, type(error).__name__)
            return
        self._views.setdefault(source.name, ModelView())
        keep = self._bring_up(source, present)
        self._retire(source.name, keep=keep)
        self._forget(source.name, present)
        view = self._views[source.name]
        labels = {label: version for label, version in source.labels.items() if version in view.available}
        self._views[source.name] = replace(view, labels=labels)

    def _bring_up(self, source: ModelSource, present: Mapping[int, Path]) -> list[int]:
        """Loads what the policy asks for, and returns the versions that are to stay."""
        candidates, count = _candidates(source.policy, present)
        keep: list[int] = []
        for version in candidates:
            if len(keep) == count:
                break
            if (source.name, version) in self._folders or self._load(source.name, version, present[version]):
                keep.append(version)
        return keep

    def _load(self, name: str, version: int, path: Path) -> bool:
        seen = _fingerprint(path)
        if self._failed.get((name, version)) == seen:
            return False
        self._set(name, version, VersionStatus(state=State.LOADING))
        self._publish()
        place = self._copies / name / str(version)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            folder = self._admit(path, place)
            self._fleet.load(name, version, folder)
        except ServingError as error:
            _log.error("version %s of %s is not served: %s", version, name, error.message)
            shutil.rmtree(place, ignore_errors=True)
            self._failed[name, version] = seen
            self._set(name, version, VersionStatus(state=State.END, code=error.code, message=error.message))
            return False
        self._failed.pop((name, version), None)
        self._folders[name, version] = folder
        self._set(name, version, VersionStatus(state=State.AVAILABLE))
        self._publish()
        _log.info("version %s of %s is served", version, name)
        return True

    def _retire(self, name: str, *, keep: Sequence[int]) -> None:
        gone = [version for (model, version) in self._folders if model == name and version not in keep]
        for version in gone:
            self._set(name, version, VersionStatus(state=State.UNLOADING))
        if gone:
            self._publish()
        for version in gone:
            self._fleet.unload(name, version)
            del self._folders[name, version]
            shutil.rmtree(self._copies / name / str(version), ignore_errors=True)
            self._set(name, version, VersionStatus(state=State.END))
            _log.info("version %s of %s is no longer served", version, name)

    def _forget(self, name: str, present: Mapping[int, Path]) -> None:
        """Lets go of failures whose folder is gone, and of the oldest of many versions that ended."""
        for key in [key for key in self._failed if key[0] == name and key[1] not in present]:
            del self._failed[key]
        versions = self._views[name].versions
        ended = sorted(version for version, status in versions.items() if status.state is State.END)
        dropped = set(ended[: max(0, len(ended) - _REMEMBERED)])
        kept = {version: status for version, status in versions.items() if version not in dropped}
        self._views[name] = replace(self._views[name], versions=kept)

    def _set(self, name: str, version: int, status: VersionStatus) -> None:
        view = self._views[name]
        self._views[name] = replace(view, versions={**view.versions, version: status})

    def _publish(self) -> None:
        self._fleet.publish(dict(self._views))


def _candidates(policy: Policy, present: Mapping[int, Path]) -> tuple[list[int], int]:
    """Returns the versions that a policy allows, best first, and how many of them it asks for."""
    highest_first = sorted(present, reverse=True)
    if isinstance(policy, Latest):
        return highest_first, policy.num_versions
    if isinstance(policy, All):
        return highest_first, len(highest_first)
    wanted = [version for version in highest_first if version in policy.versions]
    return wanted, len(wanted)


def _fingerprint(path: Path) -> object:
    """What a version's files look like from outside; it changes when any of them does."""
    try:
        stats = [(str(entry), entry.lstat()) for entry in sorted(path.rglob("*"))]
    except OSError:
        return None
    return tuple((name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for name, stat in stats)
