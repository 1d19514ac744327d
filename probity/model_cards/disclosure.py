"""What of the findings may be published: numbers of small groups are withheld, and not left to be computed back.

The rules, with ``m`` the minimum group size:

1. A group (of an attribute or an intersection) with fewer than ``m`` rows has no numbers on the card: no size either.
2. A number of a larger group that rests on fewer than ten of its rows (the positives, for a true positive rate) is
   withheld by itself. Between ten and ``m`` it is published: it may decide a verdict, and its interval is honest.
3. A gap or ratio is withheld where a number of rule 2 is among those it compares, because it may be that number. The
   fairness audit leaves groups below ``m`` out of its gaps and ratios, and the audit of the mitigation out of their
   changes, so these give no small group away and are published as the insufficient evidence they are; such a comparison
   by any other audit is withheld.
4. Totals give small groups away: where only one group of a table is withheld, or the withheld groups hold fewer than
   ``m`` rows together - for an intersection, within any one group of one of its attributes - no size is printed in that
   table, and its numbers are rounded to three decimals, since an exact rate or interval gives its size away as well.
   Numbers in the units of a label are rounded to three significant digits: three decimals of a mean income are exact.
5. Where the label has several classes, rule 2 holds for the rates of a class over all rows too: few people may have it.

These rules limit inference from the card alone. They do not exclude it for a reader who knows more about the data.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from probity.card import CardNumber
from probity.findings import AuditReport, Finding, slice_name
from probity.metric import METRICS

__all__ = ["Disclosure", "disclosure_of"]

PUBLIC_DECIMALS = 3
FEWEST_ROWS = 10
"""Rule 2: fewer rows than this behind a number are too few persons to speak of."""

_Slice = frozenset[tuple[str, str]]
_Measure = tuple[str, float | None, str | None, frozenset[str]]
_COUNTS = frozenset({"example_count", "group_share", "representation_ratio"})
"""Metrics whose value is the size of the group, or gives it together with a total."""
_OF_ALL_ROWS = frozenset({"group_share", "representation_ratio"})
"""Metrics of a group whose ``n`` is that of all groups together."""


@dataclass(frozen=True, kw_only=True)
class Disclosure:
    """Which slices and tables are withheld.

    Attributes:
        minimum: The smallest publishable number of rows.
        small: Slices with fewer rows.
        partial: Metric, threshold, class and table of the numbers that rule 2 withholds.
        uncounted: Tables, as sets of attributes, in which no size is printed and numbers are rounded (rule 4).
    """

    minimum: int
    small: frozenset[_Slice]
    partial: frozenset[_Measure]
    uncounted: frozenset[frozenset[str]]

    def publish(self, finding: Finding) -> CardNumber:
        """Returns the public form of a finding."""
        reason = self._withheld(finding)
        insufficient = finding.evidence == "insufficient"
        if reason is not None:
            return _number(finding, status="withheld", reason=reason)
        estimate = finding.estimate
        table = frozenset(finding.slice) or frozenset(finding.across)
        decimals = _decimals(finding) if table in self.uncounted else None
        hidden = table in self.uncounted or (bool(finding.across) and self._has_small_group(finding.across))
        return _number(
            finding,
            status="insufficient" if insufficient else "measured",
            reason=finding.reason,
            value=_rounded(estimate.value, decimals),
            lower=_rounded(estimate.lower, decimals),
            upper=_rounded(estimate.upper, decimals),
            n=None if hidden else estimate.n,
            decimals=decimals,
        )

    def notes(self) -> tuple[str, ...]:
        """Returns what a reader must know about what was withheld."""
        notes = [
            f"Groups of fewer than {self.minimum} rows of the test split ({len(self.small)} groups), and numbers that "
            f"rest on fewer than {FEWEST_ROWS} rows of a group, are withheld. The run's reports hold them; the gate "
            "reads those."
        ]
        for table in sorted(" x ".join(sorted(names)) for names in self.uncounted):
            notes.append(
                f"No sizes are printed for the groups of {table}, and their numbers are rounded to {PUBLIC_DECIMALS} "
                "decimals: the totals would give the size of the withheld groups away."
            )
        notes.append("This limits inference from the card alone; it is not a privacy guarantee in any formal sense.")
        return tuple(notes)

    def publish_note(self, note: str) -> str:
        """Returns a report's note, or that it was left out because it speaks of a withheld group and may count it."""
        named = [slice_name(dict(sorted(key))) for key in self.small]
        named += [slice_name(dict(sorted(key, reverse=True))) for key in self.small]
        if any(name in note for name in named):
            return "A note on a group that is too small for publication was left out; the run's report holds it."
        return note

    def _withheld(self, finding: Finding) -> str | None:
        key = frozenset(finding.slice.items())
        table = frozenset(finding.slice)
        if not finding.slice:
            if finding.label_class is not None and not finding.across and finding.estimate.n < FEWEST_ROWS:
                return f"it rests on fewer than {FEWEST_ROWS} rows"
            return self._withheld_comparison(finding) if finding.across else None
        if key in self.small:
            return f"fewer than {self.minimum} rows"
        if table in self.uncounted and finding.metric in _COUNTS:
            return "size withheld, because totals would give the size of a smaller group away"
        if finding.metric not in _COUNTS and finding.estimate.n < FEWEST_ROWS:
            return f"it rests on fewer than {FEWEST_ROWS} rows"
        return None

    def _withheld_comparison(self, finding: Finding) -> str | None:
        if (finding.metric, finding.threshold, finding.label_class, frozenset(finding.across)) in self.partial:
            return f"a compared number rests on fewer than {FEWEST_ROWS} rows"
        leaves_small_out = finding.id.startswith(("fairness/", "mitigation/")) or finding.evidence == "sufficient"
        if not leaves_small_out and self._has_small_group(finding.across):
            return f"a compared group has fewer than {self.minimum} rows"
        return None

    def _has_small_group(self, attributes: Iterable[str]) -> bool:
        return any({name for name, _ in key} == set(attributes) for key in self.small)


def disclosure_of(reports: Mapping[str, AuditReport], *, minimum: int) -> Disclosure:
    """Decides what is withheld, from the sizes that the reports themselves give.

    Args:
        reports: All reports the card is composed from.
        minimum: The smallest number of rows of which numbers are published.
    """
    sizes = _sizes(reports)
    small = frozenset(key for key, size in sizes.items() if size < minimum)
    tables = {frozenset(name for name, _ in key) for key in small}
    uncounted = frozenset(table for table in tables if _gives_away(table, sizes, minimum=minimum))
    partial = frozenset(
        (finding.metric, finding.threshold, finding.label_class, frozenset(finding.slice))
        for report in reports.values()
        for finding in report.findings
        if finding.slice and frozenset(finding.slice.items()) not in small and finding.estimate.n < FEWEST_ROWS
    )
    return Disclosure(minimum=minimum, small=small, partial=partial, uncounted=uncounted)


def _sizes(reports: Mapping[str, AuditReport]) -> dict[_Slice, int]:
    """Returns the size of every slice: its counted rows, else the largest number of rows any finding on it rests on.

    Reports on the data count rows of other splits too, so they are asked only about slices that no other report knows.
    """
    counted: dict[_Slice, int] = {}
    largest: dict[_Slice, int] = {}
    from_data: dict[_Slice, int] = {}
    for report in reports.values():
        for finding in report.findings:
            key = frozenset(finding.slice.items())
            if not key or finding.comparison is not None or finding.metric in _OF_ALL_ROWS:
                continue
            known = from_data if report.audit == "data" else largest
            known[key] = max(known.get(key, 0), finding.estimate.n)
            if finding.metric == "example_count" and report.audit != "data" and finding.estimate.value is not None:
                counted[key] = int(finding.estimate.value)
    return from_data | largest | counted


def _gives_away(table: frozenset[str], sizes: Mapping[_Slice, int], *, minimum: int) -> bool:
    """Whether totals and the other sizes of a table confine the withheld sizes too narrowly (rule 4)."""
    cells = {key: size for key, size in sizes.items() if {name for name, _ in key} == table}
    lines: list[list[int]] = [[size for size in cells.values() if size < minimum]]
    if len(table) > 1:
        for member in {pair for key in cells for pair in key}:
            lines.append([size for key, size in cells.items() if member in key and size < minimum])
    return any(line and (len(line) == 1 or sum(line) < minimum) for line in lines)


def _decimals(finding: Finding) -> int:
    """Returns to how many places a number is rounded where totals would give sizes away (rule 4)."""
    ends = (finding.estimate.value, finding.estimate.lower, finding.estimate.upper)
    largest = max((abs(end) for end in ends if end is not None and math.isfinite(end)), default=0.0)
    if not METRICS[finding.metric].unit or largest == 0:
        return PUBLIC_DECIMALS
    return min(PUBLIC_DECIMALS, PUBLIC_DECIMALS - 1 - math.floor(math.log10(largest)))


def _rounded(value: float | None, decimals: int | None) -> float | None:
    return value if value is None or decimals is None else round(value, decimals)


def _number(
    finding: Finding,
    *,
    status: str,
    reason: str | None,
    value: float | None = None,
    lower: float | None = None,
    upper: float | None = None,
    n: int | None = None,
    decimals: int | None = None,
) -> CardNumber:
    published = status != "withheld"
    return CardNumber.model_validate(
        {
            "finding": finding.id,
            "metric": finding.metric,
            "status": status,
            "slice": finding.slice,
            "across": finding.across,
            "comparison": finding.comparison,
            "feature": finding.feature,
            "attack": finding.attack,
            "threshold": finding.threshold,
            "label_class": finding.label_class,
            "predicted_class": finding.predicted_class,
            "value": value,
            "lower": lower,
            "upper": upper,
            "confidence": finding.estimate.confidence if published else None,
            "method": finding.estimate.method if published else None,
            "n": n,
            "decimals": decimals,
            "direction": finding.direction,
            "neutral": finding.neutral,
            "reason": reason,
        }
    )
