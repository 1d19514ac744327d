"""Whether the graph of a SavedModel may be rewritten freely before it is run.

TensorFlow's rewriter (Grappler) leaves the function that a SavedModel's signature calls as it is, unless it is told to
be aggressive: it may then inline the function, and drop whatever the outputs do not need. That takes two fifths off
the time of a small model of tables, and changes no answer as long as nothing that it may drop would have done
something: an assertion, for example, that refuses a value. So it is told so only where no operation that a signature
reaches has an effect of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["INIT_OP", "may_rewrite"]

INIT_OP = "__saved_model_init_op"
"""Name under which a SavedModel lists what fills its tables, among its signatures."""

_WITHOUT_EFFECT = frozenset(
    {
        "HashTableV2",
        "LookupTableFindV2",
        "LookupTableImportV2",
        "LookupTableSizeV2",
        "PartitionedCall",
        "Placeholder",
        "ReadVariableOp",
        "ResourceGather",
        "StatefulPartitionedCall",
        "VarHandleOp",
    }
)
"""Operations that TensorFlow calls stateful because they name or read a state, or call others, and that change none.

``HashTableV2`` is filled once: what ``LookupTableImportV2`` does to a table that is filled already is nothing.
tf.Transform orders it before every lookup.
"""


def may_rewrite(path: Path, *, tag: str) -> bool:
    """Returns whether nothing that a signature reaches does anything but compute its outputs.

    Guarantees: false whenever that cannot be told: no ``saved_model.pb``, another tag, an operation without definition.

    Args:
        path: Folder of the SavedModel.
        tag: Of the graph in it.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    try:
        saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    except (OSError, DecodeError):
        return False
    found = [graph for graph in saved.meta_graphs if list(graph.meta_info_def.tags) == [tag]]
    return len(found) == 1 and _only_computes(found[0])


def _only_computes(meta_graph: Any) -> bool:
    definitions = {entry.name: entry for entry in meta_graph.meta_info_def.stripped_op_list.op}
    functions = {entry.signature.name: entry for entry in meta_graph.graph_def.library.function}
    for node in _reached(meta_graph, functions):
        definition = definitions.get(node.op)
        if node.op in functions or node.op in _WITHOUT_EFFECT:
            continue
        if definition is None or definition.is_stateful:
            return False
    return True


def _reached(meta_graph: Any, functions: dict[str, Any]) -> Iterator[Any]:
    """Yields every node that an output of a signature needs, those in the functions that are called included.

    What fills the tables is left out: it runs once, before, and a table that was not filled refuses every lookup.
    """
    nodes = {node.name: node for node in meta_graph.graph_def.node}
    asked = [signature for name, signature in meta_graph.signature_def.items() if name != INIT_OP]
    waiting = [info.name for signature in asked for info in signature.outputs.values()]
    seen: set[str] = set()
    called: list[Any] = []
    while waiting:
        name = waiting.pop().removeprefix("^").split(":")[0]
        if name in seen or name not in nodes:
            continue
        seen.add(name)
        waiting += nodes[name].input
        called.append(nodes[name])
    entered: set[str] = set()
    while called:
        node = called.pop()
        yield node
        for function in (name for name in _functions_of(node) if name in functions and name not in entered):
            entered.add(function)
            called += functions[function].node_def


def _functions_of(node: Any) -> Iterator[str]:
    yield node.op  # a function may be called as if it were an operation
    for attribute in node.attr.values():
        yield attribute.func.name
        yield from (function.name for function in attribute.list.func)
