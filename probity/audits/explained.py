"""Which rows are explained, against which background, by which method: the drawing behind the explanations audit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from probity.audits.attribution import Attribution, ExplainedModel, Inputs, load_explained_model
from probity.audits.base import AuditInput
from probity.audits.raw_attribution import load_raw_model
from probity.errors import AuditError

__all__ = ["MAX_ADDITIVITY_ERROR", "Explained", "Sample", "draw_rows", "explain"]

MAX_ADDITIVITY_ERROR = 1e-3
"""Above this the values do not explain the output. About 1e-5 is expected from single precision."""
MAX_EVALUATIONS = 5_000_000
"""Model outputs that the sampling method may ask for: about half a minute on two cores for a small network."""
MAX_RAW_EVALUATIONS = 600_000
"""The same for a SavedModel that is asked about raw columns, which takes several times longer."""


_APPROXIMATE = (
    "DeepExplainer's values add up exactly, and they are Shapley values where the model is additive in the columns; "
    "where hidden units mix columns, how a sum is shared between those columns is an approximation."
)


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
        method: The method that was used, in words.
        background: The background, in words.
        notes: Why another method than the preferred one was used, and what that means.
    """

    model: ExplainedModel
    sample: Sample
    attribution: Attribution
    method: str
    background: str
    notes: tuple[str, ...] = field(default=())


def explain(evidence: AuditInput) -> Explained:
    """Chooses rows and method and explains the rows.

    The deep method is used where the model's shape allows it and its values add up; else the sampling method.

    Raises:
        AuditError: If there is nothing to explain or the model cannot be read back.
    """
    settings = evidence.settings
    model, train, test, allowed = _read(evidence)
    num_train, num_test = (len(next(iter(split.values()), ())) for split in (train, test))
    if not num_train or not num_test:
        raise AuditError(
            "explanations",
            seen="the training split or the test split holds no rows",
            allowed="at least one row in each",
            remedy="use more data, or other shares in data.split",
        )
    chosen = draw_rows(num_train, settings.background_rows, np.random.default_rng([evidence.seed, 1]))
    background = _take(train, chosen)
    words = f"{len(chosen)} rows drawn uniformly without replacement (seed {evidence.seed}) from the training split"
    notes: list[str] = []
    if model.has_joint_input:
        sample = _choose(evidence, num_test, limit=None)
        try:
            attribution = model.deep(_take(test, sample.rows), background=background)
            if attribution.additivity_error <= MAX_ADDITIVITY_ERROR:
                return Explained(
                    model=model,
                    sample=sample,
                    attribution=attribution,
                    method="shap.DeepExplainer",
                    background=words,
                    notes=(_APPROXIMATE,),
                )
            notes.append(
                f"DeepExplainer's values missed the output by {attribution.additivity_error:.2g}, so they were "
                "discarded and the sampling method was used."
            )
        except AuditError as error:
            notes.append(f"{error.seen}, so the sampling method was used.")
    elif allowed == MAX_EVALUATIONS:
        notes.append("No layer joins all inputs directly, so the sampling method was used in place of DeepExplainer.")
    else:
        notes.append("There is no Keras file, so the SavedModel was asked about raw columns, by the sampling method.")
    limit = max(1, allowed // (len(chosen) * (len(model.columns) + 1)))
    sample = _choose(evidence, num_test, limit=limit)
    attribution = model.sampled(_take(test, sample.rows), background=background, seed=evidence.seed)
    notes.append("Sampling noise inflates mean absolute values slightly; a column that the model ignores still gets 0.")
    method = "sampling of column orders (Castro et al. 2009), one order per background row"
    return Explained(
        model=model, sample=sample, attribution=attribution, method=method, background=words, notes=tuple(notes)
    )


def _read(evidence: AuditInput) -> tuple[ExplainedModel, Inputs, Inputs, int]:
    """Returns the model, its training and test inputs, and how many outputs may be asked for.

    Without a Keras file, as for a model that was trained elsewhere or one whose decision depends on the group, the
    SavedModel is asked about raw columns, the sensitive ones that it reads included.
    """
    if (evidence.model_folder / "model.keras").is_file():
        model = load_explained_model(evidence.model_folder / "model.keras", evidence.transform.outputs)
        train, _ = evidence.transformed.arrays("train")
        test, _ = evidence.transformed.arrays("test")
        return model, train, test, MAX_EVALUATIONS
    tables = [evidence.examples.table(split) for split in ("train", "test")]
    served = () if evidence.model.mitigation is None else evidence.model.mitigation.served_columns
    names = list(dict.fromkeys([*(column.name for column in evidence.dataset.features), *served]))
    coded, inputs = load_raw_model(evidence.model_folder / "saved_model", names, tables)
    return coded, inputs[0], inputs[1], MAX_RAW_EVALUATIONS


def _choose(evidence: AuditInput, num_test: int, *, limit: int | None) -> Sample:
    """Draws a uniform sample of the test rows, then fills up each group that is large enough for a verdict.

    The rows that fill up a group of one attribute are used for that attribute alone: within each group the chosen rows
    are a uniform sample of the group, while the overall numbers rest on the uniform sample of all rows.
    """
    rng = np.random.default_rng([evidence.seed, 2])
    smallest = evidence.settings.min_group_size
    wanted = min(evidence.settings.explained_rows, limit or num_test)
    overall = np.zeros(num_test, bool)
    overall[draw_rows(num_test, wanted, rng)] = True
    attributes = {}
    for name, codes in evidence.scored.groups.items():
        chosen = overall.copy()
        for code in range(len(evidence.scored.names[name])):
            members = codes == code
            lacking = smallest - int((members & overall).sum())
            if members.sum() >= smallest and lacking > 0 and limit is None:
                others = np.flatnonzero(members & ~overall)
                chosen[rng.choice(others, size=lacking, replace=False)] = True
        attributes[name] = chosen
    rows = np.flatnonzero(np.logical_or.reduce([overall, *attributes.values()]))
    return Sample(
        rows=rows, overall=overall[rows], attributes={name: chosen[rows] for name, chosen in attributes.items()}
    )


def draw_rows(available: int, wanted: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Returns up to ``wanted`` positions drawn uniformly without replacement, ascending."""
    return np.sort(rng.choice(available, size=min(wanted, available), replace=False))


def _take(inputs: Mapping[str, np.ndarray[Any, Any]], rows: np.ndarray[Any, Any]) -> Inputs:
    return {name: values[rows] for name, values in inputs.items()}
