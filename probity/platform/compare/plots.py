"""The plots of a comparison: what privacy costs, on the whole and group by group."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["write_plots"]

# Okabe and Ito (2008): distinguishable with every common form of colour blindness.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_LABELS = {
    "auc": "AUC",
    "accuracy": "accuracy",
    "selection_rate": "selection rate",
    "true_positive_rate": "true positive rate",
    "false_positive_rate": "false positive rate",
}


def write_plots(summary: pd.DataFrame, *, folder: Path) -> tuple[str, ...]:
    """Writes the plots that the table has numbers for, as SVG, and returns their names.

    ``utility.svg``: AUC and accuracy against epsilon. ``groups.svg``: the same of each group (the cost of privacy by
    group). ``gaps.svg``: differences between groups against epsilon. Bars are intervals over seeds; a trainer without
    epsilon is a horizontal line, with its interval as a band.
    """
    names = [name for name in summary.columns if not name.endswith(("_lower", "_upper"))]
    groups = [name for name in names if name.startswith("group:") and "," not in name]
    attributes = dict.fromkeys(name.split(":")[2].partition("=")[0] for name in groups)
    rows: dict[str, list[dict[str, list[str]]]] = {
        "utility": [{metric: [metric] for metric in ("auc", "accuracy") if metric in names}],
        "groups": [
            {
                f"{metric} by {attribute}": [name for name in groups if name.startswith(f"group:{metric}:{attribute}=")]
                for metric in ("auc", "true_positive_rate", "selection_rate")
            }
            for attribute in attributes
        ],
        "gaps": [
            {
                f"gap in {metric}": [name for name in names if name.startswith(f"gap:{metric}:")]
                for metric in ("selection_rate", "true_positive_rate", "false_positive_rate")
            }
        ],
    }
    written = []
    for plot, wanted in rows.items():
        filled = [row for row in ({title: found for title, found in row.items() if found} for row in wanted) if row]
        if filled:
            _draw(summary, filled, folder / f"{plot}.svg", bands=plot == "utility")
            written.append(f"{plot}.svg")
    return tuple(written)


def _draw(summary: pd.DataFrame, rows: list[dict[str, list[str]]], path: Path, *, bands: bool) -> None:
    from matplotlib.figure import Figure

    across = max(len(row) for row in rows)
    figure = Figure(figsize=(5.6 * across, 4.2 * len(rows)), layout="constrained")
    for i, row in enumerate(rows):
        for j, (title, series) in enumerate(row.items()):
            axes = figure.add_subplot(len(rows), across, i * across + j + 1)
            for k, name in enumerate(series):
                _series(axes, summary, name, _COLOURS[k % len(_COLOURS)], _MARKERS[k % len(_MARKERS)], bands=bands)
            _epsilon_axis(axes, summary)
            words = title.replace("$", r"\$").split(" ")
            axes.set_title(" ".join(_LABELS.get(word, word) for word in words), fontsize=11)
            axes.grid(visible=True, alpha=0.3)
            if axes.get_legend_handles_labels()[0]:
                axes.legend(fontsize=8)
    figure.savefig(path, format="svg", metadata={"Date": None})


def _series(axes: Any, summary: pd.DataFrame, name: str, colour: str, marker: str, *, bands: bool) -> None:
    import pandas as pd

    label = (name.split(":")[-1] if ":" in name else _LABELS.get(name, name)).replace("$", r"\$")
    several = summary["trainer"].nunique() > 1
    for trainer, rows in summary.groupby("trainer", sort=False):
        text = f"{label}, {trainer}" if several else label
        private = rows[rows["target_epsilon"].notna()].sort_values("target_epsilon")
        if len(private) and private[name].notna().any():
            errors = None
            if private[f"{name}_lower"].notna().any():
                errors = [
                    (private[name] - private[f"{name}_lower"]).fillna(0.0),
                    (private[f"{name}_upper"] - private[name]).fillna(0.0),
                ]
            axes.errorbar(
                private["target_epsilon"],
                private[name],
                yerr=errors,
                color=colour,
                marker=marker,
                capsize=3,
                label=text,
            )
        for _, row in rows[rows["target_epsilon"].isna()].iterrows():
            if pd.isna(row[name]):
                continue
            # One name for each colour is enough where bands are left out: the axis says what a dashed line is.
            axes.axhline(row[name], color=colour, linestyle="--", linewidth=1.2, label=text if bands else None)
            if bands and pd.notna(row[f"{name}_lower"]):
                axes.axhspan(row[f"{name}_lower"], row[f"{name}_upper"], color=colour, alpha=0.12)


def _epsilon_axis(axes: Any, summary: pd.DataFrame) -> None:
    asked = sorted(summary["target_epsilon"].dropna().unique())
    if asked:
        axes.set_xscale("log")
        axes.set_xticks(asked, [f"{value:g}" for value in asked])
        axes.minorticks_off()
    axes.set_xlabel("asked epsilon (smaller: more private); dashed: without differential privacy")
