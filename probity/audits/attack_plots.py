"""Plots of the attacks as SVG files: aggregates only, equal bytes for equal numbers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["draw_exposures", "draw_roc"]

_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""Okabe & Ito 2008: told apart under the common forms of colour blindness."""
_DASHES = ("-", "--", "-.", ":", (0, (3, 1, 1, 1)), (0, (1, 1)))
_STYLE = {
    "svg.hashsalt": "probity",  # else ids in the file are random
    "svg.fonttype": "none",  # text stays text: it can be read out, and no glyph is missing
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#767676",
    "xtick.color": "#4d4d4d",
    "ytick.color": "#4d4d4d",
}
_POINTS = 60
_FEWEST_PASSED = 10
"""Rates that rest on fewer rows are not drawn: single rows would be visible in the curve."""

Scores = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def draw_roc(path: Path, attacks: Mapping[str, Scores], members: Flags) -> bool:
    """Draws true-positive against false-positive rates on logarithmic axes, where the surest guesses are visible.

    Returns:
        Whether there was something to draw.
    """
    others = int((~members).sum())
    if others <= 2 * _FEWEST_PASSED or not members.any():
        return False
    rates = np.geomspace(_FEWEST_PASSED / others, 1.0, _POINTS)

    def curves(axes: Any) -> None:
        axes.plot(rates, rates, color="#767676", linewidth=0.8, label="guessing")
        for i, (name, scores) in enumerate(attacks.items()):
            outside = np.sort(scores[~members])[::-1]
            cuts = outside[np.minimum((rates * others).astype(int), others - 1)]
            passed = (scores[members][:, None] > cuts[None, :]).mean(axis=0)
            passed[-1] = 1.0
            shown = np.where(passed * members.sum() >= _FEWEST_PASSED, passed, np.nan)
            axes.plot(
                rates,
                shown,
                color=_COLOURS[i % len(_COLOURS)],
                linestyle=_DASHES[i % len(_DASHES)],
                linewidth=1.4,
                label=name.replace("_", " "),
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(rates[0], 1.0)
        axes.set_ylim(rates[0], 1.1)
        axes.set_xlabel("false-positive rate: rows taken for members that were not trained on")
        axes.set_ylabel("true-positive rate: members found")
        axes.set_title("Membership inference", loc="left", fontsize=10)
        axes.legend(loc="lower right", frameon=False, fontsize=8)

    _save(path, curves, height=4.2)
    return True


def draw_exposures(path: Path, exposures: Scores, *, largest: float, expected_mean: float) -> None:
    """Draws how often the planted rows have which exposure, beside what a model gives that knows nothing of them."""

    def bars(axes: Any) -> None:
        edges = np.arange(0.0, np.ceil(largest) + 1.0)
        counts, _ = np.histogram(exposures, bins=edges)
        axes.bar(edges[:-1] + 0.5, counts, width=0.9, color=_COLOURS[0], label="planted rows")
        # The exposure of a rank drawn at random is above b with probability 2^-b.
        expected = len(exposures) * (2.0 ** -edges[:-1] - 2.0 ** -edges[1:])
        axes.plot(edges[:-1] + 0.5, expected, "o", color=_COLOURS[5], markersize=4, label="if nothing were known")
        axes.set_xlabel("exposure in bits (Carlini et al. 2019)")
        axes.set_ylabel("planted rows")
        axes.set_title(
            f"Exposure of planted rows: mean {exposures.mean():.2f} bits, {expected_mean:.2f} if nothing were known",
            loc="left",
            fontsize=10,
        )
        axes.legend(loc="upper right", frameon=False, fontsize=8)

    _save(path, bars, height=3.2)


def _save(path: Path, draw: Callable[[Any], None], *, height: float) -> None:
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure = Figure(figsize=(7.0, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        draw(axes)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        figure.savefig(path, format="svg", metadata={"Date": None})
