"""No field marked ``Sensitive`` can be reached from anything that leaves the run folder.

The walk follows annotations, so it sees fields that no example happens to fill.
"""

import dataclasses
import typing
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from probity.card import ModelCard
from probity.data import Statistics
from probity.decision import GateDecision, GatePolicy, Release
from probity.findings import AuditReport, Finding
from probity.record import Record, Sensitive

# What is shown, logged, tracked, pushed or served.
LEAVES_THE_RUN_FOLDER = (ModelCard, GateDecision, GatePolicy, Release, AuditReport, Finding)


def fields(kind):
    """Yields the annotated fields of a record or dataclass."""
    if not (issubclass(kind, BaseModel) or dataclasses.is_dataclass(kind)):
        return
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        if not name.startswith("model_") and typing.get_origin(hint) is not typing.ClassVar:
            yield name, hint


def marked(hint):
    """Whether the marker stands anywhere in an annotation, as the class or as an instance of it."""
    if typing.get_origin(hint) is Annotated:
        inner, *metadata = typing.get_args(hint)
        return any(entry is Sensitive or isinstance(entry, Sensitive) for entry in metadata) or marked(inner)
    return any(marked(argument) for argument in typing.get_args(hint))


def types_in(hint):
    """Yields every class that an annotation mentions."""
    if isinstance(hint, type) and not typing.get_args(hint):
        yield hint
    for argument in typing.get_args(hint):
        yield from types_in(argument)


def sensitive_paths(kind, *, path="", seen=frozenset()):
    """Paths of marked fields that can be reached from a class, subclasses of what is named included."""
    found = []
    for name, hint in fields(kind):
        here = f"{path or kind.__name__}.{name}"
        if marked(hint):
            found.append(here)
        for inner in types_in(hint):
            for concrete in (inner, *inner.__subclasses__()) if isinstance(inner, type(BaseModel)) else (inner,):
                if concrete not in seen and isinstance(concrete, type):
                    found += sensitive_paths(concrete, path=here, seen=seen | {kind, concrete})
    return found


@pytest.mark.parametrize("kind", LEAVES_THE_RUN_FOLDER, ids=lambda kind: kind.__name__)
def test_nothing_sensitive_can_be_reached(kind):
    assert sensitive_paths(kind) == []


def test_what_is_marked_is_found():
    assert sensitive_paths(Statistics) == ["Statistics.group_counts"]


class _Deep(Record):
    count: Annotated[int, Sensitive]


class _InList(Record):
    entries: tuple[dict[str, _Deep | None], ...] = ()


class _InAnnotation(Record):
    counts: dict[str, Annotated[int, Sensitive]] = {}  # noqa: RUF012
    other: Annotated[int, Sensitive()] | None = None


@dataclasses.dataclass
class _InDataclass:
    inner: _InList
    harmless: Any = None


class _Recursive(Record):
    children: "tuple[_Recursive, ...]" = ()
    count: Annotated[int, Sensitive] = 0


def test_a_planted_field_is_found_however_deep():
    assert sensitive_paths(_InList) == ["_InList.entries.count"]
    assert sensitive_paths(_InAnnotation) == ["_InAnnotation.counts", "_InAnnotation.other"]
    assert sensitive_paths(_InDataclass) == ["_InDataclass.inner.entries.count"]
    assert "_Recursive.count" in sensitive_paths(_Recursive)


def test_a_planted_subclass_is_found():
    class Base(Record):
        pass

    class Marked(Base):
        count: Annotated[int, Sensitive] = 0

    class Holder(Record):
        base: Base = Base()

    Holder.__annotations__["base"] = Base  # the annotation is a local class, which a string could not name
    assert sensitive_paths(Holder) == ["Holder.base.count"]
    assert Marked
