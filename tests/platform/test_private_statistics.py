"""Statistics with noise: accurate where epsilon is large, thresholded, bounded per unit, and never cheaper than
stated."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from probity.data import Column, ColumnKind, FeatureSpec, Role
from probity.platform.private_statistics import bounded_rows, delta_for, measure
from probity.recipe import PrivateStatisticsConfig

AGE = Column(name="age", kind=ColumnKind.INT, roles=(Role.FEATURE,))
WEIGHT = Column(name="weight", kind=ColumnKind.FLOAT, roles=(Role.FEATURE,))
TOWN = Column(name="town", kind=ColumnKind.TEXT, roles=(Role.FEATURE,))
SPECS = {"age": FeatureSpec(name="age", kind=ColumnKind.INT, required=True, minimum=16, maximum=100)}


def table(rows=20_000, seed=0):
    draw = np.random.default_rng(seed)
    return pa.table(
        {
            "age": pa.array(draw.integers(17, 91, rows), pa.int64(), mask=draw.random(rows) < 0.1),
            "weight": pa.array(draw.normal(70.0, 10.0, rows), pa.float64()),
            "town": pa.array(draw.choice(["Aarhus", "Bergen", "Cadiz"], rows, p=[0.6, 0.3, 0.1]), pa.string()),
        }
    )


def found(columns, *, rows=None, epsilon=20.0, delta=1e-6, **changes):
    values = {"specs": SPECS, "max_vocabulary": 100, "unit": "row", **changes}
    return measure(table() if rows is None else rows, columns, epsilon=epsilon, delta=delta, **values)


@pytest.mark.parametrize("column", [AGE, WEIGHT])
def test_with_little_noise_quantiles_are_the_exact_ones(column):
    exact = table().column(column.name).drop_null().to_numpy()
    quantiles = found([column]).quantiles[column.name]
    assert (np.diff(quantiles) >= 0).all()
    wanted = np.quantile(exact, [0.1, 0.5, 0.9])
    np.testing.assert_allclose(np.quantile(quantiles, [0.1, 0.5, 0.9]), wanted, atol=1.01)


def test_bounds_come_from_the_schema_or_are_powers_of_two_around_the_values():
    assert found([AGE]).bounds["age"] == (16, 100)
    low, high = found([WEIGHT]).bounds["weight"]
    exact = table().column("weight").to_numpy()
    assert 0 <= low <= np.quantile(exact, 0.01)
    assert np.quantile(exact, 0.99) <= high <= 256


def test_values_outside_public_bounds_change_nothing_but_their_share():
    rows = pa.table({"age": pa.array([50] * 5000 + [1000] * 5000, pa.int64())})
    assert set(found([AGE], rows=rows).quantiles["age"].tolist()) <= {50.0, 51.0}


def test_vocabularies_are_ordered_by_frequency_and_cut():
    assert found([TOWN]).vocabularies["town"] == ("Aarhus", "Bergen", "Cadiz")
    assert found([TOWN], max_vocabulary=2).vocabularies["town"] == ("Aarhus", "Bergen")


def test_a_value_that_few_units_hold_never_appears():
    rows = pa.table({"town": pa.array(["Aarhus"] * 3000 + ["only here"] + ["", None], pa.string())})
    for _ in range(200):
        assert found([TOWN], rows=rows, epsilon=1.0).vocabularies["town"] == ("Aarhus",)


def test_noise_has_the_stated_scale():
    # The spread of a count over repetitions is that of Laplace(1 / epsilon): variance 2 / epsilon^2. Over 400 counts
    # the
    # sample variance lies within a factor of 1.8 but for one time in 1e6; 0.5x and 2x noise would be outside (4x
    # variance).
    from probity.platform.private_statistics import _histogram

    epsilon = 0.5
    counts = np.concatenate([_histogram(np.zeros(0), np.arange(11.0), epsilon)[0] for _ in range(40)])[:400]
    assert 1 / 1.8 < counts.var() / (2 / epsilon**2) < 1.8


def test_what_is_stated_is_what_the_maps_say_and_within_what_was_asked():
    spent = found([AGE, WEIGHT, TOWN], epsilon=0.3, delta=1e-7).spent
    assert spent.epsilon == pytest.approx(0.3, rel=1e-9)
    assert 0 < spent.delta <= 1e-7
    assert len(spent.mechanisms) == 3
    assert found([AGE], epsilon=0.3).spent.delta == 0.0


def test_columns_without_any_value_give_nothing_and_still_cost():
    rows = pa.table({"age": pa.array([None] * 10, pa.int64()), "weight": pa.array([None] * 10, pa.float64())})
    measured = found([AGE, WEIGHT], rows=rows, epsilon=1.0)
    assert len(measured.quantiles["weight"]) == 0
    assert 0.5 < measured.spent.epsilon <= 1.0  # looking for bounds is paid for, also when there are none


def test_each_unit_keeps_one_row_drawn_at_random():
    units = np.repeat(np.arange(300), 5)
    rows = pa.table({"unit": units, "row": np.arange(1500)})
    firsts = []
    for _ in range(20):
        kept = bounded_rows(rows, units)
        assert sorted(kept.column("unit").to_pylist()) == list(range(300))
        firsts.append(np.sort(kept.column("row").to_numpy()) % 5)
    # Every place is drawn about equally often: 6,000 draws, 1,200 expected each, standard deviation 31.
    shares = np.bincount(np.concatenate(firsts), minlength=5)
    assert (abs(shares - 1200) < 200).all()
    assert bounded_rows(rows, None) is rows


def test_the_default_delta_is_a_tenth_of_the_accountants():
    assert delta_for(PrivateStatisticsConfig(epsilon=0.1), 29_000) == 1e-6
    assert delta_for(PrivateStatisticsConfig(epsilon=0.1, delta=1e-9), 29_000) == 1e-9
