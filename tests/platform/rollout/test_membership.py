"""Groups by tracking id."""

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from probity.errors import DataError
from probity.platform.rollout.membership import Membership

TABLE = pa.table({"tracking_id": ["a", "b", "c"], "sex": ["Female", "Male", None], "race": ["Black", "White", "White"]})


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_is_read_and_joined(tmp_path, suffix):
    path = tmp_path / f"groups{suffix}"
    (pa.parquet if suffix == ".parquet" else pa.csv).__dict__["write_table" if suffix == ".parquet" else "write_csv"](
        TABLE.slice(0, 2), path
    )
    found = Membership.read(path)
    assert found.of(["b", "a"]) == ({"sex=Male", "race=White"}, {"sex=Female", "race=Black"})
    assert found.groups == ("race=Black", "race=White", "sex=Female", "sex=Male")


def test_nobody_is_left_out():
    found = Membership(TABLE)
    assert found.of(["c", "unheard of"]) == (
        {"sex=(missing)", "race=White"},
        {"sex=(missing)", "race=(missing)"},
    )


def test_rows_of_a_request_belong_to_its_tracking_id():
    found = Membership(pa.table({"tracking_id": ["a", "a/1"], "sex": ["Female", "Male"]}))
    assert found.of(["a/0", "a/1"]) == ({"sex=Female"}, {"sex=Male"})


def test_numbers_are_texts():
    found = Membership(pa.table({"tracking_id": [1, 2], "band": [25.0, 40.0]}))
    assert found.of(["2"]) == ({"band=40"},)


@pytest.mark.parametrize(
    ("table", "seen"),
    [
        (pa.table({"sex": ["Female"]}), "columns sex"),
        (pa.table({"tracking_id": ["a"]}), "columns tracking_id"),
        (pa.table({"tracking_id": ["a", "a"], "sex": ["Female", "Male"]}), "1 repeated"),
        (pa.table({"tracking_id": range(300), "index": range(300)}), "300 different values in the column index"),
    ],
)
def test_a_table_that_cannot_be_joined_is_refused(table, seen):
    with pytest.raises(DataError, match=seen):
        Membership(table)


def test_no_table_is_refused(tmp_path):
    with pytest.raises(DataError, match="FileNotFoundError"):
        Membership.read(tmp_path / "none.csv")
