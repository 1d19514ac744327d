"""Transform against numpy: constants from the training split, one graph, every row of every split."""

import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from probity.data import (
    Column,
    ColumnKind,
    Dataset,
    Examples,
    FeatureSpec,
    Role,
    Schema,
    SensitiveAttribute,
    SplitFile,
)
from probity.digest import digest_bytes, digest_file
from probity.errors import ConfigError, DataError, DigestMismatchError
from probity.platform import private_statistics
from probity.platform.analysis import Learnt
from probity.platform.preprocessing import MISSING, UNKNOWN
from probity.platform.transform import transform
from probity.recipe import TransformConfig
from probity.tfexample import write_table

COLUMNS = (
    Column(name="age", kind=ColumnKind.INT, roles=(Role.FEATURE, Role.SENSITIVE)),
    Column(name="capital gain", kind=ColumnKind.FLOAT, roles=(Role.FEATURE,)),
    Column(name="empty", kind=ColumnKind.FLOAT, roles=(Role.FEATURE,)),
    Column(name="label", kind=ColumnKind.TEXT, roles=(Role.FEATURE,)),
    Column(name="self", kind=ColumnKind.TEXT, roles=(Role.FEATURE,)),
    Column(name="sex", kind=ColumnKind.TEXT, roles=(Role.SENSITIVE,)),
    Column(name="y", kind=ColumnKind.INT, roles=(Role.LABEL,)),
)
DATASET = Dataset(
    name="t",
    source="t.csv",
    source_format="csv",
    source_digest=digest_bytes(b""),
    content_digest=digest_bytes(b""),
    num_rows=1,
    columns=COLUMNS,
    label="y",
    positive="1",
    sensitive=(SensitiveAttribute(name="sex", column="sex", groups=("f", "m")),),
    split_rule="drawn",
)
INFERRED = Schema(digest=digest_bytes(b"s"), curated=False, features=())
WORDS = ("often", "line\nbreak", "größe", "rare", "rarest")


def draw(rows, seed):
    rng = np.random.default_rng(seed)
    gain = np.where(rng.random(rows) < 0.9, 0.0, rng.gamma(2.0, 1000.0, rows)).astype(np.float32)
    gain[rng.random(rows) < 0.03] = np.nan  # a NaN that is stored counts as missing as well
    words = rng.choice(len(WORDS), rows, p=[0.5, 0.3, 0.15, 0.04, 0.01])
    return pa.table(
        {
            "age": pa.array(rng.integers(17, 90, rows), pa.int64(), mask=rng.random(rows) < 0.05),
            "capital gain": pa.array(gain, pa.float32()),
            "empty": pa.nulls(rows, pa.float32()),
            "label": pa.array([WORDS[i] for i in words], pa.string(), mask=rng.random(rows) < 0.1),
            "self": pa.nulls(rows, pa.string()),
            "sex": pa.array(rng.choice(["f", "m"], rows).tolist()),
            "y": pa.array(rng.integers(0, 2, rows), pa.int64()),
        }
    )


def write_examples(folder, tables, columns=COLUMNS):
    folder.mkdir()
    files = {}
    for split, table in tables.items():
        path = folder / f"{split}.tfrecord.gz"
        write_table(path, table)
        files[split] = SplitFile(path=path.name, digest=digest_file(path), num_rows=table.num_rows)
    return Examples(folder=folder, files=files, columns=columns)


def run(examples, folder, *, dataset=DATASET, schema=INFERRED, root=None, **settings):
    folder.mkdir()
    return transform(examples, dataset, schema, TransformConfig(**settings), root=root or folder, out=folder)


@pytest.fixture(scope="module")
def tables():
    made = {"train": draw(3000, 1), "eval": draw(500, 2), "test": draw(0, 3)}
    strange = made["eval"].column("label").to_pylist()
    strange[:25] = ["never seen"] * 25
    position = made["eval"].column_names.index("label")
    made["eval"] = made["eval"].set_column(position, "label", pa.array(strange, pa.string()))
    return made


@pytest.fixture(scope="module")
def examples(tables, tmp_path_factory):
    return write_examples(tmp_path_factory.mktemp("raw") / "examples", tables)


@pytest.fixture(scope="module")
def made(examples, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "a"
    return folder, *run(examples, folder, num_buckets=8, max_vocabulary=3)


def test_only_features_enter_the_graph(made):
    import tensorflow_transform as tft

    folder, record, _ = made
    names = ("age", "capital gain", "empty", "label", "self")
    assert tuple(column.name for column in record.inputs) == names
    assert set(tft.TFTransformOutput(str(folder / record.graph)).raw_feature_spec()) == set(names)
    assert tuple(feature.name for feature in record.outputs) == tuple(f"{name}_xf" for name in names)
    assert sorted(path.name for path in folder.iterdir()) == ["examples", "transform_fn"]


def test_the_vocabulary_is_the_most_frequent_words_of_train(made, tables):
    _, record, transformed = made
    counts = Counter(word for word in tables["train"].column("label").to_pylist() if word is not None)
    words = [word for word, _ in counts.most_common(3)]
    feature = next(feature for feature in record.outputs if feature.source == "label")
    assert feature.labels == (*words, UNKNOWN, MISSING)
    for split in ("train", "eval"):
        found = transformed.arrays(split)[0]["label_xf"]
        given = tables[split].column("label").to_pylist()
        expected = [len(words) + 1 if word is None else words.index(word) if word in words else 3 for word in given]
        np.testing.assert_array_equal(found, np.eye(5, dtype=np.float32)[expected])
    given = tables["eval"].column("label").to_pylist()
    share = sum(word is not None and word not in words for word in given) / len(given)
    assert record.unknown_rates["label"] == pytest.approx(share, rel=1e-6)
    assert record.unknown_rates["label"] >= 25 / 500


@pytest.mark.parametrize("name", ["age", "capital gain"])
def test_buckets_equal_numpy_and_hold_equally_many_rows(made, tables, name):
    """Boundaries are found from the rows alone: bucket borders must split train as an exact sort would."""
    _, record, transformed = made
    feature = next(feature for feature in record.outputs if feature.source == name)
    width = feature.width
    assert width <= 8 + 1
    found = transformed.arrays("train")[0][feature.name]
    numbers = np.array([np.nan if x is None else x for x in tables["train"].column(name).to_pylist()], np.float64)
    missing = np.isnan(numbers)
    np.testing.assert_array_equal(found.sum(axis=1), 1)
    np.testing.assert_array_equal(found[:, -1] == 1, missing)
    bucket = found.argmax(axis=1)
    lowest = [numbers[bucket == i].min() for i in range(width - 1)]
    expected = np.searchsorted(lowest[1:], numbers[~missing], side="right")
    np.testing.assert_array_equal(bucket[~missing], expected)
    sizes = np.bincount(expected, minlength=width - 1)
    if name == "age":  # 73 different ages, 8 buckets
        assert width == 9
        assert sizes.min() > 0.7 * sizes.mean()
    else:  # nine rows in ten are 0: their own bucket, and the others share the rest equally
        assert sizes[0] == (numbers == 0).sum()
        assert sizes[1:].min() > 0.8 * sizes[1:].mean()
        assert width - 2 >= 6


def test_columns_without_any_value_have_a_place_for_later_ones(made):
    _, record, transformed = made
    widths = {feature.source: feature.width for feature in record.outputs}
    assert widths["empty"] == 2
    assert widths["self"] == 2
    inputs, _ = transformed.arrays("train")
    np.testing.assert_array_equal(inputs["empty_xf"].mean(axis=0), [0, 1])
    np.testing.assert_array_equal(inputs["self_xf"].mean(axis=0), [0, 1])


def test_labels_and_row_order_are_kept(made, tables):
    _, record, transformed = made
    for split in ("train", "eval", "test"):
        _, labels = transformed.arrays(split)
        np.testing.assert_array_equal(labels, tables[split].column("y").to_numpy())
        assert transformed.files[split].num_rows == tables[split].num_rows
    assert {constant.source for constant in record.constants} == {"training data"}
    assert record.depends_on_private_data


def test_equal_input_gives_equal_digests(made, examples, tmp_path):
    _, record, transformed = made
    again, files = run(examples, tmp_path / "again", num_buckets=8, max_vocabulary=3)
    assert again == record
    assert files.files == transformed.files


@pytest.mark.heavy  # that the range of three known values is train's, below, shows it by default
def test_only_train_decides_the_constants(made, tables, tmp_path):
    _, record, transformed = made
    others = write_examples(tmp_path / "x", {**tables, "eval": draw(300, 9), "test": draw(100, 8)})
    again, files = run(others, tmp_path / "again", num_buckets=8, max_vocabulary=3)
    assert again.outputs == record.outputs
    assert files.files["train"] == transformed.files["train"]
    assert again.digest != record.digest


def test_z_scores_equal_numpy(examples, tables, tmp_path):
    record, transformed = run(examples, tmp_path / "z", numeric="z_score")
    inputs, _ = transformed.arrays("train")
    for name in ("age", "capital gain"):
        numbers = np.array([np.nan if x is None else x for x in tables["train"].column(name).to_pylist()], np.float64)
        missing = np.isnan(numbers)
        expected = np.where(missing, 0, (numbers - np.nanmean(numbers)) / np.nanstd(numbers))
        np.testing.assert_allclose(inputs[f"{name}_xf"], np.stack([expected, missing], 1), atol=2e-5)
    np.testing.assert_array_equal(inputs["empty_xf"], np.tile([0, 1], (3000, 1)))
    assert {constant.kind for constant in record.constants} == {"mean and variance", "vocabulary"}


SMALL = (
    Column(name="x", kind=ColumnKind.FLOAT, roles=(Role.FEATURE,)),
    Column(name="same", kind=ColumnKind.INT, roles=(Role.FEATURE,)),
    Column(name="y", kind=ColumnKind.TEXT, roles=(Role.LABEL,)),
)
SMALL_DATASET = DATASET.model_copy(update={"columns": SMALL, "positive": "yes", "sensitive": ()})


def small_table(numbers):
    labels = ["yes" if i % 2 else "no" for i in range(len(numbers))]
    return pa.table({"x": pa.array(numbers, pa.float32()), "same": pa.array([4] * len(numbers)), "y": pa.array(labels)})


def small_examples(folder, train=(1.20, 2.99, 100.00), evaluate=(0.0, 1000.0)):
    tables = {"train": small_table(train), "eval": small_table(evaluate), "test": small_table([5.0])}
    return write_examples(folder, tables, SMALL)


def test_min_max_of_three_known_values(tmp_path):
    """The worked example of the TFT guide: 1.20, 2.99, 100.00 become 0.0, 0.018117407, 1.0."""
    record, transformed = run(small_examples(tmp_path / "e"), tmp_path / "o", dataset=SMALL_DATASET, numeric="min_max")
    inputs, labels = transformed.arrays("train")
    np.testing.assert_allclose(inputs["x_xf"][:, 0], [0.0, 0.018117407, 1.0], atol=1e-7)
    np.testing.assert_array_equal(inputs["same_xf"], np.zeros((3, 2)))
    np.testing.assert_array_equal(transformed.arrays("eval")[0]["x_xf"][:, 0], [0.0, 1.0])
    np.testing.assert_array_equal(labels, [0, 1, 0])
    assert {constant.source for constant in record.constants} == {"training data"}


def test_a_curated_schema_is_public_and_an_inferred_one_is_not(tmp_path, monkeypatch):
    """Everything that the schema states is taken from it; then no analysis is run at all."""
    features = (
        FeatureSpec(name="age", kind=ColumnKind.INT, required=False, minimum=0, maximum=100),
        FeatureSpec(name="label", kind=ColumnKind.TEXT, required=False, domain=("b", "", "a", "b")),
    )
    columns = tuple(column for column in COLUMNS if column.name in ("age", "label", "y"))
    dataset = DATASET.model_copy(update={"columns": columns, "sensitive": ()})
    table = draw(40, 1).select(["age", "label", "y"])
    examples = write_examples(tmp_path / "e", dict.fromkeys(("train", "eval", "test"), table), columns)
    monkeypatch.setattr("probity.platform.analysis.run_analysis", None)
    schema = Schema(digest=digest_bytes(b"s"), curated=True, features=features)
    record, transformed = run(examples, tmp_path / "o", dataset=dataset, schema=schema, numeric="min_max")
    assert not record.depends_on_private_data
    assert record.outputs[1].labels == ("b", "a", UNKNOWN, MISSING)
    ages = table.column("age").to_pylist()
    expected = [[0, 1] if age is None else [age / 100, 0] for age in ages]
    np.testing.assert_allclose(transformed.arrays("train")[0]["age_xf"], expected, atol=1e-6)
    with pytest.raises(TypeError):  # the same facts, read from private rows, are learnt instead: the analysis is called
        run(examples, tmp_path / "p", dataset=dataset, schema=schema.model_copy(update={"curated": False}))


@pytest.mark.parametrize("reviewed", [True, False])
def test_private_statistics_take_for_public_only_what_somebody_reviewed(tmp_path, monkeypatch, reviewed):
    """Bounds that were inferred are the smallest and largest value of a person: these have to be found with noise."""
    asked = []
    real = private_statistics._noisy_bounds
    monkeypatch.setattr(private_statistics, "_noisy_bounds", lambda *given: asked.append(given) or real(*given))
    age = FeatureSpec(name="age", kind=ColumnKind.INT, required=False, minimum=0, maximum=93, reviewed=reviewed)
    columns = tuple(column for column in COLUMNS if column.name in ("age", "y"))
    dataset = DATASET.model_copy(update={"columns": columns, "sensitive": ()})
    table = draw(200, 1).select(["age", "y"])
    examples = write_examples(tmp_path / "e", dict.fromkeys(("train", "eval", "test"), table), columns)
    schema = Schema(digest=digest_bytes(b"s"), curated=True, features=(age,))
    config = TransformConfig(numeric="z_score", private_statistics={"epsilon": 1.0})
    (tmp_path / "o").mkdir()
    record, _ = transform(examples, dataset, schema, config, root=tmp_path, out=tmp_path / "o", public_first=True)
    assert len(asked) == (0 if reviewed else 1)
    assert [constant.source for constant in record.constants] == ["schema" if reviewed else "private statistics"]


def test_an_infinite_output_names_the_feature_and_no_value(tmp_path, monkeypatch):
    moments = {"x": np.array([34.7, 2130.0], np.float32), "same": np.array([4.0, 0.0], np.float32)}
    found = Learnt(numbers=moments, vocabularies={})
    monkeypatch.setattr("probity.platform.preprocessing.learn", lambda **_: found)
    examples = small_examples(tmp_path / "e", evaluate=(0.0, float("inf")))
    with pytest.raises(DataError, match=r"feature x: .* x_xf is not finite in 1 rows of split eval"):
        run(examples, tmp_path / "o", dataset=SMALL_DATASET, numeric="z_score")


FILL = """
import tensorflow as tf
import tensorflow_transform as tft

def fill(x):
    return tf.sparse.to_dense(tf.SparseTensor(x.indices, x.values, [x.dense_shape[0], 1]))
"""
MODULE = f"""{FILL}
def preprocessing_fn(inputs):
    x = fill(inputs["x"])
    return {{
        "x_xf": tft.scale_to_0_1(x),
        "twice_xf": tf.concat([x, 2 * x], axis=1),
        "bucket_xf": tf.cast(fill(inputs["same"])[:, 0] > 3, tf.int64),
    }}
"""


def test_a_users_preprocessing_replaces_the_built_in_one(tmp_path):
    (tmp_path / "mine.py").write_text(MODULE)
    record, transformed = run(
        small_examples(tmp_path / "e"), tmp_path / "o", dataset=SMALL_DATASET, root=tmp_path, module="mine.py"
    )
    inputs, _ = transformed.arrays("train")
    np.testing.assert_allclose(inputs["x_xf"][:, 0], [0.0, 0.018117407, 1.0], atol=1e-7)
    np.testing.assert_allclose(inputs["twice_xf"], [[1.2, 2.4], [2.99, 5.98], [100, 200]], rtol=1e-6)
    np.testing.assert_array_equal(inputs["bucket_xf"], np.ones((3, 1)))
    assert {feature.name: feature.width for feature in record.outputs} == {"x_xf": 1, "twice_xf": 2, "bucket_xf": 1}
    assert [(constant.feature, constant.source) for constant in record.constants] == [("x", "training data")]
    assert record.module == digest_file(tmp_path / "mine.py")
    assert record.unknown_rates == {}
    json.dumps(record.to_json())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def preprocessing_fn(inputs):\n    raise KeyError('secret')\n", "KeyError at line 2"),
        ("def preprocessing_fn(inputs):\n    return {'x_xf': inputs['x']}\n", "VarLenFeature"),
        (f"{FILL}\ndef preprocessing_fn(inputs):\n    return {{'x': fill(inputs['x'])}}\n", "suffix _xf"),
        (f"{FILL}\ndef preprocessing_fn(inputs):\n    return {{'x_xf': tf.strings.as_string(fill(inputs['x']))}}\n",
         "of string"),
        (f"{FILL}\ndef preprocessing_fn(inputs):\n    return {{'x_xf': tf.sparse.to_dense(inputs['x'])}}\n",
         "tensors of fixed width"),
    ],
)  # fmt: skip
def test_what_a_users_preprocessing_does_wrong_is_said(tmp_path, body, message):
    (tmp_path / "mine.py").write_text(body)
    examples = small_examples(tmp_path / "e")
    with pytest.raises(ConfigError, match=message) as raised:
        run(examples, tmp_path / "o", dataset=SMALL_DATASET, root=tmp_path, module="mine.py")
    assert "secret" not in str(raised.value)


def test_what_cannot_be_transformed_is_refused(tmp_path):
    no_features = SMALL_DATASET.model_copy(update={"columns": SMALL[2:]})
    examples = small_examples(tmp_path / "e")
    with pytest.raises(ConfigError, match="at least one feature"):
        run(examples, tmp_path / "a", dataset=no_features)
    with pytest.raises(DataError, match="split train: no rows"):
        run(small_examples(tmp_path / "f", train=()), tmp_path / "b", dataset=SMALL_DATASET)
    with pytest.raises(ConfigError, match="outside the config's folder"):
        run(examples, tmp_path / "c", dataset=SMALL_DATASET, module="../x.py")
    examples.path("eval").write_bytes(examples.path("test").read_bytes())
    with pytest.raises(DigestMismatchError):
        run(examples, tmp_path / "d", dataset=SMALL_DATASET)
