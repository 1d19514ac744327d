"""How numbers and foreign text are written on a page. Formats only: nothing is computed, nothing is trusted.

Names of features, groups, runs and rules come from data and configs. Streamlit reads most texts as Markdown, so such a
name could make a link, load a picture from elsewhere or pose as a heading; :func:`plain` takes that away. HTML is never
enabled anywhere in this package.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from probity.card import CardNumber
from probity.model_cards.wording import ABSENT, group_label, interval_text, metric_title, value_text

__all__ = [
    "OUTCOMES",
    "STATUSES",
    "compared",
    "digest_text",
    "moment",
    "number_cells",
    "number_title",
    "plain",
    "seconds_text",
    "sentence",
    "short_number",
]

OUTCOMES = {
    "pass": "\N{CHECK MARK} pass",
    "fail": "\N{MULTIPLICATION X} fail",
    "insufficient_evidence": "? too little evidence",
    "error": "! error",
}
"""Outcome of a check: a sign and a word, because colour alone tells some readers nothing."""

STATUSES = {
    "held": "\N{MULTIPLICATION X} held",
    "failed": "! failed",
    "unreadable": "! unreadable",
    "interrupted": "! interrupted",
    "approved": "\N{CHECK MARK} may be released",
    "released": "\N{CHECK MARK} released",
    "running": "… running",
    "stopped": "\N{EN DASH} stopped as asked",
}
"""Status of a run, in the order in which a reviewer wants to see them."""

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&@^=/])")


def plain(text: str) -> str:
    """Returns foreign text so that Markdown shows it as it is, on one line."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def short_number(value: float | None) -> str:
    """Returns a number with three significant digits; the infinity sign; a dash for "none"."""
    if value is None:
        return ABSENT
    if math.isinf(value):
        return value_text(value)
    return value_text(value) if abs(value) >= 1000 else f"{value:.3g}"


def number_title(number: CardNumber) -> str:
    """Returns what a number is: metric, threshold, and what it compares."""
    at = "" if number.threshold is None else f" at {number.threshold:g}"
    kind = f", {number.comparison}" if number.comparison else ""
    return f"{metric_title(number.metric)}{at}{kind}"


def compared(number: CardNumber) -> str:
    """Returns the rows that a number speaks of, or the attributes whose groups it compares."""
    return " \N{MULTIPLICATION SIGN} ".join(number.across) if number.across else group_label(number.slice)


def number_cells(number: CardNumber | None) -> dict[str, str]:
    """Returns value, interval, rows and remark of a number, as every table shows them."""
    if number is None:
        return {"value": ABSENT, "interval": "", "rows": "", "remark": "not assessed"}
    remark = {"measured": "", "insufficient": "too small to say", "withheld": "withheld"}[number.status]
    reason = f": {number.reason}" if number.reason and remark else ""
    return {
        "value": value_text(number.value, number.metric),
        "interval": interval_text(number),
        "rows": "" if number.n is None else f"{number.n:,}",
        "remark": f"{remark}{reason}",
    }


def moment(text: str) -> str:
    """Returns an ISO 8601 time as people read it."""
    return text[:16].replace("T", " ")


def seconds_text(seconds: float) -> str:
    """Returns a duration."""
    return f"{seconds:.1f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def digest_text(digest: str | None) -> str:
    """Returns the beginning of a digest; tables for download hold it in full."""
    return ABSENT if digest is None else digest.removeprefix("sha256:")[:12]


def sentence(parts: Sequence[str]) -> str:
    """Returns names joined by commas, or a dash for none."""
    return ", ".join(parts) or ABSENT
