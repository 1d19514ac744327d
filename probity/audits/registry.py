"""Audits by name, found through the entry-point group ``probity.audits``."""

from __future__ import annotations

from probity import plugins
from probity.audits.base import Audit
from probity.errors import PluginError

__all__ = ["GROUP", "load", "names"]

GROUP = "probity.audits"


def names() -> tuple[str, ...]:
    """Returns the names of the installed audits, sorted."""
    return plugins.names(GROUP)


def load(name: str) -> Audit:
    """Imports an audit and returns an instance of it.

    Raises:
        UnknownPluginError: If there is no audit of this name; lists those that exist.
        DuplicatePluginError: If two distributions offer the name.
        MissingExtraError: If one of its imports is not installed.
        PluginError: If what the entry point names is not an audit of this name.
    """
    kind = plugins.load(GROUP, name)
    audit: Audit = kind()
    if getattr(audit, "name", None) != name or not callable(getattr(audit, "run", None)):
        raise PluginError(
            f"plug-in {name!r} of {GROUP}",
            seen=f"an object of type {type(audit).__name__} without this name or without a run method",
            allowed="a class without arguments whose instances follow probity.audits.base.Audit",
            remedy="report it to the distribution that brings the plug-in",
        )
    return audit
