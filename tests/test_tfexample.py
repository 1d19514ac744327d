"""The encoder against TensorFlow's own parser, and the files against the tables that went in."""

import gzip
import hashlib
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from probity.data import Column, ColumnKind, Role, TransformedFeature
from probity.errors import DataError
from probity.tfexample import LABEL, encode, read_arrays, read_records, read_table, write_arrays, write_table

TABLE = pa.table(
    {
        "text": pa.array(["a", None, "", "Zürich 東京 🎲", "x" * 20_000], pa.string()),
        "int": pa.array([0, 1, None, -(2**63), 2**63 - 1], pa.int64()),
        "float": pa.array([0.0, None, -0.0, 3.4e38, 1e-45], pa.float32()),
        "nothing": pa.array([None] * 5, pa.string()),
    }
)
COLUMNS = tuple(
    Column(name=name, kind=kind, roles=(Role.FEATURE,))
    for name, kind in (
        ("text", ColumnKind.TEXT),
        ("int", ColumnKind.INT),
        ("float", ColumnKind.FLOAT),
        ("nothing", ColumnKind.TEXT),
    )
)


def parsed(record):
    import tensorflow as tf

    features = tf.train.Example.FromString(record).features.feature
    found = {}
    for name, feature in features.items():
        kind = feature.WhichOneof("kind")
        found[name] = list(getattr(feature, kind).value) if kind else []
    return found


def expected(table):
    rows = []
    for row in table.to_pylist():
        rows.append(
            {
                name: [] if value is None else [value.encode() if isinstance(value, str) else value]
                for name, value in row.items()
            }
        )
    return rows


def test_tensorflow_reads_what_was_encoded():
    assert [parsed(record) for record in encode(TABLE)] == expected(TABLE)


def test_rows_can_be_encoded_in_slices():
    whole = encode(TABLE)
    assert encode(TABLE.slice(1, 2)) + encode(TABLE.slice(3, 2)) == whole[1:]
    chunked = pa.concat_tables([TABLE.slice(0, 2), TABLE.slice(2, 3)])
    assert encode(chunked) == whole


def test_column_order_does_not_change_the_bytes():
    assert encode(TABLE.select(["int", "nothing", "float", "text"])) == encode(TABLE)


def test_lists_of_fixed_width_are_encoded_as_float_lists():
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    flat = pa.LargeListArray.from_arrays(pa.array([0, 2, 4, 6], pa.int64()), pa.array(values.ravel()))
    table = pa.table({"x": flat})
    assert [parsed(record)["x"] for record in encode(table)] == values.tolist()
    assert encode(table.slice(1, 1)) == encode(table)[1:2]


def test_no_rows_and_no_columns():
    assert encode(TABLE.slice(0, 0)) == []
    assert encode(pa.table({"a": pa.array([], pa.string())})) == []
    assert encode(pa.table({})) == []


def test_equal_rows_have_equal_bytes_in_every_process():
    code = """
import hashlib, pyarrow as pa
from probity.tfexample import encode
table = pa.table({f"c{i}": pa.array([i, None, 3]) for i in range(12)} | {"t": pa.array(["a", None, "b"])})
print(hashlib.sha256(b"".join(encode(table))).hexdigest())
"""
    digests = set()
    for seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
        digests.add(done.stdout.strip().splitlines()[-1])
    table = pa.table({f"c{i}": pa.array([i, None, 3]) for i in range(12)} | {"t": pa.array(["a", None, "b"])})
    digests.add(hashlib.sha256(b"".join(encode(table))).hexdigest())
    assert len(digests) == 1


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_a_table_comes_back_as_it_was(tmp_path, rows):
    write_table(tmp_path / "x", TABLE.slice(0, rows))
    assert read_table(tmp_path / "x", COLUMNS).to_pydict() == TABLE.slice(0, rows).to_pydict()


def test_only_the_columns_asked_for_are_read_in_the_order_asked(tmp_path):
    write_table(tmp_path / "x", TABLE)
    assert read_table(tmp_path / "x", COLUMNS[1::-1]).column_names == ["int", "text"]


def test_a_column_that_no_row_has_is_all_missing(tmp_path):
    write_table(tmp_path / "x", TABLE.select(["int"]))
    assert read_table(tmp_path / "x", COLUMNS).column("text").null_count == 5


def test_file_order_is_kept_across_batches(tmp_path):
    many = pa.table({"int": pa.array(range(40_000), pa.int64())})
    write_table(tmp_path / "x", many)
    assert read_table(tmp_path / "x", COLUMNS[1:2]).column("int").to_pylist() == list(range(40_000))
    assert [len(batch) for batch in read_records(tmp_path / "x")] == [16_384, 16_384, 7_232]


def test_files_are_byte_equal_when_written_twice(tmp_path):
    write_table(tmp_path / "x", TABLE)
    write_table(tmp_path / "y", TABLE)
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


def test_several_values_in_one_row_are_refused_with_a_count_only(tmp_path):
    table = pa.table({"int": pa.array([[111], [222, 333], []], pa.list_(pa.int64()))})
    write_table(tmp_path / "x", table)
    with pytest.raises(DataError) as caught:
        read_table(tmp_path / "x", COLUMNS[1:2])
    assert "1 rows with several values" in str(caught.value)
    assert "222" not in str(caught.value)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "no gzip"])
def test_a_damaged_file_is_a_data_error(tmp_path, damage):
    path = tmp_path / "x"
    write_table(path, pa.concat_tables([TABLE] * 50))
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        raw = bytearray(gzip.decompress(bytes(content)))
        raw[len(raw) // 2] ^= 0xFF
        content = gzip.compress(bytes(raw))
    else:
        content = b"not gzip at all"
    path.write_bytes(bytes(content))
    with pytest.raises(DataError) as caught:
        read_table(path, COLUMNS)
    assert caught.value.argument == "x"
    assert str(tmp_path) not in str(caught.value)


def test_a_column_of_another_type_is_a_data_error(tmp_path):
    write_table(tmp_path / "x", pa.table({"int": pa.array(["secret-value"])}))
    with pytest.raises(DataError) as caught:
        read_table(tmp_path / "x", COLUMNS[1:2])
    assert "secret-value" not in str(caught.value)


OUTPUTS = (
    TransformedFeature(name="b_xf", source="b", width=3),
    TransformedFeature(name="a_xf", source="a", width=1),
)


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_arrays_come_back_as_they_were(tmp_path, rows):
    generator = np.random.default_rng(0)
    inputs = {
        "a_xf": generator.normal(size=(rows, 1)).astype(np.float32),
        "b_xf": generator.normal(size=(rows, 3)).astype(np.float32),
    }
    labels = generator.integers(0, 2, rows).astype(np.float32)
    write_arrays(tmp_path / "x", inputs, labels)
    read, read_labels = read_arrays(tmp_path / "x", OUTPUTS)
    assert list(read) == ["b_xf", "a_xf"]
    for name, values in inputs.items():
        np.testing.assert_array_equal(read[name], values)
        assert (read[name].dtype, read[name].shape) == (np.float32, values.shape)
    np.testing.assert_array_equal(read_labels, labels)
    assert read_labels.dtype == np.float32


def test_tensorflow_reads_the_arrays(tmp_path):
    write_arrays(tmp_path / "x", {"a_xf": np.array([[0.5], [1.5]], np.float32)}, np.array([1.0, 0.0]))
    records = [record for batch in read_records(tmp_path / "x") for record in batch]
    assert [parsed(record) for record in records] == [{"a_xf": [0.5], LABEL: [1]}, {"a_xf": [1.5], LABEL: [0]}]
