import numpy as np
import pyarrow as pa
import pytest

from probity.digest import digest_bytes
from probity.edge_cases import EdgeCases
from probity.errors import DataError


def test_cases_come_back_as_they_were_written(tmp_path):
    rows = pa.table({"age": pa.array([17, None], pa.int64()), "why": pa.array(["a column of the data", "too"])})
    cases = EdgeCases(rows=rows, expected=np.array([1, 0], np.int32), why=("young", None), digest=digest_bytes(b"file"))
    cases.write(tmp_path / "cases.parquet")
    again = EdgeCases.read(tmp_path / "cases.parquet")
    assert again.rows.equals(rows)
    assert again.expected.tolist() == [1, 0]
    assert (again.why, again.digest, len(again)) == (("young", None), digest_bytes(b"file"), 2)


@pytest.mark.parametrize("content", [b"", b"PAR1 no more"])
def test_a_file_that_holds_no_cases_is_named(tmp_path, content):
    (tmp_path / "cases.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"cases\.parquet: no readable file of edge cases"):
        EdgeCases.read(tmp_path / "cases.parquet")
