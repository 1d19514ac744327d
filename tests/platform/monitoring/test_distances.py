"""Distances of columns by TFDV's comparators, against their definitions."""

import numpy as np
import pyarrow as pa
import pytest

from probity.data import Column, ColumnKind, Role
from probity.platform.monitoring.distances import as_trained, column_measures, score_measure
from probity.platform.monitoring.prediction_log import INPUT

FEATURES = tuple(
    Column(name=name, kind=kind, roles=(Role.FEATURE,))
    for name, kind in (("age", ColumnKind.INT), ("job", ColumnKind.TEXT), ("pay", ColumnKind.FLOAT))
)


def rows(*, age=40.0, men=0.5, seed=0, count=4000):
    generator = np.random.default_rng(seed)
    return as_trained(
        pa.table(
            {
                f"{INPUT}age": generator.normal(age, 10, count).round(),
                f"{INPUT}job": np.where(generator.random(count) < men, "Sales", "Care").tolist(),
                f"{INPUT}pay": generator.normal(0, 1, count),
            }
        ),
        FEATURES,
    )


def measures(now, then):
    found = column_measures("skew", now, then, categorical=0.1, numeric=0.1)
    return {entry.of: entry for entry in found}


def test_equal_distributions_are_within():
    found = measures(rows(seed=1), rows(seed=2))
    assert {entry.status for entry in found.values()} == {"within"}
    assert {entry.n for entry in found.values()} == {4000}


def test_what_moved_is_beyond_and_nothing_else():
    found = measures(rows(age=55.0, men=0.8), rows(seed=2))
    assert {name: entry.status for name, entry in found.items()} == {"age": "beyond", "job": "beyond", "pay": "within"}
    now, then = (np.mean(np.array(table["job"].to_pylist()) == "Sales") for table in (rows(men=0.8), rows(seed=2)))
    assert found["job"].observed == pytest.approx(abs(now - then), abs=1e-6)  # L-infinity of two categories


def test_a_column_that_was_never_sent_is_insufficient_and_not_equal():
    sent = rows().drop(["pay"])
    logged = sent.rename_columns([f"{INPUT}{name}" for name in sent.column_names])
    found = measures(as_trained(logged, FEATURES), rows(seed=2))
    assert found["pay"].status == "insufficient"
    assert found["pay"].observed is None


def test_scores_are_compared_too():
    generator = np.random.default_rng(5)
    then = generator.beta(2, 5, 4000)
    assert score_measure(generator.beta(2, 5, 4000), then, limit=0.1).status == "within"
    assert score_measure(generator.beta(5, 2, 4000), then, limit=0.1).status == "beyond"


def test_a_column_of_zeros_with_another_largest_value_has_not_moved():
    """TFDV alone calls this 0.26: it spreads the bucket that holds the zeros."""

    def losses(largest):
        column = np.zeros(2000)
        column[:60] = np.linspace(1000, largest, 60)
        return rows(count=2000).set_column(2, "pay", pa.array(column, pa.float32()))

    assert measures(losses(2500), losses(4400))["pay"].observed < 0.05
