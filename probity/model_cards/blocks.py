"""A card as a document: sections of blocks that HTML and Markdown both know how to print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "Block",
    "Cell",
    "Document",
    "Facts",
    "Figures",
    "Gap",
    "Items",
    "Row",
    "Section",
    "Subheading",
    "Table",
    "Tile",
]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One table cell: the text, its interval or reason, and the id of the finding it repeats.

    Attributes:
        code: An id to print below the text.
        finding: Id of the finding that the text repeats; where it can, a form links the text to it.
    """

    text: str
    detail: str = ""
    code: str = ""
    finding: str = ""
    muted: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """A table row; ``note`` takes the place of all its cells."""

    header: str
    cells: tuple[Cell, ...] = ()
    code: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with a caption; the first head is that of the row headers.

    Attributes:
        collapsed: Whether HTML shows it on demand only.
        numeric: Whether the cells are numbers, to be set right.
    """

    caption: str
    heads: tuple[str, ...]
    rows: tuple[Row, ...]
    ids: str = ""
    numeric: bool = True
    collapsed: bool = False
    kind: Literal["table"] = "table"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Pairs of term and description; a description of several lines is a list."""

    pairs: tuple[tuple[str, tuple[str, ...]], ...]
    caption: str = ""
    monospace: bool = False
    kind: Literal["facts"] = "facts"


@dataclass(frozen=True, kw_only=True)
class Items:
    """Paragraphs, or a list when there is more than one."""

    texts: tuple[str, ...]
    small: bool = False
    kind: Literal["items"] = "items"


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Something that was not assessed, and why."""

    reason: str
    what: str = ""
    kind: Literal["gap"] = "gap"


@dataclass(frozen=True, kw_only=True)
class Subheading:
    """A heading inside a section."""

    text: str
    kind: Literal["subheading"] = "subheading"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Pictures for HTML: inline SVG made by :mod:`probity.model_cards.plots`, or images as ``data:`` addresses.

    Attributes:
        drawings: Markup that escapes every name in it, made by this package only.
        images: Title to ``data:`` address.
    """

    caption: str
    drawings: tuple[str, ...] = ()
    images: tuple[tuple[str, str], ...] = ()
    kind: Literal["figures"] = "figures"


Block = Table | Facts | Items | Gap | Subheading | Figures


@dataclass(frozen=True, kw_only=True)
class Section:
    """One section with an anchor."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One headline number."""

    label: str
    cell: Cell


@dataclass(frozen=True, kw_only=True)
class Document:
    """The whole card, ready for a template.

    Attributes:
        anchors: Id of a finding to where the index of all numbers prints it.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    tiles: tuple[Tile, ...]
    sections: tuple[Section, ...] = field(default=())
    anchors: Mapping[str, str] = field(default_factory=dict)
