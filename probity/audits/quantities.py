"""One metric of all groups of a grouping: what the audits of several classes and of numbers make findings of.

The performance audit states a quantity of every group, the fairness audit compares it between groups. Neither knows how
it is computed: :mod:`probity.audits.regression` and :mod:`probity.audits.multiclass` do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from probity.audit_plan import AuditsConfig
from probity.audits.intervals import bonferroni
from probity.audits.measures import Measure, finding_of, joint_interval
from probity.findings import Finding, finding_id

__all__ = ["Measuring", "Quantity", "findings_of"]

Measuring = Callable[[float], tuple[Measure, ...]]
"""Called with a confidence level; gives one measure per group, in the order of the data set's groups."""


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A metric of every group of a grouping.

    Attributes:
        metric: A term of the vocabulary.
        measure: Measures it at a confidence level.
        label_class: The class it speaks of, for a rate of one class against all others.
    """

    metric: str
    measure: Measuring
    label_class: str | None = None


def findings_of(
    audit: str, quantity: Quantity, settings: AuditsConfig, *, joint_statements: int = 1
) -> Iterator[Finding]:
    """Yields the finding that states the quantity of each group, with an interval of its own and a joint one."""
    alone = quantity.measure(settings.confidence)
    level = bonferroni(settings.confidence, joint_statements)
    together = quantity.measure(level) if joint_statements > 1 else alone
    for measure, wider in zip(alone, together, strict=True):
        stated = finding_of(
            audit,
            quantity.metric,
            measure,
            threshold=None,
            confidence=settings.confidence,
            min_group_size=settings.min_group_size,
            joint=joint_interval(wider.lower, wider.upper, statements=joint_statements),
        )
        name = finding_id(audit, quantity.metric, slice_=measure.slice_, label_class=quantity.label_class)
        yield stated.model_copy(update={"id": name, "label_class": quantity.label_class})
