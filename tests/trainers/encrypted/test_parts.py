"""Who has which rows: every row has one owner, every step takes as many of each, and no row twice in a pass."""

import numpy as np
import pyarrow.parquet as parquet
import pytest

from probity.data import TransformedFeature
from probity.errors import ConfigError, DataError
from probity.trainers.encrypted.parts import deal, plan
from probity.trainers.encrypted.settings import EncryptedSettings

OUTPUTS = (
    TransformedFeature(name="age_xf", source="age", width=2),
    TransformedFeature(name="city_xf", source="city", width=3),
)
INPUTS = ("city_xf", "age_xf")


def planned(rows=100, seed=1, **settings):
    given = {"epochs": 2, "batch_size": 12, **settings}
    return plan(EncryptedSettings(**given), OUTPUTS, INPUTS, rows=rows, seed=seed)


def test_rows_have_one_owner_each_and_take_part_at_most_once_per_epoch():
    found = planned(data_owners={"count": 3})
    assert sorted(np.concatenate([part.rows for part in found.parts])) == list(range(100))
    for epoch in range(2):
        taken = np.concatenate([found.batch(epoch, step) for step in range(found.schedule[0].shape[1])])
        assert len(taken) == len(set(taken)) == found.rows_per_epoch == 96


def test_epochs_and_seeds_differ_and_equal_seeds_do_not():
    first, again, other = planned(), planned(), planned(seed=2)
    assert (first.schedule[0][0] != first.schedule[0][1]).any()
    assert (first.batch(0, 0) == again.batch(0, 0)).all()
    assert (first.batch(0, 0) != other.batch(0, 0)).any()


def test_owners_of_columns_have_the_columns_of_their_sources():
    found = planned(data_owners={"by": "columns", "groups": {"a": ["age"], "b": ["city"]}})
    assert [list(part.columns) for part in found.parts] == [[3, 4], [0, 1, 2]]
    assert list(found.column_order) == [3, 4, 0, 1, 2]
    assert [part.labelled for part in found.parts] == [True, False]
    assert (found.schedule[0] == found.schedule[1]).all()


def test_dealt_files_are_the_owners_part_and_nothing_else(tmp_path):
    found = planned(rows=10, data_owners={"by": "columns", "groups": {"a": ["age"], "b": ["city"]}})
    joined, labels = np.arange(50, dtype=np.float32).reshape(10, 5), np.ones(10, np.float32)
    deal(found, joined, labels, folder=tmp_path)
    bank, city = (parquet.read_table(tmp_path / owner / "rows.parquet") for owner in ("a", "b"))
    assert bank.column_names == ["age_xf[0]", "age_xf[1]", "label"]
    assert city.column_names == ["city_xf[0]", "city_xf[1]", "city_xf[2]"]
    np.testing.assert_array_equal(np.stack([bank.column(i).to_numpy() for i in (0, 1)], axis=1), joined[:, 3:])
    np.testing.assert_array_equal(np.stack([city.column(i).to_numpy() for i in range(3)], axis=1), joined[:, :3])
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"rows.parquet"}


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({"a": ["age"]}, "no owner of city"),
        ({"a": ["age", "city", "sex"]}, "sex, which no feature is made of"),
        ({"a": ["age", "city"], "b": ["age"]}, "two owners of age"),
    ],
)
def test_columns_without_one_owner_are_refused(groups, said):
    with pytest.raises(ConfigError, match=said):
        planned(data_owners={"by": "columns", "groups": groups})


def test_fewer_rows_than_owners_are_refused():
    with pytest.raises(DataError, match="owner2 would have no rows"):
        planned(rows=2, data_owners={"count": 3})


def test_fewer_rows_than_a_batch_make_one_smaller_step():
    found = planned(rows=4)
    assert found.schedule[0].shape == (2, 1, 2)
