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
        _remove(kept, loss.path.split("."), loss.which, card=value)
    return kept


def _remove(
    value: dict[str, Any],
    path: list[str],
    which: Callable[[Any, dict[str, Any]], bool] | None,
    *,
    card: dict[str, Any],
) -> None:
    """Removes what lies at a path, and what holds nothing more then."""
    key, *rest = path
    if key not in value:
        return
    if rest:
        _remove(value[key], rest, which, card=card)
    elif which is not None and isinstance(value[key], list):
        value[key] = [item for item in value[key] if not which(item, card)]
    elif which is None or which(value[key], card):
        del value[key]
    if value.get(key) == {} or _is_empty_section(value.get(key)):
        del value[key]


def _is_empty_section(value: object) -> bool:
    return isinstance(value, dict) and value.get("kind") == "numbers" and not value.get("numbers")
