"""The likely meaning of a misspelt name, for error messages. Names only: keys, columns, plug-ins; never data values."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean"]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns `` - did you mean 'NAME'?`` for the known name that resembles ``name``, or nothing if none does."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" - did you mean {close[0]!r}?" if close else ""
