"""The versions that one process has loaded, and which of them a request may see."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from probity.platform.serving.saved_model import LoadedModel
from probity.platform.serving.status import Code, ServingError

__all__ = ["Catalogue", "Fleet", "Loader", "ModelView", "State", "Target", "VersionStatus"]


class State(enum.Enum):
    """``ModelVersionStatus.State`` of TensorFlow Serving."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True, kw_only=True)
class VersionStatus:
    """What became of a version. An error belongs to a version that could not be loaded, with state ``END``."""

    state: State
    code: Code = Code.OK
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelView:
    """What requests may see of a model."""

    versions: Mapping[int, VersionStatus] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)

    @property
    def available(self) -> tuple[int, ...]:
        """Versions that answer, highest first."""
        found = (version for version, status in self.versions.items() if status.state is State.AVAILABLE)
        return tuple(sorted(found, reverse=True))


@dataclass(frozen=True, kw_only=True)
class Target:
    """Whom a request is for: the newest version of a model, unless it names a version or a label."""

    name: str
    version: int | None = None
    label: str | None = None


Loader = Callable[[Path, str, int], LoadedModel]
"""Makes a version, from its folder, the model's name and the number."""


class Fleet:
    """Who answers: one process, or several that do the same at the same time.

    This one is the process itself; the launcher's speaks to others.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def load(self, name: str, version: int, path: Path) -> None:
        """Loads a version everywhere, unseen by requests.

        Raises:
            ServingError: If it cannot be loaded.
        """
        self._catalogue.load(name, version, path)

    def publish(self, views: Mapping[str, ModelView]) -> None:
        """Shows requests these versions from now on."""
        self._catalogue.publish(views)

    def unload(self, name: str, version: int) -> None:
        """Lets go of a version that requests no longer see."""
        self._catalogue.unload(name, version)


class Catalogue:
    """Loaded versions of a process.

    Guarantees: a request sees the views before or after a publication, never a mix of both; a version that was found
    stays in memory until its request is answered, whatever is unloaded meanwhile.
    """

    def __init__(self, load: Loader) -> None:
        self._load = load
        self._loaded: dict[tuple[str, int], LoadedModel] = {}
        self._views: Mapping[str, ModelView] = {}
        self._newest: dict[str, LoadedModel] = {}
        self._names: frozenset[str] = frozenset()
        self._lock = Lock()

    def load(self, name: str, version: int, path: Path) -> None:
        """Loads a version; requests do not see it before it is published.

        Raises:
            ServingError: If it cannot be loaded.
        """
        model = self._load(path, name, version)
        with self._lock:
            self._loaded[name, version] = model

    def publish(self, views: Mapping[str, ModelView]) -> None:
        """Replaces what requests may see."""
        with self._lock:
            newest = {
                name: self._loaded[name, view.available[0]]
                for name, view in views.items()
                if view.available and (name, view.available[0]) in self._loaded
            }
            self._views, self._newest, self._names = dict(views), newest, frozenset(views)

    def unload(self, name: str, version: int) -> None:
        """Forgets a version."""
        with self._lock:
            self._loaded.pop((name, version), None)

    def find(self, target: Target) -> LoadedModel:
        """Returns the version that a request asks for.

        Raises:
            ServingError: ``NOT_FOUND`` if it is not available, ``INVALID_ARGUMENT`` if there is no such label.
        """
        if target.version is None and target.label is None:
            newest = self._newest.get(target.name)
            if newest is None:
                raise ServingError(Code.NOT_FOUND, f"Servable not found for request: Latest({target.name})")
            return newest
        version = self._version(target)
        with self._lock:
            view = self._views.get(target.name, ModelView())
            model = self._loaded.get((target.name, version)) if version in view.available else None
        if model is None:
            raise ServingError(Code.NOT_FOUND, f"Servable not found for request: Specific({target.name}, {version})")
        return model

    @property
    def sizes(self) -> Mapping[str, int]:
        """How many versions of each model are in memory, whether requests see them yet or not."""
        with self._lock:
            return Counter(name for name, _ in self._loaded)

    @property
    def names(self) -> frozenset[str]:
        """The models that requests see."""
        return self._names

    def status(self, target: Target) -> dict[int, VersionStatus]:
        """Returns the state of a model's versions, highest first, or of the one that is named.

        Raises:
            ServingError: ``NOT_FOUND`` if nothing is known of it, ``INVALID_ARGUMENT`` if there is no such label.
        """
        view = self._views.get(target.name)
        if view is None or not view.versions:
            raise ServingError(Code.NOT_FOUND, f"Could not find any versions of model {target.name}")
        if target.version is None and target.label is None:
            return {version: view.versions[version] for version in sorted(view.versions, reverse=True)}
        version = self._version(target)
        if version not in view.versions:
            raise ServingError(Code.NOT_FOUND, f"Could not find version {version} of model {target.name}")
        return {version: view.versions[version]}

    def _version(self, target: Target) -> int:
        if target.version is not None:
            return target.version
        view = self._views.get(target.name)
        if view is None:
            raise ServingError(Code.NOT_FOUND, f"Servable not found for request: Latest({target.name})")
        if target.label not in view.labels:
            raise ServingError(Code.INVALID_ARGUMENT, f"Unrecognized servable version label: {target.label}")
        return view.labels[str(target.label)]
