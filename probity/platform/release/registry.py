"""MLflow's model registry as a mirror of a model's history.

The history is the truth and the registry a view of it for tools that know MLflow: one registered model, one registry
version per release or rollback, the alias ``champion`` on what is live and ``challenger`` on what a rollout is trying.
A mirror that cannot be written holds nothing up; the next one makes up for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from probity.errors import TrackingError
from probity.history import HistoryEntry, Moved, StageEntered, live_at
from probity.platform.release.project import Project
from probity.platform.tracking import default_uri
from probity.platform.tracking_store import open_client, quiet, turn

__all__ = ["CHALLENGER", "CHAMPION", "mirror"]

CHAMPION, CHALLENGER = "champion", "challenger"
_VERSION = "probity.version"
_FINISHED = ("completed", "rolled_back", "stopped")
"""Ends of a rollout (:class:`probity.rollout.RolloutState`), after which nothing is tried any more."""


def mirror(project: Project, *, workspace: Path) -> None:
    """Writes what the history says into MLflow's registry; what is there already is left alone.

    Args:
        project: Config and folder of the model.
        workspace: Holds the tracker by default.

    Raises:
        TrackingError: If the registry cannot be reached or refuses the record.
    """
    entries, _ = project.history()
    uri = project.config.tracking.uri or default_uri(workspace)
    try:
        with turn(uri), quiet():
            _write(open_client(uri), project.model_name, entries)
    except Exception as error:
        # As in tracking: the text of what the registry raises may quote credentials.
        raise TrackingError(
            "tracking.uri",
            seen=f"MLflow's registry could not be written ({type(error).__name__})",
            allowed="sqlite:///FILE, or the URI of a reachable MLflow server",
            remedy="check that it is reachable; the history itself is complete, and the next release mirrors it whole",
        ) from error


def _write(client: Any, name: str, entries: Sequence[HistoryEntry]) -> None:
    moves = [(entry, str(entry.event.version)) for entry in entries if isinstance(entry.event, Moved)]
    if not moves:
        return
    if not client.search_registered_models(filter_string=f"name = '{name}'"):
        client.create_registered_model(name, description="A mirror; the signed history of the serving folder counts.")
    known = {found.tags.get(_VERSION): found.version for found in client.search_model_versions(f"name = '{name}'")}
    for entry, version in moves:
        if version not in known:
            made = client.create_model_version(name, source=f"{name}/{version}", tags=_tags(entry))
            known[version] = made.version
    live, tried = live_at(entries), _tried(entries)
    if live is not None and isinstance(live.event, Moved):
        client.set_registered_model_alias(name, CHAMPION, known[str(live.event.version)])
    if tried in known:
        client.set_registered_model_alias(name, CHALLENGER, known[tried])
    else:
        client.delete_registered_model_alias(name, CHALLENGER)


def _tags(entry: HistoryEntry) -> dict[str, str]:
    event = entry.event
    if not isinstance(event, Moved):
        return {}
    tags = {_VERSION: str(event.version), "probity.run": event.run, "probity.model": entry.model}
    tags |= {"probity.by": event.by, "probity.at": event.at, "probity.what": event.kind}
    return tags if event.number is None else {**tags, "probity.release": event.number}


def _tried(entries: Sequence[HistoryEntry]) -> str | None:
    """Returns the version that a rollout is trying, if one is under way."""
    stages = [entry.event for entry in entries if isinstance(entry.event, StageEntered)]
    return None if not stages or stages[-1].stage in _FINISHED else str(stages[-1].version)
