"""What TFDV finds, in words that hold no data value: its own descriptions quote values, so counts take their place."""

from __future__ import annotations

from typing import Any

__all__ = ["MISSING", "UNLISTED", "SplitFacts", "type_name"]

MISSING = {
    "FEATURE_TYPE_LOW_FRACTION_PRESENT",
    "FEATURE_TYPE_LOW_NUMBER_PRESENT",
    "FEATURE_TYPE_NOT_PRESENT",
    "INVALID_FEATURE_SHAPE",
    "SCHEMA_MISSING_COLUMN",
}
UNLISTED = "ENUM_TYPE_UNEXPECTED_STRING_VALUES"
_TOO_BIG = {"INT_TYPE_BIG_INT", "FLOAT_TYPE_BIG_FLOAT"}
_TOO_SMALL = {"INT_TYPE_SMALL_INT", "FLOAT_TYPE_SMALL_FLOAT"}


class SplitFacts:
    """What can be said about a split's anomalies without quoting a value."""

    def __init__(self, statistics: Any, result: Any, schema: Any) -> None:
        (split,) = statistics.datasets
        self._rows = int(split.num_examples)
        self._features = {entry.path.step[0]: entry for entry in split.features}
        self._schema = {feature.name: feature for feature in schema.feature}
        self._domains = {domain.name: frozenset(domain.value) for domain in schema.string_domain}
        self._drift = {
            entry.path.step[0]: [(measure.value, measure.threshold) for measure in entry.drift_measurements]
            for entry in result.drift_skew_info
        }

    def missing(self, feature: str) -> int:
        """Returns the number of rows without a value."""
        entry = self._features.get(feature)
        if entry is None:
            return self._rows
        kind = entry.WhichOneof("stats")
        return self._rows - int(getattr(entry, kind).common_stats.num_non_missing) if kind else self._rows

    def missing_share(self, feature: str) -> float:
        """Returns the share of rows without a value."""
        return self.missing(feature) / self._rows if self._rows else 1.0

    def describe(self, feature: str, reason: str) -> str:
        """Returns the anomaly in our own words."""
        spec = self._schema.get(feature)
        if reason == UNLISTED:
            return self._unlisted(feature)
        if reason in MISSING:
            wanted = spec.presence.min_fraction if spec is not None else 0.0
            asked = "in every row" if wanted >= 1 else f"in at least {wanted:.2%} of the rows"
            return f"missing in {self.missing(feature)} of {self._rows} rows; the schema asks for a value {asked}"
        if reason == "UNEXPECTED_DATA_TYPE" and spec is not None:
            return f"the data is {self._data_type(feature)}, the schema says {type_name(spec)}"
        if reason == "SCHEMA_NEW_COLUMN":
            return "a column that the schema does not know"
        if reason in _TOO_BIG:
            return "at least one value above the largest one that the schema allows"
        if reason in _TOO_SMALL:
            return "at least one value below the smallest one that the schema allows"
        if reason.startswith("COMPARATOR_"):
            return self._distance(feature)
        return f"the data departs from the schema: {reason.lower().replace('_', ' ')}"

    def _unlisted(self, feature: str) -> str:
        spec, entry = self._schema[feature], self._features[feature]
        domain = self._domains.get(spec.domain, frozenset(spec.string_domain.value))
        listed = entry.string_stats.rank_histogram.buckets
        outside = [bucket.sample_count for bucket in listed if bucket.label not in domain]
        at_least = "at least " if entry.string_stats.unique > len(listed) else ""
        return (
            f"{at_least}{len(outside)} different values that the schema does not list, in {at_least}"
            f"{int(sum(outside))} of {self._rows} rows"
        )

    def _data_type(self, feature: str) -> str:
        entry = self._features[feature]
        return {0: "INT", 1: "FLOAT", 2: "BYTES"}.get(entry.type, "of another type")

    def _distance(self, feature: str) -> str:
        measured = [f"{value:.3g}, at most {limit:g} tolerated" for value, limit in self._drift.get(feature, [])]
        return f"distributed differently than in train: distance {'; '.join(measured) or 'above the tolerated one'}"


def type_name(feature: Any) -> str:
    """Returns the type of a schema feature: ``INT``, ``FLOAT``, ``BYTES`` or another of TensorFlow Metadata."""
    from tensorflow_metadata.proto.v0 import schema_pb2

    return str(schema_pb2.FeatureType.Name(feature.type))
