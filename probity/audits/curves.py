"""Every rate of every group at a hundred thresholds: what a threshold would do to whom.

Kept as confusion counts, from which all rates follow, and drawn by attribute. Neighbouring thresholds can differ by one
row, so the curves would give single scores away: they stay in the run folder and enter no card.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from probity.audit_plan import AuditsConfig
from probity.audits.canvas import COLOURS, STYLE, file_name
from probity.audits.scoring import ScoredRows
from probity.audits.slices import Confusion, confusion, rate_counts

__all__ = ["GRID", "write_curves"]

GRID = tuple(round(step / 100, 2) for step in range(100))
"""The thresholds: 0.00 to 0.99."""
_DRAWN = ("selection_rate", "true_positive_rate", "false_positive_rate", "precision")


def write_curves(
    folder: Path, rows: ScoredRows, *, groupings: Sequence[tuple[str, ...]], settings: AuditsConfig
) -> None:
    """Writes ``curves.json`` and one SVG per grouping.

    Args:
        folder: Where to write; made.
        rows: Scored rows.
        groupings: Combinations of attributes.
        settings: Groups below its ``min_group_size`` are left out of the plots; the file marks them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    counts = confusion(rows, groupings=[(), *groupings], thresholds=GRID)
    content = {
        "schema_version": 1,
        "audience": "internal: neighbouring thresholds can differ by one row, so this stays in the run folder",
        "split": "test",
        "thresholds": list(GRID),
        "decision_threshold": settings.decision_threshold,
        "groups": [
            {
                "slice": slice_,
                "rows": int(table.rows[group]),
                "sufficient": bool(table.rows[group] >= settings.min_group_size),
                **{name: getattr(table, name)[group].tolist() for name in ("tp", "fp", "tn", "fn")},
            }
            for table in counts.values()
            for group, slice_ in enumerate(table.slices)
        ],
    }
    (folder / "curves.json").write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
    for grouping in groupings:
        _draw(folder / file_name("rates_by_threshold", *grouping), counts[grouping], settings)


def _draw(path: Path, table: Confusion, settings: AuditsConfig) -> None:
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    large = [group for group in range(len(table.slices)) if table.rows[group] >= settings.min_group_size]
    if not large:
        return
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a font without a glyph of a group's name: the reader's font will have it
        figure = Figure(figsize=(3.1 * len(_DRAWN) + 0.6, 3.2))
        FigureCanvasSVG(figure)
        figure.subplots_adjust(left=0.05, right=0.99, top=0.82, bottom=0.15, wspace=0.08)
        found: Any = figure.subplots(1, len(_DRAWN), sharey=True, squeeze=False)
        for axes, metric in zip(found[0], _DRAWN, strict=True):
            successes, trials = rate_counts(metric, table)
            for place, group in enumerate(large):
                rate = np.divide(
                    successes[group], trials[group], out=np.full(len(GRID), np.nan), where=trials[group] > 0
                )
                name = " x ".join(table.slices[group].values())
                style = {
                    "color": COLOURS[place % len(COLOURS)],
                    "linestyle": ("-", "--", ":")[place // len(COLOURS) % 3],
                }
                axes.plot(GRID, rate, linewidth=1.4, label=f" {name}" if name.startswith("_") else name, **style)
            axes.axvline(settings.decision_threshold, color="#767676", linewidth=0.8)
            axes.set_title(metric.replace("_", " "), loc="left", fontsize=9)
            axes.set_xlabel("threshold")
            axes.set_ylim(0.0, 1.0)
        for text in found[0][0].legend(frameon=False, fontsize=7).get_texts():
            text.set_parse_math(False)
        words = f"Rates by {' x '.join(table.grouping)}; vertical line: the decision threshold"
        figure.suptitle(words, x=0.01, ha="left", fontsize=10, parse_math=False)
        figure.savefig(path, format="svg", metadata={"Date": None})
