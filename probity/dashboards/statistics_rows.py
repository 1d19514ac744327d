"""The exact statistics of a run as lines of a table. For internal readers: nothing in them is private or withheld."""

from __future__ import annotations

from typing import Any

from probity.dashboards.words import short_number
from probity.data import Statistics
from probity.model_cards.wording import ABSENT
from probity.runs import STATISTICS, RunFolder

__all__ = ["feature_rows", "group_rows"]


def group_rows(statistics: Statistics) -> list[dict[str, str]]:
    """Returns one line per sensitive group, with its number of rows in each split."""
    counts = statistics.group_counts
    groups = dict.fromkeys(group for split in counts.values() for group in split)
    return [
        {"group": group, **{split: f"{found.get(group, 0):,}" for split, found in counts.items()}} for group in groups
    ]


def feature_rows(folder: RunFolder, file: str) -> list[dict[str, str]]:
    """Returns one line per column: how many values, how many missing, and how they are distributed."""
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import statistics_pb2

    path = folder.path / STATISTICS / file
    try:
        found = text_format.Parse(path.read_text(encoding="utf-8"), statistics_pb2.DatasetFeatureStatisticsList())
    except (OSError, text_format.ParseError):
        return []
    return [_row(feature) for dataset in found.datasets for feature in dataset.features]


def _row(feature: Any) -> dict[str, str]:
    numeric = feature.WhichOneof("stats") == "num_stats"
    kind = feature.num_stats if numeric else feature.string_stats
    shared = kind.common_stats
    cells = {
        "column": feature.path.step[0] if feature.path.step else feature.name,
        "values": f"{shared.num_non_missing:,}",
        "missing": f"{shared.num_missing:,}",
    }
    if numeric:
        spread = (kind.mean, kind.std_dev, kind.min, kind.median, kind.max)
        return (
            cells
            | dict(zip(("mean", "spread", "least", "middle", "most"), map(short_number, spread), strict=True))
            | {"different values": ABSENT}
        )
    return (
        cells
        | dict.fromkeys(("mean", "spread", "least", "middle", "most"), ABSENT)
        | {"different values": f"{kind.unique:,}"}
    )
