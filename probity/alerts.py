"""Whom a project tells when something ends badly."""

from __future__ import annotations

from pydantic import Field

from probity.record import Record

__all__ = ["AlertConfig"]


class AlertConfig(Record):
    """Who is told of a run that failed or is held, and of a rollout that was rolled back or stopped."""

    webhook_variable: str | None = Field(default=None, exclude_if=lambda name: name is None)
    """Name of the environment variable that holds the address of a webhook (the JSON that Slack's incoming webhooks
    take); absent: nobody is told. Messages have names and counts, no group and no data value. The address is a secret
    and never stands in a config."""
