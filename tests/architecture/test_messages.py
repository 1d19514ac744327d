"""Every expected error is raised with its four parts, and none of them quotes a cell of the data."""

import ast
from pathlib import Path

import pytest

import probity
from probity import errors

PACKAGE = Path(probity.__file__).parent
PARTS = {"seen", "allowed", "remedy"}

# Names that stand for a cell, a row or their contents wherever they are used here; counts have names of their own.
SUSPICIOUS = {"value", "values", "row", "cell", "cells", "record", "records", "line", "text", "content", "raw"}

# Where such a name is the user's own setting or a name, not data: module -> expressions.
NOT_DATA: dict[str, set[str]] = {}


def error_calls(tree):
    """Calls that construct one of our errors, however the class is spelled."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name in errors.__all__:
                yield node


def missing_parts(call):
    """Parts of the message that a call leaves out; none for a call that passes ``**parts`` on."""
    given = {keyword.arg for keyword in call.keywords}
    if None in given:
        return set()
    return (PARTS - given) | (set() if len(call.args) == 1 else {"argument"})


def quoted(call):
    """Expressions in the f-strings of a call whose name says that they hold data."""
    found = []
    for part in [*call.args, *(keyword.value for keyword in call.keywords)]:
        for node in ast.walk(part):
            if isinstance(node, ast.FormattedValue):
                inner = node.value
                name = inner.id if isinstance(inner, ast.Name) else getattr(inner, "attr", None)
                if isinstance(inner, ast.Subscript) and isinstance(inner.value, ast.Name):
                    name = inner.value.id
                if name in SUSPICIOUS:
                    found.append(ast.unparse(inner))
    return found


def third_party_texts(call):
    """Uses of a caught exception's text: it may quote data, so it is chained with ``from`` and never printed."""
    found = []
    for part in [*call.args, *(keyword.value for keyword in call.keywords)]:
        for node in ast.walk(part):
            if isinstance(node, ast.FormattedValue) and ast.unparse(node.value) in {"error", "exc", "exception", "e"}:
                found.append(ast.unparse(node.value))
            if isinstance(node, ast.Call) and ast.unparse(node) in {"str(error)", "repr(error)", "str(exc)", "str(e)"}:
                found.append(ast.unparse(node))
    return found


SOURCES = sorted(PACKAGE.rglob("*.py"))
NAMES = [path.relative_to(PACKAGE).as_posix() for path in SOURCES]


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_errors_have_four_parts_and_no_data(path):
    calls = list(error_calls(ast.parse(path.read_text(encoding="utf-8"))))
    name = path.relative_to(PACKAGE).as_posix()
    assert {call.lineno: missing for call in calls if (missing := missing_parts(call))} == {}
    allowed = NOT_DATA.get(name, set())
    assert {call.lineno: found for call in calls if (found := [x for x in quoted(call) if x not in allowed])} == {}
    assert {call.lineno: found for call in calls if (found := third_party_texts(call))} == {}


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_a_part_does_not_bring_its_own_full_stop(path):
    # The message joins the parts with full stops; a part that ends with one gives two.
    for call in error_calls(ast.parse(path.read_text(encoding="utf-8"))):
        for keyword in call.keywords:
            if isinstance(keyword.value, ast.Constant) and isinstance(keyword.value.value, str):
                assert not keyword.value.value.endswith("."), f"{path.name}:{call.lineno} {keyword.arg}"
                assert keyword.value.value.strip(), f"{path.name}:{call.lineno} {keyword.arg} is empty"


def test_the_check_sees_what_it_looks_for():
    planted = """
raise DataError(f"column {name}", seen=f"{value!r} and {row[0]}", allowed="x", remedy="y")
raise errors.ConfigError("a", seen=f"{error}", remedy=str(error))
raise DataError("a", seen=f"{len(values)} values in {count} rows", allowed="x", remedy="y")
raise WorkerError(**parts)
raise KeyError(value)
"""
    first, second, third, fourth = sorted(error_calls(ast.parse(planted)), key=lambda call: call.lineno)
    assert quoted(first) == ["value", "row[0]"]
    assert missing_parts(second) == {"allowed"}
    assert third_party_texts(second) == ["error", "str(error)"]
    assert (quoted(third), missing_parts(third), third_party_texts(third)) == ([], set(), [])
    assert missing_parts(fourth) == set()
