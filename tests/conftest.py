"""The order of the suite and the names of its tests.

Whole runs come first, so that at the end no process is left alone with a long file. Names are the same in every
process: pytest-xdist refuses a suite whose processes disagree about them.
"""

from __future__ import annotations

import pytest

_LONGEST_FIRST = ("tests/e2e/", "tests/trainers/", "tests/audits/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts folders by how long their files take; within a folder the order stays."""

    def place(item: pytest.Item) -> int:
        return next((i for i, name in enumerate(_LONGEST_FIRST) if item.nodeid.startswith(name)), len(_LONGEST_FIRST))

    items.sort(key=place)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Names bytes by their length where they are no text: compressed content can hold the second it was made in."""
    if isinstance(val, bytes) and not (val.isascii() and val.decode("ascii").replace("\n", "").isprintable()):
        return f"{argname} of {len(val)} bytes"
    return None
