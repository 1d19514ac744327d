"""Partial dependence as SVG files, one per column: single rows thin, groups coloured, the mean thick. Internal."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probity.audits.dependence import Dependence
from probity.audits.explanation_plots import COLOURS, STYLE, file_name

__all__ = ["draw_dependence"]

_LOCAL = 40
"""Rows whose own curve is drawn."""
_FEWEST = 10
"""Rows of a group below which its curve would be noise."""

Groups = Mapping[str, tuple[npt.NDArray[np.int32], tuple[str, ...]]]


def draw_dependence(folder: Path, curves: Sequence[Dependence], *, groups: Groups) -> None:
    """Draws one file per column, with one panel per attribute.

    Args:
        folder: Where to write; internal, because axes show values of the data and lines show single rows.
        curves: One per column.
        groups: Group of each row and the groups' names, by attribute.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    panels: list[str | None] = [*groups] or [None]
    for curve in curves:
        with mpl.rc_context(STYLE), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a font without a glyph of a value: the reader's font will have it
            figure = Figure(figsize=(4.2 * len(panels), 3.4), layout="constrained")
            FigureCanvasSVG(figure)
            found: Any = figure.subplots(1, len(panels), sharey=True, squeeze=False)
            for axes, attribute in zip(found[0], panels, strict=True):
                _panel(axes, curve, attribute, groups)
            found[0][0].set_ylabel("score")
            figure.suptitle(f"Score when {curve.column.name} is set", x=0.01, ha="left", fontsize=10, parse_math=False)
            path = folder / file_name("partial_dependence", curve.column.name)
            figure.savefig(path, format="svg", metadata={"Date": None})


def _panel(axes: Any, curve: Dependence, attribute: str | None, groups: Groups) -> None:
    numeric = curve.column.kind != "string"
    places = np.array(curve.values, float) if numeric else np.arange(len(curve.values))
    axes.plot(places, curve.curves[:_LOCAL].T, color="#999999", linewidth=0.4, alpha=0.5)
    if attribute is not None:
        codes, names = groups[attribute]
        for code, name in enumerate(names):
            members = codes == code
            if members.sum() >= _FEWEST:
                colour = COLOURS[code % len(COLOURS)]
                label = f" {name}" if name.startswith("_") else name
                axes.plot(places, curve.curves[members].mean(axis=0), color=colour, linewidth=1.6, label=label)
        axes.set_title(f"by {attribute}", loc="left", fontsize=9, parse_math=False)
    axes.plot(places, curve.mean, color="#000000", linewidth=2.4, linestyle="--", label="all rows")
    axes.set_ylim(0.0, 1.0)
    if not numeric:
        axes.set_xticks(places)
        axes.set_xticklabels(curve.values, rotation=60, ha="right", fontsize=7, parse_math=False)
    for text in axes.legend(frameon=False, fontsize=7).get_texts():
        text.set_parse_math(False)
