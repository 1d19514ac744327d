"""Plug-ins found through entry points; our own trainers and audits are declared like anybody else's.

A plug-in is looked up by name and imported only when it is chosen, so a broken or heavy one costs nobody else anything.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from probity.errors import DuplicatePluginError, MissingExtraError, UnknownPluginError

__all__ = ["load", "names"]


def names(group: str) -> tuple[str, ...]:
    """Returns the names that installed distributions offer in an entry-point group, sorted."""
    return tuple(sorted({entry.name for entry in entry_points(group=group)}))


def load(group: str, name: str) -> Any:
    """Imports the plug-in ``name`` of ``group``.

    Raises:
        UnknownPluginError: If nobody offers it; lists the known names.
        DuplicatePluginError: If two distributions offer it.
        MissingExtraError: If it exists but one of its imports is not installed.
    """
    found: tuple[EntryPoint, ...] = tuple(entry_points(group=group, name=name))
    argument = f"plug-in {name!r} of {group}"
    if not found:
        raise UnknownPluginError(
            argument,
            seen="no installed distribution offers it",
            allowed=", ".join(names(group)) or "none is installed",
            remedy="choose one of these, or install the distribution that brings it",
        )
    if len({entry.value for entry in found}) > 1:
        offered = ", ".join(sorted(entry.dist.name if entry.dist else entry.value for entry in found))
        raise DuplicatePluginError(
            argument, seen=f"offered by {offered}", allowed="one distribution per name", remedy="uninstall all but one"
        )
    try:
        return found[0].load()
    except ImportError as error:
        missing = error.name or "a module"
        raise MissingExtraError(
            argument,
            seen=f"{missing} cannot be imported",
            allowed="an environment with the plug-in's requirements",
            remedy=f"install the extra that brings {missing}",
        ) from error
