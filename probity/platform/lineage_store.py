"""The SQLite file of ML Metadata: opened under a lock, with errors in words, and the few statements lineage needs."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from probity.errors import TrackingError
from probity.platform.lineage_artifacts import FLOW, ArtifactRef, Fact

__all__ = [
    "INPUT",
    "OUTPUT",
    "PROJECT",
    "RUN",
    "MetadataFile",
    "facts_of",
    "find_by_digest",
    "first_makers",
    "named_context",
    "set_facts",
    "stored_artifact",
]

INPUT = 3
"""``ml_metadata.proto.Event.INPUT``."""

OUTPUT = 4
"""``ml_metadata.proto.Event.OUTPUT``."""

PROJECT, RUN = "Project", "Run"
"""Types of contexts."""

_LOCK_SECONDS = 120.0


class MetadataFile:
    """The store in one file.

    Guarantees: one process at a time, by a lock that the operating system frees when a process dies.

    Args:
        path: The SQLite file. Created on first use.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def opened(self, *, writing: bool = False) -> Iterator[Any]:
        """Gives the store, under its lock, and says in one message what went wrong with it."""
        try:
            with self._lock(writing):
                yield self._store
        except Timeout as error:
            raise self._error("it is busy", remedy="wait for the other run to end") from error
        except OSError as error:
            raise self._error(f"it cannot be opened ({error.strerror or type(error).__name__})") from error
        except Exception as error:
            # StatusError carries SQL text, which holds what was to be written.
            if type(error).__module__.startswith("ml_metadata") or isinstance(error, RuntimeError):
                raise self._error(f"ML Metadata refused it ({type(error).__name__})") from error
            raise

    def _error(self, seen: str, *, remedy: str | None = None) -> TrackingError:
        return TrackingError(
            f"lineage store {self.path.name}",
            seen=seen,
            allowed="a writable SQLite file of ML Metadata in the workspace",
            remedy=remedy or "check disk space and permissions, or move the file away to start a new one",
        )

    def _lock(self, writing: bool) -> contextlib.AbstractContextManager[object]:
        if not writing and not os.access(self.path.parent, os.W_OK):
            return contextlib.nullcontext()  # a read-only workspace can still be looked at
        return FileLock(self.path.with_name(f".{self.path.name}.lock"), timeout=_LOCK_SECONDS)

    @cached_property
    def _store(self) -> Any:
        from ml_metadata.metadata_store import metadata_store
        from ml_metadata.proto import metadata_store_pb2 as pb

        logging.getLogger("absl").addFilter(_not_from_ml_metadata)
        config = pb.ConnectionConfig()
        config.sqlite.filename_uri = str(self.path)
        read_only = self.path.is_file() and not os.access(self.path, os.W_OK)
        modes = pb.SqliteMetadataSourceConfig
        config.sqlite.connection_mode = modes.READONLY if read_only else modes.READWRITE_OPENCREATE
        store = metadata_store.MetadataStore(config)
        if not read_only:
            known = {kind.name for kind in store.get_artifact_types()}  # every write waits for the disk
            for name in FLOW:
                if name not in known:
                    store.put_artifact_type(pb.ArtifactType(name=name, properties={"digest": pb.STRING}))
        return store


def _not_from_ml_metadata(record: logging.LogRecord) -> bool:
    # The client logs failed statements, which hold what was to be written, before it raises.
    return not record.getMessage().startswith("mlmd client")


def named_context(store: Any, kind: str, name: str) -> Any:
    """Returns the context of this type and name, written if it is new."""
    from ml_metadata.proto import metadata_store_pb2 as pb

    found = store.get_context_by_type_and_name(kind, name)
    if found is None:
        type_id = store.put_context_type(pb.ContextType(name=kind))
        store.put_contexts([pb.Context(type_id=type_id, name=name)])
        found = store.get_context_by_type_and_name(kind, name)
    return found


def stored_artifact(store: Any, reference: ArtifactRef) -> Any:
    """Returns the stored artifact with this type and digest, or a new one; its first uri stays."""
    from ml_metadata.proto import metadata_store_pb2 as pb

    found = store.get_artifact_by_type_and_name(reference.type, reference.digest)
    if found is None:
        kind = store.get_artifact_type(reference.type)
        found = pb.Artifact(type_id=kind.id, name=reference.digest, uri=reference.uri, state=pb.Artifact.LIVE)
        found.properties["digest"].string_value = reference.digest
    set_facts(found.custom_properties, reference.facts)
    return found


def set_facts(properties: Any, facts: Mapping[str, Fact]) -> None:
    """Writes facts as typed properties. They are finite: ML Metadata cannot write an infinity to SQLite."""
    for name, value in facts.items():
        if isinstance(value, str):
            properties[name].string_value = value
        elif isinstance(value, int):
            properties[name].int_value = value
        else:
            properties[name].double_value = value


def facts_of(properties: Any) -> dict[str, Fact]:
    """Reads facts back, sorted by name."""
    return {name: getattr(value, value.WhichOneof("value")) for name, value in sorted(properties.items())}


def find_by_digest(store: Any, digest: str) -> list[Any]:
    """Returns the artifacts of every type with this digest."""
    found = (store.get_artifact_by_type_and_name(name, digest) for name in FLOW)
    return [entry for entry in found if entry is not None]


def first_makers(store: Any, artifacts: Mapping[int, Any]) -> dict[int, Any]:
    """Returns the execution that first put out each artifact."""
    events = store.get_events_by_artifact_ids(sorted(artifacts)) if artifacts else []
    first: dict[int, int] = {}
    for event in events:
        if event.type == OUTPUT:
            first[event.artifact_id] = min(event.execution_id, first.get(event.artifact_id, event.execution_id))
    executions = store.get_executions_by_id(sorted(set(first.values()))) if first else []
    by_id = {entry.id: entry for entry in executions}
    return {artifact: by_id[execution] for artifact, execution in first.items()}
