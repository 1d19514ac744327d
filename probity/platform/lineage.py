"""Lineage: ML Metadata in one SQLite file of the workspace, behind one small interface.

Each stage of a run is an execution with typed artifacts as inputs and outputs, in a context for the run and one for the
project. An artifact is identified by its digest, so what two runs share is one artifact, and any digest found in a card
or a release leads back to the data it came from and forward to everything made from it.

ML Metadata is imported when the store is first used; it brings no TensorFlow.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from probity import runs
from probity.errors import TrackingError
from probity.platform.lineage_artifacts import FLOW, ArtifactRef, Fact, Word, outputs_of, sources_of
from probity.platform.lineage_store import (
    INPUT,
    OUTPUT,
    MetadataFile,
    facts_of,
    find_by_digest,
    first_makers,
    named_context,
    set_facts,
    stored_artifact,
)
from probity.run_reviews import data_evidence_digest, evidence_digest
from probity.runs import Receipt, RunFolder

__all__ = ["Execution", "Lineage", "LineageRun"]

_PROJECT, _RUN = "Project", "Run"
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
            context = store.get_context_by_type_and_name(_RUN, run_id)
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


class LineageRun:
    """The lineage of one run while it is being written."""

    def __init__(self, store: MetadataFile, folder: RunFolder, *, contexts: Sequence[Any]) -> None:
        self._store = store
        self._folder = folder
        self._contexts = contexts
        self._known: dict[str, tuple[ArtifactRef, ...]] = {}

    def start(self, stage: str, *, inputs: Sequence[Receipt] = ()) -> Execution:
        """Records that a stage began, with the artifacts of the earlier stages that it reads."""
        from ml_metadata.proto import metadata_store_pb2 as pb

        references = [reference for receipt in inputs for reference in self._outputs(receipt)]
        with self._store.opened(writing=True) as store:
            execution = self._execution(store, stage, pb.Execution.RUNNING)
            key = self._put(store, execution, inputs=references)
        return Execution(self, key)

    def finish(self, key: int, receipt: Receipt) -> None:
        """Records that an execution ended well, and what it left."""
        outputs, sources = self._outputs(receipt), sources_of(self._folder, receipt)
        with self._store.opened(writing=True) as store:
            facts: dict[str, Fact] = {"key": receipt.key, "seconds": receipt.seconds}
            if receipt.reused_from:
                facts["reused_from"] = receipt.reused_from
            execution = self._ended(store, key, "CACHED" if receipt.reused_from else "COMPLETE", facts)
            if runs.RELEASE in receipt.outputs:
                sources = (*sources, *self._approvals(store))
            self._put(store, execution, inputs=sources, outputs=outputs)
            self._summarise(store, outputs)

    def add(self, words: Iterable[Word]) -> None:
        """Records what was said about the run after its stages; what this run has already is left alone."""
        from ml_metadata.proto import metadata_store_pb2 as pb

        with self._store.opened(writing=True) as store:
            known = {(entry.type, entry.name) for entry in store.get_artifacts_by_context(self._contexts[-1].id)}
            for word in words:
                if (word.reference.type, word.reference.digest) in known:
                    continue
                receipts = (self._folder.receipt(stage) for stage in word.about)
                about = [reference for receipt in receipts if receipt for reference in self._outputs(receipt)]
                state = pb.Execution.CACHED if word.reused_from else pb.Execution.COMPLETE
                execution = self._execution(store, word.stage, state)
                if word.reused_from:
                    set_facts(execution.custom_properties, {"reused_from": word.reused_from})
                self._put(store, execution, inputs=about, outputs=(word.reference,))

    def fail(self, key: int, kind: str) -> None:
        """Records that an execution ended in an error of this kind."""
        with self._store.opened(writing=True) as store:
            store.put_executions([self._ended(store, key, "FAILED", {"error": kind})])

    def _execution(self, store: Any, stage: str, state: int) -> Any:
        """Returns a new execution of this run, not yet written."""
        from ml_metadata.proto import metadata_store_pb2 as pb

        names = {"run": pb.STRING, "stage": pb.STRING}
        kind = store.put_execution_type(pb.ExecutionType(name=stage, properties=names))
        execution = pb.Execution(type_id=kind, last_known_state=state)
        execution.properties["run"].string_value = self._folder.id
        execution.properties["stage"].string_value = stage
        return execution

    def _approvals(self, store: Any) -> list[ArtifactRef]:
        """Returns the approvals on record of exactly the evidence that the run has now: what a release rests on."""
        found = [entry for entry in store.get_artifacts_by_context(self._contexts[-1].id) if entry.type == "Review"]
        if not found:
            return []
        counting = {evidence_digest(self._folder), data_evidence_digest(self._folder)}
        said = [(entry, facts_of(entry.custom_properties)) for entry in found]
        return [
            ArtifactRef(type=entry.type, digest=entry.name, uri=entry.uri)
            for entry, facts in said
            if facts["outcome"] == "approved" and facts["evidence"] in counting
        ]

    def _outputs(self, receipt: Receipt) -> tuple[ArtifactRef, ...]:
        if receipt.stage not in self._known:
            self._known[receipt.stage] = outputs_of(self._folder, receipt)
        return self._known[receipt.stage]

    def _ended(
        self, store: Any, key: int, state: Literal["COMPLETE", "CACHED", "FAILED"], facts: Mapping[str, Fact]
    ) -> Any:
        from ml_metadata.proto import metadata_store_pb2 as pb

        [execution] = store.get_executions_by_id([key])
        execution.last_known_state = pb.Execution.State.Value(state)
        set_facts(execution.custom_properties, facts)
        return execution

    def _put(
        self, store: Any, execution: Any, *, inputs: Iterable[ArtifactRef] = (), outputs: Iterable[ArtifactRef] = ()
    ) -> int:
        """Writes execution, artifacts, events and their place in the run, in one transaction."""
        from ml_metadata.proto import metadata_store_pb2 as pb

        pairs = []
        for side, references in ((INPUT, inputs), (OUTPUT, outputs)):
            for reference in references:
                event = pb.Event(type=side)
                event.path.steps.add().key = reference.uri
                pairs.append((stored_artifact(store, reference), event))
        key, _, _ = store.put_execution(execution, pairs, self._contexts, force_reuse_context=True)
        return int(key)

    def _summarise(self, store: Any, outputs: Iterable[ArtifactRef]) -> None:
        """Writes the facts that an auditor asks for first beside the run itself."""
        facts: dict[str, Fact] = {}
        for reference in outputs:
            if reference.type == "ModelCard":
                facts["card"] = reference.digest
            wanted = {"GateDecision": ("verdict", "fairness"), "AuditReport": ("epsilon", "delta")}
            facts |= {name: reference.facts[name] for name in wanted.get(reference.type, ()) if name in reference.facts}
            if reference.type == "Release":
                facts["release"] = reference.digest
        if facts:
            context = store.get_context_by_type_and_name(_RUN, self._folder.id)
            set_facts(context.custom_properties, facts)
            store.put_contexts([context])


class Execution:
    """One stage of one run while it is being performed."""

    def __init__(self, run: LineageRun, key: int) -> None:
        self._run = run
        self._key = key

    def finish(self, receipt: Receipt) -> None:
        """Records that the stage ended well, and what it left."""
        self._run.finish(self._key, receipt)

    def fail(self, kind: str) -> None:
        """Records that the stage ended in an error of this kind (a type's name, never a message).

        A store that cannot be written is passed over here: the error that ended the stage is the one to report.
        """
        with contextlib.suppress(TrackingError):
            self._run.fail(self._key, kind)


def _contexts(store: Any, run_id: str, project: str) -> tuple[Any, Any]:
    """Returns the contexts of a project and of a run in it, written if they are new."""
    from ml_metadata.proto import metadata_store_pb2 as pb

    parent, context = named_context(store, _PROJECT, project), named_context(store, _RUN, run_id)
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
