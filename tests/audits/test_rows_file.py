"""Scored rows on disk: the groups come back with their names, empty ones and empty files included."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from probity.audits.rows_file import numbers_of, read_groups, reading_rows, write_rows
from probity.errors import DataError

NAMES = {"sex": ("Female", "Male", "unknown"), "race": ("a",)}


@pytest.mark.parametrize("codes", [[0, 1, 1], [], [2]])
def test_groups_come_back_with_all_their_names(tmp_path, codes):
    groups = {"sex": np.array(codes, np.int32), "race": np.zeros(len(codes), np.int32)}
    columns = {"label": pa.array(np.zeros(len(codes)))}
    write_rows(tmp_path / "rows.parquet", columns, groups=groups, names=NAMES, extra={b"more": b"words"})
    with reading_rows(tmp_path / "rows.parquet", columns="label") as table:
        found, names = read_groups(table)
        assert len(numbers_of(table.column("label"), np.float32)) == len(codes)
        assert table.schema.metadata[b"more"] == b"words"
    assert names == NAMES
    assert {name: array.tolist() for name, array in found.items()} == {"sex": codes, "race": [0] * len(codes)}
    assert all(array.dtype == np.int32 for array in found.values())


def test_a_file_without_groups_is_none_of_ours(tmp_path):
    pq.write_table(pa.table({"label": [1]}), tmp_path / "rows.parquet")
    with (
        pytest.raises(DataError, match="columns label and one code per sensitive attribute"),
        reading_rows(tmp_path / "rows.parquet", columns="label") as table,
    ):
        read_groups(table)
