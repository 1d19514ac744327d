"""Distances and nearest rows against a naive loop."""

import numpy as np
import pyarrow as pa
import pytest

from probity.audits.neighbours import canonical_order, distances, nearest
from probity.data import Column, ColumnKind, Role

TEXT = Column(name="job", kind=ColumnKind.TEXT, roles=(Role.FEATURE,))
NUMBER = Column(name="age", kind=ColumnKind.INT, roles=(Role.FEATURE,))
TABLE = pa.table({"job": ["a", "a", "b", None, "a"], "age": pa.array([10, 20, None, 40, 10], pa.int64())})


def test_distances_are_the_definition():
    ages, jobs = [10, 20, None, 40, 10], ["a", "a", "b", None, "a"]
    spread = np.std([10, 20, 40, 10])
    alike = (3 / 5) ** 2 + (1 / 5) ** 2 + (1 / 5) ** 2
    found = distances(TABLE, [TEXT, NUMBER])
    for i in range(5):
        for j in range(5):
            if ages[i] is None or ages[j] is None:
                apart = float((ages[i] is None) != (ages[j] is None))
            else:
                apart = abs(ages[i] - ages[j]) / spread
            assert found[i, j] == pytest.approx(apart + alike * (jobs[i] != jobs[j]), abs=1e-6)


def test_rows_compared_by_nothing_and_by_a_constant_are_alike():
    assert not distances(TABLE, []).any()
    constant = pa.table({"age": pa.array([3, 3], pa.int64())})
    assert not distances(constant, [NUMBER]).any()


def test_no_rows():
    empty = TABLE.slice(0, 0)
    assert distances(empty, [TEXT, NUMBER]).shape == (0, 0)
    assert nearest(np.zeros((0, 0), np.float32), np.zeros((0, 0), bool)).shape == (0,)
    assert canonical_order(empty, ["job"]).shape == (0,)


def test_nearest_is_the_closest_that_is_allowed():
    apart = np.array([[0, 1, 2], [1, 0, 5], [2, 5, 0]], np.float32)
    assert nearest(apart, ~np.eye(3, dtype=bool)).tolist() == [1, 0, 0]
    only_last = np.zeros((3, 3), bool)
    only_last[:, 2] = True
    only_last[2, 2] = False
    assert nearest(apart, only_last).tolist() == [2, 2, -1]


def test_the_canonical_order_does_not_depend_on_the_order_of_the_rows():
    shuffled = TABLE.take(pa.array([3, 1, 4, 0, 2]))
    names = ["job", "age"]
    one, other = (table.take(pa.array(canonical_order(table, names))) for table in (TABLE, shuffled))
    assert one.to_pylist() == other.to_pylist()
