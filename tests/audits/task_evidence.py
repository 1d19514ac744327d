"""Evidence about a regression and a multi-class model: examples and a SavedModel on disk, scored by formula."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa

from probity.audit_plan import AuditsConfig
from probity.audits.base import AuditInput
from probity.audits.task_rows import ClassifiedRows, PredictedRows
from probity.data import Column, ColumnKind, Dataset, Examples, Role, SensitiveAttribute, SplitFile
from probity.digest import digest_bytes, digest_file
from probity.findings import Subject
from probity.tfexample import write_table

CLASSES = ("high", "low", "middle")
WEIGHTS = np.array([[1.2, -1.0, 0.1], [0.3, -0.5, 0.4]], np.float32)
SLOPES = np.array([3_000.0, -1_500.0], np.float32)
SEX = SensitiveAttribute(name="sex", column="sex", groups=("Female", "Male", "Unseen"))
REGION = SensitiveAttribute(name="region", column="region", groups=("North", "South", "Isle"))


def dataset_of(task: str, *, favourable: tuple[str, ...] = (), rows: int = 1) -> Dataset:
    """A data set of two numbers, two sensitive attributes and a label of this task."""
    kinds = {"a": ColumnKind.FLOAT, "b": ColumnKind.FLOAT, "sex": ColumnKind.TEXT, "region": ColumnKind.TEXT}
    roles = {"a": Role.FEATURE, "b": Role.FEATURE, "sex": Role.SENSITIVE, "region": Role.SENSITIVE}
    label = Column(name="y", kind=ColumnKind.TEXT if task == "multiclass" else ColumnKind.FLOAT, roles=(Role.LABEL,))
    columns = tuple(Column(name=name, kind=kind, roles=(roles[name],)) for name, kind in kinds.items())
    return Dataset(
        name="drawn",
        source="drawn.csv",
        source_format="csv",
        source_digest=digest_bytes(b"drawn"),
        content_digest=digest_bytes(b"drawn rows"),
        num_rows=rows,
        columns=(*columns, label),
        task=task,
        label="y",
        classes=CLASSES if task == "multiclass" else (),
        favourable=favourable,
        sensitive=(SEX, REGION),
        intersections=(("sex", "region"),),
        split_rule="drawn",
    )


def draw_table(task: str, rows: int, *, seed: int = 5) -> pa.Table:
    """Rows whose label follows the formula with noise, less noise for one region."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(rows, 2)).astype(np.float32)
    region = rng.choice(["North", "South", "Isle"], rows, p=[0.5, 0.45, 0.05])
    noise = rng.gumbel(size=(rows, 3)) * np.where(region == "North", 0.5, 1.5)[:, None]
    if task == "multiclass":
        label = pa.array(np.array(CLASSES)[(inputs @ WEIGHTS + noise).argmax(axis=1)].tolist(), pa.string())
    else:
        label = pa.array((20_000 + inputs @ SLOPES + 2_000 * noise[:, 0]).astype(np.float32), pa.float32())
    return pa.table(
        {
            "a": pa.array(inputs[:, 0]),
            "b": pa.array(inputs[:, 1]),
            "sex": pa.array(rng.choice(["Female", "Male"], rows).tolist(), pa.string()),
            "region": pa.array(region.tolist(), pa.string()),
            "y": label,
        }
    )


def rows_of(task: str, table: pa.Table) -> ClassifiedRows | PredictedRows:
    """The rows as the formula scores them, without TensorFlow."""
    inputs = np.stack([table.column("a").to_numpy(), table.column("b").to_numpy()], axis=1).astype(np.float32)
    groups = {
        entry.name: np.array([entry.groups.index(name) for name in table.column(entry.name).to_pylist()], np.int32)
        for entry in (SEX, REGION)
    }
    names = {entry.name: entry.groups for entry in (SEX, REGION)}
    if task == "regression":
        predictions = (np.float32(20_500) + inputs @ SLOPES).astype(np.float32)
        labels = np.asarray(table.column("y").to_numpy(), np.float64)
        return PredictedRows(predictions=predictions, labels=labels, groups=groups, names=names)
    scores = np.exp(inputs @ WEIGHTS)
    scores = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
    codes = np.array([CLASSES.index(name) for name in table.column("y").to_pylist()], np.int32)
    return ClassifiedRows(scores=scores, labels=codes, classes=CLASSES, groups=groups, names=names)


def light_evidence(task: str, rows: ClassifiedRows | PredictedRows, *, minimum: int = 20, **of_dataset) -> AuditInput:
    """Evidence without files, for audits that read the scored rows alone."""
    return SimpleNamespace(
        scored=rows,
        dataset=dataset_of(task, **of_dataset),
        settings=AuditsConfig(min_group_size=minimum),
        seed=7,
        joint_statements=1,
        subject=Subject(model=digest_bytes(b"model"), examples=digest_bytes(b"examples")),
    )


def full_evidence(folder: Path, task: str, *, rows: int = 300) -> AuditInput:
    """Evidence with files: the test split, and a SavedModel of the formula."""
    table = draw_table(task, rows)
    dataset = dataset_of(task, rows=rows)
    (folder / "rows").mkdir()
    path = folder / "rows" / "test.tfrecord.gz"
    write_table(path, table)
    file = SplitFile(path=path.name, digest=digest_file(path), num_rows=rows)
    _export(folder / "model" / "saved_model", task)
    return AuditInput(
        model=SimpleNamespace(digest=digest_bytes(b"model")),
        model_folder=folder / "model",
        dataset=dataset,
        examples=Examples(folder=folder / "rows", files={"test": file}, columns=dataset.columns),
        schema=None,
        transform=None,
        transform_folder=None,
        transformed=None,
        scored=rows_of(task, table),
        settings=AuditsConfig(min_group_size=20),
        seed=7,
    )


def _export(path: Path, task: str) -> None:
    import tensorflow as tf

    specs = {name: tf.io.FixedLenFeature([], tf.float32) for name in ("a", "b")}

    def serve(examples):
        parsed = tf.io.parse_example(examples, specs)
        inputs = tf.stack([parsed["a"], parsed["b"]], axis=1)
        if task == "multiclass":
            return {"scores": tf.nn.softmax(inputs @ WEIGHTS)}
        return {"scores": 20_500.0 + inputs @ SLOPES[:, None]}

    module = tf.Module()
    traced = tf.function(serve).get_concrete_function(tf.TensorSpec([None], tf.string, name="examples"))
    tf.saved_model.save(module, str(path), signatures={"serving_default": traced})
