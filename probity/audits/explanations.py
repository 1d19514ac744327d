"""Explanations: how much each source column moves the model's output, overall, by group, and for single rows.

Every explanation says whether it is *global* (aggregated over rows) or *local* (one row), in which space it adds up,
and against which background. They are for a person to read: no verdict follows
from them, so no gate rule can name them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from probity.audits.attribution import Attribution
from probity.audits.base import AuditInput
from probity.audits.explained import MAX_ADDITIVITY_ERROR, Explained, draw_rows, explain
from probity.audits.explanation_plots import draw_global, draw_groups, file_name
from probity.errors import AuditError
from probity.findings import AuditReport, Estimate, Finding, finding_id
from probity.metric import metric

if TYPE_CHECKING:
    from probity.audits.scoring import ScoredRows

__all__ = ["ExplanationsAudit"]

MAX_SCORE_DIFFERENCE = 1e-4
"""Largest difference between the Keras file's scores and the exported model's that single precision can explain."""
LOCAL_ROWS = 20

FOR_PEOPLE = (
    "Explanations are for people to read and question; no verdict follows from them. They describe this model relative "
    "to the stated background - another background gives other values - and they are not causal: they do not say what "
    "would happen if a person's attribute changed."
)
LIMITS = (
    "Shapley values replace columns by those of background rows as if columns were independent; where columns are "
    "correlated they also ask the model about combinations that do not occur. A small value for a sensitive column "
    "does not rule out that other columns stand in for it."
)


class ExplanationsAudit:
    """Shapley values on the test split, with the background drawn from the training split.

    Guarantees: the report is ``failed`` when the values do not add up to the output of the audited model, and
    ``not_applicable``, with the reason, when the Keras file cannot be taken apart; equal evidence and seed give an
    equal report. Beside the report it keeps ``local.json`` (contributions of single rows, without their values; for
    the run folder only) and one SVG per plot.
    """

    name = "explanations"

    def run(self, evidence: AuditInput, *, workdir: Path) -> AuditReport:
        """Explains the model; see :class:`probity.audits.base.Audit`."""
        try:
            explained = explain(evidence)
        except AuditError as error:
            return self._report(evidence, "not_applicable", reasons=(error.seen,))
        problem = _contradiction(explained, evidence.scored)
        error_finding = _additivity_finding(explained.attribution)
        if problem is not None:
            return self._report(evidence, "failed", reasons=(problem,), findings=(error_finding,))
        findings = (error_finding, *_importances(explained, evidence))
        _write_local(workdir / "local.json", explained, seed=evidence.seed)
        _draw(workdir, findings, evidence.scored, space=explained.model.space)
        return self._report(evidence, "complete", reasons=_reasons(explained, evidence), findings=findings)

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


def _additivity_finding(attribution: Attribution) -> Finding:
    error = attribution.additivity_error
    computed = math.isfinite(error)
    return Finding(
        id=finding_id("explanations", "additivity_error"),
        metric="additivity_error",
        estimate=Estimate(value=error if computed else None, method="exact", n=len(attribution.outputs)),
        direction=metric("additivity_error").direction,
        neutral=0.0,
        evidence="sufficient" if computed else "insufficient",
        reason=f"about 1e-5 is expected from single precision; more than {MAX_ADDITIVITY_ERROR:g} fails the audit"
        if computed
        else "the output or the Shapley values are not finite for some explained rows",
    )


def _importances(explained: Explained, evidence: AuditInput) -> Iterator[Finding]:
    """Yields mean absolute values per column: overall, then for every group of every attribute."""
    sample, scored = explained.sample, evidence.scored
    magnitudes = np.abs(explained.attribution.contributions)
    confidence = evidence.settings.confidence
    smallest = evidence.settings.min_group_size
    for position, column in enumerate(explained.model.columns):
        values = magnitudes[:, position]
        yield _importance(column, {}, values[sample.overall], confidence=confidence, reason=None)
        for attribute, codes in scored.groups.items():
            for code, group in enumerate(scored.names[attribute]):
                members = codes == code
                chosen = values[sample.attributes[attribute] & members[sample.rows]]
                reason = None
                if members.sum() < smallest:
                    reason = f"the group has fewer than {smallest} test rows"
                elif len(chosen) < smallest:
                    reason = f"fewer than {smallest} rows of the group were explained"
                slice_ = {attribute: group}
                yield _importance(column, slice_, chosen, confidence=confidence, reason=reason)


def _importance(
    column: str, slice_: dict[str, str], values: np.ndarray[Any, Any], *, confidence: float, reason: str | None
) -> Finding:
    return Finding(
        id=finding_id("explanations", "mean_abs_shap", slice_=slice_, feature=column),
        metric="mean_abs_shap",
        slice=slice_,
        feature=column,
        estimate=Estimate(value=None, method="normal", n=len(values)) if reason else _mean(values, confidence),
        direction=metric("mean_abs_shap").direction,
        evidence="insufficient" if reason else "sufficient",
        reason=reason,
    )


def _mean(values: np.ndarray[Any, Any], confidence: float) -> Estimate:
    """Returns the mean with its normal interval, cut at 0 because a mean absolute value cannot be negative."""
    mean = float(values.mean())
    if len(values) < 2:
        return Estimate(value=mean, method="one row: no interval", n=len(values))
    half = NormalDist().inv_cdf(0.5 + confidence / 2) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Estimate(
        value=mean,
        lower=max(0.0, mean - half),
        upper=mean + half,
        confidence=confidence,
        method="normal",
        n=len(values),
    )


def _reasons(explained: Explained, evidence: AuditInput) -> tuple[str, ...]:
    sample, attribution = explained.sample, explained.attribution
    extra = int(len(sample.rows) - sample.overall.sum())
    filled = (
        f" For the numbers by group, {extra} more rows were drawn uniformly within groups that the sample left small."
        if extra
        else ""
    )
    return (
        f"Space: {explained.model.space}. The Shapley values of a row add up to its {explained.model.space} minus the "
        f"base value. Method: {explained.method}; values of one-hot elements are summed to their source column.",
        f"Background: {explained.background}; its mean {explained.model.space} is the base value, "
        f"{attribution.base_value:.6g}.",
        f"Global explanations: {int(sample.overall.sum())} test rows drawn uniformly without replacement (seed "
        f"{evidence.seed}).{filled} Intervals cover the choice of the explained rows, not of the background.",
        *explained.notes,
        FOR_PEOPLE,
        LIMITS,
    )


def _write_local(path: Path, explained: Explained, *, seed: int) -> None:
    """Writes the contributions of a few rows: positions in the test split, never values of the rows."""
    attribution, columns = explained.attribution, explained.model.columns
    candidates = np.flatnonzero(explained.sample.overall)
    chosen = candidates[draw_rows(len(candidates), LOCAL_ROWS, np.random.default_rng([seed, 3]))]
    content = {
        "schema_version": 1,
        "label": "local",
        "audience": "internal: speaks of single rows, so it stays in the run folder",
        "split": "test",
        "space": explained.model.space,
        "method": explained.method,
        "background": explained.background,
        "base_value": attribution.base_value,
        "statement": FOR_PEOPLE,
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
    importances: dict[tuple[str, str], dict[str, Estimate]] = {}
    for finding in findings:
        if finding.feature is not None and finding.evidence == "sufficient":
            key = next(iter(finding.slice.items()), ("", ""))
            importances.setdefault(key, {})[finding.feature] = finding.estimate
    if ("", "") in importances:
        draw_global(workdir / file_name("column_importance"), importances["", ""], space=space)
    for attribute in scored.groups:
        groups = {group: found for (name, group), found in importances.items() if name == attribute}
        if groups:
            draw_groups(
                _unused(workdir, file_name("column_importance", "by", attribute)),
                groups,
                attribute=attribute,
                space=space,
            )


def _unused(folder: Path, name: str) -> Path:
    """Returns a path that does not exist yet: two attributes may differ in characters that file names leave out."""
    path, number = folder / name, 2
    while path.exists():
        path, number = folder / f"{Path(name).stem}_{number}.svg", number + 1
    return path
