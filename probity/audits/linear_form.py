"""Whether a model's output is an affine function of its inputs, found out by asking it.

Names and layers are not trusted: weights are read off by asking for the output at the origin and at each unit vector,
and the form is believed only if it gives the model's output everywhere else that it is tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from probity.audits.shapley import Inputs, Predict

__all__ = ["LinearForm", "find_linear_form"]

_TOLERANCE = 1e-4
"""Largest difference, relative to the largest output; single precision leaves about 1e-6."""
_TRIED_ROWS = 2000
_FAR = (1.0, 10.0, 100.0)
"""Standard deviations of the random inputs that the form is tried on beside rows."""
_PROBE_ROWS = 1024


@dataclass(frozen=True, kw_only=True)
class LinearForm:
    """``intercept + sum of inputs @ weights``.

    Attributes:
        weights: Float64 of shape (width,) by input name.
        intercept: Output where all inputs are 0.
        error: Largest difference from the model where it was tried, in units of the output.
    """

    weights: Mapping[str, npt.NDArray[np.float64]]
    intercept: float
    error: float

    def __call__(self, inputs: Inputs) -> npt.NDArray[np.float64]:
        """Returns the form's output for each row."""
        total = np.full(len(next(iter(inputs.values()))), self.intercept)
        for name, weights in self.weights.items():
            total += np.asarray(inputs[name], np.float64) @ weights
        return total


def find_linear_form(
    predict: Predict, *, samples: Sequence[Inputs], widths: Mapping[str, int], seed: int
) -> LinearForm | None:
    """Reads off the affine form of a model, if it has one.

    It is tried on up to 2,000 rows of each sample, on rows whose inputs are mixed from all samples - what the value
    function of Shapley values asks about - and on random inputs up to a hundred standard deviations away, where a
    network that is affine near the data only is found out.

    Args:
        predict: The model.
        samples: Rows on which it must hold, such as the rows to explain and the background.
        widths: Width by input name, of the inputs that the model uses.
        seed: Seed of the trials.

    Returns:
        The form, or ``None`` if the model's output differs from it anywhere by more than 1e-4 of the largest output.
    """
    weights, intercept = _read_off(predict, widths)
    form = LinearForm(weights=weights, intercept=intercept, error=0.0)
    worst = 0.0
    for trial in _trials(samples, widths, np.random.default_rng(seed)):
        found = predict(trial)
        allowed = _TOLERANCE * max(1.0, float(np.abs(found).max(initial=0.0)))
        difference = float(np.abs(found - form(trial)).max(initial=0.0))
        if not difference <= allowed:  # NaN is no form either
            return None
        worst = max(worst, difference)
    return LinearForm(weights=weights, intercept=intercept, error=worst)


def _read_off(predict: Predict, widths: Mapping[str, int]) -> tuple[dict[str, npt.NDArray[np.float64]], float]:
    total = sum(widths.values())
    edges = np.cumsum([0, *widths.values()])

    def ask(matrix: npt.NDArray[np.float32]) -> np.ndarray[Any, Any]:
        return predict({name: matrix[:, edges[i] : edges[i + 1]] for i, name in enumerate(widths)})

    intercept = float(ask(np.zeros((1, total), np.float32))[0])
    slopes = np.zeros(total)
    for begin in range(0, total, _PROBE_ROWS):
        rows = min(_PROBE_ROWS, total - begin)
        slopes[begin : begin + rows] = ask(np.eye(rows, total, begin, dtype=np.float32)) - intercept
    return {name: slopes[edges[i] : edges[i + 1]] for i, name in enumerate(widths)}, intercept


def _trials(samples: Sequence[Inputs], widths: Mapping[str, int], rng: np.random.Generator) -> list[Inputs]:
    pools = [{name: np.asarray(sample[name][:], np.float32) for name in widths} for sample in samples]
    trials: list[Inputs] = []
    for pool in pools:
        rows = len(next(iter(pool.values())))
        chosen = rng.choice(rows, size=min(rows, _TRIED_ROWS), replace=False)
        trials.append({name: values[chosen] for name, values in pool.items()})
    joined = {name: np.concatenate([trial[name] for trial in trials]) for name in widths}
    rows = len(next(iter(joined.values())))
    if rows:
        trials.append({name: values[rng.integers(rows, size=_TRIED_ROWS)] for name, values in joined.items()})
    for far in _FAR:
        trials.append({name: far * rng.standard_normal((256, width), np.float32) for name, width in widths.items()})
    return trials
