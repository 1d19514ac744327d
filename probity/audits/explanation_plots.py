"""Charts of importances as SVG files for the public card: aggregates only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from probity.audits.canvas import COLOURS, GREY, save_plot
from probity.findings import Estimate

__all__ = ["draw_differences", "draw_global", "draw_groups"]

_Series = Mapping[str, Mapping[str, Estimate]]
_HATCHES = ("", "///", "...", "xxx")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_MOST_COLUMNS = 12


def draw_global(path: Path, importances: Mapping[str, Estimate], *, space: str) -> None:
    """Draws mean absolute Shapley values with their intervals, the largest columns first."""
    _draw_bars(path, {"all explained rows": importances}, title="Mean absolute Shapley value, all rows", space=space)


def draw_groups(path: Path, importances: _Series, *, attribute: str, space: str) -> None:
    """Draws one bar per group and column; groups without sufficient evidence are the caller's to leave out."""
    _draw_bars(path, importances, title=f"Mean absolute Shapley value by {attribute}", space=space)


def draw_differences(path: Path, differences: _Series, *, attribute: str, space: str) -> None:
    """Draws how much each column raises or lowers a group's output, compared with all other rows."""
    columns = _largest(differences)

    def draw(figure: Any, axes: Any) -> None:
        axes.axvline(0.0, color=GREY, linewidth=1.0)
        for i, estimates in enumerate(differences.values()):
            offset = (i - (len(differences) - 1) / 2) * 0.8 / len(differences)
            colour, marker = COLOURS[i % len(COLOURS)], _MARKERS[i % len(_MARKERS)]
            for position, name in enumerate(columns):
                estimate = estimates[name]
                place = position + offset
                axes.plot(estimate.value or 0.0, place, marker, color=colour, markersize=4.5)
                if estimate.lower is not None and estimate.upper is not None:
                    axes.plot([estimate.lower, estimate.upper], [place] * 2, color=colour, linewidth=1.2)
        _name_columns(axes, columns)
        axes.set_xlabel(
            f"mean Shapley value of the group minus that of all other rows, in {space} units; line: interval"
        )
        _legend(figure, axes, list(differences), marked=True)

    title = f"Through which columns groups of {attribute} get a higher or lower output" + _shown(differences, columns)
    save_plot(path, draw, height=_height(columns, differences), title=title)


def _draw_bars(path: Path, series: _Series, *, title: str, space: str) -> None:
    columns = _largest(series)

    def draw(figure: Any, axes: Any) -> None:
        for i, estimates in enumerate(series.values()):
            _bars(axes, [estimates[name] for name in columns], i=i, num_series=len(series))
        _name_columns(axes, columns)
        axes.set_xlim(left=0.0)
        axes.set_xlabel(f"mean |Shapley value|, in {space} units; line: interval of the mean")
        if len(series) > 1:
            _legend(figure, axes, list(series))

    save_plot(path, draw, height=_height(columns, series), title=title + _shown(series, columns))


def _height(columns: Sequence[str], series: _Series) -> float:
    legend = 0.2 * -(-len(series) // 4) if len(series) > 1 else 0.0
    return 1.2 + legend + len(columns) * max(0.28, 0.14 * len(series))


def _shown(series: _Series, columns: Sequence[str]) -> str:
    total = len(next(iter(series.values())))
    return f" ({len(columns)} of {total} columns)" if total > len(columns) else ""


def _largest(series: _Series) -> list[str]:
    columns = list(next(iter(series.values())))
    largest = {name: max(abs(estimates[name].value or 0.0) for estimates in series.values()) for name in columns}
    return sorted(columns, key=lambda name: (-largest[name], name))[:_MOST_COLUMNS]


def _name_columns(axes: Any, columns: Sequence[str]) -> None:
    axes.set_yticks(range(len(columns)))
    axes.set_yticklabels(columns, parse_math=False)
    axes.invert_yaxis()


def _bars(axes: Any, estimates: Sequence[Estimate], *, i: int, num_series: int) -> None:
    thickness = 0.8 / num_series
    offset = (i - (num_series - 1) / 2) * thickness
    for position, estimate in enumerate(estimates):
        axes.barh(
            position + offset,
            estimate.value or 0.0,
            height=thickness * 0.9,
            color=COLOURS[i % len(COLOURS)],
            hatch=_HATCHES[(i // len(COLOURS)) % len(_HATCHES)],
            edgecolor="white",
            linewidth=0,
        )
        if estimate.lower is not None and estimate.upper is not None:
            axes.plot([estimate.lower, estimate.upper], [position + offset] * 2, color="#222222", linewidth=1.0)


def _legend(figure: Any, axes: Any, names: Sequence[str], *, marked: bool = False) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Line2D([], [], color=COLOURS[i % len(COLOURS)], marker=_MARKERS[i % len(_MARKERS)], markersize=4.5)
        if marked
        else Patch(facecolor=COLOURS[i % len(COLOURS)], hatch=_HATCHES[(i // len(COLOURS)) % len(_HATCHES)])
        for i in range(len(names))
    ]
    # Matplotlib leaves out labels that begin with an underscore.
    labels = [f" {name}" if name.startswith("_") else name for name in names]
    # Outside the axes: a dot or an interval may be anywhere in them.
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    for text in legend.get_texts():
        text.set_parse_math(False)
