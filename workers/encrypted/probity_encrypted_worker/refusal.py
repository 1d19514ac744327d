"""The worker's one expected error: a code for programs and a text of four parts for people, without data values."""

from __future__ import annotations

__all__ = ["Refusal"]


class Refusal(Exception):
    """What was asked cannot be done, or would be weaker than it claims.

    Args:
        code: One of ``native_operations``, ``unsupported_layers``, ``settings``, ``parties``, ``data_owner``,
            ``range``, ``overflow``, ``party_lost``, ``party_silent``, ``deadline``, ``checkpoint``.
        argument: Which setting, party or file it is about.
        seen: What was found there: a name, a count, a shape; never a data value.
        allowed: What would have been accepted.
        remedy: What to do.
    """

    def __init__(self, code: str, argument: str, *, seen: str, allowed: str, remedy: str) -> None:
        super().__init__(code)
        self.code = code
        self.argument = argument
        self.seen = seen
        self.allowed = allowed
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.argument}: {self.seen}. Allowed: {self.allowed}. To do: {self.remedy}."
