"""Changes between runs as one SVG file: a dot and an interval each, a colour per run, a line where nothing changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from probity.audits.canvas import COLOURS, GREY, save_plot
from probity.platform.diff import Judged, words

__all__ = ["draw"]


def draw(path: Path, judged: Mapping[str, Sequence[Judged]], *, reference: str) -> None:
    """Draws the changes of several runs against one reference.

    Args:
        path: Where to.
        judged: The changes by run.
        reference: Id of the run that they are changes from.
    """
    measurable = {
        run: [entry for entry in entries if entry.verdict != "too small to say"] for run, entries in judged.items()
    }
    names = list(dict.fromkeys(words(entry.finding) for entries in measurable.values() for entry in entries))

    def place(figure: Any, axes: Any) -> None:
        axes.axvline(0.0, color=GREY, linewidth=1.0)
        for i, (run, entries) in enumerate(measurable.items()):
            offset, colour = (i - (len(measurable) - 1) / 2) * 0.7 / len(measurable), COLOURS[i % len(COLOURS)]
            for k, entry in enumerate(entries):
                estimate, row = entry.finding.estimate, names.index(words(entry.finding)) + offset
                axes.plot([estimate.lower, estimate.upper], [row, row], color=colour, linewidth=1.4)
                filled = entry.verdict != "no evidence"
                axes.plot(
                    estimate.value,
                    row,
                    "o",
                    color=colour,
                    markerfacecolor=colour if filled else "white",
                    markersize=5,
                    label=run if k == 0 else None,
                )
        axes.set_yticks(range(len(names)), names, parse_math=False)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlabel("change and its interval; hollow: no evidence of a change")
        if len(measurable) > 1:
            legend = axes.legend(frameon=False, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.12))
            for text in legend.get_texts():
                text.set_parse_math(False)

    save_plot(path, place, height=1.4 + 0.28 * len(names), title=f"Changes from {reference}", grid="x")
