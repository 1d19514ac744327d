"""Finished comparisons of a workspace, as ``probity compare`` left them: one row per trainer and asked epsilon."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probity.dashboards.drawing import Point
from probity.workspace import Workspace

__all__ = ["Comparison", "comparisons", "pareto_front"]

PRIVACY = "target_epsilon"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One comparison.

    Attributes:
        id: Name of its folder.
        rows: One per trainer and asked epsilon; a number ``NAME`` has its interval over seeds in ``NAME_lower`` and
            ``NAME_upper``.
        cells: One per run.
        folder: Where its files lie.
    """

    id: str
    rows: tuple[dict[str, Any], ...]
    cells: tuple[dict[str, Any], ...]
    folder: Path

    @property
    def measured(self) -> tuple[str, ...]:
        """Names of the numbers that the table has, without those of their intervals."""
        names = self.rows[0] if self.rows else {}
        return tuple(
            name
            for name in names
            if f"{name}_lower" in names and name not in ("epsilon", "delta") and not name.endswith(("_lower", "_upper"))
        )

    def point(self, row: dict[str, Any], name: str) -> Point | None:
        """Returns a number of a row at the epsilon that was found; ``None`` where it is absent."""
        value, epsilon = _number(row.get(name)), _number(row.get("epsilon"))
        if value is None or epsilon is None:
            return None
        return Point(
            x=epsilon, y=value, lower=_number(row.get(f"{name}_lower")), upper=_number(row.get(f"{name}_upper"))
        )


def comparisons(workspace: Workspace) -> tuple[Comparison, ...]:
    """Returns the comparisons that came to a table, the one that changed last coming first."""
    import pandas as pd

    found = []
    for path in (workspace.root / "comparisons").glob("*/table.parquet"):
        try:
            rows, cells = (pd.read_parquet(path.with_name(name)) for name in ("table.parquet", "cells.parquet"))
        except (OSError, ValueError):
            continue
        comparison = Comparison(
            id=path.parent.name,
            rows=tuple(rows.to_dict("records")),
            cells=tuple(cells.to_dict("records")),
            folder=path.parent,
        )
        found.append((path.stat().st_mtime_ns, comparison))
    return tuple(comparison for _, comparison in sorted(found, key=lambda pair: -pair[0]))


def pareto_front(points: list[Point]) -> list[Point]:
    """Returns the points that no other one beats in both, smaller epsilon and larger value; ascending in epsilon."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.x, -(point.y or -math.inf))):
        if point.y is not None and all(point.y > (better.y or -math.inf) for better in front):
            front.append(point)
    return front


def _number(found: Any) -> float | None:
    if found is None or isinstance(found, str):
        return None
    value = float(found)
    return None if math.isnan(value) else value
