"""Differentially private constants for the transform, with OpenDP, for columns that no public fact describes.

Every column gets an equal share of epsilon. Numeric columns are measured as one noisy histogram over a grid, text
columns as noisy counts of their values of which only those above a threshold are kept; boundaries, moments, bounds and
vocabularies follow from these without touching a row again. What was spent is what OpenDP's privacy maps say.

==============  ==========================================================  =====================================
column          measurement                                                 what is taken to be public
==============  ==========================================================  =====================================
number, bounds  Laplace histogram of 1,024 equal intervals between them     the bounds of the curated schema
number          the same between bounds found by a Laplace histogram over   nothing
                powers of two, which gets half of the column's epsilon
text            Laplace counts, kept above a threshold (stability           nothing
                histogram): a value that few units hold never appears
==============  ==========================================================  =====================================

References:
    Dwork and Roth (2014), The Algorithmic Foundations of Differential Privacy, section 3.3 (histograms).
    Wilson et al. (2020), Differentially Private SQL with Bounded User Contribution, section 3.4 (bounds).
    Korolova et al. (2009), Releasing Search Queries and Clicks Privately (thresholds).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from probity.data import Column, ColumnKind, FeatureSpec, PrivateStatistics
from probity.recipe import PrivateStatisticsConfig

__all__ = ["Measured", "bounded_rows", "delta_for", "measure"]

_INTERVALS = 1024
_FINE = 4096
"""Number of equally weighted quantiles that a histogram is turned into."""
_POWERS = range(-20, 64)
_SURELY = 0.001
"""Probability with which one empty interval of the grid of powers of two is taken for a filled one."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured.

    Attributes:
        quantiles: By numeric column, equally weighted quantiles, ascending; empty where nothing was found.
        bounds: By numeric column, its smallest and largest value as far as known.
        vocabularies: By text column, its values, the most frequent first.
        spent: What it cost.
    """

    quantiles: dict[str, npt.NDArray[np.float32]]
    bounds: dict[str, tuple[float, float]]
    vocabularies: dict[str, tuple[str, ...]]
    spent: PrivateStatistics


def delta_for(config: PrivateStatisticsConfig, num_units: int) -> float:
    """Returns the delta of all vocabularies together: the given one, or a tenth of the accountant's default."""
    return config.delta if config.delta is not None else float(f"1e-{len(str(num_units)) + 1}")


def bounded_rows(table: pa.Table, units: npt.NDArray[np.int64] | None) -> pa.Table:
    """Returns a table in which each unit has one row: with it, a statement about a row is one about a unit.

    Which row a unit keeps is drawn by the operating system's randomness, whatever other units hold.

    Args:
        table: Rows.
        units: For each row the number of its unit; ``None`` where each row is a unit.
    """
    if units is None:
        return table
    order = np.random.default_rng().permutation(len(units))  # seeded by the operating system
    _, first = np.unique(units[order], return_index=True)
    return table.take(pa.array(order[first]))


def measure(
    table: pa.Table,
    columns: Sequence[Column],
    *,
    specs: dict[str, FeatureSpec],
    epsilon: float,
    delta: float,
    max_vocabulary: int,
    unit: str,
) -> Measured:
    """Measures columns of rows of which each belongs to another unit.

    Guarantees: (``spent.epsilon``, ``spent.delta``)-differentially private under adding or removing one unit, with
    ``spent.epsilon <= epsilon`` and ``spent.delta <= delta``. Missing values are not counted.

    Args:
        table: One row per unit.
        columns: The columns to measure, at least one.
        specs: Public facts by column; only bounds are used here.
        epsilon: Of all columns together.
        delta: Of all text columns together.
        max_vocabulary: Number of values to keep per text column.
        unit: What one row stands for.
    """
    share = epsilon / len(columns)
    texts = [column.name for column in columns if column.kind is ColumnKind.TEXT]
    quantiles: dict[str, npt.NDArray[np.float32]] = {}
    bounds: dict[str, tuple[float, float]] = {}
    vocabularies: dict[str, tuple[str, ...]] = {}
    spent, words = [], []
    for column in columns:
        values = table.column(column.name).drop_null()
        if column.kind is ColumnKind.TEXT:
            found, cost = _vocabulary(values.to_pylist(), share, delta / len(texts))
            vocabularies[column.name] = found[:max_vocabulary]
            words.append(
                f"values of {column.name}: thresholded Laplace counts, epsilon {cost[0]:.4g}, delta {cost[1]:.2g}"
            )
        else:
            numbers = values.to_numpy().astype(np.float64)
            spec = specs.get(column.name)
            quantiles[column.name], bounds[column.name], cost = _numbers(
                numbers[np.isfinite(numbers)], spec, share, whole=column.kind is ColumnKind.INT
            )
            words.append(f"distribution of {column.name}: Laplace histogram, epsilon {cost[0]:.4g}")
        spent.append(cost)
    # OpenDP's maps round up in the last digits; what is stated may not be less than what they say.
    return Measured(
        quantiles=quantiles,
        bounds=bounds,
        vocabularies=vocabularies,
        spent=PrivateStatistics(
            epsilon=math.fsum(cost[0] for cost in spent),
            delta=math.fsum(cost[1] for cost in spent),
            unit=unit,
            mechanisms=tuple(words),
        ),
    )


def _numbers(
    values: npt.NDArray[np.float64], spec: FeatureSpec | None, epsilon: float, *, whole: bool
) -> tuple[npt.NDArray[np.float32], tuple[float, float], tuple[float, float]]:
    """Returns quantiles, bounds, and the (epsilon, delta) spent on both."""
    low, high = (None, None) if spec is None else (spec.minimum, spec.maximum)
    cost = 0.0
    if low is None or high is None or not math.isfinite(high - low):
        found, cost = _noisy_bounds(values, epsilon / 2)
        if found is None:
            return np.zeros(0, np.float32), (0.0, 0.0), (cost, 0.0)
        low, high = found
    edges = _grid(low, high, whole=whole)
    counts, spent = _histogram(values, edges, epsilon - cost)
    inner = np.maximum(counts[1:-1], 0.0)  # outside the bounds lies what the bounds exclude
    total = inner.sum()
    if total <= 0:
        return np.zeros(0, np.float32), (low, high), (cost + spent, 0.0)
    places = np.searchsorted(np.cumsum(inner) / total, (np.arange(_FINE) + 0.5) / _FINE)
    return edges[np.minimum(places, len(inner) - 1)].astype(np.float32), (low, high), (cost + spent, 0.0)


def _grid(low: float, high: float, *, whole: bool) -> npt.NDArray[np.float64]:
    if whole and high - low < _INTERVALS:
        return np.arange(math.floor(low), math.ceil(high) + 2, dtype=np.float64)
    return np.linspace(low, np.nextafter(high, math.inf) if high > low else low + 1.0, _INTERVALS + 1)


def _noisy_bounds(values: npt.NDArray[np.float64], epsilon: float) -> tuple[tuple[float, float] | None, float]:
    """Returns the outermost powers of two between which values lie, or ``None``, and what that cost."""
    positive = [2.0**power for power in _POWERS]
    edges = np.array([-edge for edge in reversed(positive)] + [0.0, *positive])
    counts, spent = _histogram(values, edges, epsilon)
    # Laplace noise of scale 1/epsilon passes this in an empty interval with probability 0.001 over all of them.
    threshold = math.log(len(counts) / _SURELY) / epsilon
    filled = np.flatnonzero(counts > threshold)
    if not len(filled):
        return None, spent
    outer = np.concatenate([[edges[0]], edges, [edges[-1]]])
    return (float(outer[filled[0]]), float(outer[filled[-1] + 1])), spent


def _histogram(
    values: npt.NDArray[np.float64], edges: npt.NDArray[np.float64], epsilon: float
) -> tuple[npt.NDArray[np.float64], float]:
    """Returns noisy counts, below the first edge, between edges, and from the last one on; and the epsilon spent."""
    dp = _opendp()
    space = dp.vector_domain(dp.atom_domain(T=float, nan=False)), dp.symmetric_distance()
    count = (
        space
        >> dp.t.then_find_bin(edges=edges.tolist())
        >> dp.t.then_count_by_categories(categories=list(range(len(edges) + 1)), null_category=False)
    )
    measurement = count >> dp.m.then_laplace(scale=1.0 / epsilon)
    return np.array(measurement(values.tolist()), np.float64), float(measurement.map(1))


def _vocabulary(values: list[str], epsilon: float, delta: float) -> tuple[tuple[str, ...], tuple[float, float]]:
    """Returns the frequent values, the most frequent first, and the (epsilon, delta) spent."""
    dp = _opendp()
    space = dp.vector_domain(dp.atom_domain(T=str)), dp.symmetric_distance()
    scale = 1.0 / epsilon
    threshold = math.ceil(1.0 + scale * math.log(1.0 / delta))
    measurement = space >> dp.t.then_count_by() >> dp.m.then_laplace_threshold(scale=scale, threshold=threshold)
    spent_epsilon, spent_delta = measurement.map(1)
    if spent_delta > delta:
        raise AssertionError("a larger threshold than the closed form is needed")
    counts = measurement([value for value in values if value])
    found = sorted(counts, key=lambda value: (-counts[value], value))
    return tuple(found), (float(spent_epsilon), float(spent_delta))


def _opendp() -> Any:
    import opendp.prelude as dp

    dp.enable_features("contrib")  # all of these have proofs that OpenDP marks as contributed
    return dp
