"""The file of edge cases: typed as the data, and every way in which it can be wrong."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from probity.data import Column, ColumnKind, Dataset, FeatureSpec, Role, Schema
from probity.digest import digest_bytes, digest_file
from probity.errors import ConfigError
from probity.platform.edge_cases import read_edge_cases, require_edge_cases

KINDS = {"age": ColumnKind.INT, "wage": ColumnKind.FLOAT, "post": ColumnKind.TEXT, "sex": ColumnKind.TEXT}
ROLES = {"sex": Role.SENSITIVE}


def make_dataset(classes=()):
    columns = [Column(name=name, kind=kind, roles=(ROLES.get(name, Role.FEATURE),)) for name, kind in KINDS.items()]
    return Dataset(
        name="a", source="a.csv", source_format="csv", source_digest=digest_bytes(b"a"),
        content_digest=digest_bytes(b"b"), num_rows=9, excluded=("note",), label="y", split_rule="hash",
        columns=(*columns, Column(name="y", kind=ColumnKind.TEXT, roles=(Role.LABEL,))),
        task="multiclass" if classes else "binary", positive=None if classes else "yes", classes=classes,
    )  # fmt: skip


def make_schema(domain=None):
    spec = FeatureSpec(name="y", kind=ColumnKind.TEXT, required=True, domain=domain)
    return Schema(digest=digest_bytes(b"schema"), curated=False, features=(spec,))


def read(tmp_path, text, *, classes=(), domain=None):
    path = tmp_path / "cases.csv"
    path.write_text(text)
    schema = make_schema(domain)
    return read_edge_cases(path, dataset=make_dataset(classes), schema=schema, missing_values=("?",))


def test_cells_get_the_types_of_the_data_and_not_their_own(tmp_path):
    """Alone, 0 looks whole and 1010 like a number: the wage is a float and the post code text."""
    found = read(tmp_path, "y,why,post,wage,age\nyes,young,1010,0,17\nno,,?,,\n")
    assert found.rows.schema == pa.schema([("age", pa.int64()), ("wage", pa.float32()), ("post", pa.string())])
    assert found.rows.to_pylist() == [
        {"age": 17, "wage": 0.0, "post": "1010"},
        {"age": None, "wage": None, "post": None},
    ]
    assert found.expected.tolist() == [1, 0]
    assert found.why == ("young", None)
    assert found.digest == digest_file(tmp_path / "cases.csv")


def test_parquet_is_read_as_csv_is(tmp_path):
    table = pa.table({"age": [17.0, None], "wage": [3, 4], "post": [1010, 1020], "sex": ["F", "M"], "y": ["yes", "no"]})
    pq.write_table(table, tmp_path / "cases.parquet")
    found = read_edge_cases(tmp_path / "cases.parquet", dataset=make_dataset(), schema=make_schema(), missing_values=())
    assert found.rows.column("age").to_pylist() == [17, None]
    assert found.rows.column("post").to_pylist() == ["1010", "1020"]
    assert found.rows.column_names == ["age", "wage", "post", "sex"]
    assert found.why == (None, None)


def test_classes_are_their_positions(tmp_path):
    found = read(tmp_path, "age,wage,post,y\n1,1,a,mid\n2,1,a,low\n", classes=("low", "mid", "top"))
    assert found.expected.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("age,post,y\n1,a,yes\n", "no column wage"),
        ("age,wage,post\n1,1,a\n", "no column y"),
        ("age,wage,post,y,wagee\n1,1,a,yes,2\n", r"a column wagee that the data does not have - did you mean 'wage'\?"),
        ("age,wage,post,y\n1.5,1,a,yes\n", "column age holds something else than whole numbers"),
        ("age,wage,post,y\n1,high,a,yes\n", "column wage holds something else than numbers"),
        ("age,wage,post,y\n1,1e300,a,yes\n", "column wage: 1 of 1 values are infinite or beyond"),
        ("age,wage,post,y\n1,1,a,\n1,2,a,yes\n", r"1 of 2 cases without an outcome .*\(cases 1\)"),
        ("age,wage,post,y\n1,1,a,yes\n1,2,a,Yes\n", r"1 of 2 cases without an outcome .*\(cases 2\)"),
        ("age,wage,post,y\n1,1,a,yes\n2,2,b,no\n1,1,a,no\n", r"different outcomes \(cases 1, 3\)"),
        ("age,wage,post,y\n", "0 rows"),
        ("age,wage,post,y\n1,1,a\n", "1 rows with more or fewer cells"),
        ("", "an empty file"),
    ],
)
def test_what_is_wrong_is_said_without_a_value(tmp_path, text, message):
    with pytest.raises(ConfigError, match=rf"audits\.edge_cases: .*{message}"):
        read(tmp_path, text, domain=("yes", "no"))


def test_a_label_without_a_domain_is_positive_or_not(tmp_path):
    """As in the data: every value but the positive one is negative."""
    assert read(tmp_path, "age,wage,post,y\n1,1,a,nope\n").expected.tolist() == [0]


@pytest.mark.parametrize("name", ["absent.csv", "cases.txt", "folder.csv"])
def test_a_file_that_cannot_be_one_is_refused_before_it_is_read(tmp_path, name):
    (tmp_path / "cases.txt").write_text("age,y\n")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ConfigError, match=r"audits\.edge_cases: .*CSV"):
        require_edge_cases(tmp_path / name)
