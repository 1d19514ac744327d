"""Tells a webhook that people are needed, in the JSON that Slack's incoming webhooks take.

A run waits for approval, failed or is held; a rollout was taken back; the watch over a version that serves asks for
another run. The address is a secret and comes from the environment only. A message that does not arrive holds nothing
up and lets nothing through.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from probity.errors import ConfigError
from probity.release_policy import Approval
from probity.runs import CARD, RunFolder

__all__ = ["announce", "ask_for_review", "message", "post", "slack"]

_SECONDS = 10.0


def ask_for_review(
    approval: Approval, folder: RunFolder, *, model_name: str, of: Literal["model", "data"] = "model"
) -> bool:
    """Sends the message that a run waits, if the policy names a variable for the address.

    Returns:
        Whether a message was sent.

    Raises:
        ConfigError: If the variable is not set, holds no web address, or nobody answers there. The address is in no
            message.
    """
    name = approval.webhook_variable
    if name is None:
        return False
    post(name, message(approval, folder, model_name=model_name, of=of))
    return True


def announce(variable: str | None, words: str) -> str | None:
    """Sends words to a webhook, where somebody is to be told. Raises nothing: no work depends on it.

    Args:
        variable: Environment variable that holds the address; ``None``: nobody is told.
        words: What to say; names and counts, no data value.

    Returns:
        Why they did not arrive; ``None`` if they did, or nobody was to be told.
    """
    if variable is None:
        return None
    try:
        post(variable, slack(words))
    except ConfigError as error:
        return str(error)
    return None


def post(variable: str, message: Mapping[str, object]) -> None:
    """Sends a message to the address that an environment variable holds.

    Raises:
        ConfigError: If the variable is not set, holds no web address, or nobody answers there. The address is in no
            message.
    """
    address = os.environ.get(variable, "")
    if urlsplit(address).scheme not in ("https", "http"):
        raise _unusable(variable, "not set" if not address else "no web address")
    request = Request(address, data=json.dumps(message).encode(), headers={"Content-Type": "application/json"})  # noqa: S310 - only http and https get this far
    try:
        with urlopen(request, timeout=_SECONDS):  # noqa: S310
            return
    except (OSError, ValueError) as error:
        raise _unusable(variable, f"nobody took the message there ({type(error).__name__})") from error


def message(
    approval: Approval, folder: RunFolder, *, model_name: str, of: Literal["model", "data"] = "model"
) -> dict[str, object]:
    """Returns the message: which run waits, for how many reviewers, and where its card is.

    A run that waits for the review of its data has no card yet.
    """
    if of == "data":
        return slack(
            f"Model {model_name}: the data of run {folder.id} wait for {approval.quorum} approval(s). Statistics and "
            f"anomalies: {folder.path}. Approve with: probity approve {folder.id} --data --key FILE, or reject with: "
            f"probity reject {folder.id} --data --key FILE --comment TEXT"
        )
    link = approval.card_link
    card = str(folder.path / CARD / "card.html") if link is None else link.replace("{run}", folder.id)
    words = (
        f"Model {model_name}: run {folder.id} waits for {approval.quorum} approval(s). Card: {card}. "
        f"Approve with: probity approve {folder.id} --key FILE, or reject with: probity reject {folder.id} --key FILE "
        "--comment TEXT"
    )
    return slack(words)


def slack(words: str) -> dict[str, object]:
    """Returns words as a message for Slack, which others read as ``text``."""
    return {"text": words, "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": words}}]}


def _unusable(name: str, seen: str) -> ConfigError:
    return ConfigError(
        f"environment variable {name}",
        seen=seen,
        allowed="the address of a webhook that answers within ten seconds",
        remedy="set it where the command is started; what the message would have said holds all the same",
    )
