"""One way to draw an SVG file: equal bytes for equal numbers, text as text, names as names."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

__all__ = ["COLOURS", "GREY", "STYLE", "file_name", "save_plot", "unused"]

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
"""Okabe & Ito 2008: told apart under the common forms of colour blindness."""
GREY = "#767676"

STYLE: dict[str, Any] = {
    "svg.hashsalt": "probity",  # else ids in the file are random
    "svg.fonttype": "none",  # text stays text: it can be read out, and no glyph is missing
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "xtick.color": "#4d4d4d",
    "hatch.linewidth": 0.5,
}
"""Matplotlib's settings for every plot."""


def file_name(*parts: str) -> str:
    """Returns the name of a plot's file: parts joined by underscores, anything but letters and digits replaced."""
    return "_".join(re.sub(r"[^A-Za-z0-9-]+", "_", part).strip("_") for part in parts) + ".svg"


def unused(folder: Path, name: str) -> Path:
    """Returns a path that does not exist yet: two attributes may differ in characters that file names leave out."""
    path, number = folder / name, 2
    while path.exists():
        path, number = folder / f"{Path(name).stem}_{number}.svg", number + 1
    return path


def save_plot(
    path: Path, draw: Callable[[Any, Any], None], *, height: float, title: str, grid: Literal["x", "y", "both"] = "x"
) -> None:
    """Draws one pair of axes and writes it.

    Args:
        path: Where to.
        draw: Draws on a figure (the first argument) and its axes (the second).
        height: In inches; the width is seven.
        title: Taken as it is, never as mathematics.
        grid: Axis whose grid is shown: ``x``, ``y`` or ``both``.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a font without a glyph of a name: the reader's font will have it
        figure = Figure(figsize=(7.0, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.grid(axis=grid, color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.set_title(title, loc="left", fontsize=10, parse_math=False)
        draw(figure, axes)
        figure.savefig(path, format="svg", metadata={"Date": None})
