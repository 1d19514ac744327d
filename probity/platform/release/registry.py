"""MLflow's model registry as a mirror of a model's history.

The history is the truth and the registry a view of it for tools that know MLflow: one registered model, one registry
version per release or rollback, the alias ``champion`` on what is live and ``challenger`` on what a rollout is trying.
While a rollout is under way ``champion`` is its incumbent; the candidate becomes it when the rollout has completed. A
mirror that cannot be written holds nothing up; the next one makes up for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from probity.errors import TrackingError
from probity.history import HistoryEntry, Moved, live_at, stage_at
from probity.platform.release.project import Project
from probity.platform.tracking import default_uri
from probity.platform.tracking_store import open_client, quiet, turn

__all__ = ["CHALLENGER", "CHAMPION", "mirror"]

CHAMPION, CHALLENGER = "champion", "challenger"
_VERSION = "probity.version"


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
    champion, challenger = _aliased(entries)
    for alias, wanted in ((CHAMPION, champion), (CHALLENGER, challenger)):
        if wanted in known:
            client.set_registered_model_alias(name, alias, known[wanted])
        else:
            client.delete_registered_model_alias(name, alias)


def _tags(entry: HistoryEntry) -> dict[str, str]:
    event = entry.event
    if not isinstance(event, Moved):
        return {}
    tags = {_VERSION: str(event.version), "probity.run": event.run, "probity.model": entry.model}
    tags |= {"probity.by": event.by, "probity.at": event.at, "probity.what": event.kind}
    return tags if event.number is None else {**tags, "probity.release": event.number}


def _aliased(entries: Sequence[HistoryEntry]) -> tuple[str | None, str | None]:
    """Returns the versions that are champion and challenger."""
    live, stage = live_at(entries), stage_at(entries)
    newest = str(live.event.version) if live is not None and isinstance(live.event, Moved) else None
    if stage is None:
        return newest, None
    return newest if stage.incumbent is None else str(stage.incumbent), str(stage.version)
