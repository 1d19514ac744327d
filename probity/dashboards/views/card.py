"""Card: the model card as it will be published, in every form, and what is missing in it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from probity.card import ModelCard, NotAssessed
from probity.dashboards.exhibit import heading, table
from probity.dashboards.report import Report
from probity.dashboards.words import digest_text, plain
from probity.runs import CARD

__all__ = ["gaps", "render"]

_FORMS = {
    ".html": ("HTML, for reading and printing", "text/html"),
    ".md": ("Markdown", "text/markdown"),
    ".json": ("JSON", "application/json"),
    ".xml": ("XML", "application/xml"),
    ".yaml": ("YAML", "application/yaml"),
}


def render(report: Report) -> None:
    """Shows what the card says, what it withholds and what it lacks, and gives it out in every form."""
    import streamlit as st

    card = report.card()
    if card is None:
        st.info("There is no model card: the run did not come that far, or the file cannot be read.")
        return
    _counts(card)
    _judged(report)
    table(
        [{"part": name.replace("_", " "), "why it is missing": reason} for name, reason in gaps(card)],
        name="missing",
        title="What is missing",
        about="Every gap is printed on the card with its reason. The owner's own words come from the section card of "
        "the config.",
        empty="nothing is missing",
    )
    table([{"note": note} for note in card.publication_notes], name="withheld", title="What is withheld, and why")
    _forms(report.folder.path / CARD)
    _preview(report.folder.path / CARD / "card.html")


def gaps(card: ModelCard) -> list[tuple[str, str]]:
    """Returns every part of the card that says it was not assessed, with its reason, in the card's order."""
    return list(_gaps(card, ""))


def _gaps(part: BaseModel, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(part, NotAssessed):
        yield name, part.reason
        return
    for field in type(part).model_fields:
        inner = getattr(part, field)
        if isinstance(inner, BaseModel):
            yield from _gaps(inner, f"{name}, {field}" if name else field)


def _counts(card: ModelCard) -> None:
    import streamlit as st

    numbers = card.numbers()
    for column, (label, status) in zip(
        st.columns(4),
        {"numbers": None, "measured": "measured", "too small to say": "insufficient", "withheld": "withheld"}.items(),
        strict=True,
    ):
        column.metric(label, sum(status in (None, number.status) for number in numbers), border=True)


def _judged(report: Report) -> None:
    import streamlit as st

    decision = report.decision()
    if decision is None:
        return
    own = report.file_digest(f"{CARD}/card.json")
    if decision.card == own:
        st.success(f"The gate judged this card ({digest_text(own)}).")
    else:
        st.error("The gate judged another card than the one in this folder: it was changed afterwards.")


def _forms(folder: Path) -> None:
    import streamlit as st

    files = sorted(path for path in folder.glob("*") if path.suffix in _FORMS)
    heading("In every form")
    for column, path in zip(st.columns(max(len(files), 1)), files, strict=False):
        words, mime = _FORMS[path.suffix]
        column.download_button(
            plain(f"{path.name}: {words}"),
            path.read_bytes,
            file_name=path.name,
            mime=mime,
            key=f"card {path.name}",
            on_click="ignore",
            width="stretch",
        )
    st.caption("More forms, for registries and catalogues: probity card RUN \\-\\-format ...")


def _preview(path: Path) -> None:
    """Shows the HTML form in a frame of an origin of its own, where it can reach neither this page nor its session."""
    import streamlit as st

    if not path.is_file():
        return
    heading("As it will be published")
    if st.toggle("Show the card", key="show the card"):
        page = base64.b64encode(path.read_bytes()).decode("ascii")
        st.iframe(f"data:text/html;charset=utf-8;base64,{page}", height=900)
