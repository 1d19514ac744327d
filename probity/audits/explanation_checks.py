"""Findings about the explanation itself: does it add up, is it stable, and do other methods agree with it?"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from probity.audits.attribution import Attribution
from probity.audits.backgrounds import draw_rows, take
from probity.audits.base import AuditInput
from probity.audits.cross_checks import (
    PERMUTATIONS,
    AucDrop,
    lime_weights,
    permutation_importances,
    rank_agreement,
)
from probity.audits.explained import COMPARED_ROWS, Explained
from probity.audits.fidelity import MAX_CHANGE, MIN_RANK_CORRELATION, TIE, Stability
from probity.findings import Estimate, Finding, finding_id
from probity.metric import metric

__all__ = ["additivity_finding", "cross_check_findings", "fidelity_findings"]

_LIME_ROWS = 20
_SHARE_OF_EVALUATIONS = 5
"""Permuting may ask for a fifth of the outputs that explaining may ask for."""


def additivity_finding(attribution: Attribution, *, allowed: float) -> Finding:
    """Returns how far the values miss the output.

    Args:
        attribution: The values.
        allowed: What fails the audit if it is exceeded, for the reason.
    """
    error = attribution.additivity_error
    computed = math.isfinite(error)
    return _finding(
        "additivity_error",
        Estimate(value=error if computed else None, method="exact", n=len(attribution.outputs)),
        reason=f"about 1e-5 is expected from single precision; more than {allowed:g} fails the audit"
        if computed
        else "the output or the Shapley values are not finite for some explained rows",
        neutral=0.0,
    )


def fidelity_findings(explained: Explained, stable: Stability) -> Iterator[Finding]:
    """Yields how stable the importances are, and how far an approximation is from sampling."""
    limits = (
        f"importances are not printed if one moves by more than {MAX_CHANGE:g}, or if the rank correlation is below "
        f"{MIN_RANK_CORRELATION:g} and one moves by more than {TIE:g}"
    )
    order = stable.rank_correlation
    yield _finding(
        "explanation_stability",
        Estimate(value=order, method="two backgrounds", n=stable.rows),
        reason=limits if order is not None else "fewer than two columns matter, so there is no order to keep",
        neutral=1.0,
    )
    yield _finding(
        "background_sensitivity",
        Estimate(value=stable.change, method="two backgrounds", n=stable.rows),
        reason=limits,
        neutral=0.0,
    )
    if explained.difference is not None:
        yield _finding(
            "approximation_difference",
            Estimate(
                value=explained.difference,
                method="against sampling of orders",
                n=min(COMPARED_ROWS, len(explained.attribution.outputs)),
            ),
            reason=f"above {MAX_CHANGE:g} another method is used",
            neutral=0.0,
        )


def cross_check_findings(explained: Explained, evidence: AuditInput, *, withheld: str | None) -> Iterator[Finding]:
    """Yields permutation importances, and how far they and LIME agree with the Shapley values.

    Args:
        explained: What was explained.
        evidence: The labels.
        withheld: Why the importances are not printed; then nothing is compared with them.
    """
    columns = explained.model.columns
    candidates = np.flatnonzero(explained.sample.overall)
    affordable = explained.max_evaluations // (_SHARE_OF_EVALUATIONS * PERMUTATIONS * len(columns))
    rows = candidates[draw_rows(len(candidates), max(10, affordable), np.random.default_rng([evidence.seed, 8]))]
    drops = permutation_importances(
        explained.model.predict,
        take(explained.inputs, rows),
        evidence.scored.labels[explained.sample.rows[rows]],
        groups=explained.model.groups,
        confidence=evidence.settings.confidence,
        seed=evidence.seed,
    )
    for i, column in enumerate(columns):
        yield _drop(
            column, None if drops is None else drops[i], rows=len(rows), confidence=evidence.settings.confidence
        )
    magnitudes = np.abs(explained.attribution.contributions[explained.sample.overall]).mean(axis=0)
    agreed = None if drops is None else rank_agreement(magnitudes, np.array([drop.value for drop in drops]))
    yield _agreement("permutation_agreement", agreed, rows=len(rows), withheld=withheld)
    found = _lime(explained, candidates, seed=evidence.seed)
    value = float(found.mean()) if len(found) else None
    yield _agreement("lime_agreement", value, rows=len(found), withheld=withheld)


def _lime(explained: Explained, candidates: npt.NDArray[np.intp], *, seed: int) -> npt.NDArray[np.float64]:
    """Returns the rank agreement of LIME's weights with the Shapley values, for each sample row that has one."""
    rng = np.random.default_rng([seed, 9])
    found = []
    for i in candidates[draw_rows(len(candidates), _LIME_ROWS, rng)]:
        weights = lime_weights(
            explained.model.predict,
            take(explained.inputs, np.array([i])),
            background=explained.background.inputs,
            groups=explained.model.groups,
            rng=rng,
        )
        agreed = rank_agreement(explained.attribution.contributions[i], weights)
        if agreed is not None:
            found.append(agreed)
    return np.array(found)


def _drop(column: str, drop: AucDrop | None, *, rows: int, confidence: float) -> Finding:
    method = f"delong, mean of {PERMUTATIONS} permutations"
    if drop is None:
        return _finding(
            "permutation_importance",
            Estimate(value=None, method=method, n=rows),
            reason="without rows of both labels there is no AUC",
            feature=column,
        )
    return _finding(
        "permutation_importance",
        Estimate(value=drop.value, lower=drop.lower, upper=drop.upper, confidence=confidence, method=method, n=rows),
        feature=column,
        neutral=0.0,
    )


def _agreement(name: str, value: float | None, *, rows: int, withheld: str | None) -> Finding:
    reason = withheld or (
        "there are fewer than two columns, or one side is the same for all" if value is None else None
    )
    return _finding(
        name,
        Estimate(value=None if withheld else value, method="Spearman", n=rows),
        reason=reason or "it informs, and decides nothing: the methods ask different questions",
        neutral=1.0,
    )


def _finding(
    name: str,
    estimate: Estimate,
    *,
    reason: str | None = None,
    feature: str | None = None,
    neutral: float | None = None,
) -> Finding:
    return Finding(
        id=finding_id("explanations", name, feature=feature),
        metric=name,
        feature=feature,
        estimate=estimate,
        direction=metric(name).direction,
        neutral=neutral,
        evidence="insufficient" if estimate.value is None else "sufficient",
        reason=reason,
    )
