"""Single people under the model: whose decision flips, who is nearest with the other decision, what moves scores.

======================  ===============================================================================================
question                findings, over rows drawn from the test split
======================  ===============================================================================================
the attribute alone     ``flip_rate`` of each sensitive attribute, overall and by group (:mod:`probity.audits.flips`)
its proxies alone       ``proxy_flip_rate`` and ``proxy_flip_excess`` over a placebo
nearest counterfactual  ``counterfactual_crossing_rate`` and its excess: how often the nearest row with the other
                        decision belongs to another group, against the nearest row with the same decision
dependence              ``dependence_range`` of each column (:mod:`probity.audits.dependence`)
======================  ===============================================================================================

A flip caused by a sensitive attribute, and dependence on it, are warning signs for a person to look into; no gate rule
can name them. What speaks of single rows - positions, never values - and the curves, whose axes are values of the data,
lie in ``internal/`` and enter no card.

References:
    Wexler et al. (2019), The What-If Tool, IEEE TVCG 26. Wachter, Mittelstadt, Russell (2018), Counterfactual
    Explanations Without Opening the Black Box, Harvard JOLT 31. Kusner et al. (2017), Counterfactual Fairness, for what
    this is not: nothing here models causes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from probity.audits.base import AuditInput
from probity.audits.dependence import Dependence, dependence_of, grid_of
from probity.audits.dependence_plots import draw_dependence
from probity.audits.flips import PROXY_STRENGTH, attribute_flips, proxies_of, proxy_flips
from probity.audits.intervals import compare_rates, wilson
from probity.audits.neighbours import canonical_order, distances, nearest
from probity.audits.slices import exact_threshold
from probity.data import Column, SensitiveAttribute
from probity.findings import AuditReport, Estimate, Finding, finding_id
from probity.metric import metric
from probity.predictor import load_predictor, seen_columns

__all__ = ["IndividualsAudit"]

_NAME = "individuals"
_DEPENDENCE_ROWS = 200
"""Rows that partial dependence asks about: each costs as many scores as the grid has values, for every column."""

NOT_CAUSAL = (
    "These numbers say what the model answers when it is asked about changed or matched rows. They are not causal: "
    "they do not say what would happen to a person, and the nearest row with the other decision explains no decision."
)
INDEPENDENCE = (
    "Partial dependence sets a column as if it were independent of the others, so it also asks about combinations that "
    "do not occur."
)

Codes = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]


class IndividualsAudit:
    """Flips, nearest counterfactuals and partial dependence of the audited model.

    Guarantees: the model that is asked is the exported one; which rows are drawn depends on their content and the seed,
    not on their order; files below ``internal`` hold positions in the test split and grid values, no rows.
    """

    name = _NAME

    def run(self, evidence: AuditInput, *, workdir: Path) -> AuditReport:
        """Asks the model; see :class:`probity.audits.base.Audit`."""
        asked = _Asked(evidence)
        if asked.table.num_rows < 2:
            reason = "the test split has fewer than two rows"
            return AuditReport(audit=_NAME, status="not_applicable", subject=evidence.subject, reasons=(reason,))
        internal = workdir / "internal"
        internal.mkdir()
        curves = list(asked.dependences())
        findings = [
            *(finding for attribute in evidence.dataset.sensitive for finding in asked.flips(attribute)),
            *(finding for attribute in evidence.dataset.sensitive for finding in asked.proxy_flips(attribute)),
            *(finding for attribute in evidence.dataset.sensitive for finding in asked.crossings(attribute)),
            *(asked.dependence_finding(curve) for curve in curves),
        ]
        asked.write_counterfactuals(internal / "counterfactuals.json")
        _write_curves(internal / "partial_dependence.json", curves, asked)
        draw_dependence(internal, curves, groups=asked.named_groups())
        return AuditReport(
            audit=_NAME,
            status="complete",
            subject=evidence.subject,
            reasons=(
                f"{asked.table.num_rows} rows of the test split were asked about, drawn uniformly (seed "
                f"{evidence.seed}); partial dependence rests on {min(asked.table.num_rows, _DEPENDENCE_ROWS)} of them.",
                NOT_CAUSAL,
                INDEPENDENCE,
            ),
            findings=tuple(findings),
        )


@dataclass(frozen=True)
class _Asked:
    """The rows that are asked about, and the model that answers."""

    evidence: AuditInput

    @cached_property
    def whole(self) -> pa.Table:
        """The test split, read once."""
        return self.evidence.examples.table("test")

    @cached_property
    def rows(self) -> npt.NDArray[np.int64]:
        """Positions of the drawn rows in the test split."""
        order = canonical_order(self.whole, [column.name for column in self.evidence.dataset.columns])
        rng = np.random.default_rng([self.evidence.seed, 21])
        wanted = min(len(order), self.evidence.settings.inspected_rows)
        # Left in the order of the draw, so that the first few are a uniform sample too.
        return order[rng.choice(len(order), size=wanted, replace=False)] if len(order) else order

    @cached_property
    def table(self) -> pa.Table:
        """The drawn rows."""
        return self.whole.take(pa.array(self.rows)).combine_chunks()

    @cached_property
    def features(self) -> tuple[Column, ...]:
        """The columns that the model sees: those it asks for, or the features where it does not say."""
        return seen_columns(self.evidence.model_folder / "saved_model", self.evidence.dataset)

    @cached_property
    def before(self) -> Flags:
        """Decisions for the rows as they are."""
        return self.decide(self.table)

    @cached_property
    def apart(self) -> npt.NDArray[np.float32]:
        """Distances by all columns that the model sees."""
        return distances(self.table, self.features)

    def codes(self, attribute: SensitiveAttribute) -> Codes:
        """Group of each drawn row."""
        return self.evidence.scored.groups[attribute.name][self.rows]

    def predict(self, table: pa.Table) -> npt.NDArray[np.float32]:
        """Scores of raw rows by the exported model."""
        model = load_predictor(self.evidence.model_folder / "saved_model")
        return np.asarray(model.predict(table.select([column.name for column in self.features])), np.float32)

    def decide(self, table: pa.Table) -> Flags:
        """Decisions at the decision threshold."""
        return self.predict(table) > exact_threshold(self.evidence.settings.decision_threshold)

    def named_groups(self) -> dict[str, tuple[Codes, tuple[str, ...]]]:
        """Groups of the rows that partial dependence rests on, and their names, by attribute."""
        scored = self.evidence.scored
        return {
            name: (codes[self.rows][:_DEPENDENCE_ROWS], scored.names[name]) for name, codes in scored.groups.items()
        }

    # -- flips -----------------------------------------------------------------------------------------------------

    def flips(self, attribute: SensitiveAttribute) -> Iterator[Finding]:
        codes = self.codes(attribute)
        seen = attribute.column in [column.name for column in self.features]
        reason = None if seen else "the model does not see this column, so setting it changes nothing"
        flipped = np.zeros(len(codes), np.bool_)
        if seen:
            flipped = attribute_flips(self.table, attribute, codes, decide=self.decide)
        yield self._rate("flip_rate", flipped, across=(attribute.name,), exact=not seen, reason=reason)
        for code, group in enumerate(attribute.groups):
            slice_ = {attribute.name: group}
            yield self._rate("flip_rate", flipped[codes == code], slice_=slice_, exact=not seen, reason=reason)

    def proxy_flips(self, attribute: SensitiveAttribute) -> Iterator[Finding]:
        across = (attribute.name,)
        every = self.evidence.scored.groups[attribute.name]
        proxies = proxies_of(self.whole, attribute, every, self.features, seed=self.evidence.seed)
        if not proxies:
            why = f"no column that the model sees tells its groups apart with an AUC above {PROXY_STRENGTH:g}"
            yield _unmeasured("proxy_flip_rate", across, why)
            yield _unmeasured("proxy_flip_excess", across, why)
            return
        found = proxy_flips(self.table, self.codes(attribute), self.features, proxies=proxies, decide=self.decide)
        words = f"proxies: {', '.join(column.name for column in proxies)}"
        yield self._rate("proxy_flip_rate", found.other, across=across, reason=words)
        yield self._excess("proxy_flip_excess", found.other, found.same, across=across, reason=words)

    # -- nearest counterfactuals -------------------------------------------------------------------------------------

    @cached_property
    def counterfactuals(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """For each row, the nearest one with the other decision, and the nearest other one with the same; -1: none."""
        alike = self.before[:, None] == self.before[None, :]
        itself = np.eye(len(self.before), dtype=bool)
        return nearest(self.apart, ~alike), nearest(self.apart, alike & ~itself)

    def crossings(self, attribute: SensitiveAttribute) -> Iterator[Finding]:
        codes, across = self.codes(attribute), (attribute.name,)
        other, same = self.counterfactuals
        rows = np.flatnonzero((other >= 0) & (same >= 0))
        if not len(rows):
            why = "all rows have the same decision, or too few have another"
            yield _unmeasured("counterfactual_crossing_rate", across, why)
            yield _unmeasured("counterfactual_crossing_excess", across, why)
            return
        crossed = codes[other[rows]] != codes[rows]
        placebo = codes[same[rows]] != codes[rows]
        yield self._rate("counterfactual_crossing_rate", crossed, across=across)
        yield self._excess("counterfactual_crossing_excess", crossed, placebo, across=across)

    def write_counterfactuals(self, path: Path) -> None:
        """Writes for each row the position of its nearest counterfactual and which columns differ; no values."""
        other, _ = self.counterfactuals
        columns = {column.name: self.table.column(column.name).to_pylist() for column in self.features}
        entries = [
            {
                "row": int(self.rows[i]),
                "nearest": int(self.rows[place]),
                "distance": float(self.apart[i, place]),
                "differs_in": [name for name, values in columns.items() if values[i] != values[place]],
            }
            for i, place in enumerate(other)
            if place >= 0
        ]
        _write(path, {"threshold": self.evidence.settings.decision_threshold, "counterfactuals": entries})

    # -- dependence --------------------------------------------------------------------------------------------------

    def dependences(self) -> Iterator[Dependence]:
        few = self.table.slice(0, _DEPENDENCE_ROWS)
        for column in self.features:
            values = grid_of(self.table, column)
            if values:
                yield dependence_of(few, column, values=values, predict=self.predict)

    def dependence_finding(self, curve: Dependence) -> Finding:
        confidence = self.evidence.settings.confidence
        value, lower, upper = curve.range_(confidence=confidence)
        sensitive = [a.name for a in self.evidence.dataset.sensitive if a.column == curve.column.name]
        words = f"{sensitive[0]} is declared sensitive: dependence on it is a warning sign" if sensitive else None
        return Finding(
            id=finding_id(_NAME, "dependence_range", feature=curve.column.name),
            metric="dependence_range",
            feature=curve.column.name,
            estimate=Estimate(
                value=value,
                lower=lower,
                upper=upper,
                confidence=confidence,
                method="normal_paired_bonferroni",
                n=len(curve.curves),
            ),
            direction=metric("dependence_range").direction,
            neutral=0.0,
            reason=words,
        )

    # -- findings ----------------------------------------------------------------------------------------------------

    def _rate(
        self,
        name: str,
        hits: Flags,
        *,
        across: tuple[str, ...] = (),
        slice_: dict[str, str] | None = None,
        exact: bool = False,
        reason: str | None = None,
    ) -> Finding:
        n, confidence = len(hits), self.evidence.settings.confidence
        small = f"fewer than {self.evidence.settings.min_group_size} rows were asked about"
        insufficient = n < self.evidence.settings.min_group_size
        lower, upper = (float(bound) for bound in wilson(int(hits.sum()), n, confidence=confidence))
        interval = {} if exact or not n else {"lower": lower, "upper": upper, "confidence": confidence}
        return Finding(
            id=finding_id(_NAME, name, slice_=slice_, across=across),
            metric=name,
            slice=slice_ or {},
            across=across,
            estimate=Estimate(
                value=float(hits.mean()) if n else None, method="exact" if exact else "wilson", n=n, **interval
            ),
            direction=metric(name).direction,
            neutral=0.0,
            evidence="insufficient" if insufficient else "sufficient",
            reason=small if insufficient else reason,
        )

    def _excess(
        self, name: str, hits: Flags, placebo: Flags, *, across: tuple[str, ...], reason: str | None = None
    ) -> Finding:
        confidence, n = self.evidence.settings.confidence, len(hits)
        value, lower, upper = compare_rates(hits, placebo, confidence=confidence)
        insufficient = n < self.evidence.settings.min_group_size
        small = f"fewer than {self.evidence.settings.min_group_size} rows were asked about"
        return Finding(
            id=finding_id(_NAME, name, across=across),
            metric=name,
            across=across,
            estimate=Estimate(
                value=value if n else None,
                lower=lower if n else None,
                upper=upper if n else None,
                confidence=confidence if n else None,
                method="newcombe_paired",
                n=n,
            ),
            direction=metric(name).direction,
            neutral=0.0,
            evidence="insufficient" if insufficient else "sufficient",
            reason=small if insufficient else reason,
        )


def _unmeasured(name: str, across: tuple[str, ...], why: str) -> Finding:
    return Finding(
        id=finding_id(_NAME, name, across=across),
        metric=name,
        across=across,
        estimate=Estimate(value=None, method="not measured", n=0),
        direction=metric(name).direction,
        evidence="insufficient",
        reason=why,
    )


def _write_curves(path: Path, curves: list[Dependence], asked: _Asked) -> None:
    content = [
        {
            "column": curve.column.name,
            "values": list(curve.values),
            "global": [float(point) for point in curve.mean],
            "by_group": {
                attribute: {
                    name: [float(point) for point in curve.curves[codes == code].mean(axis=0)]
                    for code, name in enumerate(names)
                    if (codes == code).any()
                }
                for attribute, (codes, names) in asked.named_groups().items()
            },
            "local": [[float(point) for point in row] for row in curve.curves[:20]],
        }
        for curve in curves
    ]
    _write(path, {"rows": [int(row) for row in asked.rows[:20]], "partial_dependence": content})


def _write(path: Path, content: dict[str, Any]) -> None:
    head = {
        "schema_version": 1,
        "audience": "internal: speaks of single rows or of values of the data, so it stays in the run folder",
        "split": "test",
        "statement": NOT_CAUSAL,
    }
    path.write_text(
        json.dumps({**head, **content}, indent=1, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8"
    )
