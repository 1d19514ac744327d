"""What every page is put together from: a chart with its table and downloads, a table, a gap that is said aloud."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence

from probity.dashboards.evidence import Audited
from probity.dashboards.report import Report
from probity.dashboards.words import plain

__all__ = ["Rows", "exhibit", "facts", "heading", "not_assessed", "notes", "table", "to_csv"]

Rows = Sequence[Mapping[str, str]]
"""Lines of a table: the same heads in each, every cell a text."""

_LONG = 40
_DOWNLOADED = frozenset({"finding", "key"})
"""Columns for machines: they are in the downloads only."""


def heading(text: str, *, about: str = "") -> None:
    """Writes the heading of a part of the page, and a sentence below it. Both may hold names from data."""
    import streamlit as st

    st.subheader(plain(text[:1].upper() + text[1:]))
    if about:
        st.caption(plain(about))


def exhibit(
    report: Report,
    draw: Callable[[bool], str],
    rows: Rows,
    *,
    title: str,
    name: str,
    about: str = "",
) -> None:
    """Shows a chart, with the table behind it and both for download.

    Args:
        report: Says whether the page is dark or for paper.
        draw: Returns the chart as SVG, on a dark ground or a light one; the download is light.
        rows: The numbers of the chart, all of them.
        title: Heading.
        name: What the files are called.
        about: How to read it.
    """
    import streamlit as st

    heading(title, about=about)
    st.image(draw(report.dark), width="stretch", caption=plain(f"{title}. The same numbers are in the table below."))
    with st.expander(plain(f"Table and downloads: {title}"), expanded=report.printing):
        _shown(rows)
        left, right = st.columns(2)
        _download(left, "Download CSV", to_csv(rows), f"{name}.csv", "text/csv")
        _download(right, "Download SVG", lambda: draw(False), f"{name}.svg", "image/svg+xml")


def table(rows: Rows, *, name: str, title: str = "", about: str = "", empty: str = "nothing there yet") -> None:
    """Shows a table with its download; an empty one says so."""
    import streamlit as st

    if title:
        heading(title, about=about)
    if not rows:
        st.caption(plain(empty))
        return
    _shown(rows)
    _download(st, "Download CSV", to_csv(rows), f"{name}.csv", "text/csv")


def facts(pairs: Sequence[tuple[str, str]], *, name: str) -> None:
    """Shows names and what they are, one to a line."""
    import pandas as pd
    import streamlit as st

    rows = [{"what": key, "is": value} for key, value in pairs]
    st.table(
        pd.DataFrame([{key: plain(cell) for key, cell in row.items()} for row in rows]),
        hide_index=True,
        hide_header=True,
    )
    _download(st, "Download CSV", to_csv(rows), f"{name}.csv", "text/csv")


def notes(audited: Audited) -> None:
    """Writes what an audit says about its own numbers."""
    import streamlit as st

    for note in audited.notes:
        st.caption(plain(note))


def not_assessed(audited: Audited) -> bool:
    """Says that an audit has nothing to show, and why; returns whether that is so."""
    import streamlit as st

    if audited.status == "complete":
        return False
    words = {
        "missing": "Not assessed",
        "not_applicable": "Not applicable",
        "failed": "The audit failed, and the gate holds",
    }[audited.status]
    reasons = "; ".join(audited.notes) or "no reason was recorded"
    show = st.error if audited.status == "failed" else st.info
    show(f"**{plain(audited.audit)}** - {words}: {plain(reasons)}")
    return True


def to_csv(rows: Rows) -> str:
    """Returns a table as CSV. A cell that a spreadsheet would take for a formula is kept a text."""
    out = io.StringIO()
    heads = list(rows[0]) if rows else []
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([head.strip() for head in heads])
    for row in rows:
        writer.writerow([_inert(row[head]) for head in heads])
    return out.getvalue()


def _inert(cell: str) -> str:
    harmless = re.fullmatch(r"[-+]?[\d.,]+(e[-+]?\d+)?", cell)
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") and not harmless else cell


def _shown(rows: Rows) -> None:
    """Shows up to forty lines as a plain table, which prints and is read aloud; more of them in a grid that scrolls."""
    import pandas as pd
    import streamlit as st

    visible = [{head: cell for head, cell in row.items() if head not in _DOWNLOADED} for row in rows]
    if not visible:
        st.caption("nothing there yet")
    elif len(visible) > _LONG:
        st.dataframe(pd.DataFrame(visible), hide_index=True, width="stretch")
    else:
        escaped = [{plain(head) or head: plain(cell) for head, cell in row.items()} for row in visible]
        st.table(pd.DataFrame(escaped), hide_index=True)


def _download(place: object, label: str, data: str | Callable[[], str], name: str, mime: str) -> None:
    place.download_button(  # type: ignore[attr-defined]
        label, data, file_name=name, mime=mime, key=f"download {name}", on_click="ignore"
    )
