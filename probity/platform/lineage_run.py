"""The lineage of one run while it is being written: its stages, and what is said about it afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from probity import runs
from probity.errors import TrackingError
from probity.platform.lineage_artifacts import ArtifactRef, Fact, Word, outputs_of, sources_of
from probity.platform.lineage_store import INPUT, OUTPUT, RUN, MetadataFile, facts_of, set_facts, stored_artifact
from probity.run_reviews import data_evidence_digest, evidence_digest
from probity.runs import Receipt, RunFolder

__all__ = ["Execution", "LineageRun"]


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
            context = store.get_context_by_type_and_name(RUN, self._folder.id)
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
