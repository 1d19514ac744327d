"""Charts as SVG: lines, intervals, bars, heat maps and the flow of a run.

One style with the plots of the audits (:mod:`probity.audits.canvas`): Okabe and Ito's colours, told apart under the
common forms of colour blindness, and every series has a marker and a line style of its own, so nothing rests on colour.
Names are drawn as they are; none is read as mathematics or markup. Equal numbers give equal bytes.
"""

from __future__ import annotations

import io
import math
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal, ParamSpec

from probity.audits.canvas import COLOURS, STYLE
from probity.digest import digest_bytes

__all__ = ["Box", "Point", "Series", "bars", "flow", "heat", "intervals", "lines"]

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "d")
_STROKES = ("-", "--", "-.", ":")
_LIGHT, _DARK = ("#1f2933", "#d5d9de", "#ffffff"), ("#e6e9ec", "#454b54", "#0e1117")
_ORDER = (0, 5, 2, 3, 1, 4)  # of COLOURS: those with the most contrast on white and on black come first
_LOCK = threading.Lock()  # Matplotlib's settings are global, and pages of several readers are drawn at once


_KEPT: OrderedDict[str, str] = OrderedDict()
_MOST_KEPT = 400  # of about 30 kB each
_Arguments = ParamSpec("_Arguments")


@dataclass(frozen=True, kw_only=True)
class Point:
    """A value at a place, with its interval where it has one."""

    x: float
    y: float | None
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points that belong together."""

    label: str
    points: tuple[Point, ...]
    joined: bool = True


@dataclass(frozen=True, kw_only=True)
class Box:
    """One thing in the flow of a run: its column and row, its name, a second line, and the boxes it was made from."""

    key: str
    column: int
    row: int
    name: str
    detail: str = ""
    made_from: tuple[str, ...] = ()


def _kept(draw: Callable[_Arguments, str]) -> Callable[_Arguments, str]:
    """Keeps the last charts: equal arguments give equal bytes, and a page runs anew at every click."""

    @wraps(draw)
    def kept(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> str:
        key = digest_bytes(repr((draw.__name__, args, sorted(kwargs.items()))).encode())
        if key not in _KEPT:
            drawn = draw(*args, **kwargs)
            with _LOCK:
                _KEPT[key] = drawn
                while len(_KEPT) > _MOST_KEPT:
                    _KEPT.popitem(last=False)
            return drawn
        return _KEPT.get(key) or draw(*args, **kwargs)

    return kept


@_kept
def lines(
    series: Sequence[Series],
    *,
    title: str,
    x: str,
    y: str,
    dark: bool = False,
    reference: float | None = None,
    diagonal: bool = False,
    unit_square: bool = False,
    log_x: bool = False,
    ticks: Sequence[tuple[float, str]] = (),
) -> str:
    """Draws series over one axis.

    Args:
        series: What is drawn; a value that is ``None`` or infinite leaves a gap.
        title: Heading.
        x: What the horizontal axis is.
        y: What the vertical axis is.
        dark: Whether the page is dark.
        reference: Where a vertical line goes.
        diagonal: Whether the line y = x is drawn, the reference of ROC and calibration curves.
        unit_square: Whether both axes go from 0 to 1.
        log_x: Whether the horizontal axis is logarithmic.
        ticks: Places on the horizontal axis with their names, in place of numbers.
    """

    def draw(axes: Any, ink: str, grid: str) -> None:
        if diagonal:
            axes.plot([0, 1], [0, 1], color=grid, linewidth=1.2)
        if reference is not None:
            axes.axvline(reference, color=ink, linewidth=0.9, linestyle=":")
        drawn = [entry for entry in series if any(_drawable(point.y) for point in entry.points)]
        for place, entry in enumerate(drawn):
            _series(axes, entry, place)
        if unit_square:
            axes.set_xlim(-0.01, 1.01)
            axes.set_ylim(-0.01, 1.01)
        if log_x:
            axes.set_xscale("log")
        if ticks:
            axes.set_xticks([place for place, _ in ticks], [name for _, name in ticks], parse_math=False)
            axes.minorticks_off()
        axes.set_xlabel(x, parse_math=False)
        axes.set_ylabel(y, parse_math=False)
        _legend(axes, len(drawn))

    return _svg(draw, title=title, height=4.2 if unit_square else 3.4, width=7.0, dark=dark, grid="both")


@_kept
def intervals(
    rows: Sequence[tuple[str, Point | None]],
    *,
    title: str,
    x: str,
    dark: bool = False,
    reference: float | None = None,
    missing: str = "too small to say",
) -> str:
    """Draws one dot with its interval per row, from top to bottom; a row without a value says so in words."""

    def draw(axes: Any, ink: str, grid: str) -> None:
        if reference is not None:
            axes.axvline(reference, color=ink, linewidth=0.9, linestyle=":")
        _rows(axes, [name for name, _ in rows])
        axes.set_xlabel(x, parse_math=False)
        drawn = [(place, found) for place, (_, found) in enumerate(rows) if found and _drawable(found.y)]
        for place, found in drawn:
            if _drawable(found.lower) and _drawable(found.upper):
                axes.plot([found.lower, found.upper], [place, place], color=_main(dark), linewidth=2.4, alpha=0.55)
            axes.plot([found.y], [place], "o", color=_main(dark), markersize=6)
        start = axes.get_xlim()[0] if drawn else 0.0
        for place, (_, point) in enumerate(rows):
            if point is None or not _drawable(point.y):
                axes.text(start, place, f" {missing}", va="center", fontsize=8, style="italic", color=ink)

    return _svg(draw, title=title, height=0.9 + 0.3 * max(len(rows), 2), dark=dark, grid="x")


@_kept
def bars(rows: Sequence[tuple[str, Point]], *, title: str, x: str, dark: bool = False) -> str:
    """Draws one bar per row from zero, with its interval as a line, from top to bottom."""

    def draw(axes: Any, ink: str, grid: str) -> None:
        _rows(axes, [name for name, _ in rows])
        for place, (_, point) in enumerate(rows):
            axes.barh(place, point.y or 0.0, height=0.62, color=_main(dark))
            if _drawable(point.lower) and _drawable(point.upper):
                axes.plot([point.lower, point.upper], [place, place], color=ink, linewidth=1.2)
        axes.axvline(0.0, color=ink, linewidth=0.8)
        axes.set_xlabel(x, parse_math=False)

    return _svg(draw, title=title, height=0.9 + 0.3 * max(len(rows), 2), dark=dark, grid="x")


@_kept
def heat(
    cells: Sequence[Sequence[float | None]],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    texts: Sequence[Sequence[str]],
    dark: bool = False,
) -> str:
    """Draws a table of colours with every value written in it; hatched where there is none."""
    from matplotlib import colormaps
    from matplotlib.colors import Normalize
    from matplotlib.patches import Rectangle

    found = [value for line in cells for value in line if value is not None and math.isfinite(value)]
    scale = Normalize(min(found, default=0.0), max(found, default=1.0) + 1e-12)
    colours = colormaps["cividis"]  # even in lightness, for every kind of colour vision

    def draw(axes: Any, ink: str, grid: str) -> None:
        for i, line in enumerate(cells):
            for j, value in enumerate(line):
                shade = scale(value) if value is not None and _drawable(value) else None
                face = "none" if shade is None else colours(shade)
                axes.add_patch(
                    Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=face, hatch="" if shade is not None else "///",
                              edgecolor=grid)
                )  # fmt: skip
                tone = ink if shade is None else "#000000" if shade > 0.55 else "#ffffff"
                axes.text(j, i, texts[i][j], ha="center", va="center", fontsize=8, color=tone, parse_math=False)
        axes.set_xlim(-0.5, len(columns) - 0.5)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xticks(range(len(columns)), [_short(name) for name in columns], parse_math=False)
        axes.set_yticks(range(len(rows)), [_short(name) for name in rows], parse_math=False)
        axes.tick_params(length=0)
        for side in axes.spines.values():
            side.set_visible(False)

    return _svg(draw, title=title, height=1.0 + 0.5 * len(rows), dark=dark, grid=None)


@_kept
def flow(boxes: Sequence[Box], *, title: str, dark: bool = False) -> str:
    """Draws boxes in columns, with an arrow from each to what was made from it."""
    from matplotlib.patches import FancyBboxPatch

    places = {box.key: box for box in boxes}
    wide, high = 1.7, 0.62
    columns, deepest = max(box.column for box in boxes) + 1, max(box.row for box in boxes) + 1

    def draw(axes: Any, ink: str, grid: str) -> None:
        for box in boxes:
            for source in (places[key] for key in box.made_from if key in places):
                start, end = _ends(source, box, wide=wide, high=high)
                arrow = {"arrowstyle": "->", "color": ink, "linewidth": 0.7, "alpha": 0.6}
                axes.annotate("", xy=end, xytext=start, arrowprops=arrow)
            axes.add_patch(
                FancyBboxPatch((box.column * 2, box.row), wide, high, boxstyle="round,pad=0.02,rounding_size=0.08",
                               facecolor="none", edgecolor=_main(dark), linewidth=1.2)
            )  # fmt: skip
            middle = box.column * 2 + wide / 2
            axes.text(middle, box.row + 0.22, _short(box.name, 20), ha="center", va="center", fontsize=7,
                      color=ink, parse_math=False)  # fmt: skip
            axes.text(middle, box.row + 0.45, _short(box.detail, 19), ha="center", va="center", fontsize=6.5,
                      color=ink, parse_math=False)  # fmt: skip
        axes.set_xlim(-0.1, columns * 2 - 0.2)
        axes.set_ylim(deepest, -0.2)
        axes.axis("off")

    return _svg(draw, title=title, height=0.5 + 0.42 * deepest, width=1.2 * columns, dark=dark, grid=None)


def _ends(source: Box, box: Box, *, wide: float, high: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Returns where an arrow starts and ends: from side to side, or downwards within a column."""
    if source.column == box.column:
        middle = box.column * 2 + wide / 2
        return (middle, source.row + high), (middle, float(box.row))
    return (source.column * 2 + wide, source.row + high / 2), (box.column * 2.0, box.row + high / 2)


def _main(dark: bool) -> str:
    """Returns the blue that stands out on the page's ground."""
    return COLOURS[4] if dark else COLOURS[0]


def _series(axes: Any, series: Series, place: int) -> None:
    colour = COLOURS[_ORDER[place % len(_ORDER)]]
    style = {"color": colour, "marker": _MARKERS[place % len(_MARKERS)]}
    points = [point for point in series.points if _drawable(point.y)]
    few = len(points) <= 12
    ends = [(point.lower, point.upper) for point in points]
    axes.plot(
        [point.x for point in points],
        [point.y for point in points],
        linestyle=_STROKES[place % len(_STROKES)] if series.joined else "none",
        linewidth=1.6,
        markersize=5.5,
        markevery=1 if few else max(len(points) // 8, 1),
        label=f" {series.label}" if series.label.startswith("_") else series.label,
        **style,
    )
    for point, (low, high) in zip(points, ends, strict=True):
        if few and _drawable(low) and _drawable(high):
            axes.plot([point.x, point.x], [low, high], color=colour, linewidth=1.4, alpha=0.6)


def _legend(axes: Any, number: int) -> None:
    if number > 1:
        legend = axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
        for text in legend.get_texts():
            text.set_parse_math(False)


def _rows(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [_short(name, 34) for name in names], parse_math=False)
    axes.set_ylim(len(names) - 0.4, -0.6)


def _drawable(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _short(name: str, longest: int = 24) -> str:
    line = " ".join(name.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def _svg(
    draw: Callable[[Any, str, str], None],
    *,
    title: str,
    height: float,
    dark: bool,
    grid: Literal["x", "y", "both"] | None,
    width: float = 7.0,
) -> str:
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    ink, faint, paper = _DARK if dark else _LIGHT
    shades = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor"), ink)
    with _LOCK, mpl.rc_context({**STYLE, **shades}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a font without a glyph of a name: the reader's font will have it
        figure = Figure(figsize=(width, height), layout="constrained", facecolor=paper)
        FigureCanvasSVG(figure)
        axes = figure.add_subplot(facecolor=paper)
        if grid is not None:
            axes.grid(axis=grid, color=faint, linewidth=0.6)
            axes.set_axisbelow(True)
        axes.set_title(title, loc="left", fontsize=10.5, parse_math=False)
        draw(axes, ink, faint)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()
