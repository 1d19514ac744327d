"""The data as it flows: Dataset and Examples, then Statistics, Schema, Anomalies and Transform.

Column roles are decided once, at ingestion, and travel inside :class:`Dataset` to every later stage: nobody downstream
reads the config to learn which column is sensitive.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from probity.digest import digest_file, require_digest
from probity.record import Digest, Number, Record, Sensitive
from probity.task import Task

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from probity.tfexample import LabelKind

__all__ = [
    "MISSING_GROUP",
    "Anomalies",
    "Anomaly",
    "Column",
    "ColumnKind",
    "Dataset",
    "Examples",
    "FeatureSpec",
    "PrivateStatistics",
    "Role",
    "Schema",
    "SensitiveAttribute",
    "SplitFile",
    "Statistics",
    "Transform",
    "TransformConstant",
    "TransformedExamples",
    "TransformedFeature",
]

MISSING_GROUP = "(missing)"
"""The group of rows whose sensitive value is missing: a group like any other, never dropped."""


class Role(StrEnum):
    """What a column may be used for. A column may have several roles, ``feature`` and ``sensitive`` for example."""

    FEATURE = "feature"
    LABEL = "label"
    SENSITIVE = "sensitive"
    PRIVACY_UNIT = "privacy_unit"
    FILE = "file"
    """Names the file that a row is from."""


class ColumnKind(StrEnum):
    """How a column is stored in a ``tf.Example``."""

    INT = "int64"
    FLOAT = "float32"
    TEXT = "string"


class Column(Record):
    """One column of the data and its roles."""

    name: str
    kind: ColumnKind
    roles: tuple[Role, ...] = Field(min_length=1)

    @property
    def is_feature(self) -> bool:
        """Whether the model may see it."""
        return Role.FEATURE in self.roles


class SensitiveAttribute(Record):
    """An attribute whose groups are audited."""

    name: str
    """Its name in slices and rules."""
    column: str
    """The raw column it is made from."""
    bins: tuple[Number, ...] | None = None
    groups: tuple[str, ...]
    """Every group to report, in order: found in any split, or declared; an empty one stays visible."""
    also_feature: bool = False
    reference: dict[str, float] | None = None
    """Share of each group among the people that the model will meet, as the owner states it."""
    reference_source: str | None = None


class SplitFile(Record):
    """One split on disk: gzipped TFRecord of ``tf.Example``."""

    path: str
    """Relative to the folder of its noun."""
    digest: Digest
    num_rows: int = Field(ge=0)


class Dataset(Record):
    """What was read, before anything was computed from it (``02_dataset.json``)."""

    schema_version: Literal[1] = 1
    name: str
    source: str
    """The source as the config gives it; never an absolute path."""
    source_format: Literal["csv", "parquet", "tfrecord"]
    source_digest: Digest
    """Digest of the source files' bytes."""
    content_digest: Digest
    """Digest of the multiset of rows: the same rows in another order or file format have the same digest."""
    num_rows: int = Field(ge=1)
    columns: tuple[Column, ...]
    excluded: tuple[str, ...] = ()
    """Columns of the source that were dropped on reading."""
    task: Task = "binary"
    """What is predicted."""
    label: str
    positive: str | None = None
    """The positive value of a binary label, as text."""
    classes: tuple[str, ...] = ()
    """The classes of a multi-class label, as text, in the order of the model's scores."""
    favourable: tuple[str, ...] = ()
    """Those among them that benefit a person when they are predicted."""
    sensitive: tuple[SensitiveAttribute, ...] = ()
    intersections: tuple[tuple[str, ...], ...] = ()
    privacy_unit: str = "row"
    """``row``, or the name of the column whose values are the protected units."""
    favourable_outcome: Literal["positive", "negative"] = "positive"
    split_rule: str
    """How rows were assigned to splits, in words."""
    split_shares: dict[str, int] | None = None
    """Hash buckets per split; ``None``: the splits were given."""
    split_at_random: bool = False
    """Whether chance alone decided which split a row is in: by hash, or by whoever gave the splits."""
    licence: str | None = None
    citation: str | None = None
    caveats: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_label(self) -> Dataset:
        labels = [column.name for column in self.columns if Role.LABEL in column.roles]
        if labels != [self.label]:
            raise ValueError("exactly one column has the role label, and it is the one named")
        return self

    @model_validator(mode="after")
    def _label_fits_the_task(self) -> Dataset:
        if (self.positive is not None) != (self.task == "binary"):
            raise ValueError("a binary label has a positive value, and no other label has one")
        if (len(self.classes) > 1) != (self.task == "multiclass"):
            raise ValueError("a multi-class label has at least two classes, and no other label has any")
        if not set(self.favourable) <= set(self.classes):
            raise ValueError("the favourable classes are among the classes")
        return self

    @property
    def num_scores(self) -> int:
        """How many scores a model of this label gives for a row: one for each class, else one."""
        return len(self.classes) or 1

    @property
    def features(self) -> tuple[Column, ...]:
        """The columns that the model may see, in the order of the source."""
        return tuple(column for column in self.columns if column.is_feature)

    def column(self, name: str) -> Column:
        """Returns the column with this name.

        Raises:
            KeyError: If there is none.
        """
        for entry in self.columns:
            if entry.name == name:
                return entry
        raise KeyError(name)

    def slices(self) -> tuple[tuple[str, ...], ...]:
        """Returns what is audited: nothing (all rows), each sensitive attribute, each intersection."""
        return ((), *((attribute.name,) for attribute in self.sensitive), *self.intersections)


@dataclass(frozen=True, kw_only=True)
class Examples:
    """The raw rows by split, as ``tf.Example`` (``03_examples/``).

    A missing value is an absent or empty feature. Sensitive columns are in here, for the audits; excluded ones are not.
    """

    folder: Path
    files: dict[str, SplitFile]
    columns: tuple[Column, ...]

    def path(self, split: str) -> Path:
        """Returns the file of a split."""
        return self.folder / self.files[split].path

    def table(self, split: str) -> pa.Table:
        """Reads a split: one column per raw column, one scalar or null per row, in file order.

        Raises:
            DigestMismatchError: If the file is not the one that was recorded.
        """
        # Reading tf.Example needs tfx_bsl, which takes seconds to import; nobody pays for it before reading.
        from probity.tfexample import read_table

        entry = self.files[split]
        require_digest(entry.path, found=digest_file(self.path(split)), recorded=entry.digest)
        return read_table(self.path(split), self.columns)


class FeatureSpec(Record):
    """What the schema says about one raw column."""

    name: str
    kind: ColumnKind
    required: bool
    """Whether a missing value is an anomaly."""
    domain: tuple[str, ...] | None = None
    """The allowed values of a categorical column, in order."""
    minimum: Number | None = None
    maximum: Number | None = None
    reviewed: bool = True
    """``False``: the schema itself says that these facts were inferred from data, so nobody has made them public."""


class Schema(Record):
    """The schema in force, read from ``05_schema.pbtxt`` (TFDV text format)."""

    digest: Digest
    """Digest of the schema file."""
    curated: bool
    """``True``: given by the user, so its domains and bounds are public facts. ``False``: inferred from the training
    split, so they were read from private data."""
    features: tuple[FeatureSpec, ...]

    def feature(self, name: str) -> FeatureSpec | None:
        """Returns the specification of a column, or ``None`` if the schema does not know it."""
        return next((entry for entry in self.features if entry.name == name), None)


class Anomaly(Record):
    """One way in which the data departs from the schema. Holds no data value."""

    split: str
    feature: str
    severity: Literal["error", "warning"]
    reason: str
    """TFDV's reason type, for example ``FEATURE_TYPE_LOW_FRACTION_PRESENT``."""
    description: str


class Anomalies(Record):
    """What the validation found, by split (``05_anomalies.json``)."""

    schema_version: Literal[1] = 1
    schema_digest: Digest
    anomalies: tuple[Anomaly, ...] = ()

    @property
    def errors(self) -> tuple[Anomaly, ...]:
        """The anomalies that stop a run."""
        return tuple(entry for entry in self.anomalies if entry.severity == "error")


class Statistics(Record):
    """Descriptive statistics by split and by sensitive group (``04_statistics/``).

    They are exact, not differentially private, and never leave the run folder.
    """

    schema_version: Literal[1] = 1
    splits: dict[str, str]
    """Split to TFDV statistics file, relative to the folder."""
    groups: dict[str, str]
    """``attribute=group`` of the training split to TFDV statistics file."""
    group_counts: Annotated[dict[str, dict[str, int]], Sensitive]
    """Split to ``attribute=group`` to number of rows; small counts can single people out."""


class TransformConstant(Record):
    """One number or vocabulary that the transform graph holds, and where it came from. Not the constant itself."""

    feature: str
    kind: str
    """For example ``quantiles``, ``mean and variance``, ``vocabulary``."""
    source: Literal["schema", "config", "private statistics", "training data"]
    """``schema``, ``config``: a public fact, stated by a curated schema or by the config. ``private statistics``:
    computed from private rows by a differentially private mechanism. ``training data``: computed from them without
    noise."""


class PrivateStatistics(Record):
    """Differentially private statistics of the training rows that became constants of the transform.

    What was spent on them is part of the privacy statement and of the budget.
    """

    kind: Literal["private_statistics"] = "private_statistics"
    epsilon: float = Field(gt=0.0, allow_inf_nan=False)
    delta: float = Field(ge=0.0, lt=1.0)
    unit: str
    """The protected unit: ``row``, or the name of the privacy-unit column."""
    mechanisms: tuple[str, ...]
    """Each mechanism in words, with its share of epsilon. Names columns, holds no value."""


class TransformedFeature(Record):
    """One model input: a dense float vector made from one raw column."""

    name: str
    """The raw column's name with the suffix ``_xf``."""
    source: str
    width: int = Field(ge=1)
    labels: tuple[str, ...] = ()
    """What each element stands for, where that is known (one-hot values, bucket numbers)."""


class Transform(Record):
    """The transform graph and the layout of what it puts out (``06_transform/transform.json``)."""

    schema_version: Literal[1] = 1
    digest: Digest
    """Digest of what the graph computes: inputs, outputs, constants, code, and its effect on the rows. (The bytes of
    the folder differ between equal builds: TensorFlow writes random names into a SavedModel.)"""
    graph: str = "transform_fn"
    """Folder of the TFT output, relative to the transform's folder."""
    inputs: tuple[Column, ...]
    """The raw columns that enter the graph: features only."""
    outputs: tuple[TransformedFeature, ...]
    constants: tuple[TransformConstant, ...]
    private_statistics: PrivateStatistics | None = None
    """What was spent on differentially private constants, if there are any."""
    module: Digest | None = None
    """Digest of the user's ``preprocessing_fn`` file, when it replaces the built-in transform."""
    label_kind: Literal["int64", "float32"] = "int64"
    """How the label is stored beside the outputs: ``int64`` for 0/1 and numbers of classes, ``float32`` for what a
    regression predicts."""
    unknown_rates: dict[str, float] = Field(default={})
    """Share of rows of the eval split whose value fell outside the vocabulary, by source column."""

    @property
    def depends_on_private_data(self) -> bool:
        """Whether any constant was computed from private rows without noise: then a DP claim leaves it out."""
        return any(constant.source == "training data" for constant in self.constants)

    @property
    def width(self) -> int:
        """Number of floats that enter the model."""
        return sum(feature.width for feature in self.outputs)


@dataclass(frozen=True, kw_only=True)
class TransformedExamples:
    """The model's inputs and labels by split (``06_transform/examples/``), gzipped TFRecord of ``tf.Example``."""

    folder: Path
    files: dict[str, SplitFile]
    outputs: tuple[TransformedFeature, ...]
    label_kind: LabelKind = "int64"
    """How labels are stored: as numbers of classes, or as what a regression predicts."""

    def path(self, split: str) -> Path:
        """Returns the file of a split."""
        return self.folder / self.files[split].path

    def arrays(self, split: str) -> tuple[dict[str, np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
        """Reads a split into memory.

        Returns:
            Inputs by name, each float32 of shape (rows, width), and labels, float32 of shape (rows,): 0 or 1, the
            position of the class, or the number to predict.

        Raises:
            DigestMismatchError: If the file is not the one that was recorded.
        """
        from probity.tfexample import read_arrays

        entry = self.files[split]
        require_digest(entry.path, found=digest_file(self.path(split)), recorded=entry.digest)
        return read_arrays(self.path(split), self.outputs, label_kind=self.label_kind)
