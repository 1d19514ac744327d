"""The regulatory tables as one page for printing: every cell repeats a finding and names its id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from probity.data import MISSING_GROUP
from probity.findings import AuditReport, Finding
from probity.storage import write_atomically

__all__ = ["FOUR_FIFTHS", "write_page"]

FOUR_FIFTHS = 0.8
"""29 CFR 1607.4 D."""

_STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; color: #1b1b1b; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; table-layout: fixed; width: 100%; margin: .5rem 0 1rem; break-inside: avoid; }
caption { text-align: left; font-weight: 600; padding: .4rem 0; }
th, td { border-bottom: 1px solid #cfd4da; padding: .35rem .5rem; text-align: right; vertical-align: top; }
th:first-child { text-align: left; font-weight: 400; }
thead th { font-weight: 600; }
small { display: block; color: #55606b; }
code { font-size: 10px; overflow-wrap: anywhere; }
.muted { color: #6b747d; }
"""
_NEW_YORK = (
    ("people", "example_count"),
    ("selection rate", "favourable_rate"),
    ("impact ratio", "impact_ratio"),
    ("scoring rate", "scoring_rate"),
    ("impact ratio of scores", "scoring_impact_ratio"),
)
_FOUR_FIFTHS = (
    ("selection rate", "favourable_rate"),
    ("over the highest rate", "impact_ratio"),
    ("p-value", "four_fifths_p_value"),
)


def write_page(path: Path, report: AuditReport, *, name: str) -> None:
    """Writes the page.

    Args:
        path: Where to.
        report: A complete report of the audit ``regulatory``.
        name: Name of the data set.
    """
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        f"<title>Regulatory tables: {escape(name)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>Regulatory tables: {escape(name)}</h1>",
        *(f"<p>{escape(reason)}</p>" for reason in report.reasons),
        f"<p><small>Model <code>{escape(str(report.subject.model))}</code>, test rows "
        f"<code>{escape(report.subject.examples)}</code></small></p>",
        "<h2>Impact ratios</h2><p>As New York City's Local Law 144 defines them (6 RCNY § 5-300, § 5-301). A category "
        "of less than 2 % of the people may be left out of the ratios; it is shown here, and marked.</p>",
        *_tables(report, _NEW_YORK, title="Impact ratios by"),
        "<h2>Four fifths</h2><p>A rate below four fifths of the highest is marked (29 CFR 1607.4 D). The p-value is of "
        "Fisher's exact test that both groups have the same selection rate.</p>",
        *_tables(report, _FOUR_FIFTHS, title="Selection rates by", mark=True),
        "</body></html>",
    ]
    write_atomically(path, "\n".join(parts).encode())


def _tables(
    report: AuditReport, columns: Sequence[tuple[str, str]], *, title: str, mark: bool = False
) -> Iterator[str]:
    groupings = dict.fromkeys(tuple(finding.slice) for finding in report.findings)
    for grouping in groupings:
        mine = [finding for finding in report.findings if tuple(finding.slice) == grouping]
        found = {(tuple(finding.slice.values()), finding.metric): finding for finding in mine}
        groups = list(dict.fromkeys(tuple(finding.slice.values()) for finding in mine))
        known = [group for group in groups if MISSING_GROUP not in group]
        heads = "".join(f"<th scope='col'>{escape(head)}</th>" for head, _ in columns)
        yield f"<table><caption>{escape(title)} {escape(' and '.join(grouping))}</caption>"
        yield f"<thead><tr><th scope='col'>category</th>{heads}</tr></thead><tbody>"
        for group in known:
            cells = "".join(_cell(found.get((group, metric)), mark=mark) for _, metric in columns)
            yield f"<tr><th scope='row'>{escape(' and '.join(group))}</th>{cells}</tr>"
        yield "</tbody></table>"
        unknown = sum(
            finding.estimate.n for finding in mine
            if finding.metric == "example_count" and MISSING_GROUP in finding.slice.values()
        )  # fmt: skip
        yield f"<p>People of unknown category, in no ratio: {unknown:,}.</p>"


def _cell(finding: Finding | None, *, mark: bool) -> str:
    if finding is None:
        return "<td class='muted'>-</td>"
    estimate = finding.estimate
    if estimate.value is None:
        shown = "-"
    else:
        shown = f"{estimate.value:,.0f}" if finding.metric == "example_count" else f"{estimate.value:.3f}"
    small = []
    if estimate.lower is not None and estimate.upper is not None and estimate.confidence is not None:
        small.append(f"{estimate.lower:.3f} to {estimate.upper:.3f}")
    if finding.metric == "impact_ratio" and mark and estimate.value is not None and estimate.value < FOUR_FIFTHS:
        small.append("below four fifths")
    if finding.evidence == "insufficient" and finding.reason:
        small.append(finding.reason)
    notes = "".join(f"<small>{escape(note)}</small>" for note in small)
    muted = " class='muted'" if finding.evidence == "insufficient" else ""
    return f"<td{muted}>{shown}{notes}<small><code>{escape(finding.id)}</code></small></td>"
