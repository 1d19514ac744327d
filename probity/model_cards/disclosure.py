"""What of the findings may be published: numbers of small groups are withheld, and not left to be computed back.

The rules, with ``m`` the minimum group size:

1. A group (of an attribute or an intersection) with fewer than ``m`` rows has no numbers on the card: no size either.
2. A number of a larger group that rests on fewer than ten of its rows (the positives, for a true positive rate) is
   withheld by itself. Between ten and ``m`` it is published: it may decide a verdict, and its interval is honest.
3. A gap or ratio is withheld where a number of rule 2 is among those it compares, because it may be that number. The
   fairness audit leaves groups below ``m`` out of its gaps and ratios, and the audit of the mitigation out of their
   changes, so these give no small group away and are published as the insufficient evidence they are; such a comparison
   by any other audit is withheld. So is every impact ratio of a table in which a group that rules 1 or 2 withhold has
   the highest rate: a group's own rate over its ratio is that rate, and the rows behind the ratio hold that group's.
4. Totals give small groups away: where subtraction finds the size of one withheld group of a table, or that several
   hold fewer than ``m`` rows together (:mod:`probity.model_cards.differencing`), no size is printed in that table, and
   its numbers are rounded to three decimals, since an exact rate or interval gives its size away as well.
   Numbers in the units of a label are rounded to three significant digits: three decimals of a mean income are exact.
5. Where the label has several classes, rule 2 holds for the rates of a class over all rows too: few people may have it.
   No class has its rows printed then, since all classes together are all rows.
6. How many rows of a group have a label counts like a size, with ten in place of ``m``: the rows behind a true positive
   rate are the positives, and with the size they give the negatives. Where a group, or withheld groups together, have
   fewer, the table is treated as in rule 4. A rate of labels that counts fewer is withheld, and so is the next smallest
   share where shares add up to one.
7. Where subtraction finds the rows behind any other withheld number, the rows behind this metric are printed for no
   group of the table, and its values are rounded.
8. Rows of a client count like a group: a smallest, median or largest client below ``m`` rows has no size on the card.

These rules limit inference from the card alone. They do not exclude it for a reader who knows more about the data, and
they do not hide how many predictions of a kind a group got: a selection rate times a size is such a count.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from probity.card import CardNumber
from probity.findings import AuditReport, Finding, slice_name
from probity.metric import METRICS
from probity.model_cards.counts import (
    COUNTS,
    FEWEST_ROWS,
    Measure,
    cells_of,
    counts_give_away,
    findings_of,
    is_of_a_class,
    measure_of,
    rare,
    rows_behind,
    sizes_of,
)
from probity.model_cards.differencing import Slice, gives_away

__all__ = ["FEWEST_ROWS", "Disclosure", "disclosure_of"]

PUBLIC_DECIMALS = 3
_RELATIVE = {"impact_ratio": ("impact_ratio", "four_fifths_p_value"), "scoring_impact_ratio": ("scoring_impact_ratio",)}
"""Metrics that are relative to the group with the highest rate, by the one whose value is exact for that group."""
_CLIENT_SIZES = frozenset({"smallest_client", "median_client", "largest_client"})
"""Metrics whose value is the number of rows of one client, or nearly."""


@dataclass(frozen=True, kw_only=True)
class Disclosure:
    """Which slices and tables are withheld.

    Attributes:
        minimum: The smallest publishable number of rows.
        small: Slices with fewer rows.
        partial: Metric, threshold, class and table of the numbers that rule 2 withholds.
        relative: Measures of tables whose numbers are relative to a withheld group (rule 3).
        uncounted: Tables, as sets of attributes, in which no size is printed and numbers are rounded (rules 4 and 6).
        unnumbered: Measures whose rows are not printed (rule 7).
        rare: Findings that count too few rows with a label, or would give such a count away (rule 6).
        rare_class: Whether a number of a class over all rows is withheld (rule 5).
    """

    minimum: int
    small: frozenset[Slice]
    partial: frozenset[Measure]
    uncounted: frozenset[frozenset[str]]
    unnumbered: frozenset[Measure] = frozenset()
    relative: frozenset[Measure] = frozenset()
    rare: frozenset[str] = frozenset()
    rare_class: bool = False

    def publish(self, finding: Finding) -> CardNumber:
        """Returns the public form of a finding."""
        reason = self._withheld(finding)
        insufficient = finding.evidence == "insufficient"
        if reason is not None:
            return _number(finding, status="withheld", reason=reason)
        estimate = finding.estimate
        table = frozenset(finding.slice) or frozenset(finding.across)
        uncounted = table in self.uncounted or measure_of(finding) in self.unnumbered
        uncounted = uncounted or (self.rare_class and is_of_a_class(finding))
        decimals = _decimals(finding) if uncounted else None
        hidden = uncounted or (bool(finding.across) and self._has_small_group(finding.across))
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
        if self.unnumbered or self.rare or self.rare_class:
            notes.append(
                "The rows behind some metrics, and some rates of labels, are not printed, because subtraction would "
                f"find a count of fewer than {FEWEST_ROWS}."
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
        if finding.metric in _CLIENT_SIZES and (finding.estimate.value or 0.0) < self.minimum:
            return f"a client has fewer than {self.minimum} rows"
        if finding.id in self.rare:
            return f"it counts fewer than {FEWEST_ROWS} rows with a label, or would give such a count away"
        if not finding.slice:
            if finding.label_class is not None and not finding.across and finding.estimate.n < FEWEST_ROWS:
                return f"it rests on fewer than {FEWEST_ROWS} rows"
            return self._withheld_comparison(finding) if finding.across else None
        if key in self.small:
            return f"fewer than {self.minimum} rows"
        if measure_of(finding) in self.relative:
            return "it is relative to a group that is too small for publication"
        if table in self.uncounted and finding.metric in COUNTS:
            return "size withheld, because totals would give the size of a smaller group away"
        if finding.metric not in COUNTS and finding.estimate.n < FEWEST_ROWS:
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
    sizes = sizes_of(reports)
    small = frozenset(key for key, size in sizes.items() if size < minimum)
    tables = {frozenset(name for name, _ in key) for key in sizes}
    uncounted = {table for table in tables if gives_away(cells_of(sizes, table), small, floor=minimum)}
    rows = rows_behind(reports)
    labelled = {table for table in tables if any(counts_give_away(rows, table, small, label=True))}
    partial = frozenset(
        measure_of(finding)
        for finding in findings_of(reports)
        if finding.slice and frozenset(finding.slice.items()) not in small and finding.estimate.n < FEWEST_ROWS
    )
    return Disclosure(
        minimum=minimum,
        small=small,
        partial=partial,
        uncounted=frozenset(uncounted | labelled),
        unnumbered=frozenset(
            measure for table in tables for measure in counts_give_away(rows, table, small, label=False)
        ),
        relative=frozenset(_relative_to(small, reports)),
        rare=frozenset(rare(reports)),
        rare_class=any(is_of_a_class(entry) and entry.estimate.n < FEWEST_ROWS for entry in findings_of(reports)),
    )


def _relative_to(small: frozenset[Slice], reports: Mapping[str, AuditReport]) -> Iterator[Measure]:
    """Yields the measures whose reference, the group with the highest rate, is withheld."""
    for finding in findings_of(reports):
        is_reference = finding.metric in _RELATIVE and finding.estimate.method == "exact"
        if is_reference and (frozenset(finding.slice.items()) in small or finding.estimate.n < FEWEST_ROWS):
            _, threshold, label_class, table = measure_of(finding)
            yield from ((metric, threshold, label_class, table) for metric in _RELATIVE[finding.metric])


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
