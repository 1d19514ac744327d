"""The order of the suite: whole runs first, so that at the end no process is left alone with a long file."""

from __future__ import annotations

import pytest

_LONGEST_FIRST = ("tests/e2e/", "tests/trainers/", "tests/audits/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts folders by how long their files take; within a folder the order stays."""

    def place(item: pytest.Item) -> int:
        return next((i for i, name in enumerate(_LONGEST_FIRST) if item.nodeid.startswith(name)), len(_LONGEST_FIRST))

    items.sort(key=place)
