"""``ModelCard`` -> JSON, Markdown, HTML.

Names of columns and groups come from data and configs, so they are treated as hostile: HTML is escaped by Jinja,
Markdown by :func:`markdown_text` on every expression of the template. The HTML file is complete in itself: it runs no
script and asks no other address for anything, and its content security policy says so to the browser.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import cache
from typing import Any

from probity.model_cards.document import document_of
from probity.model_cards.publication import Publication

__all__ = ["markdown_code", "markdown_text", "to_html", "to_json", "to_markdown"]

_SPECIAL = re.compile(r"[\\`*\[\]<|~&#$]|(?<![^\W_])_|_(?![^\W_])")
"""Characters with a meaning anywhere in a line; an underscore inside a word has none."""
_LEADING = re.compile(r"^(\d+(?=[.)](?:\s|$))|(?=[-+](?:\s|$)|[>=]))(.)")
"""What makes a line a list item, a quote or a heading when it stands first."""
_PLAIN_CODE = re.compile(r"[A-Za-z0-9_/.,=@* :+()>⟨⟩-]+")


class _Written(str):
    """Text that is Markdown already."""

    __slots__ = ()


def to_json(publication: Publication) -> str:
    """Returns the card as JSON text, byte for byte as the run folder holds it and as the gate digests it.

    :meth:`ModelCard.from_json` reads it back. The decision is another document.
    """
    if publication.recorded is not None:
        return publication.recorded
    return json.dumps(publication.card.to_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_markdown(publication: Publication) -> str:
    """Returns the card as GitHub-flavoured Markdown."""
    pictures = {picture.audit: [(picture.title, "")] for picture in publication.pictures}
    text = str(_markdown_template().render(document=document_of(publication, images=pictures)))
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def to_html(publication: Publication) -> str:
    """Returns the card as one self-contained HTML file.

    Pictures are embedded as images, where a browser runs no script and loads nothing.
    """
    images: dict[str, list[tuple[str, str]]] = {}
    for picture in publication.pictures:
        images.setdefault(picture.audit, []).append((picture.title, _data_address(picture.svg)))
    template, style = _html_template()
    # The policy names the one style sheet by its hash, so that not even a style can be smuggled in.
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    return str(template.render(document=document_of(publication, images=images), style=style, style_digest=digest))


def markdown_text(value: object) -> str:
    """Returns text that Markdown prints as it is: on one line, without markup, links, mentions or table cells."""
    if isinstance(value, _Written):
        return value
    line = " ".join(str(value).split())
    return _LEADING.sub(r"\1\\\2", _SPECIAL.sub(r"\\\g<0>", line))


def markdown_code(value: object) -> str:
    """Returns an identifier as code."""
    line = " ".join(str(value).split())
    if not line:
        return _Written("")
    if _PLAIN_CODE.fullmatch(line):
        return _Written(f"`{line}`")
    # A code span knows no escapes, so anything unusual is spelt in character references inside an element.
    spelt = "".join(character if character.isalnum() else f"&#{ord(character)};" for character in line)
    return _Written(f"<code>{spelt}</code>")


def _breakable(identifier: str) -> Any:
    """Returns an id that may break after each slash, and is still copied without the breaks."""
    from markupsafe import Markup

    return Markup("/<wbr>").join(identifier.split("/"))


def _data_address(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode("utf-8")).decode("ascii")


@cache
def _html_template() -> tuple[Any, str]:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("probity.model_cards"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Only drawings of probity.model_cards.plots go through this filter; they escape every name themselves.
    environment.filters["drawing"] = Markup
    environment.filters["breakable"] = _breakable
    style = environment.get_template("card.css").render()
    return environment.get_template("card.html.j2"), style


@cache
def _markdown_template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("probity.model_cards"),
        autoescape=False,  # noqa: S701 - HTML escapes do not fit Markdown; finalize escapes every expression
        finalize=markdown_text,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["code"] = markdown_code
    environment.filters["written"] = _Written  # for what a macro has escaped already
    return environment.get_template("card.md.j2")
