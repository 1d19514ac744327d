"""Finding and reading data files."""

import codecs
import gzip

import pyarrow as pa
import pytest
from pyarrow import parquet

from probity.data_source import DataConfig
from probity.errors import DataError
from probity.platform.readers import format_of
from probity.platform.sources import read, source_digest, source_files

HIDDEN = "Hidden-4711"
GOOD = f"name,n\n{HIDDEN},1\nb,2\n".encode()


def data_config(source):
    return DataConfig(source=source, label={"column": "n"})


def rows_of(path, content):
    path.write_bytes(content)
    return read([path])[0].to_pydict()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.csv", "csv"),
        ("A.CSV.GZ", "csv"),
        ("a.parquet", "parquet"),
        ("a.parquet.gz", None),
        ("a.tfrecord", "tfrecord"),
        ("data_tfrecord-00000-of-00001.gz", "tfrecord"),
        ("a.txt", None),
        ("csv", None),
    ],
)
def test_the_name_announces_the_format(tmp_path, name, kind):
    assert format_of(tmp_path / name) == kind


def test_a_folder_is_one_level_and_a_pattern_may_go_deeper(tmp_path):
    deep = tmp_path / "in" / "sub"
    deep.mkdir(parents=True)
    for path in (tmp_path / "in" / "b.csv", tmp_path / "in" / "a.csv", deep / "c.csv"):
        path.write_bytes(GOOD)
    found = source_files(data_config("in"), root=tmp_path)[""]
    assert [path.name for path in found] == ["a.csv", "b.csv"]
    found = source_files(data_config("in/**/*.csv"), root=tmp_path)[""]
    assert [path.name for path in found] == ["a.csv", "b.csv", "c.csv"]
    assert read(found)[1] == (2, 2, 2)
    # A pattern that matches a folder too reads the files it matches.
    assert len(source_files(data_config("in/*"), root=tmp_path)[""]) == 2


@pytest.mark.parametrize("source", ["nowhere.csv", "empty", "nothing/*.csv"])
def test_a_source_that_matches_nothing_is_an_error(tmp_path, source):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"data\.source"):
        source_files(data_config(source), root=tmp_path)


def test_stray_and_mixed_files_are_errors(tmp_path):
    (tmp_path / "a.csv").write_bytes(GOOD)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"notes\.txt is no data file"):
        source_files(data_config("."), root=tmp_path)
    (tmp_path / "notes.txt").rename(tmp_path / "b.parquet")
    with pytest.raises(DataError, match="different formats: csv, parquet"):
        source_files(data_config("."), root=tmp_path)


def test_splits_are_named_in_errors(tmp_path):
    (tmp_path / "a.csv").write_bytes(GOOD)
    config = data_config({"train": "a.csv", "eval": "a.csv", "test": "b.csv"})
    with pytest.raises(DataError, match=r"data\.source\.test"):
        source_files(config, root=tmp_path)


def test_the_source_digest_follows_bytes_and_names(tmp_path):
    (tmp_path / "a.csv").write_bytes(GOOD)
    before = source_digest(data_config("a.csv"), root=tmp_path)
    assert before == source_digest(data_config("*.csv"), root=tmp_path)
    (tmp_path / "a.csv").write_bytes(GOOD + b"c,3\n")
    assert source_digest(data_config("a.csv"), root=tmp_path) != before


def test_csv_cells_stay_text(tmp_path):
    expected = {"name": [HIDDEN, "b"], "n": ["1", "2"]}
    assert rows_of(tmp_path / "plain.csv", GOOD) == expected
    assert rows_of(tmp_path / "packed.csv.gz", gzip.compress(GOOD)) == expected
    assert rows_of(tmp_path / "bom.csv", codecs.BOM_UTF8 + GOOD) == expected
    assert rows_of(tmp_path / "windows.csv", GOOD.replace(b"\n", b"\r\n")) == expected
    assert rows_of(tmp_path / "open_end.csv", GOOD.rstrip()) == expected
    assert rows_of(tmp_path / "blank.csv", GOOD + b"\n\n") == expected
    quoted = b'"name","n"\n"a, ""b""\nc",007\n,\n'
    assert rows_of(tmp_path / "quoted.csv", quoted) == {"name": ['a, "b"\nc', ""], "n": ["007", ""]}


BROKEN = {
    "ragged.csv": (GOOD + b"c\nd,4,5\n", "2 rows with more or fewer cells than the 2 columns"),
    "open_quote.csv": (GOOD + b'"c,4\n', "1 rows with more or fewer cells"),
    "latin1.csv": (GOOD + "Zoë,3\n".encode("latin-1"), "not UTF-8, first in line 4"),
    "latin1_header.csv": ("naïve,n\na,1\n".encode("latin-1"), "not UTF-8, first in line 1"),
    "utf16.csv": (GOOD.decode().encode("utf-16"), "not UTF-8, first in line 1"),
    "repeated.csv": (b"n, n ,m\n1,2,3\n", "several columns with one name: n"),
    "header_only.csv": (b"name,n\n", "0 rows and 2 columns"),
    "nothing.csv": (b"", "an empty file"),
    "only_bom.csv": (codecs.BOM_UTF8, "empty"),
    "blank.csv": (b"\n\n", "an empty first line"),
    "semicolons.csv": (GOOD.replace(b",", b";"), "another separator"),
    "truncated.csv.gz": (gzip.compress(GOOD * 100)[:-12], "truncated or corrupt"),
    "not_packed.csv.gz": (GOOD, "truncated or corrupt"),
    "broken.parquet": (b"PAR1" + GOOD + b"PAR1", "truncated or corrupt"),
    "empty.parquet": (b"", "truncated or corrupt"),
    "broken.tfrecord": (GOOD * 10, "truncated or corrupt"),
    "broken.tfrecord.gz": (GOOD * 10, "truncated or corrupt"),
    "nothing.tfrecord": (b"", "0 rows and 0 columns"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_named_counted_and_not_quoted(tmp_path, name):
    content, seen = BROKEN[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=seen) as raised:
        read([tmp_path / name])
    message = str(raised.value)
    assert name in message
    assert HIDDEN not in message
    assert "Zo" not in message
    assert raised.value.exit_code == 2


def test_a_folder_or_missing_permission_is_unreadable(tmp_path):
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        read([tmp_path / "a.csv"])


def test_files_of_one_source_have_the_same_columns_in_any_order(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    (tmp_path / "b.csv").write_text("y,x\n4,3\n")
    assert read([tmp_path / "a.csv", tmp_path / "b.csv"])[0].to_pydict() == {"x": ["1", "3"], "y": ["2", "4"]}
    (tmp_path / "c.csv").write_text("x,z\n5,6\n")
    with pytest.raises(DataError, match=r"c\.csv: other columns than a\.csv; they differ in y, z"):
        read([tmp_path / "a.csv", tmp_path / "c.csv"])


def test_parquet_numbers_of_several_types_become_one(tmp_path):
    # A writer stores whole numbers as float as soon as one of them is missing.
    parquet.write_table(pa.table({"x": [1, 2]}), tmp_path / "a.parquet")
    parquet.write_table(pa.table({"x": [3.0, None]}), tmp_path / "b.parquet")
    table, rows = read([tmp_path / "a.parquet", tmp_path / "b.parquet"])
    assert table.to_pydict() == {"x": [1.0, 2.0, 3.0, None]}
    assert rows == (2, 2)
    parquet.write_table(pa.table({"x": ["a"]}), tmp_path / "c.parquet")
    with pytest.raises(DataError, match="different types in different files: int64, string"):
        read([tmp_path / "a.parquet", tmp_path / "c.parquet"])


def test_repeated_parquet_columns_are_refused(tmp_path):
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="several columns with one name: x"):
        read([tmp_path / "a.parquet"])


def test_tfrecord_is_read_plain_and_packed(tmp_path):
    import tensorflow as tf

    from probity.tfexample import encode

    # "late" is missing in the whole first file, and a tf.Example may leave it out altogether.
    first = encode(pa.table({"x": pa.array([1, 2]), "t": pa.array(["a", None])}))
    second = encode(pa.table({"x": pa.array([3]), "t": pa.array(["c"]), "late": pa.array([0.5], pa.float32())}))
    for name, records, packing in (("a.tfrecord", first, ""), ("b.tfrecord.gz", second, "GZIP")):
        with tf.io.TFRecordWriter(str(tmp_path / name), options=packing) as writer:
            for record in records:
                writer.write(record)
    table, rows = read([tmp_path / "a.tfrecord", tmp_path / "b.tfrecord.gz"])
    assert rows == (2, 1)
    assert table.to_pydict() == {
        "t": [[b"a"], [], [b"c"]],
        "x": [[1], [2], [3]],
        "late": [None, None, [0.5]],
    }
