"""The data audit: who is in the test rows, what is missing for whom, how labels differ, and which features are proxies.

Beside the numbers of each group it compares groups: their shares with those of a stated reference (who is missing from
the data), their base rates, and how often their values are missing.

It speaks of the data alone. That labels or values are distributed differently over groups is *bias* - a question of how
the data came about - and is kept apart from *fairness*, what the model's predictions do to groups, which another audit
measures. Neither implies the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from probity.audits.base import AuditInput
from probity.audits.bias import BIAS, label_balance, missingness, references, representation
from probity.audits.data_tasks import label_findings
from probity.audits.intervals import wilson
from probity.audits.proxies import categories, proxy_strength
from probity.audits.scoring import ScoredRows
from probity.data import Dataset, SensitiveAttribute
from probity.findings import AuditReport, Estimate, Finding, finding_id
from probity.groups import group_codes
from probity.metric import metric
from probity.task import TASKS

__all__ = ["DataAudit"]

_NAME = "data"
_FEWEST_PER_GROUP = 5
"""Each of five folds needs a row of the group and one outside it."""


@dataclass(frozen=True, kw_only=True)
class _Slice:
    """Some rows of the test split; none, for a group that was declared and does not occur."""

    groups: dict[str, str]
    rows: npt.NDArray[np.bool_]

    @property
    def n(self) -> int:
        return int(self.rows.sum())


class DataAudit:
    """Missing rates, group shares, base rates and proxy strengths on the test split.

    Every group that the data set declares has its findings, also without a single row: those are insufficient evidence,
    with the reason, so that an absent group stays visible.
    """

    name = _NAME
    tasks = frozenset(TASKS)

    def run(self, evidence: AuditInput, *, workdir: Path) -> AuditReport:
        """Measures. Writes no file; see :class:`probity.audits.base.Audit`."""
        dataset, settings = evidence.dataset, evidence.settings
        table = evidence.examples.table("test")
        codes = {
            attribute.name: group_codes(attribute, table.column(attribute.column)) for attribute in dataset.sensitive
        }
        slices = [part for names in dataset.slices() for part in _slices(dataset, codes, names, rows=table.num_rows)]
        audit = _Measure(confidence=settings.confidence, min_group_size=settings.min_group_size)
        findings = [
            *audit.group_shares(slices, rows=table.num_rows),
            *(
                audit.positive_label_rates(slices, evidence.scored.labels)
                if isinstance(evidence.scored, ScoredRows)
                else label_findings(evidence)
            ),
            *audit.missing_rates([part for part in slices if len(part.groups) < 2], table, dataset),
            *representation(dataset, codes, evidence=evidence),
            *(label_balance(dataset, codes, evidence=evidence) if isinstance(evidence.scored, ScoredRows) else ()),
            *missingness(dataset, codes, table, evidence=evidence),
            *audit.proxy_strengths(table, dataset, codes, seed=evidence.seed),
        ]
        return AuditReport(
            audit=self.name,
            status="complete",
            subject=evidence.subject,
            reasons=(BIAS, *references(dataset)),
            findings=tuple(findings),
        )


@dataclass(frozen=True, kw_only=True)
class _Measure:
    confidence: float
    min_group_size: int

    def group_shares(self, slices: Sequence[_Slice], *, rows: int) -> Iterator[Finding]:
        for part in slices:
            if part.groups:
                yield self._rate("group_share", part, part.n, of=rows)

    def positive_label_rates(self, slices: Sequence[_Slice], labels: npt.NDArray[np.bool_]) -> Iterator[Finding]:
        for part in slices:
            yield self._rate("positive_label_rate", part, int(labels[part.rows].sum()), of=part.n)

    def missing_rates(self, slices: Sequence[_Slice], table: pa.Table, dataset: Dataset) -> Iterator[Finding]:
        made_from = {attribute.name: attribute.column for attribute in dataset.sensitive}
        for feature in dataset.features:
            missing = np.asarray(table.column(feature.name).is_null().combine_chunks(), bool)
            for part in slices:
                # Groups made from the feature itself are missing together with it, by definition.
                if feature.name not in (made_from[name] for name in part.groups):
                    count = int(missing[part.rows].sum())
                    yield self._rate("missing_rate", part, count, of=part.n, feature=feature.name)

    def proxy_strengths(
        self, table: pa.Table, dataset: Dataset, codes: dict[str, npt.NDArray[np.int32]], *, seed: int
    ) -> Iterator[Finding]:
        of_feature = {feature.name: categories(table.column(feature.name)) for feature in dataset.features}
        for attribute in dataset.sensitive:
            groups = codes[attribute.name]
            eligible, left_out = self._eligible(attribute, groups)
            for feature, of_row in of_feature.items():
                if feature == attribute.column:
                    continue
                if not eligible:
                    reason = f"fewer than two groups have {self._fewest} rows of the test split"
                    estimate = Estimate(value=None, method="cross-fitted AUC", n=len(groups))
                else:
                    found = proxy_strength(of_row, groups, eligible=eligible, confidence=self.confidence, seed=seed)
                    reason = f"largest for {attribute.name}={attribute.groups[found.group]} against the rest" + left_out
                    estimate = Estimate(
                        value=found.value,
                        lower=found.lower,
                        upper=found.upper,
                        confidence=self.confidence,
                        method="AUC of target-rate scores in five folds; DeLong, logit, Bonferroni over groups",
                        n=len(groups),
                    )
                yield Finding(
                    id=finding_id(_NAME, "proxy_strength", feature=feature, across=(attribute.name,)),
                    metric="proxy_strength",
                    across=(attribute.name,),
                    feature=feature,
                    estimate=estimate,
                    direction=metric("proxy_strength").direction,
                    neutral=0.5,
                    evidence="sufficient" if eligible else "insufficient",
                    reason=reason,
                )

    @property
    def _fewest(self) -> int:
        return max(self.min_group_size, _FEWEST_PER_GROUP)

    def _eligible(self, attribute: SensitiveAttribute, groups: npt.NDArray[np.int32]) -> tuple[list[int], str]:
        """Returns the groups to tell from the rest, and in words how many were left out."""
        sizes = np.bincount(groups, minlength=len(attribute.groups))
        large = [code for code, size in enumerate(sizes) if size >= self._fewest and len(groups) - size >= self._fewest]
        small = len(sizes) - len(large)
        # With two groups in all, either against the rest is the same question: ask it once.
        asked = large[:1] if np.count_nonzero(sizes) == 2 else large
        words = f"; {small} of {len(sizes)} groups left out, with fewer than {self._fewest} rows in or outside them"
        return asked, words if small else ""

    def _rate(self, name: str, part: _Slice, count: int, *, of: int, feature: str | None = None) -> Finding:
        lower, upper = (float(bound) for bound in wilson(count, of, confidence=self.confidence))
        known = of > 0
        if part.n == 0:
            reason = "no row of the test split belongs to this group"
        elif part.n < self.min_group_size:
            reason = f"{part.n} rows, fewer than audits.min_group_size ({self.min_group_size})"
        else:
            reason = None
        return Finding(
            id=finding_id(_NAME, name, slice_=part.groups, feature=feature),
            metric=name,
            slice=part.groups,
            feature=feature,
            estimate=Estimate(
                value=count / of if known else None,
                lower=lower if known else None,
                upper=upper if known else None,
                confidence=self.confidence if known else None,
                method="wilson",
                n=of,
            ),
            direction=metric(name).direction,
            evidence="insufficient" if reason else "sufficient",
            reason=reason,
        )


def _slices(
    dataset: Dataset, codes: dict[str, npt.NDArray[np.int32]], names: tuple[str, ...], *, rows: int
) -> Iterator[_Slice]:
    """Yields every combination of the groups of these attributes; all rows, for no attribute."""
    groups = {attribute.name: attribute.groups for attribute in dataset.sensitive}
    for combination in product(*(range(len(groups[name])) for name in names)):
        member = np.ones(rows, bool)
        for name, code in zip(names, combination, strict=True):
            member &= codes[name] == code
        chosen = {name: groups[name][code] for name, code in zip(names, combination, strict=True)}
        yield _Slice(groups=chosen, rows=member)
