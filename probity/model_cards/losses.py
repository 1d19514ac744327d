"""What a form of the card does not carry, so that reading it back gives less: said once, in a list, and tested.

A form keeps its promise when reading back what was written gives the card's JSON value without the losses it declares,
and nothing else is missing or changed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["Loss", "without"]


@dataclass(frozen=True, kw_only=True)
class Loss:
    """One part of a card that a form cannot give back.

    Attributes:
        path: Keys of the card's JSON value, joined by dots.
        why: Why, and where a reader finds it instead.
        which: Where only some of it is lost: whether a value at the path, or an item of a list there, is lost, given it
            and the card's JSON value.
    """

    path: str
    why: str
    which: Callable[[Any, dict[str, Any]], bool] | None = None


def without(value: dict[str, Any], losses: Iterable[Loss]) -> dict[str, Any]:
    """Returns a card's JSON value without what is lost; a section of numbers that has none left is left out whole."""
    kept = copy.deepcopy(value)
    for loss in losses:
        _remove(kept, loss, card=value)
    return _pruned(kept)


def _remove(value: dict[str, Any], loss: Loss, *, card: dict[str, Any]) -> None:
    *parents, last = loss.path.split(".")
    for key in parents:
        value = value.get(key, {})
    if last not in value:
        return
    if loss.which is None:
        del value[last]
    elif isinstance(value[last], list):
        value[last] = [item for item in value[last] if not loss.which(item, card)]
    elif loss.which(value[last], card):
        del value[last]


def _pruned(value: dict[str, Any]) -> dict[str, Any]:
    pruned = {key: _pruned(entry) if isinstance(entry, dict) else entry for key, entry in value.items()}
    return {key: entry for key, entry in pruned.items() if entry != {} and not _is_empty_section(entry)}


def _is_empty_section(value: object) -> bool:
    return isinstance(value, dict) and value.get("kind") == "numbers" and not value.get("numbers")
