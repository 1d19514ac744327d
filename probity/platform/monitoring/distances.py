"""How far what is served lies from what was trained on: TFDV's own comparators, column by column.

Skew compares training with serving, drift the period before with this one. Text is compared by the largest difference
of a value's share (L-infinity), numbers by the Jensen-Shannon divergence of histograms.

TFDV spreads each bucket of a histogram evenly before it compares two with other edges. A column that is nearly always 0
and has another maximum in the two then looks as if it had moved, so both histograms are given the same edges first.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from probity.data import Column, ColumnKind
from probity.monitoring import Measure
from probity.platform.monitoring.prediction_log import INPUT
from probity.platform.profile import statistics_of

__all__ = ["as_trained", "column_measures", "score_measure"]

_BUCKETS = 50
"""Of a column of numbers; five hundred rows of one distribution then differ by 0.02 bits of chance."""


def as_trained(log: pa.Table, features: tuple[Column, ...]) -> pa.Table:
    """Returns the logged inputs with the types of the training data; a column that was never sent is missing."""
    arrow = {ColumnKind.INT: pa.int64(), ColumnKind.FLOAT: pa.float32(), ColumnKind.TEXT: pa.string()}
    columns = {}
    for feature in features:
        kind = arrow[feature.kind]
        if f"{INPUT}{feature.name}" in log.column_names:
            columns[feature.name] = log.column(f"{INPUT}{feature.name}").cast(kind, safe=False)
        else:
            columns[feature.name] = pa.nulls(log.num_rows, kind)
    return pa.table(columns)


def column_measures(
    kind: Literal["skew", "drift"], rows: pa.Table, reference: pa.Table, *, categorical: float, numeric: float
) -> list[Measure]:
    """Returns one measure for each column.

    Args:
        kind: What the reference is: the training split (``skew``), or the period before (``drift``).
        rows: Logged inputs, as :func:`as_trained` gives them.
        reference: The rows of the training split or of that period, likewise.
        categorical: Largest tolerated L-infinity distance of text.
        numeric: Largest tolerated Jensen-Shannon divergence of numbers.
    """
    limits = {
        name: categorical if pa.types.is_string(rows.schema.field(name).type) else numeric for name in rows.column_names
    }
    distances = _distances(rows, reference, limits)
    return [
        Measure(
            kind=kind,
            of=name,
            status="insufficient" if name not in distances else ("beyond" if distances[name] > limit else "within"),
            observed=distances.get(name),
            limit=limit,
            n=rows.num_rows,
            reason="" if name in distances else "no value in one of the two",
        )
        for name, limit in limits.items()
    ]


def score_measure(scores: Any, reference: Any, *, limit: float, of: str = "score") -> Measure:
    """Returns the distance of served scores from those of the audited test rows; ``of`` names them."""
    now, then = (
        pa.table({"score": pa.array(scores, pa.float32())}),
        pa.table({"score": pa.array(reference, pa.float32())}),
    )
    distance = _distances(now, then, {"score": limit}).get("score")
    return Measure(
        kind="score_drift",
        of=of,
        status="insufficient" if distance is None else ("beyond" if distance > limit else "within"),
        observed=distance,
        limit=limit,
        n=now.num_rows,
    )


def _distances(now: pa.Table, then: pa.Table, limits: dict[str, float]) -> dict[str, float]:
    """Returns TFDV's distance of each column that has values on both sides."""
    import tensorflow_data_validation as tfdv
    from tensorflow_metadata.proto.v0 import schema_pb2

    schema = schema_pb2.Schema()
    for name, limit in limits.items():
        kind = now.schema.field(name).type
        is_text, is_whole = pa.types.is_string(kind), pa.types.is_integer(kind)
        feature = schema.feature.add(
            name=name, type=schema_pb2.BYTES if is_text else (schema_pb2.INT if is_whole else schema_pb2.FLOAT)
        )
        comparator = feature.drift_comparator
        (comparator.infinity_norm if is_text else comparator.jensen_shannon_divergence).threshold = limit
    statistics = [statistics_of(table.select(list(limits))) for table in (now, then)]
    _align(statistics[0], statistics[1], now, then)
    found = tfdv.validate_statistics(statistics[0], schema, previous_statistics=statistics[1])
    return {
        entry.path.step[0]: float(entry.drift_measurements[0].value)
        for entry in found.drift_skew_info
        if entry.drift_measurements
    }


def _align(of_now: Any, of_then: Any, now: pa.Table, then: pa.Table) -> None:
    """Gives the histograms of a number in both statistics the same edges."""
    histograms = [_standard_histograms(statistics) for statistics in (of_now, of_then)]
    for name in histograms[0].keys() & histograms[1].keys():
        values = [table.column(name).drop_null().to_numpy().astype(np.float64) for table in (now, then)]
        edges = np.histogram_bin_edges(np.concatenate(values), bins=_BUCKETS)
        for histogram, of_column in zip((found[name] for found in histograms), values, strict=True):
            counts, _ = np.histogram(of_column, bins=edges)
            del histogram.buckets[:]
            for count, (low, high) in zip(counts, pairwise(edges), strict=True):
                histogram.buckets.add(low_value=low, high_value=high, sample_count=count)


def _standard_histograms(statistics: Any) -> dict[str, Any]:
    return {
        feature.path.step[0]: histogram
        for feature in statistics.datasets[0].features
        if feature.HasField("num_stats") and feature.num_stats.common_stats.num_non_missing
        for histogram in feature.num_stats.histograms
        if histogram.type == histogram.STANDARD
    }
