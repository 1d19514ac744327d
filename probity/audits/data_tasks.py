"""How labels differ between groups where they are classes or numbers: the base rates of the data audit."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from probity.audits.base import AuditInput
from probity.audits.intervals import wilson
from probity.audits.mean_intervals import METHOD, mean_interval, mean_statistics
from probity.audits.measures import Measure
from probity.audits.quantities import Quantity, findings_of
from probity.audits.slices import members_of
from probity.audits.task_rows import AnyRows, ClassifiedRows, PredictedRows
from probity.findings import Finding

__all__ = ["label_findings"]

Grouping = tuple[str, ...]


def label_findings(evidence: AuditInput[AnyRows]) -> Iterator[Finding]:
    """Yields the share of each class, or the mean label, of every slice, with intervals."""
    rows = evidence.scored
    for grouping in evidence.dataset.slices():
        if isinstance(rows, ClassifiedRows):
            for place, name in enumerate(rows.classes):
                measure = partial(_shares, rows, grouping, place)
                quantity = Quantity(metric="label_share", measure=measure, label_class=name)
                yield from findings_of("data", quantity, evidence.settings)
        elif isinstance(rows, PredictedRows):
            quantity = Quantity(metric="mean_label", measure=partial(_means, rows, grouping))
            yield from findings_of("data", quantity, evidence.settings)


def _shares(rows: ClassifiedRows, grouping: Grouping, place: int, confidence: float) -> tuple[Measure, ...]:
    measures = []
    for slice_, members in members_of(rows, grouping):
        n, hits = len(members), int((rows.labels[members] == place).sum())
        lower, upper = (float(bound) for bound in wilson(hits, n, confidence=confidence))
        measures.append(
            Measure(
                slice_=slice_,
                rows=n,
                n=n,
                value=hits / n if n else None,
                lower=lower if n else None,
                upper=upper if n else None,
                method="wilson",
                undefined=None if n else "no rows",
            )
        )
    return tuple(measures)


def _means(rows: PredictedRows, grouping: Grouping, confidence: float) -> tuple[Measure, ...]:
    measures = []
    for slice_, members in members_of(rows, grouping):
        statistics = mean_statistics(np.asarray(rows.labels[members], np.float64))
        bounds = None if statistics is None else mean_interval(statistics, confidence=confidence)
        measures.append(
            Measure(
                slice_=slice_,
                rows=len(members),
                n=len(members),
                value=None if statistics is None else statistics.mean,
                lower=None if bounds is None else bounds[0],
                upper=None if bounds is None else bounds[1],
                method=METHOD,
                undefined=None if statistics is not None else "no rows",
            )
        )
    return tuple(measures)
