"""Partial dependence of functions whose dependence is known."""

import numpy as np
import pyarrow as pa
import pytest

from probity.audits.dependence import GRID, dependence_of, frequent_texts, grid_of
from probity.data import Column, ColumnKind, Role

AGE = Column(name="age", kind=ColumnKind.INT, roles=(Role.FEATURE,))
JOB = Column(name="job", kind=ColumnKind.TEXT, roles=(Role.FEATURE,))


def table(n=50):
    return pa.table({"age": pa.array(range(n), pa.int64()), "job": (["a", "b", "b", "c", None] * n)[:n]})


def test_grid_is_quantiles_or_frequent_texts():
    assert grid_of(table(), AGE)[0] == 0
    assert grid_of(table(), AGE)[-1] == 49
    assert len(grid_of(table(), AGE)) == GRID
    assert grid_of(table(), JOB) == ("a", "b", "c")
    assert frequent_texts(table().column("job").drop_null()) == ("b", "a", "c")
    assert grid_of(pa.table({"age": pa.array([None], pa.int64())}), AGE) == ()
    assert grid_of(pa.table({"age": pa.array([7, 7], pa.int64())}), AGE) == (7,)


def test_curves_are_the_model_asked_row_by_row():
    data = table(6)
    values = (1, 5)

    def predict(rows):
        return rows.column("age").to_numpy() / 10 + (np.array(rows.column("job").to_pylist()) == "b") * 0.1

    found = dependence_of(data, AGE, values=values, predict=predict)
    for i, job in enumerate(data.column("job").to_pylist()):
        assert found.curves[i] == pytest.approx([value / 10 + (job == "b") * 0.1 for value in values])
    value, lower, upper = found.range_(confidence=0.95)
    assert (value, lower, upper) == (pytest.approx(0.4), pytest.approx(0.4), pytest.approx(0.4))


def test_range_of_one_value_and_of_one_row_has_no_width():
    one = dependence_of(table(5), AGE, values=(3,), predict=lambda rows: np.full(rows.num_rows, 0.3))
    assert one.range_(confidence=0.95) == (0.0, 0.0, 0.0)
    row = dependence_of(table(1), AGE, values=(3, 4), predict=lambda rows: rows.column("age").to_numpy() / 10)
    assert row.range_(confidence=0.95)[0] == pytest.approx(0.1)


def test_the_interval_holds_the_true_range():
    rng, held = np.random.default_rng(5), 0
    for _ in range(300):
        slopes = rng.normal(0.02, 0.02, 60)

        def predict(rows, slopes=slopes):
            return 0.5 + np.tile(slopes, 2) * rows.column("age").to_numpy()

        found = dependence_of(table(60), AGE, values=(0, 5), predict=predict)
        _, lower, upper = found.range_(confidence=0.95)
        held += lower <= 0.1 <= upper
    assert held / 300 >= 0.91
