"""Card: the model card as it will be published, in every form, and what is missing in it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from probity.card import ModelCard, NotAssessed
from probity.dashboards.catalogue import fingerprint
from probity.dashboards.exhibit import heading, table
from probity.dashboards.report import Report
from probity.dashboards.words import digest_text, plain
from probity.model_cards.dialects import DIALECTS, Dialect
from probity.model_cards.publication import Publication
from probity.model_cards.wording import ABSENT
from probity.runs import CARD

__all__ = ["gaps", "render"]

_KEPT: dict[tuple[str, tuple[int, ...], str], tuple[str, tuple[str, ...]]] = {}
_MOST_KEPT = 64

_FORMS = {
    "html": ("HTML, for reading and printing", "text/html"),
    "md": ("Markdown", "text/markdown"),
    "json": ("JSON, by its JSON Schema", "application/json"),
    "huggingface": ("README of the Hugging Face Hub", "text/markdown"),
    "cyclonedx": ("CycloneDX 1.6 ML-BOM", "application/json"),
    "model-card-toolkit": ("Model Card Toolkit 0.0.2", "application/json"),
    "dp-registry": ("entry of a registry of private models", "application/yaml"),
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
    _forms(report, card)
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


def _forms(report: Report, card: ModelCard) -> None:
    """Offers the card in every form, with what the form's own rules miss in it and what it cannot say."""
    import streamlit as st

    heading("In every form", about="Written from the card, the decision on it and the release; checked by each form.")
    publication = report.publication()
    if publication is None:
        st.error("No form is given out: this is not the card that was composed and decided about, or its waivers "
                 "cannot be verified.")  # fmt: skip
        return
    rows = []
    for dialect in DIALECTS.values():
        words, mime = _FORMS[dialect.name]
        fits = dialect.fits(card)
        text, problems = _written(report, publication, dialect) if fits else ("", ())
        rows.append(
            {
                "form": words,
                "file": dialect.file,
                "state": "\N{CHECK MARK} valid" if fits and not problems else "a draft" if fits else ABSENT,
                "missing": "; ".join(problems) if fits else "this form is for models with differential privacy",
                "does not say": str(len(dialect.loses)) + " parts" if dialect.loses else "",
            }
        )
        if fits:
            st.download_button(
                plain(f"{dialect.file}: {words}"), text, file_name=dialect.file, mime=mime, key=f"card {dialect.name}",
                on_click="ignore",
            )  # fmt: skip
    table(rows, name="forms")


def _written(report: Report, publication: Publication, dialect: Dialect) -> tuple[str, tuple[str, ...]]:
    """Returns a form and its problems; kept while the run does not change, because checking schemas takes time."""
    key = (str(report.folder.path), fingerprint(report.folder), dialect.name)
    if key not in _KEPT:
        text = dialect.write(publication)
        if len(_KEPT) > _MOST_KEPT:
            _KEPT.clear()
        _KEPT[key] = (text, tuple(dialect.problems(text)))
    return _KEPT[key]


def _preview(path: Path) -> None:
    """Shows the HTML form in a frame of an origin of its own, where it can reach neither this page nor its session."""
    import streamlit as st

    if not path.is_file():
        return
    heading("As it will be published")
    if st.toggle("Show the card", key="show the card"):
        page = base64.b64encode(path.read_bytes()).decode("ascii")
        st.iframe(f"data:text/html;charset=utf-8;base64,{page}", height=900)
