"""Rows that the schema allows: uniform, repeatable, and missing where it says nothing."""

import numpy as np
import pytest
from scipy import stats

from probity.data import Column, ColumnKind, Dataset, FeatureSpec, Role, Schema
from probity.digest import digest_bytes
from probity.schema_rows import draw_rows, undrawn_columns

KINDS = {"hours": ColumnKind.INT, "grade": ColumnKind.INT, "balance": ColumnKind.FLOAT, "city": ColumnKind.TEXT}
SPECS = (
    FeatureSpec(name="hours", kind=ColumnKind.INT, required=True, minimum=1, maximum=80),
    FeatureSpec(name="grade", kind=ColumnKind.INT, required=True, domain=("1", "3")),
    FeatureSpec(name="balance", kind=ColumnKind.FLOAT, required=True, minimum=-5.0, maximum=5.0),
    FeatureSpec(name="city", kind=ColumnKind.TEXT, required=False, domain=("Lund", "Ulm")),
    FeatureSpec(name="label", kind=ColumnKind.INT, required=True, minimum=0, maximum=1),
)
COLUMNS = (
    *(Column(name=name, kind=kind, roles=(Role.FEATURE,)) for name, kind in KINDS.items()),
    Column(name="label", kind=ColumnKind.INT, roles=(Role.LABEL,)),
)
DATASET = Dataset(
    name="none",
    source="none",
    source_format="csv",
    source_digest=digest_bytes(b""),
    content_digest=digest_bytes(b""),
    num_rows=1,
    columns=COLUMNS,
    label="label",
    positive="1",
    split_rule="none",
)


def schema(*specs):
    return Schema(digest=digest_bytes(b"schema"), curated=True, features=specs)


def draw(number, *specs, seed=1):
    return draw_rows(number, columns=DATASET.features, schema=schema(*specs), rng=np.random.default_rng(seed))


def test_rows_are_uniform_over_what_the_schema_allows():
    table = draw(8000, *SPECS)
    hours = table.column("hours").to_numpy()
    assert (hours.min(), hours.max()) == (1, 80)
    assert stats.chisquare(np.bincount(hours, minlength=81)[1:]).pvalue > 1e-4
    assert set(table.column("grade").to_pylist()) == {1, 3}
    balance = table.column("balance").to_numpy()
    assert stats.kstest(balance, stats.uniform(-5, 10).cdf).pvalue > 1e-4
    cities = table.column("city").to_pylist()
    assert set(cities) == {"Lund", "Ulm"}
    assert stats.binomtest(cities.count("Ulm"), 8000).pvalue > 1e-4


def test_columns_are_independent():
    table = draw(4000, *SPECS)
    numbers = [table.column(name).to_numpy() for name in ("hours", "grade", "balance")]
    found = np.corrcoef(numbers)[np.triu_indices(3, 1)]
    assert np.abs(found).max() < 4 / np.sqrt(4000)


def test_there_is_a_column_for_each_feature_and_for_nothing_else():
    assert draw(0, *SPECS).num_rows == 0
    assert draw(3, *SPECS).column_names == list(KINDS)


def test_equal_generators_give_equal_rows():
    assert draw(50, *SPECS).equals(draw(50, *SPECS))
    assert not draw(50, *SPECS).equals(draw(50, *SPECS, seed=2))


@pytest.mark.parametrize("half", [{"minimum": -5.0}, {"maximum": 5.0}, {}])
def test_a_column_without_domain_or_bounds_is_missing_and_named(half):
    silent = FeatureSpec(name="balance", kind=ColumnKind.FLOAT, required=False, **half)
    kept = [spec for spec in SPECS if spec.name not in ("balance", "city")]
    assert draw(10, *kept, silent).column("balance").null_count == 10
    assert draw(10, *kept, silent).column("city").null_count == 10
    assert undrawn_columns(DATASET.features, schema(*kept, silent)) == ("balance", "city")
    assert undrawn_columns(DATASET.features, schema(*SPECS)) == ()
