"""Explanations: how much each source column moves the model's output, overall, by group, and for single rows.

Every explanation says whether it is *global* (aggregated over rows) or *local* (one row), for whom it is, in which
space it adds up, and against which background. They are for a person to read: no verdict follows from them, so no gate
rule can name them.

What decides whether an explanation is given:

===========================================================  =========================================================
check                                                        if it is not met
===========================================================  =========================================================
the values add up to the output, within 1e-3                 the report is ``failed``, and the gate holds
the explained model scores as the audited one, within 1e-4   the report is ``failed``, and the gate holds
an approximation agrees with sampling, within a quarter      another method is used
a second background gives the same importances and order     the report is ``complete``, but its importances are
                                                             ``insufficient``, without a value; no plot, no rows
===========================================================  =========================================================

The first two say that the explanation is of something else than the model: the evidence contradicts itself. The last
one says that a number would depend on the luck of a draw. That is no fault of the model, so it does not hold a release,
but it is not printed either; a larger ``audits.background_rows`` mends it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from probity.audits.backgrounds import draw_rows, take
from probity.audits.base import AuditInput
from probity.audits.canvas import file_name, unused
from probity.audits.explained import MAX_ADDITIVITY_ERROR, Explained, explain
from probity.audits.explanation_checks import additivity_finding, cross_check_findings, fidelity_findings
from probity.audits.explanation_plots import draw_differences, draw_global, draw_groups
from probity.audits.fidelity import stability
from probity.audits.importances import importances
from probity.audits.row_plots import MOST_DOTS, draw_beeswarm, draw_dependence, draw_waterfall
from probity.errors import AuditError
from probity.findings import AuditReport, Estimate, Finding

if TYPE_CHECKING:
    from probity.audits.scoring import ScoredRows

__all__ = ["INTERNAL", "ExplanationsAudit"]

MAX_SCORE_DIFFERENCE = 1e-4
"""Largest difference between the Keras file's scores and the exported model's that single precision can explain."""
LOCAL_ROWS = 20
INTERNAL = "internal"
"""Folder of what speaks of single rows. The card takes in every picture beside the report, and none from here."""

_WATERFALLS = 3
_DEPENDENCES = 4

FOR_PEOPLE = (
    "Explanations are for people to read and question; no verdict follows from them. They describe this model relative "
    "to the stated background - another background gives other values - and they are not causal: they do not say what "
    "would happen if a person's attribute changed."
)
FOR_WHOM = (
    "Global explanations are for owners, reviewers and auditors: which columns the model relies on, and for whom more "
    "than for others. Local explanations (single rows, in the run folder only) are for those who debug the model or "
    "examine one decision. What may be told to a person about their own decision is in the regulatory report."
)
LIMITS = (
    "Shapley values replace columns by those of background rows as if columns were independent; where columns are "
    "correlated they also ask the model about combinations that do not occur. A small value for a sensitive column "
    "does not rule out that other columns stand in for it."
)
SIMPLE_MODEL = (
    "No explanation of a network is complete. Where much depends on a decision, prefer the simplest model that is good "
    "enough, of columns that can be explained: the explanation of a logistic model is exact."
)


class ExplanationsAudit:
    """Shapley values on the test split, against a background that a private model's training rows are not part of.

    Guarantees: the report is ``failed`` when the values do not add up to the output of the audited model, and
    ``not_applicable``, with the reason, when the model cannot be read back; importances that another background
    contradicts are not printed; of a private model's training split no row is read; equal evidence and seed give an
    equal report. Beside the report it keeps one SVG per plot of aggregates, and in ``internal/`` what speaks of single
    rows: ``local.json`` (positions and contributions, no values) and plots.
    """

    name = "explanations"

    def run(self, evidence: AuditInput, *, workdir: Path) -> AuditReport:
        """Explains the model; see :class:`probity.audits.base.Audit`."""
        try:
            explained = explain(evidence)
        except AuditError as error:
            return self._report(evidence, "not_applicable", reasons=(error.seen,))
        additivity = additivity_finding(explained.attribution, allowed=MAX_ADDITIVITY_ERROR)
        problem = _contradiction(explained, evidence.scored)
        if problem is not None:
            return self._report(evidence, "failed", reasons=(problem,), findings=(additivity,))
        stable = stability(explained, seed=evidence.seed)
        withheld = None if stable.problem is None else f"the explanation is not stable: {stable.problem}"
        findings = (
            additivity,
            *fidelity_findings(explained, stable),
            *importances(explained, evidence, withheld=withheld),
            *cross_check_findings(explained, evidence, withheld=withheld),
        )
        if withheld is None:
            _draw(workdir, findings, evidence.scored, space=explained.model.space)
            _write_rows(workdir / INTERNAL, explained, evidence)
        reasons = _reasons(explained, evidence, withheld=withheld)
        return self._report(evidence, "complete", reasons=reasons, findings=findings)

    def _report(
        self, evidence: AuditInput, status: Any, *, reasons: tuple[str, ...], findings: tuple[Finding, ...] = ()
    ) -> AuditReport:
        return AuditReport(audit=self.name, status=status, subject=evidence.subject, reasons=reasons, findings=findings)


def _contradiction(explained: Explained, scored: ScoredRows) -> str | None:
    """Returns why the values do not explain the audited model, or ``None`` if they do."""
    attribution = explained.attribution
    if not np.isfinite(attribution.contributions).all() or not np.isfinite(attribution.outputs).all():
        return "The model's output or its Shapley values are not finite for some explained rows."
    error = attribution.additivity_error
    if error > MAX_ADDITIVITY_ERROR:
        return f"The values miss the model's output by up to {error:.2g}; at most {MAX_ADDITIVITY_ERROR:g} is allowed."
    found = explained.model.probability(attribution.outputs)
    difference = float(np.abs(found - scored.scores[explained.sample.rows]).max(initial=0.0))
    if difference > MAX_SCORE_DIFFERENCE:
        return (
            f"The Keras file's scores differ from the audited model's by up to {difference:.2g}: what would be "
            "explained is not what would be released."
        )
    return None


def _reasons(explained: Explained, evidence: AuditInput, *, withheld: str | None) -> tuple[str, ...]:
    sample, attribution, space = explained.sample, explained.attribution, explained.model.space
    number = int(sample.overall.sum())
    extra = len(sample.rows) - number
    filled = (
        f" For the numbers by group, {extra} more rows were drawn uniformly within groups that the sample left small."
        if extra
        else ""
    )
    rows = (
        f"all {number} test rows"
        if number == len(evidence.scored)
        else f"{number} test rows drawn uniformly without replacement (seed {evidence.seed})"
    )
    return (
        *(() if withheld is None else (f"Importances are not printed: {withheld}. Raise audits.background_rows.",)),
        f"Space: {space}. The Shapley values of a row add up to its {space} minus the "
        f"base value. Method: {explained.method.words}; values of one-hot elements are summed to their source column.",
        f"Background: {explained.background.words}; its mean {space} is the base value, {attribution.base_value:.6g}.",
        *explained.background.notes,
        f"Global explanations: {rows}.{filled} Intervals cover the choice of the explained rows, not of the "
        "background.",
        *explained.notes,
        *explained.method.notes,
        FOR_WHOM,
        FOR_PEOPLE,
        LIMITS,
        SIMPLE_MODEL,
    )


def _write_rows(folder: Path, explained: Explained, evidence: AuditInput) -> None:
    """Writes what speaks of single rows."""
    folder.mkdir()
    attribution, sample, space = explained.attribution, explained.sample, explained.model.space
    candidates = np.flatnonzero(sample.overall)
    rng = np.random.default_rng([evidence.seed, 3])
    chosen = candidates[draw_rows(len(candidates), LOCAL_ROWS, rng)]
    _write_local(folder / "local.json", explained, chosen)
    dots = candidates[draw_rows(len(candidates), MOST_DOTS, rng)]
    columns = list(explained.model.columns)
    raw = evidence.examples.table("test").take(sample.rows[dots])
    table = explained.model.values(raw, take(explained.inputs, dots))
    contributions = attribution.contributions[dots]
    draw_beeswarm(folder / "beeswarm.svg", contributions, table, space=space)
    for position in np.argsort(-np.abs(attribution.contributions).mean(axis=0), kind="stable")[:_DEPENDENCES]:
        name = columns[position]
        path = unused(folder, file_name("dependence", name))
        draw_dependence(path, contributions[:, position], table.column(name), name=name, space=space)
    for i in chosen[:_WATERFALLS]:
        row = int(sample.rows[i])
        draw_waterfall(
            folder / file_name("waterfall", str(row)),
            attribution.contributions[i],
            columns,
            base_value=attribution.base_value,
            output=float(attribution.outputs[i]),
            row=row,
            space=space,
        )


def _write_local(path: Path, explained: Explained, chosen: np.ndarray[Any, Any]) -> None:
    """Writes the contributions of a few rows: positions in the test split, never values of the rows."""
    attribution, columns = explained.attribution, explained.model.columns
    content = {
        "schema_version": 1,
        "label": "local",
        "audience": "internal: speaks of single rows, so it stays in the run folder",
        "split": "test",
        "space": explained.model.space,
        "method": explained.method.words,
        "background": explained.background.words,
        "base_value": attribution.base_value,
        "statement": f"{FOR_PEOPLE} {LIMITS}",
        "explanations": [
            {
                "row": int(explained.sample.rows[i]),
                "output": float(attribution.outputs[i]),
                "contributions": {
                    name: float(value) for name, value in zip(columns, attribution.contributions[i], strict=True)
                },
            }
            for i in chosen
        ],
    }
    path.write_text(json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")


def _draw(workdir: Path, findings: tuple[Finding, ...], scored: ScoredRows, *, space: str) -> None:
    found: dict[tuple[str, str, str], dict[str, Estimate]] = {}
    for finding in findings:
        if finding.feature is not None and finding.evidence == "sufficient":
            attribute, group = next(iter(finding.slice.items()), ("", ""))
            found.setdefault((finding.metric, attribute, group), {})[finding.feature] = finding.estimate
    if ("mean_abs_shap", "", "") in found:
        draw_global(workdir / file_name("column_importance"), found["mean_abs_shap", "", ""], space=space)
    for attribute in scored.groups:
        for metric, name, draw in (
            ("mean_abs_shap", "column_importance_by", draw_groups),
            ("mean_shap_difference", "group_differences_by", draw_differences),
        ):
            groups = {g: estimates for (m, a, g), estimates in found.items() if (m, a) == (metric, attribute)}
            if groups:
                draw(unused(workdir, file_name(name, attribute)), groups, attribute=attribute, space=space)
