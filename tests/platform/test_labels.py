"""Labels of every task: what is refused, and what training sees."""

from __future__ import annotations

import csv

import numpy as np
import pyarrow as pa
import pytest

from probity.data_source import DataConfig
from probity.errors import ConfigError, DataError
from probity.platform.ingest import ingest
from probity.platform.labels import MAX_CLASSES, training_labels

HIDDEN = "Hidden-4711"


def take(tmp_path, labels, task, *, label=None, domain=None, features=None, **data):
    rows = [{"x": i if features is None else features[i], "y": value} for i, value in enumerate(labels)]
    with (tmp_path / "data.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ("x", "y"))
        writer.writeheader()
        writer.writerows(rows)
    out = tmp_path / "out"
    out.mkdir()
    config = DataConfig.model_validate(
        {"source": "data.csv", "task": task, "label": {"column": "y", **(label or {})}, **data}
    )
    dataset, examples = ingest(config, name="x", root=tmp_path, out=out, label_domain=domain)
    return dataset, {split: examples.table(split) for split in ("train", "eval", "test")}


def test_classes_found_in_the_data_are_sorted_and_numbered(tmp_path):
    dataset, tables = take(tmp_path, ["b", "a", "c"] * 40, "multiclass")
    assert (dataset.task, dataset.classes, dataset.positive) == ("multiclass", ("a", "b", "c"), None)
    codes = training_labels(tables["train"], dataset, "train")
    assert codes.dtype == np.float32
    assert [dataset.classes[int(code)] for code in codes] == tables["train"].column("y").to_pylist()


def test_whole_numbers_are_classes_in_the_order_of_numbers(tmp_path):
    dataset, tables = take(tmp_path, [10, 9, 2] * 40, "multiclass")
    assert dataset.classes == ("2", "9", "10")
    codes = training_labels(tables["test"], dataset, "test")
    assert [int(dataset.classes[int(code)]) for code in codes] == tables["test"].column("y").to_pylist()


def test_declared_classes_keep_their_order_and_go_before_those_of_the_schema(tmp_path):
    label = {"classes": ["low", "high"], "favourable": ["high"]}
    dataset, _ = take(tmp_path, ["low", "high"] * 40, "multiclass", label=label, domain=("high", "low", "other"))
    assert (dataset.classes, dataset.favourable) == (("low", "high"), ("high",))


def test_the_domain_of_a_curated_schema_gives_the_classes(tmp_path):
    dataset, _ = take(tmp_path, ["low", "high"] * 40, "multiclass", domain=("low", "high"))
    assert dataset.classes == ("high", "low")


def test_numbers_are_learned_as_they_are(tmp_path):
    values = [0.5 * i for i in range(100)]
    dataset, tables = take(tmp_path, values, "regression")
    assert (dataset.task, dataset.classes, dataset.positive) == ("regression", (), None)
    found = training_labels(tables["train"], dataset, "train")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, tables["train"].column("y").to_numpy())
    assert set(found) <= set(np.float32(values))


@pytest.mark.parametrize(
    ("task", "labels", "more", "message"),
    [
        ("multiclass", ["a"] * 60, {}, "1 different value"),
        ("multiclass", [f"c{i}" for i in range(MAX_CLASSES + 1)], {}, "101 different values"),
        ("multiclass", ["a", "b", HIDDEN] * 20, {"label": {"classes": ["a", "b"]}}, "20 of 60 rows"),
        ("multiclass", ["a", "b", HIDDEN] * 20, {"domain": ("a", "b")}, r"20 of 60 rows.*1 such value"),
        ("multiclass", ["a", "b"] * 30, {"label": {"classes": ["a", "b", "z"]}}, "1 of 3 classes have no row"),
        ("multiclass", [0.5, 1.5] * 30, {}, "with a fraction"),
        ("multiclass", ["a", "b", ""] * 20, {}, "20 of 60 values are missing"),
        ("multiclass", ["a", "b"], {}, "2 rows"),
        ("regression", ["a", HIDDEN] * 30, {}, "text, in 60 rows"),
        ("regression", [1.5] * 60, {}, "one value only, in all"),
        ("regression", [1.5, ""] * 30, {}, "30 of 60 values are missing"),
        ("regression", [1e39, 1.0] * 30, {}, "30 of 60 values are infinite or beyond"),
    ],
)
def test_labels_that_cannot_carry_the_task_are_refused_in_counts(task, labels, more, message, tmp_path):
    with pytest.raises(DataError, match=message) as raised:
        take(tmp_path, labels, task, **more)
    assert HIDDEN not in str(raised.value)


def test_a_favourable_class_that_is_none_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="1 of 1 names are no class"):
        take(tmp_path, ["a", "b"] * 40, "multiclass", label={"favourable": ["A"]})


def test_a_missing_label_is_never_a_class(tmp_path):
    dataset, _ = take(tmp_path, ["a", "b"] * 40, "multiclass")
    table = pa.table({"x": [1], "y": pa.array([None], pa.string())})
    with pytest.raises(DataError, match="missing in 1 rows"):
        training_labels(table, dataset, "train")
