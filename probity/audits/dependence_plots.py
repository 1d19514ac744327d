"""Partial dependence as SVG files, one per column: single rows thin, groups coloured, the mean dashed. Internal."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probity.audits.canvas import COLOURS, STYLE, file_name
from probity.audits.dependence import Dependence

__all__ = ["draw_dependence"]

_LOCAL = 20
"""Rows whose own curve is drawn."""
_FEWEST = 10
"""Rows of a group below which its curve would be noise."""
_MOST_COLUMNS = 6
"""Columns that are drawn, those that move scores most; the others' curves are in the JSON file."""

Groups = Mapping[str, tuple[npt.NDArray[np.int32], tuple[str, ...]]]


def draw_dependence(folder: Path, curves: Sequence[Dependence], *, groups: Groups) -> None:
    """Draws one file per column: a panel with single rows, and one panel per attribute.

    Args:
        folder: Where to write; internal, because axes show values of the data and lines show single rows.
        curves: One per column.
        groups: Group of each row and the groups' names, by attribute.
    """
    import matplotlib as mpl

    largest = sorted(curves, key=lambda curve: float(curve.mean.min() - curve.mean.max()))[:_MOST_COLUMNS]
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a font without a glyph of a value: the reader's font will have it
        for curve in largest:
            _draw(folder / file_name("partial_dependence", curve.column.name), curve, groups)


def _draw(path: Path, curve: Dependence, groups: Groups) -> None:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    panels: list[str | None] = [None, *groups]
    figure = Figure(figsize=(0.8 + 3.2 * len(panels), 3.8))
    FigureCanvasSVG(figure)
    figure.subplots_adjust(left=0.8 / (0.8 + 3.2 * len(panels)), right=0.99, top=0.82, bottom=0.3, wspace=0.06)
    found: Any = figure.subplots(1, len(panels), sharey=True, squeeze=False)
    for axes, attribute in zip(found[0], panels, strict=True):
        _panel(axes, curve, attribute, groups)
    found[0][0].set_ylabel("score")
    figure.suptitle(f"Score when {curve.column.name} is set", x=0.01, ha="left", fontsize=10, parse_math=False)
    figure.savefig(path, format="svg", metadata={"Date": None})


def _panel(axes: Any, curve: Dependence, attribute: str | None, groups: Groups) -> None:
    from matplotlib.collections import LineCollection

    numeric = curve.column.kind != "string"
    places = np.array(curve.values, float) if numeric else np.arange(len(curve.values))
    title = "all rows, and single rows"
    if attribute is None:
        lines = [np.column_stack([places, row]) for row in curve.curves[:_LOCAL]]
        axes.add_collection(LineCollection(lines, colors="#888888", linewidths=0.5))
    else:
        title = f"by {attribute}"
        codes, names = groups[attribute]
        for code, name in enumerate(names):
            members = codes == code
            if members.sum() >= _FEWEST:
                label = f" {name}" if name.startswith("_") else name
                mean = curve.curves[members].mean(axis=0)
                axes.plot(places, mean, color=COLOURS[code % len(COLOURS)], linewidth=1.6, label=label)
    axes.plot(places, curve.mean, color="#000000", linewidth=2.0, linestyle="--", label="all rows")
    axes.set_title(title, loc="left", fontsize=9, parse_math=False)
    axes.set_ylim(0.0, 1.0)
    if not numeric:
        axes.set_xticks(places)
        axes.set_xticklabels(curve.values, rotation=40, ha="right", fontsize=7, parse_math=False)
    for text in axes.legend(frameon=False, fontsize=7, loc="upper left").get_texts():
        text.set_parse_math(False)
