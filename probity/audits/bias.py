"""Bias of the data: who is represented as often as a reference says, whose labels and whose gaps differ.

*Bias* is a property of the data: the rows are not like the people that the model will meet, or were recorded
differently for some of them. It is kept apart from *fairness*, which is what the predictions do to groups: a model of
representative data can treat groups differently, and one of skewed data need not.

Shares are compared among the rows whose group is known, so that values that are missing do not look like absent people.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from probity.audits.comparison import COMPARISONS, compare, comparison_finding
from probity.audits.intervals import bonferroni, clopper_pearson
from probity.audits.measures import Measure, joint_interval
from probity.data import MISSING_GROUP, Dataset, SensitiveAttribute
from probity.findings import Estimate, Finding, finding_id
from probity.metric import metric

if TYPE_CHECKING:
    import pyarrow as pa

    from probity.audits.base import AuditInput

__all__ = ["BIAS", "label_balance", "missingness", "references", "representation"]

_NAME = "data"
BIAS = (
    "These numbers describe the data (bias). What the model's predictions do to groups (fairness) is reported by the "
    "fairness audit; neither follows from the other."
)

Codes = Mapping[str, npt.NDArray[np.int32]]
Flags = npt.NDArray[np.bool_]


def references(dataset: Dataset) -> tuple[str, ...]:
    """Returns a sentence for each attribute about the reference that it is compared with, or that there is none."""
    sentences = []
    for attribute in dataset.sensitive:
        if attribute.reference is None:
            words = "no reference shares are given, so who is missing from the data is not assessed"
        else:
            words = f"compared with the shares of {attribute.reference_source or 'a source that is not named'}"
        sentences.append(f"Representation by {attribute.name}: {words}.")
    return tuple(sentences)


def representation(dataset: Dataset, codes: Codes, *, evidence: AuditInput) -> Iterator[Finding]:
    """Yields how each group's share compares with its reference, and whether all of them together differ from it."""
    for attribute in dataset.sensitive:
        if attribute.reference is None:
            continue
        counts = np.bincount(codes[attribute.name], minlength=len(attribute.groups))
        known = int(sum(counts[place] for place, group in enumerate(attribute.groups) if group != MISSING_GROUP))
        for group, share in attribute.reference.items():
            count = int(counts[attribute.groups.index(group)])
            yield _ratio(attribute, group, count, of=known, share=share, evidence=evidence)
        yield _goodness_of_fit(attribute, counts, known=known)


def _ratio(
    attribute: SensitiveAttribute, group: str, count: int, *, of: int, share: float, evidence: AuditInput
) -> Finding:
    name, slice_ = "representation_ratio", {attribute.name: group}
    confidence, statements = evidence.settings.confidence, evidence.joint_statements

    def bounds(level: float) -> tuple[float, float]:
        lower, upper = clopper_pearson(count, of, confidence=level)
        return float(lower) / share, float(upper) / share

    lower, upper = bounds(confidence)
    wider = bounds(bonferroni(confidence, statements))
    # Not insufficient below the minimum size: that a group has few rows is what is measured here, not a flaw of it.
    reason = None if of else "the group of no row is known"
    return Finding(
        id=finding_id(_NAME, name, slice_=slice_),
        metric=name,
        slice=slice_,
        estimate=Estimate(
            value=count / of / share if of else None,
            lower=lower if of else None,
            upper=upper if of else None,
            confidence=confidence if of else None,
            method="clopper_pearson",
            n=of,
        ),
        joint=joint_interval(*wider, statements=statements) if of else None,
        direction=metric(name).direction,
        neutral=1.0,
        evidence="insufficient" if reason else "sufficient",
        reason=reason,
    )


def _goodness_of_fit(attribute: SensitiveAttribute, counts: npt.NDArray[np.int64], *, known: int) -> Finding:
    """Returns Pearson's chi-square test of the counts against the reference; groups it does not name are one cell."""
    from scipy.stats import chisquare

    reference = attribute.reference or {}
    observed = [int(counts[attribute.groups.index(group)]) for group in reference]
    shares = list(reference.values())
    left = 1.0 - sum(shares)
    if left > 1e-6:
        observed, shares = [*observed, known - sum(observed)], [*shares, left]
    value = reason = None
    if len(shares) < 2:
        reason = "the reference names one group with all the people"
    elif sum(observed) < known:
        reason = "the reference leaves nothing for groups that occur in the data"
    elif min(shares) * known < 5:  # the usual condition for the chi-square approximation (Cochran 1954)
        reason = "fewer than five rows are expected in some group"
    else:
        expected = np.array(shares) / sum(shares) * known
        value = float(chisquare(observed, expected).pvalue)
    name = "representation_p_value"
    return Finding(
        id=finding_id(_NAME, name, across=(attribute.name,)),
        metric=name,
        across=(attribute.name,),
        estimate=Estimate(value=value, method="Pearson's chi-square test", n=known),
        direction=metric(name).direction,
        evidence="insufficient" if reason else "sufficient",
        reason=reason,
    )


def label_balance(dataset: Dataset, codes: Codes, *, evidence: AuditInput) -> Iterator[Finding]:
    """Yields gap and ratio of the base rate between the groups of each attribute."""
    for attribute in dataset.sensitive:
        measure = partial(_shares_of, evidence.scored.labels, attribute, codes[attribute.name])
        for comparison in COMPARISONS:
            made = partial(compare, measure, comparison, evidence.settings)
            yield comparison_finding(
                _NAME,
                "positive_label_rate",
                comparison,
                made,
                settings=evidence.settings,
                joint_statements=evidence.joint_statements,
                across=(attribute.name,),
            )


def missingness(dataset: Dataset, codes: Codes, table: pa.Table, *, evidence: AuditInput) -> Iterator[Finding]:
    """Yields the gap of the missing rate between groups, for each feature that is missing somewhere."""
    for feature in dataset.features:
        missing = np.asarray(table.column(feature.name).is_null().combine_chunks(), bool)
        if not missing.any():
            continue
        for attribute in dataset.sensitive:
            if attribute.column == feature.name:  # its groups are missing together with it, by definition
                continue
            measure = partial(_shares_of, missing, attribute, codes[attribute.name])
            made = partial(compare, measure, "gap", evidence.settings)
            yield comparison_finding(
                _NAME,
                "missing_rate",
                "gap",
                made,
                settings=evidence.settings,
                joint_statements=evidence.joint_statements,
                across=(attribute.name,),
                feature=feature.name,
            )


def _shares_of(
    flags: Flags, attribute: SensitiveAttribute, codes: npt.NDArray[np.int32], *, confidence: float
) -> tuple[Measure, ...]:
    """Measures the share of flagged rows in every group, with exact intervals."""
    rows = np.bincount(codes, minlength=len(attribute.groups))
    hits = np.bincount(codes[flags], minlength=len(attribute.groups))
    lower, upper = clopper_pearson(hits, rows, confidence=confidence)
    return tuple(
        Measure(
            slice_={attribute.name: group},
            rows=int(rows[place]),
            n=int(rows[place]),
            value=float(hits[place] / rows[place]) if rows[place] else None,
            lower=float(lower[place]) if rows[place] else None,
            upper=float(upper[place]) if rows[place] else None,
            method="clopper_pearson",
            undefined=None if rows[place] else "no rows",
        )
        for place, group in enumerate(attribute.groups)
    )
