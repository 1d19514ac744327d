"""Made-up data that are ready for training, and requests to train on them.

The rows hold a numeric column with a name that is no identifier, a float and a text column, missing values, and a
sensitive column that is no feature; its groups are in the request where the settings ask for them. The test split is
announced but not on disk: reading it fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from probity.data import (
    Column,
    ColumnKind,
    Dataset,
    Role,
    SensitiveAttribute,
    SplitFile,
    Transform,
    TransformedExamples,
    TransformedFeature,
)
from probity.digest import digest_bytes, digest_file
from probity.model import Mechanism
from probity.recipe import ModelConfig
from probity.task import Task
from probity.tfexample import LabelKind, encode, write_arrays
from probity.trainers.base import Groups, Population, Trainer, TrainerSettings, TrainingRequest, Uncalibrated

__all__ = ["World", "agreed", "make_request", "make_world", "transformed"]

_CITIES = ("Aarhus", "Bergen", "Cádiz")
_COLUMNS = (
    Column(name="hours-per-week", kind=ColumnKind.INT, roles=(Role.FEATURE,)),
    Column(name="balance", kind=ColumnKind.FLOAT, roles=(Role.FEATURE,)),
    Column(name="city", kind=ColumnKind.TEXT, roles=(Role.FEATURE,)),
    Column(name="group", kind=ColumnKind.TEXT, roles=(Role.SENSITIVE,)),
    Column(name="outcome", kind=ColumnKind.INT, roles=(Role.LABEL,)),
)


@dataclass(frozen=True, kw_only=True)
class World:
    """Made-up data, ready for training.

    Attributes:
        folder: Holds the transform graph and the transformed examples.
        raw: The raw rows of the eval split, label and sensitive column included.
        raw_train: The same of the training split.
    """

    folder: Path
    dataset: Dataset
    transform: Transform
    examples: TransformedExamples
    raw: pa.Table
    raw_train: pa.Table
    groups: Mapping[str, np.ndarray[Any, np.dtype[np.int64]]]
    """By split, the group of each row, as a request gives it to a trainer that asks for it."""


def make_world(folder: Path, *, rows: int = 480, seed: int = 1, task: Task = "binary") -> World:
    """Draws rows, writes a small transform graph and the transformed splits below ``folder``.

    Args:
        folder: An existing empty folder.
        rows: Training rows; half as many are in the eval split.
        seed: Of the drawn rows.
        task: What the label ``outcome`` is: 0 or 1, one of three classes, or a number of some thousands.
    """
    label_kind: LabelKind = "float32" if task == "regression" else "int64"
    rng = np.random.default_rng(seed)
    outputs = (
        TransformedFeature(name="hours-per-week_xf", source="hours-per-week", width=2),
        TransformedFeature(name="balance_xf", source="balance", width=2),
        TransformedFeature(name="city_xf", source="city", width=len(_CITIES) + 2),
    )
    _write_graph(folder / "transform_fn")
    (folder / "examples").mkdir()
    files = {"test": SplitFile(path="test.tfrecord.gz", digest=digest_bytes(b"not on disk"), num_rows=rows)}
    groups, tables = {}, {}
    for split, count in (("train", rows), ("eval", rows // 2)):
        tables[split] = raw = _draw(rng, count) if task == "binary" else _draw_other(rng, count, task)
        groups[split] = (np.array(raw.column("group").to_pylist()) == "b").astype(np.int64)
        path = folder / "examples" / f"{split}.tfrecord.gz"
        write_arrays(path, transformed(folder, raw), raw.column("outcome").to_numpy(), label_kind=label_kind)
        files[split] = SplitFile(path=path.name, digest=digest_file(path), num_rows=count)
    inputs = tuple(column for column in _COLUMNS if column.is_feature)
    return World(
        folder=folder,
        dataset=_dataset(rows, task),
        transform=Transform(digest=digest_bytes(b"graph"), inputs=inputs, outputs=outputs, constants=()),
        examples=TransformedExamples(folder=folder / "examples", files=files, outputs=outputs, label_kind=label_kind),
        raw=tables["eval"],
        raw_train=tables["train"],
        groups=groups,
    )


def make_request(
    world: World,
    settings: TrainerSettings,
    *,
    mechanism: Mechanism,
    seed: int = 7,
    model: ModelConfig | None = None,
    canaries: np.ndarray[Any, np.dtype[np.bool_]] | None = None,
) -> TrainingRequest:
    """Returns a request to train a small network on the made-up rows."""
    asked = settings.across
    return TrainingRequest(
        examples=world.examples,
        transform=world.transform,
        transform_folder=world.folder,
        dataset=world.dataset,
        model=model or ModelConfig(kind="mlp", hidden=(8,)),
        root=world.folder,
        settings=settings,
        seed=seed,
        mechanism=mechanism,
        groups=Groups(across=asked, names=(("a",), ("b",)), codes=world.groups) if asked else None,
        gradient_canaries=canaries,
    )


def agreed(trainer: Trainer, settings: TrainerSettings, world: World) -> Mechanism:
    """Returns what the trainer proposes to execute, with a noise multiplier of 1 where one would have to be found."""
    rows = world.examples.files["train"].num_rows
    proposal = trainer.propose(settings, Population(num_rows=rows, num_units=rows, unit="row"))
    return proposal.with_noise_multiplier(1.0) if isinstance(proposal, Uncalibrated) else proposal


def transformed(folder: Path, raw: pa.Table) -> dict[str, np.ndarray[Any, Any]]:
    """Runs raw rows through the graph below ``folder``, without any exported model."""
    import tensorflow as tf
    import tensorflow_transform as tft

    output = tft.TFTransformOutput(str(folder / "transform_fn"))
    found = output.transform_features_layer()(tf.io.parse_example(encode(raw), output.raw_feature_spec()))
    return {name: tensor.numpy() for name, tensor in found.items()}


def _dataset(rows: int, task: Task) -> Dataset:
    return Dataset(
        name="made-up",
        source="made-up",
        source_format="parquet",
        source_digest=digest_bytes(b"made-up"),
        content_digest=digest_bytes(b"made-up"),
        num_rows=rows,
        columns=_COLUMNS,
        task=task,
        label="outcome",
        positive="1" if task == "binary" else None,
        classes=("0", "1", "2") if task == "multiclass" else (),
        sensitive=(SensitiveAttribute(name="group", column="group", groups=("a", "b")),),
        split_rule="drawn",
    )


def _draw(rng: np.random.Generator, rows: int) -> pa.Table:
    hours = rng.integers(0, 80, rows)
    balance = rng.normal(0, 1, rows).astype(np.float32)
    city = rng.integers(0, len(_CITIES), rows)
    positive = rng.random(rows) < 1 / (1 + np.exp(-((hours - 40) / 15 + balance + (city == 1))))
    absent = rng.random((3, rows)) < 0.05
    return pa.table(
        {
            "hours-per-week": pa.array(hours, pa.int64(), mask=absent[0]),
            "balance": pa.array(balance, pa.float32(), mask=absent[1]),
            "city": pa.array([_CITIES[i] for i in city], pa.string(), mask=absent[2]),
            "group": pa.array(np.where(rng.random(rows) < 0.4, "a", "b").tolist(), pa.string()),
            "outcome": pa.array(positive.astype(np.int64)),
        }
    )


def _draw_other(rng: np.random.Generator, rows: int, task: Task) -> pa.Table:
    """Draws rows whose label, of another task, follows the same columns."""
    raw = _draw(rng, rows)
    hours = np.nan_to_num(np.asarray(raw.column("hours-per-week").to_numpy(), np.float64), nan=40.0)
    balance = np.nan_to_num(np.asarray(raw.column("balance").to_numpy(), np.float64))
    signal = (hours - 40) / 15 + balance + rng.normal(0, 0.5, rows)
    if task == "regression":
        label: pa.Array = pa.array((20_000 + 5_000 * signal).astype(np.float32), pa.float32())
    else:
        label = pa.array(np.digitize(signal, [-1.0, 1.0]).astype(np.int64))
    return raw.set_column(raw.column_names.index("outcome"), "outcome", label)


def _write_graph(folder: Path) -> None:
    """Writes a TFT output folder whose constants are given, so that neither data nor Beam is needed."""
    import tensorflow as tf
    from tensorflow_transform import impl_helper
    from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils

    def preprocess(inputs: Mapping[str, Any]) -> dict[str, Any]:
        outputs = {}
        for name, centre, scale in (("hours-per-week", 40.0, 15.0), ("balance", 0.0, 1.0)):
            number = _first(inputs[name], np.nan)
            missing = tf.math.is_nan(number)
            scaled = tf.clip_by_value((number - centre) / scale, -5.0, 5.0)
            outputs[f"{name}_xf"] = tf.stack([tf.where(missing, 0.0, scaled), tf.cast(missing, tf.float32)], axis=1)
        places = tf.range(len(_CITIES))
        table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(tf.constant(_CITIES), places), len(_CITIES)
        )
        word = _first(inputs["city"], "")
        outputs["city_xf"] = tf.one_hot(tf.where(word == "", len(_CITIES) + 1, table.lookup(word)), len(_CITIES) + 2)
        return outputs

    specs = {column.name: tf.io.VarLenFeature(str(column.kind)) for column in _COLUMNS if column.is_feature}
    types = impl_helper.get_type_specs_from_feature_specs(specs)
    impl_helper.analyze_in_place(preprocess, False, specs, types, str(folder))
    raw = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(specs))
    metadata_io.write_metadata(raw, str(folder / "metadata"))


def _first(column: Any, default: Any) -> Any:
    import tensorflow as tf

    values = column.values if column.dtype == tf.string else tf.cast(column.values, tf.float32)
    shape = [column.dense_shape[0], tf.maximum(column.dense_shape[1], 1)]
    return tf.sparse.to_dense(tf.sparse.SparseTensor(column.indices, values, shape), default)[:, 0]
