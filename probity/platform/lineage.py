"""Lineage: ML Metadata in one SQLite file of the workspace, behind one small interface.

Each stage of a run is an execution with typed artifacts as inputs and outputs, in a context for the run and one for the
project. An artifact is identified by its digest, so what two runs share is one artifact, and any digest found in a card
or a release leads back to the data it came from and forward to everything made from it.

ML Metadata is imported when the store is first used; it brings no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from probity.errors import TrackingError
from probity.platform.lineage_artifacts import FLOW, Fact, Word
from probity.platform.lineage_run import LineageRun
from probity.platform.lineage_store import (
    INPUT,
    OUTPUT,
    PROJECT,
    RUN,
    MetadataFile,
    facts_of,
    find_by_digest,
    first_makers,
    named_context,
)
from probity.runs import RunFolder

__all__ = ["Lineage"]

_SAID = ("Review", "EvidenceExpiry")
_RANK = {name: rank for rank, name in enumerate(FLOW)}

Link = dict[str, Any]
"""One artifact on a path, as JSON: type, digest, uri, run, stage, state, facts."""


class Lineage:
    """The lineage store of a workspace.

    Guarantees: safe with several processes at once; what is written is never removed.

    Args:
        path: The SQLite file; its folder is the workspace. Created on first use.
    """

    def __init__(self, path: Path) -> None:
        self._store = MetadataFile(path)
        self._workspace = path.parent

    def run(self, run_id: str, project: str) -> LineageRun:
        """Opens a run, new or known; executions that a killed process left running are marked as cancelled.

        Raises:
            TrackingError: If the store cannot be written.
        """
        from ml_metadata.proto import metadata_store_pb2 as pb

        with self._store.opened(writing=True) as store:
            parent, context = _contexts(store, run_id, project)
            for execution in store.get_executions_by_context(context.id):
                if execution.last_known_state == pb.Execution.RUNNING:
                    execution.last_known_state = pb.Execution.CANCELED
                    store.put_executions([execution])
        return self._writer(run_id, (parent, context))

    def add(self, run_id: str, project: str, words: Sequence[Word]) -> None:
        """Records what was said about a run after its stages, each word once.

        Raises:
            TrackingError: If the store cannot be written.
        """
        with self._store.opened(writing=True) as store:
            contexts = _contexts(store, run_id, project)
        self._writer(run_id, contexts).add(words)

    def _writer(self, run_id: str, contexts: Sequence[Any]) -> LineageRun:
        return LineageRun(self._store, RunFolder(self._workspace / "runs" / run_id), contexts=contexts)

    def chain(self, run_id: str) -> list[Link]:
        """Returns how the last artifact of a run came about: release, decision, card, …, model, …, dataset, data file.

        What people and the watch over the released version said about the run is among it, be there a release or not.
        Each link was reached from the one at the top through executions of this run, and carries where this run keeps
        it. Empty for a run that the store does not know.

        Raises:
            TrackingError: If the store cannot be read.
        """
        with self._store.opened() as store:
            context = store.get_context_by_type_and_name(RUN, run_id)
            if context is None:
                return []
            executions = {entry.id: entry for entry in store.get_executions_by_context(context.id)}
            events = store.get_events_by_execution_ids(list(executions)) if executions else []
            artifacts = {entry.id: entry for entry in store.get_artifacts_by_context(context.id)}
        made = {event.artifact_id: event for event in events if event.type == OUTPUT}
        read: dict[int, list[Any]] = {}
        for event in events:
            if event.type == INPUT:
                read.setdefault(event.execution_id, []).append(event)
        if not made:
            return []
        said = [key for key in made if artifacts[key].type in _SAID]
        waiting = [max(made, key=lambda key: (_RANK[artifacts[key].type], key)), *said]
        uris = {event.artifact_id: str(event.path.steps[0].key) for event in events}
        found: dict[int, Link] = {}
        while waiting:
            key = waiting.pop()
            if key in found:
                continue
            maker = executions[made[key].execution_id] if key in made else None
            found[key] = {**_link(artifacts[key], maker), "uri": uris[key]}
            waiting += [event.artifact_id for event in read.get(maker.id, [])] if maker else []
        return sorted(found.values(), key=_downstream_first)

    def ancestors(self, digest: str) -> list[Link]:
        """Returns everything that the artifact with this digest was made from, in any run, downstream first."""
        return self._reachable(digest, onward=INPUT, back=OUTPUT)

    def descendants(self, digest: str) -> list[Link]:
        """Returns everything that was made from the artifact with this digest, in any run, downstream first."""
        return self._reachable(digest, onward=OUTPUT, back=INPUT)

    def compare(self, first: str, second: str) -> dict[str, tuple[Fact | None, Fact | None]]:
        """Returns the facts in which two artifacts differ, for example the models or decisions of two runs.

        Raises:
            TrackingError: If the store does not know one of the digests.
        """
        with self._store.opened() as store:
            one, other = (find_by_digest(store, digest) for digest in (first, second))
        for digest, found in ((first, one), (second, other)):
            if not found:
                raise TrackingError(
                    f"digest {digest}",
                    seen="no artifact with it",
                    allowed="the digest of an artifact of a run in this workspace",
                    remedy="list those of a run with: probity show RUN",
                )
        left, right = facts_of(one[0].custom_properties), facts_of(other[0].custom_properties)
        names = sorted({*left, *right})
        return {name: (left.get(name), right.get(name)) for name in names if left.get(name) != right.get(name)}

    def _reachable(self, digest: str, *, onward: int, back: int) -> list[Link]:
        """Walks the graph: from artifacts to the executions at their ``back`` side, to those on the ``onward`` side."""
        found: dict[int, Any] = {}
        with self._store.opened() as store:
            frontier = {entry.id for entry in find_by_digest(store, digest)}
            start, visited = set(frontier), set[int]()
            while frontier:
                events = store.get_events_by_artifact_ids(sorted(frontier))
                executions = {event.execution_id for event in events if event.type == back} - visited
                visited |= executions
                events = store.get_events_by_execution_ids(sorted(executions)) if executions else []
                reached = {event.artifact_id for event in events if event.type == onward}
                frontier = reached - set(found) - start
                if frontier:
                    found |= {entry.id: entry for entry in store.get_artifacts_by_id(sorted(frontier))}
            makers = first_makers(store, found)
        return sorted((_link(found[key], makers.get(key)) for key in found), key=_downstream_first)


def _contexts(store: Any, run_id: str, project: str) -> tuple[Any, Any]:
    """Returns the contexts of a project and of a run in it, written if they are new."""
    from ml_metadata.proto import metadata_store_pb2 as pb

    parent, context = named_context(store, PROJECT, project), named_context(store, RUN, run_id)
    known = {entry.id for entry in store.get_parent_contexts_by_context(context.id)}
    if parent.id not in known:
        store.put_parent_contexts([pb.ParentContext(child_id=context.id, parent_id=parent.id)])
    return parent, context


def _link(artifact: Any, maker: Any | None) -> Link:
    from ml_metadata.proto import metadata_store_pb2 as pb

    return {
        "type": artifact.type,
        "digest": artifact.properties["digest"].string_value,
        "uri": artifact.uri,
        "run": maker.properties["run"].string_value if maker is not None else None,
        "stage": maker.properties["stage"].string_value if maker is not None else None,
        "state": pb.Execution.State.Name(maker.last_known_state) if maker is not None else None,
        "facts": facts_of(artifact.custom_properties),
    }


def _downstream_first(link: Link) -> tuple[int, str, str]:
    return -_RANK[link["type"]], str(link["uri"]), link["digest"]
