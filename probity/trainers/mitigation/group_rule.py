"""A decision rule with a threshold for each group, as part of the exported graph.

The decision everywhere else is ``score > decision_threshold``. So the rule moves scores instead: within each group by
an increasing function that takes the group's own threshold ``t`` to the common one ``c`` and keeps 0 and 1,

    s <= t:  s c / t            s > t:  c + (s - t) (1 - c) / (1 - t)

A row is above ``c`` afterwards exactly when it was above ``t`` before, and the order of rows within a group stays. The
order between groups does not, and a moved score is no probability any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from probity.data import MISSING_GROUP, Column, ColumnKind, Dataset, SensitiveAttribute
from probity.groups import group_names

__all__ = ["GroupRule", "common_threshold", "make_rule", "moved"]

_UNKNOWN = -1


@dataclass(frozen=True, kw_only=True)
class GroupRule:
    """Thresholds by group, and how a raw row's group is found.

    Guarantees: a row whose group is unknown, missing or without a threshold of its own keeps its score bit by bit.

    Attributes:
        attributes: What forms the groups; a group is one value of each, the last varying fastest.
        columns: The raw columns of these attributes, each once.
        thresholds: For each group, float32 in [0, 1].
        decision_threshold: The common threshold, as :func:`common_threshold` gives it.
    """

    attributes: tuple[SensitiveAttribute, ...]
    columns: tuple[Column, ...]
    thresholds: tuple[float, ...]
    decision_threshold: float

    def apply(self, scores: Any, raw: Mapping[str, Any]) -> Any:
        """Returns the moved scores, inside a graph or outside.

        Args:
            scores: float32 of shape (rows, 1).
            raw: The raw columns as sparse tensors of one value a row at most.
        """
        import tensorflow as tf

        own = tf.constant([*self.thresholds, self.decision_threshold], tf.float32)
        codes = self._codes(raw)
        chosen = tf.gather(own, tf.where(codes == _UNKNOWN, len(self.thresholds), codes))
        return moved(scores, chosen[:, None], common=self.decision_threshold)

    def _codes(self, raw: Mapping[str, Any]) -> Any:
        """Returns each row's group, int32 of shape (rows,); -1 where it is not known."""
        import tensorflow as tf

        kinds = {column.name: column.kind for column in self.columns}
        joint: Any = 0
        known: Any = True
        for attribute in self.attributes:
            codes = _codes_of(attribute, kinds[attribute.column], raw[attribute.column])
            known = known & (codes != _UNKNOWN)
            joint = joint * len(attribute.groups) + codes
        return tf.where(known, joint, _UNKNOWN)


def make_rule(
    dataset: Dataset, across: tuple[str, ...], thresholds: tuple[float, ...], *, decision_threshold: float
) -> GroupRule:
    """Returns the rule for the groups of some attributes of a data set."""
    declared = {attribute.name: attribute for attribute in dataset.sensitive}
    attributes = tuple(declared[name] for name in across)
    names = dict.fromkeys(attribute.column for attribute in attributes)
    return GroupRule(
        attributes=attributes,
        columns=tuple(dataset.column(name) for name in names),
        thresholds=thresholds,
        decision_threshold=decision_threshold,
    )


def common_threshold(decision_threshold: float) -> float:
    """Returns the largest float32 that is not above the threshold: a float32 is above both or above neither."""
    nearest = np.float32(decision_threshold)
    return float(np.nextafter(nearest, np.float32(-np.inf)) if float(nearest) > decision_threshold else nearest)


def moved(scores: Any, thresholds: Any, *, common: float) -> Any:
    """Returns scores moved as the module says.

    Guarantees: in [0, 1]; not decreasing in the score; above ``common`` exactly where the score is above its threshold.

    Args:
        scores: float32 in [0, 1].
        thresholds: float32 in [0, 1], of a shape that goes with that of the scores.
        common: A float32.
    """
    import tensorflow as tf

    # Not below the smallest normal float: TensorFlow takes subnormal ones for 0.
    lowest_above = max(float(np.nextafter(np.float32(common), np.float32(2.0))), float(np.finfo(np.float32).tiny))
    below = tf.minimum(scores * (common / tf.maximum(thresholds, np.float32(1e-30))), common)
    share = (scores - thresholds) / tf.maximum(1.0 - thresholds, np.float32(1e-30))
    above = tf.clip_by_value(common + share * (1.0 - common), lowest_above, 1.0)
    # The formulas give the score itself for the common threshold, but for rounding.
    return tf.where(thresholds == common, scores, tf.where(scores > thresholds, above, below))


def _codes_of(attribute: SensitiveAttribute, kind: ColumnKind, column: Any) -> Any:
    """Returns each row's group of one attribute as :func:`probity.groups.group_codes` does, int32; -1 for none."""
    import tensorflow as tf

    values, given = _dense(column, kind)
    if attribute.bins is not None:
        # Edges are rounded like the values, as in probity.groups.
        edges = tf.constant(attribute.bins, tf.float32 if kind is ColumnKind.FLOAT else tf.float64)
        places = tf.searchsorted(edges, tf.cast(values, edges.dtype), side="right")
        positions = [_position(attribute, name) for name in group_names(attribute.bins)]
        codes = tf.gather(tf.constant(positions, tf.int32), places)
    else:
        listed = [(i, value) for i, name in enumerate(attribute.groups) if (value := _value(name, kind)) is not None]
        same = values[:, None] == tf.constant([value for _, value in listed], values.dtype)[None, :]
        found = tf.gather(tf.constant([i for i, _ in listed], tf.int32), tf.argmax(same, axis=1))
        codes = tf.where(tf.reduce_any(same, axis=1), found, _UNKNOWN)
    return tf.where(given, codes, _UNKNOWN)


def _dense(column: Any, kind: ColumnKind) -> tuple[Any, Any]:
    """Returns the first value of each row, and whether there is one."""
    import tensorflow as tf

    shape = [column.dense_shape[0], tf.maximum(column.dense_shape[1], 1)]
    widened = tf.sparse.SparseTensor(column.indices, column.values, shape)
    if kind is ColumnKind.TEXT:
        words = tf.sparse.to_dense(widened, "")[:, 0]
        return words, words != ""
    present = tf.sparse.SparseTensor(column.indices, tf.ones_like(column.values, tf.int32), shape)
    values, given = tf.sparse.to_dense(widened)[:, 0], tf.sparse.to_dense(present)[:, 0] > 0
    return values, given & ~tf.math.is_nan(values) if kind is ColumnKind.FLOAT else given


def _position(attribute: SensitiveAttribute, name: str) -> int:
    return attribute.groups.index(name) if name in attribute.groups else _UNKNOWN


def _value(group: str, kind: ColumnKind) -> str | int | float | None:
    """Returns the raw value that a group's name stands for; ``None`` for a name that no value of this kind has."""
    if group == MISSING_GROUP:
        return None
    if kind is ColumnKind.TEXT:
        return group
    try:
        return int(group) if kind is ColumnKind.INT else float(np.float32(group))
    except ValueError:
        return None
