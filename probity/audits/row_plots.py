"""Plots of single rows as SVG files: internal. Each dot is a person, so they stay in the run folder.

SHAP's own plots draw through pyplot's global state and with unseeded chance, so equal numbers would not give equal
files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from probity.audits.canvas import COLOURS, GREY, save_plot

__all__ = ["MOST_DOTS", "draw_beeswarm", "draw_dependence", "draw_waterfall"]

MOST_DOTS = 400
"""Rows in a plot: files stay small, and more dots cover each other."""

_MOST_COLUMNS = 12
_MOST_VALUES = 12
_HEIGHT = 0.38
_INTERNAL = "internal: single rows"

Floats = npt.NDArray[np.float64]


def draw_beeswarm(path: Path, contributions: Floats, table: pa.Table, *, space: str) -> None:
    """Draws every row's Shapley value of every column; numbers are coloured from low to high.

    Args:
        path: Where to.
        contributions: Shape (rows, columns), in the order of the columns of ``table``.
        table: The raw rows, for the colours: numeric columns by rank, text and missing values grey.
        space: What the contributions add up to.
    """
    order = np.argsort(-np.abs(contributions).mean(axis=0), kind="stable")[:_MOST_COLUMNS]
    names = [table.column_names[i] for i in order]

    def draw(figure: Any, axes: Any) -> None:
        import matplotlib as mpl

        colours = mpl.colormaps["cividis"]
        axes.axvline(0.0, color=GREY, linewidth=1.0)
        for position, column in enumerate(order):
            values = contributions[:, column]
            rank = _ranks(table.column(int(column)))
            known = np.isfinite(rank)
            heights = position + _HEIGHT * _swarm(values)
            axes.scatter(values[~known], heights[~known], s=6, color="#aaaaaa", linewidths=0)
            axes.scatter(values[known], heights[known], s=6, c=colours(rank[known]), linewidths=0)
        axes.set_yticks(range(len(names)))
        axes.set_yticklabels(names, parse_math=False)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlabel(f"Shapley value of a row, in {space} units")
        scale = figure.colorbar(mpl.cm.ScalarMappable(cmap=colours), ax=axes, ticks=[0, 1], aspect=40, pad=0.02)
        scale.ax.set_yticklabels(["low", "high"])
        scale.set_label("value of a number, by rank; text is grey", labelpad=-12)

    save_plot(path, draw, height=1.2 + 0.38 * len(names), title=f"Shapley values by row ({_INTERNAL})")


def draw_dependence(path: Path, contributions: Floats, column: pa.ChunkedArray, *, name: str, space: str) -> None:
    """Draws a column's Shapley values over its values: a number on the axis, text by its most frequent values.

    Args:
        path: Where to.
        contributions: Shape (rows,).
        column: The raw values, one per row; missing ones are not drawn.
        name: The column's.
        space: What the contributions add up to.
    """
    numeric = not _is_text(column)

    def draw(figure: Any, axes: Any) -> None:
        axes.axhline(0.0, color=GREY, linewidth=1.0)
        if numeric:
            places = np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)
            axes.set_xlabel(name, parse_math=False)
        else:
            places, labels = _places(column)
            axes.set_xticks(range(len(labels)))
            axes.set_xticklabels(labels, rotation=35, ha="right", parse_math=False)
            places = places + 0.25 * _spread(len(places))
        axes.scatter(places, contributions, s=8, color=COLOURS[0], alpha=0.5, linewidths=0)
        axes.set_ylabel(f"Shapley value, in {space} units")

    save_plot(path, draw, height=3.4 if numeric else 4.0, title=f"{name} ({_INTERNAL})", grid="both")


def draw_waterfall(
    path: Path, contributions: Floats, names: Sequence[str], *, base_value: float, output: float, row: int, space: str
) -> None:
    """Draws how the contributions of one row lead from the base value to its output; no value of the row is shown.

    Args:
        path: Where to.
        contributions: Shape (columns,).
        names: Of the columns.
        base_value: Mean output of the background.
        output: Output of the row.
        row: Position in the test split.
        space: What the contributions add up to.
    """
    order = np.argsort(-np.abs(contributions), kind="stable")
    shown, rest = order[:_MOST_COLUMNS], order[_MOST_COLUMNS:]
    steps = [(names[i], float(contributions[i])) for i in shown]
    if len(rest):
        steps.append((f"{len(rest)} other columns", float(contributions[rest].sum())))

    def draw(figure: Any, axes: Any) -> None:
        at = base_value
        for position, (_, step) in enumerate(steps):
            colour = COLOURS[0] if step >= 0 else COLOURS[5]
            axes.barh(position, step, left=at, height=0.7, color=colour)
            axes.plot([at + step] * 2, [position - 0.35, position + 1.35], color=GREY, linewidth=0.7)
            at += step
        axes.axvline(base_value, color=GREY, linewidth=0.8, linestyle="--")
        axes.set_yticks(range(len(steps)))
        axes.set_yticklabels([f"{name}  {step:+.2f}" for name, step in steps], parse_math=False)
        axes.set_ylim(len(steps) - 0.4, -0.6)
        axes.set_xlabel(f"{space}: from the base value {base_value:.2f} (dashed) to the output {output:.2f}")

    save_plot(path, draw, height=1.1 + 0.3 * len(steps), title=f"Test row {row} ({_INTERNAL})")


def _ranks(column: pa.ChunkedArray) -> Floats:
    """Returns mid-ranks in [0, 1] of numbers; NaN for text and missing values."""
    from scipy.stats import rankdata

    found = np.full(len(column), np.nan)
    if _is_text(column):
        return found
    values = np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)
    known = np.isfinite(values)
    if known.sum() > 1:
        found[known] = (rankdata(values[known]) - 1) / (known.sum() - 1)
    return found


def _swarm(values: Floats) -> Floats:
    """Returns heights in [-1, 1] that set dots of nearly equal value apart, widest where there are most."""
    width = float(np.ptp(values))
    bins = np.zeros(len(values), int) if width == 0 else ((values - values.min()) / width * 60).astype(int)
    heights = np.zeros(len(values))
    fullest = max(int(np.bincount(bins).max()), 2)
    for bin_ in np.unique(bins):
        members = np.flatnonzero(bins == bin_)
        side = np.arange(len(members))
        heights[members] = np.where(side % 2, 1, -1) * ((side + 1) // 2) * 2 / fullest
    return heights


def _spread(number: int) -> Floats:
    """Returns evenly spread numbers in [-1, 1] without any order: multiples of the golden ratio, modulo one."""
    found: Floats = (np.arange(number) * 0.6180339887498949) % 1.0 * 2.0 - 1.0
    return found


def _places(column: pa.ChunkedArray) -> tuple[Floats, list[str]]:
    counts = pc.value_counts(pc.drop_null(column))
    pairs = sorted(((entry["counts"].as_py(), str(entry["values"])) for entry in counts), key=lambda p: (-p[0], p[1]))
    labels = [value for _, value in pairs[:_MOST_VALUES]]
    place = {value: float(i) for i, value in enumerate(labels)}
    return np.array([place.get(str(value), np.nan) for value in column.to_pylist()], np.float64), labels


def _is_text(column: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_string(column.type) or pa.types.is_large_string(column.type))
