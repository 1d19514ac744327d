"""The regulatory tables as one page for printing: every cell repeats a finding, and it or its table names its id."""

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
_SHARE = "adverse_action_reason_share"
_CHECKS = (
    ("verified_reason_rate", "candidates that held when the model was asked"),
    ("without_reason_rate", "people without any verified reason"),
    ("sensitive_reason_share", "people with a sensitive column among their reasons"),
)


def write_page(path: Path, report: AuditReport, *, name: str, said: Sequence[str] = ()) -> None:
    """Writes the page.

    Args:
        path: Where to.
        report: A complete report of the audit ``regulatory``.
        name: Name of the data set.
        said: What has to be known about the reasons; these of the report's own reasons stand beside their table.
    """
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        f"<title>Regulatory tables: {escape(name)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>Regulatory tables: {escape(name)}</h1>",
        *(f"<p>{escape(reason)}</p>" for reason in report.reasons if reason not in said),
        f"<p><small>Model <code>{escape(str(report.subject.model))}</code>, test rows "
        f"<code>{escape(report.subject.examples)}</code></small></p>",
        "<h2>Impact ratios</h2><p>As New York City's Local Law 144 defines them (6 RCNY § 5-300, § 5-301). A category "
        "of less than 2 % of the people may be left out of the ratios; it is shown here, and marked.</p>",
        *_tables(report, _NEW_YORK, title="Impact ratios by"),
        "<h2>Four fifths</h2><p>A rate below four fifths of the highest is marked (29 CFR 1607.4 D). The p-value is of "
        "Fisher's exact test that both groups have the same selection rate.</p>",
        *_tables(report, _FOUR_FIFTHS, title="Selection rates by", mark=True),
        "<h2>Reasons for unfavourable predictions</h2><p>Regulation B asks for the specific principal reasons of an "
        "adverse action (12 CFR 1002.9(b)(2)); its official interpretations describe a comparison with applicants at "
        "or slightly above the passing score, which is what is computed here.</p>",
        *(f"<p>{escape(sentence)}</p>" for sentence in said),
        *_reasons(report),
        "</body></html>",
    ]
    write_atomically(path, "\n".join(parts).encode())


def _tables(
    report: AuditReport, columns: Sequence[tuple[str, str]], *, title: str, mark: bool = False
) -> Iterator[str]:
    shown = [finding for finding in report.findings if finding.metric in dict(columns).values() or _is_count(finding)]
    for grouping in dict.fromkeys(tuple(finding.slice) for finding in shown):
        mine = [finding for finding in shown if tuple(finding.slice) == grouping]
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


def _is_count(finding: Finding) -> bool:
    return finding.metric == "example_count"


def _reasons(report: AuditReport) -> Iterator[str]:
    """Yields how often each column is a reason: overall, most frequent first, then by the groups of each attribute."""
    shares = [finding for finding in report.findings if finding.metric == _SHARE]
    overall = sorted((f for f in shares if not f.slice), key=lambda f: -(f.estimate.value or 0.0))
    if not overall:
        return
    order = [finding.feature or "" for finding in overall]
    yield from _share_table("Share of these people who have the column among their reasons", order, [("", overall)])
    for attribute in dict.fromkeys(name for finding in shares for name in finding.slice):
        of_group: dict[str, list[Finding]] = {}
        for finding in shares:
            if attribute in finding.slice:
                of_group.setdefault(finding.slice[attribute], []).append(finding)
        yield from _share_table(f"The same by {attribute}", order, list(of_group.items()), with_ids=False)
        at = next(iter(of_group.values()))[0].threshold
        pattern = f"{report.audit}/{_SHARE}/⟨column⟩/{attribute}=⟨group⟩@{at:g}"
        yield f"<p><small><code>{escape(pattern)}</code></small></p>"
    rest = [f for f in report.findings if f.metric in dict(_CHECKS)]
    yield "<table><caption>Checks of the reasons</caption><tbody>"
    for finding in rest:
        of = f" ({escape(finding.feature)})" if finding.feature else ""
        yield f"<tr><th scope='row'>{dict(_CHECKS)[finding.metric]}{of}</th>{_cell(finding, mark=False)}</tr>"
    yield "</tbody></table>"


def _share_table(
    title: str, order: Sequence[str], groups: Sequence[tuple[str, Sequence[Finding]]], *, with_ids: bool = True
) -> Iterator[str]:
    heads = "".join(f"<th scope='col'>{escape(group) or 'share'}</th>" for group, _ in groups)
    yield f"<table><caption>{escape(title)}</caption>"
    yield f"<thead><tr><th scope='col'>column</th>{heads}</tr></thead><tbody>"
    for column in order:
        found = [next((f for f in mine if f.feature == column), None) for _, mine in groups]
        cells = "".join(_cell(finding, mark=False, with_id=with_ids) for finding in found)
        yield f"<tr><th scope='row'>{escape(column)}</th>{cells}</tr>"
    yield "</tbody></table>"


def _cell(finding: Finding | None, *, mark: bool, with_id: bool = True) -> str:
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
    code = f"<small><code>{escape(finding.id)}</code></small>" if with_id else ""
    return f"<td{muted}>{shown}{notes}{code}</td>"
