"""Which methods can explain a model, best first: exact ones before approximations, and what each can afford.

==============  ===========================  =========  ==============================================================
method          for                          exact      cost, in model outputs
==============  ===========================  =========  ==============================================================
closed form     an affine output             yes        one per row
enumeration     few columns                  yes        rows x background rows x 2 ** columns
DeepExplainer   a layer that joins inputs    no         about three per row and background row
sampling        any model                    on average rows x background rows x (columns + 1)
==============  ===========================  =========  ==============================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from probity.audits.attribution import Attribution, ExplainedModel
from probity.audits.backgrounds import Background, Source
from probity.audits.linear_form import find_linear_form
from probity.audits.shapley import Inputs

__all__ = ["Method", "methods"]

_MOST_PLAYERS = 16
"""More columns are never enumerated, however few rows there are."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to explain.

    Attributes:
        kind: Its short name.
        words: Its name in the report.
        attribute: Explains rows (the first argument) against a background (the second).
        max_rows: How many rows it can afford; ``None``: any number.
        notes: What a reader must know about its values.
    """

    kind: Literal["closed form", "enumeration", "deep", "sampling"]
    words: str
    attribute: Callable[[Inputs, Inputs], Attribution]
    max_rows: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_exact(self) -> bool:
        """Whether its values are the Shapley values, and not an approximation or an estimate of them."""
        return self.kind in ("closed form", "enumeration")


def methods(source: Source, *, rows: Inputs, wanted: int, background: Background, seed: int) -> Iterator[Method]:
    """Yields the methods that apply, best first; the last one applies to any model.

    Args:
        source: The model.
        rows: The rows that may be explained, for finding out whether the output is affine.
        wanted: How many of them are to be explained.
        background: What they will be explained against.
        seed: Seed of draws.
    """
    model, allowed = source.model, source.max_evaluations
    if not model.coded:
        yield from _closed_form(model, rows=rows, background=background, seed=seed)
    coalitions = 2 ** len(model.columns)
    if len(model.columns) <= _MOST_PLAYERS and wanted * background.size * coalitions <= allowed:
        yield Method(
            kind="enumeration",
            words=f"enumeration of all {coalitions} coalitions of columns, which is exact",
            attribute=lambda rows, background: model.enumerated(rows, background=background),
            max_rows=wanted,
        )
    if model.has_joint_input:
        yield Method(
            kind="deep",
            words="shap.DeepExplainer",
            attribute=lambda rows, background: model.deep(rows, background=background),
            max_rows=max(1, allowed // background.size),
            notes=(
                "DeepExplainer's values add up exactly, and they are Shapley values where the model is additive in the "
                "columns; where hidden units mix columns, how a sum is shared between those columns is an "
                "approximation.",
            ),
        )
    yield Method(
        kind="sampling",
        words="sampling of column orders (Castro et al. 2009), one order per background row",
        attribute=partial(_sampled, model, seed=seed),
        max_rows=max(1, allowed // (background.size * (len(model.columns) + 1))),
        notes=(
            "Sampling noise inflates mean absolute values slightly; a column that the model ignores still gets 0.",
            *_why_not_deep(model),
        ),
    )


def _closed_form(model: ExplainedModel, *, rows: Inputs, background: Background, seed: int) -> Iterator[Method]:
    widths = {feature.name: feature.width for feature in model.outputs if feature.name in set(model.whole.input)}
    form = find_linear_form(
        model.predict, samples=(rows, background.inputs, background.again), widths=widths, seed=seed
    )
    if form is not None:
        yield Method(
            kind="closed form",
            words="closed form of an affine model, which is exact",
            attribute=lambda rows, background: model.closed_form(form, rows, background=background),
            notes=(
                f"The {model.space} is an affine function of the model's inputs: weights read off by asking it give "
                f"its output to within {form.error:.1g} wherever it was tried.",
            ),
        )


def _sampled(model: ExplainedModel, rows: Inputs, background: Inputs, *, seed: int) -> Attribution:
    return model.sampled(rows, background=background, seed=seed)


def _why_not_deep(model: ExplainedModel) -> tuple[str, ...]:
    if model.coded:
        return ("There is no Keras file, so the SavedModel was asked about raw columns, by the sampling method.",)
    if not model.has_joint_input:
        return ("No layer joins all inputs directly, so the sampling method was used in place of DeepExplainer.",)
    return ()
