"""Which rows are explained, against which background, by which method: the drawing behind the explanations audit."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from probity.audits.attribution import Attribution, ExplainedModel
from probity.audits.backgrounds import Background, choose_background, draw_rows, open_model, take
from probity.audits.base import AuditInput
from probity.audits.explaining import Method, methods
from probity.audits.fidelity import MAX_CHANGE, approximation_difference
from probity.audits.shapley import Inputs
from probity.errors import AuditError

__all__ = ["COMPARED_ROWS", "MAX_ADDITIVITY_ERROR", "Explained", "Sample", "explain"]

MAX_ADDITIVITY_ERROR = 1e-3
"""Above this the values do not explain the output. About 1e-5 is expected from single precision."""
COMPARED_ROWS = 100
"""Rows on which an approximation is compared with sampling."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Which test rows are explained; the masks are over ``rows``."""

    rows: np.ndarray[Any, Any]
    """Positions in the test split, ascending."""
    overall: np.ndarray[Any, Any]
    """Rows of the uniform sample."""
    attributes: dict[str, np.ndarray[Any, Any]]
    """By attribute: the uniform sample and what was drawn to fill up that attribute's groups."""


@dataclass(frozen=True, kw_only=True)
class Explained:
    """The explained rows and how they were explained.

    Attributes:
        inputs: Model inputs of the explained rows.
        method: The method that was used.
        background: What the rows are explained against.
        max_evaluations: How many outputs an explanation of this model may ask for.
        difference: How far an approximation is from sampling, see
            :func:`~probity.audits.fidelity.approximation_difference`; ``None`` where the method is no approximation.
        notes: Why another method than a better one was used.
    """

    model: ExplainedModel
    sample: Sample
    inputs: Inputs
    attribution: Attribution
    method: Method
    background: Background
    max_evaluations: int
    difference: float | None = None
    notes: tuple[str, ...] = field(default=())


def explain(evidence: AuditInput) -> Explained:
    """Chooses rows, background and method, and explains the rows.

    The best method that applies is used (:func:`~probity.audits.explaining.methods`): values that do not add up, and
    approximations that sampling contradicts, are discarded, and the next method is tried.

    Raises:
        AuditError: If there is nothing to explain or the model cannot be read back.
    """
    source = open_model(evidence)
    num_test = len(evidence.scored)
    if not num_test:
        raise AuditError(
            "explanations",
            seen="the test split holds no rows",
            allowed="at least one row",
            remedy="use more data, or other shares in data.split",
        )
    background = choose_background(evidence, source)
    test = source.split("test")
    wanted = min(evidence.settings.explained_rows or num_test, num_test)
    notes: list[str] = []
    for method in methods(source, rows=test, wanted=wanted, background=background, seed=evidence.seed):
        sample = _choose(evidence, num_test, wanted=wanted, method=method)
        inputs = take(test, sample.rows)
        try:
            attribution = method.attribute(inputs, background.inputs)
        except AuditError as error:
            notes.append(f"{error.seen}, so {method.words} was not used.")
            continue
        explained = Explained(
            model=source.model,
            sample=sample,
            inputs=inputs,
            attribution=attribution,
            method=method,
            background=background,
            max_evaluations=source.max_evaluations,
            notes=tuple(notes),
        )
        if method.kind == "sampling":
            break
        problem, difference = _contradiction(explained, seed=evidence.seed)
        if problem is None:
            return replace(explained, difference=difference)
        notes.append(problem)
    return explained


def _contradiction(explained: Explained, *, seed: int) -> tuple[str | None, float | None]:
    """Returns why the values cannot be used, if so, and how far an approximation is from sampling."""
    method, attribution = explained.method, explained.attribution
    error = attribution.additivity_error
    if not error <= MAX_ADDITIVITY_ERROR:
        return f"The values by {method.words} missed the output by {error:.2g}, so they were discarded.", None
    if method.is_exact:
        return None, None
    compared = draw_rows(len(attribution.outputs), COMPARED_ROWS, np.random.default_rng([seed, 7]))
    sampled = explained.model.sampled(
        take(explained.inputs, compared), background=explained.background.inputs, seed=seed
    )
    difference = approximation_difference(attribution.contributions[compared], sampled.contributions)
    if difference > MAX_CHANGE:
        return (
            f"Importances by {method.words} differ from those by sampling by up to {difference:.0%} of the largest "
            "one, so they were discarded.",
            difference,
        )
    return None, difference


def _choose(evidence: AuditInput, num_test: int, *, wanted: int, method: Method) -> Sample:
    """Draws a uniform sample of the test rows, then fills up each group that is large enough for a verdict.

    The rows that fill up a group of one attribute are used for that attribute alone: within each group the chosen rows
    are a uniform sample of the group, while the overall numbers rest on the uniform sample of all rows.
    """
    rng = np.random.default_rng([evidence.seed, 2])
    smallest = evidence.settings.min_group_size
    overall = np.zeros(num_test, bool)
    overall[draw_rows(num_test, min(wanted, method.max_rows or wanted), rng)] = True
    affordable = method.kind in ("closed form", "deep")
    attributes = {}
    for name, codes in evidence.scored.groups.items():
        chosen = overall.copy()
        for code in range(len(evidence.scored.names[name])):
            members = codes == code
            lacking = smallest - int((members & overall).sum())
            if affordable and members.sum() >= smallest and lacking > 0:
                others = np.flatnonzero(members & ~overall)
                chosen[rng.choice(others, size=lacking, replace=False)] = True
        attributes[name] = chosen
    rows = np.flatnonzero(np.logical_or.reduce([overall, *attributes.values()]))
    return Sample(
        rows=rows, overall=overall[rows], attributes={name: chosen[rows] for name, chosen in attributes.items()}
    )
