"""The order of the suite, the names of its tests, and what keeps collecting them short.

Whole runs come first, so that at the end no process is left alone with a long file. Names are the same in every
process: pytest-xdist refuses a suite whose processes disagree about them.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest

# As it is imported, jsonschema parses a grammar of addresses for seconds. No schema here has that format.
sys.modules.setdefault("rfc3987_syntax", None)

_LONGEST_FIRST = (
    "tests/e2e/",
    "tests/trainers/",
    "tests/audits/",
    "tests/platform/test_transform.py",
    "tests/dashboards/",
    "tests/federated/",
    "tests/platform/budget/",
)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Has the collector of garbage leave alone what is made here: all of it stays, and would be gone through often."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts folders and files by how long they take; within a folder the order stays."""

    def place(item: pytest.Item) -> int:
        return next((i for i, name in enumerate(_LONGEST_FIRST) if item.nodeid.startswith(name)), len(_LONGEST_FIRST))

    items.sort(key=place)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Names bytes by their length where they are no text: compressed content can hold the second it was made in."""
    if isinstance(val, bytes) and not (val.isascii() and val.decode("ascii").replace("\n", "").isprintable()):
        return f"{argname} of {len(val)} bytes"
    return None
