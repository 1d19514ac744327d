"""The forms in which a card can be written, from one and the same card."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import ValidationError

from probity.card import ModelCard
from probity.model_cards.cyclonedx import CYCLONEDX_LOSES, cyclonedx_problems, to_cyclonedx
from probity.model_cards.dp_registry import dp_registry_problems, is_private, to_dp_registry
from probity.model_cards.huggingface import HUGGING_FACE_LOSES, huggingface_problems, to_huggingface
from probity.model_cards.losses import Loss
from probity.model_cards.model_card_toolkit import (
    MODEL_CARD_TOOLKIT_LOSES,
    model_card_toolkit_problems,
    to_model_card_toolkit,
)
from probity.model_cards.publication import Publication
from probity.model_cards.render import to_html, to_json, to_markdown

__all__ = ["DIALECTS", "Dialect", "dialects_for"]


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """One form of the card.

    Attributes:
        name: As ``--format`` takes it.
        file: Its file in a folder of published forms.
        write: Returns the text.
        problems: Returns what the form's own rules forbid in a text, in words.
        loses: What a reader of this form does not learn.
        fits: Whether a card can be written in this form.
        may_be_incomplete: Whether a text with problems is a draft that somebody has to complete, and not a fault.
    """

    name: str
    file: str
    write: Callable[[Publication], str]
    problems: Callable[[str], list[str]]
    loses: tuple[Loss, ...] = ()
    fits: Callable[[ModelCard], bool] = lambda card: True
    may_be_incomplete: bool = False


def _json_problems(text: str) -> list[str]:
    try:
        ModelCard.from_json(json.loads(text))
    except (ValidationError, ValueError) as error:
        return [f"card: {type(error).__name__}"]
    return []


def _page_problems(text: str) -> list[str]:
    return [] if "<script" not in text.lower() else ["a script"]


DIALECTS = {
    entry.name: entry
    for entry in (
        Dialect(name="html", file="card.html", write=to_html, problems=_page_problems),
        Dialect(name="md", file="card.md", write=to_markdown, problems=lambda text: []),
        Dialect(name="json", file="card.json", write=to_json, problems=_json_problems),
        Dialect(
            name="huggingface",
            file="README.md",
            write=to_huggingface,
            problems=huggingface_problems,
            loses=HUGGING_FACE_LOSES,
        ),
        Dialect(
            name="cyclonedx",
            file="card.cdx.json",
            write=to_cyclonedx,
            problems=cyclonedx_problems,
            loses=CYCLONEDX_LOSES,
        ),
        Dialect(
            name="model-card-toolkit",
            file="model_card.json",
            write=to_model_card_toolkit,
            problems=model_card_toolkit_problems,
            loses=MODEL_CARD_TOOLKIT_LOSES,
        ),
        Dialect(
            name="dp-registry",
            file="dp_registry.yaml",
            write=to_dp_registry,
            problems=dp_registry_problems,
            fits=is_private,
            may_be_incomplete=True,
        ),
    )
}
"""Every form by name."""


def dialects_for(card: ModelCard) -> list[Dialect]:
    """Returns the forms that a card can be written in."""
    return [dialect for dialect in DIALECTS.values() if dialect.fits(card)]
