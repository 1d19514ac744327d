"""Bar charts of importances as SVG files: aggregates only, equal bytes for equal numbers."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from probity.findings import Estimate

__all__ = ["COLOURS", "STYLE", "draw_global", "draw_groups", "file_name"]

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
"""Okabe & Ito 2008: told apart under the common forms of colour blindness."""
_HATCHES = ("", "///", "...", "xxx")
_MOST_COLUMNS = 12
STYLE: dict[str, Any] = {
    "svg.hashsalt": "probity",  # else ids in the file are random
    "svg.fonttype": "none",  # text stays text: it can be read out, and no glyph is missing
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#767676",
    "xtick.color": "#4d4d4d",
    "hatch.linewidth": 0.5,
}


def file_name(*parts: str) -> str:
    """Returns the name of a plot's file: parts joined by underscores, anything but letters and digits replaced."""
    return "_".join(re.sub(r"[^A-Za-z0-9-]+", "_", part).strip("_") for part in parts) + ".svg"


def draw_global(path: Path, importances: Mapping[str, Estimate], *, space: str) -> None:
    """Draws mean absolute Shapley values with their intervals, the largest columns first."""
    _draw(path, {"all explained rows": importances}, title="Mean absolute Shapley value, all rows", space=space)


def draw_groups(path: Path, importances: Mapping[str, Mapping[str, Estimate]], *, attribute: str, space: str) -> None:
    """Draws one bar per group and column; groups without sufficient evidence are the caller's to leave out."""
    _draw(path, importances, title=f"Mean absolute Shapley value by {attribute}", space=space)


def _draw(path: Path, series: Mapping[str, Mapping[str, Estimate]], *, title: str, space: str) -> None:
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    columns = _largest(series)
    total = len(next(iter(series.values())))
    shown = f" ({len(columns)} of {total} columns)" if total > len(columns) else ""
    thickness = 0.8 / len(series)
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a font without a glyph of a group's name: the reader's font will have it
        figure = Figure(figsize=(7.0, 1.2 + len(columns) * max(0.28, 0.14 * len(series))), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        for i, estimates in enumerate(series.values()):
            _bars(axes, [estimates[name] for name in columns], i=i, thickness=thickness, num_series=len(series))
        axes.set_yticks(range(len(columns)))
        axes.set_yticklabels(columns, parse_math=False)
        axes.invert_yaxis()
        axes.set_xlim(left=0.0)
        axes.set_xlabel(f"mean |Shapley value|, in {space} units; line: interval of the mean")
        axes.set_title(title + shown, loc="left", fontsize=10, parse_math=False)
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        if len(series) > 1:
            _legend(axes, list(series))
        figure.savefig(path, format="svg", metadata={"Date": None})


def _largest(series: Mapping[str, Mapping[str, Estimate]]) -> list[str]:
    columns = list(next(iter(series.values())))
    largest = {name: max(estimates[name].value or 0.0 for estimates in series.values()) for name in columns}
    return sorted(columns, key=lambda name: (-largest[name], name))[:_MOST_COLUMNS]


def _bars(axes: Any, estimates: Sequence[Estimate], *, i: int, thickness: float, num_series: int) -> None:
    offset = (i - (num_series - 1) / 2) * thickness
    for position, estimate in enumerate(estimates):
        value = estimate.value or 0.0
        axes.barh(
            position + offset,
            value,
            height=thickness * 0.9,
            color=COLOURS[i % len(COLOURS)],
            hatch=_HATCHES[(i // len(COLOURS)) % len(_HATCHES)],
            edgecolor="white",
            linewidth=0,
        )
        if estimate.lower is not None and estimate.upper is not None:
            axes.plot([estimate.lower, estimate.upper], [position + offset] * 2, color="#222222", linewidth=1.0)


def _legend(axes: Any, names: Sequence[str]) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=COLOURS[i % len(COLOURS)], hatch=_HATCHES[(i // len(COLOURS)) % len(_HATCHES)])
        for i in range(len(names))
    ]
    # Matplotlib leaves out labels that begin with an underscore.
    labels = [f" {name}" if name.startswith("_") else name for name in names]
    legend = axes.legend(handles, labels, loc="lower right", frameon=False, fontsize=8)
    for text in legend.get_texts():
        text.set_parse_math(False)
