"""Who may see what: three roles, and where the role of a reader comes from.

=========  ==========================================================================================================
role       sees
=========  ==========================================================================================================
public     released runs, through their model cards: small groups withheld, nothing about rows, thresholds or settings
viewer     every run, through its reports: aggregates of declared groups, whatever their size
internal   also what speaks of single rows: curves at every threshold, local explanations, exact statistics
=========  ==========================================================================================================

Without a login the dashboards listen on this machine only, and its reader is internal: who can open them can open the
run folders too. With Streamlit's login (OpenID Connect, ``[auth]`` in its ``secrets.toml``) a reader is what the
section ``[probity]`` of the same file says; whoever it does not name sees nothing. In public mode everybody is public.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal

from probity.errors import ConfigError

__all__ = ["LOOPBACK", "Mode", "Role", "RoleRules", "require_safe", "role_rules"]

LOOPBACK = ("127.0.0.1", "localhost", "::1")

Mode = Literal["local", "public", "login"]
"""``local``: no login, this machine only. ``public``: no login, published numbers only. ``login``: OpenID Connect."""


class Role(IntEnum):
    """What a reader may see; a higher role sees all that a lower one does."""

    PUBLIC = 0
    VIEWER = 1
    INTERNAL = 2


@dataclass(frozen=True, kw_only=True)
class RoleRules:
    """Which people have which role, as the section ``[probity]`` of the secrets says.

    Attributes:
        viewer: E-mail addresses, or ``*`` for everybody who is logged in.
        internal: E-mail addresses; ``*`` is not allowed here.
    """

    viewer: frozenset[str] = frozenset()
    internal: frozenset[str] = frozenset()

    def role_of(self, claims: Mapping[str, Any]) -> Role | None:
        """Returns the role of a person, or ``None`` for somebody who may see nothing.

        Guarantees: an address counts only where the identity provider has not said that it is unverified.

        Args:
            claims: What the identity provider says: ``email``, and perhaps ``email_verified``.
        """
        address = claims.get("email")
        if not isinstance(address, str) or not address or claims.get("email_verified", True) is not True:
            return None
        if address.casefold() in self.internal:
            return Role.INTERNAL
        return Role.VIEWER if self.viewer & {address.casefold(), "*"} else None


def role_rules(section: Mapping[str, Any]) -> RoleRules:
    """Reads the section ``[probity]`` of the secrets.

    Raises:
        ConfigError: If it names something else than lists of addresses, or makes everybody internal.
    """
    unknown = sorted(set(section) - {"viewer", "internal"})
    lists = [section.get(name, []) for name in ("viewer", "internal")]
    readable = all(_is_addresses(found) for found in lists)
    if unknown or not readable or "*" in lists[1]:
        seen = f"unknown keys: {', '.join(unknown)}" if unknown else "no list of addresses"
        raise ConfigError(
            "[probity] in secrets.toml",
            seen="internal is everybody" if readable and not unknown else seen,
            allowed='viewer and internal, each a list of e-mail addresses; viewer = ["*"] is whoever is logged in',
            remedy="see docs/how-to/use-the-dashboard.md",
        )
    viewer, internal = (frozenset(address.casefold() for address in found) for found in lists)
    return RoleRules(viewer=viewer, internal=internal)


def require_safe(*, address: str, mode: Mode) -> None:
    """Raises unless the dashboards may be offered at an address.

    Raises:
        ConfigError: If readers would need no login and come from other machines.
    """
    if mode == "local" and address not in LOOPBACK:
        raise ConfigError(
            "--address",
            seen=f"{address}, which other machines can reach, without a login",
            allowed="127.0.0.1; --public, which shows published numbers only; or --login, with [auth] in secrets.toml",
            remedy="see docs/how-to/use-the-dashboard.md",
        )


def _is_addresses(found: object) -> bool:
    return isinstance(found, Sequence) and not isinstance(found, str) and all(isinstance(entry, str) for entry in found)
