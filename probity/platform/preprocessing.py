"""The built-in preprocessing: which constants each column needs, and the graph that they make.

=============  ==========================================  ====================================================
column         output, width                               missing value
=============  ==========================================  ====================================================
``bucketize``  one-hot of quantile buckets, buckets + 1    an element of its own
``z_score``    (x - mean) / standard deviation, and flag   0 and flag 1
``min_max``    (x - min) / (max - min), clipped, and flag  0 and flag 1
text           one-hot of the vocabulary, words + 2        an element of its own, as has a word not listed
=============  ==========================================  ====================================================

A missing value is an absent one, NaN, or the empty text.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from probity.config import TransformConfig
from probity.data import Column, ColumnKind, Dataset, Schema, TransformConstant, TransformedFeature
from probity.platform.analysis import bucket_boundaries, dense, dense_number, learn, sparse_specs

__all__ = [
    "MISSING",
    "SUFFIX",
    "UNKNOWN",
    "Buckets",
    "Recipe",
    "Scaling",
    "Words",
    "prepare",
    "write_graph",
    "write_input_layout",
]

SUFFIX = "_xf"
UNKNOWN = "(unknown)"
MISSING = "(missing)"

Source = Literal["schema", "training data"]
_STATISTICS: dict[str, Literal["quantiles", "moments", "bounds"]] = {
    "bucketize": "quantiles",
    "z_score": "moments",
    "min_max": "bounds",
}
_NOTHING = np.zeros(0, np.float32)
_KIND = {"bucketize": "quantiles", "z_score": "mean and variance", "min_max": "minimum and maximum"}


@dataclass(frozen=True, kw_only=True)
class Buckets:
    """One-hot of the bucket: number of boundaries that are not above the value."""

    boundaries: tuple[float, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """What each element stands for."""
        return (*(f"bucket {i}" for i in range(len(self.boundaries) + 1)), MISSING)

    def apply(self, column: Any) -> Any:
        """Adds the operation to the graph being traced: sparse numbers to float32 of shape (rows, width)."""
        import tensorflow as tf

        number = dense_number(column, tf.float32)
        bucket = tf.searchsorted(tf.constant(self.boundaries, tf.float32), number, side="right")
        last = len(self.labels) - 1
        return tf.one_hot(tf.where(tf.math.is_nan(number), last, bucket), last + 1)


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """``(x - offset) / scale``, and a flag for missing values."""

    offset: float
    scale: float
    clipped: bool
    """Whether the result is clipped to [0, 1]."""

    @property
    def labels(self) -> tuple[str, ...]:
        """What each element stands for."""
        return ("scaled value", MISSING)

    def apply(self, column: Any) -> Any:
        """Adds the operation to the graph being traced: sparse numbers to float32 of shape (rows, 2)."""
        import tensorflow as tf

        number = dense_number(column, tf.float32)
        missing = tf.math.is_nan(number)
        scaled = (number - self.offset) / self.scale
        if self.clipped:
            scaled = tf.clip_by_value(scaled, 0.0, 1.0)
        return tf.stack([tf.where(missing, 0.0, scaled), tf.cast(missing, tf.float32)], axis=1)


@dataclass(frozen=True, kw_only=True)
class Words:
    """One-hot of the word."""

    vocabulary: tuple[str, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """What each element stands for."""
        return (*self.vocabulary, UNKNOWN, MISSING)

    def apply(self, column: Any) -> Any:
        """Adds the operation to the graph being traced: sparse text to float32 of shape (rows, width)."""
        import tensorflow as tf

        word = dense(column, "")
        unknown = len(self.vocabulary)
        position = tf.fill(tf.shape(word), unknown)
        if self.vocabulary:
            words = tf.lookup.KeyValueTensorInitializer(tf.constant(self.vocabulary), tf.range(unknown))
            position = tf.lookup.StaticHashTable(words, unknown).lookup(word)
        return tf.one_hot(tf.where(word == "", unknown + 1, position), unknown + 2)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is done to each feature column, and where its constants came from."""

    steps: dict[str, Buckets | Scaling | Words]
    sources: dict[str, Source]
    kinds: dict[str, str]

    @property
    def outputs(self) -> tuple[TransformedFeature, ...]:
        """The layout of what the graph puts out, in the order of the source columns."""
        return tuple(
            TransformedFeature(name=f"{name}{SUFFIX}", source=name, width=len(step.labels), labels=step.labels)
            for name, step in self.steps.items()
        )

    @property
    def constants(self) -> tuple[TransformConstant, ...]:
        """What the graph holds of the data or the schema."""
        return tuple(
            TransformConstant(feature=name, kind=self.kinds[name], source=self.sources[name]) for name in self.steps
        )

    def to_json(self) -> dict[str, Any]:
        """Returns every constant, for the digest."""
        return {name: [type(step).__name__, asdict(step)] for name, step in self.steps.items()}


def prepare(
    dataset: Dataset, schema: Schema, config: TransformConfig, *, empty: Collection[str], train: Path, scratch: Path
) -> Recipe:
    """Finds the constants: in the schema if it is curated and states them, else in the training split.

    Args:
        dataset: The columns' roles.
        schema: The schema in force.
        config: The kind of preprocessing.
        empty: Names of columns without any value in the training split, from which nothing can be learnt.
        train: The training split.
        scratch: A folder that does not exist yet, for the analysis.
    """
    steps: dict[str, Buckets | Scaling | Words] = {}
    for column in dataset.features:
        known = _from_schema(column, schema, config)
        if known is not None:
            steps[column.name] = known
    unknown = [column for column in dataset.features if column.name not in steps]
    filled = [column for column in unknown if column.name not in empty]
    for column in unknown:
        steps[column.name] = Words(vocabulary=()) if column.kind is ColumnKind.TEXT else _numeric(config, _NOTHING)
    found = learn(
        numeric=[column for column in filled if column.kind is not ColumnKind.TEXT],
        statistic=_STATISTICS[config.numeric],
        text=[column for column in filled if column.kind is ColumnKind.TEXT],
        max_vocabulary=config.max_vocabulary,
        train=train,
        folder=scratch,
    )
    steps |= {name: _numeric(config, statistic) for name, statistic in found.numbers.items()}
    steps |= {name: Words(vocabulary=words) for name, words in found.vocabularies.items()}
    learnt = {column.name for column in unknown}
    return Recipe(
        steps={column.name: steps[column.name] for column in dataset.features},
        sources={name: "training data" if name in learnt else "schema" for name in steps},
        kinds={
            column.name: "vocabulary" if column.kind is ColumnKind.TEXT else _KIND[config.numeric]
            for column in dataset.features
        },
    )


def write_graph(recipe: Recipe, columns: Sequence[Column], *, folder: Path) -> None:
    """Writes the graph as a TFT output folder, from which training, serving and any TFX tool can read it.

    The constants are in the recipe, so no data is read and no Beam pipeline is needed for this.
    """
    from tensorflow_transform import impl_helper

    def preprocess(inputs: Mapping[str, Any]) -> dict[str, Any]:
        return {f"{name}{SUFFIX}": step.apply(inputs[name]) for name, step in recipe.steps.items()}

    specs = sparse_specs(columns)
    types = impl_helper.get_type_specs_from_feature_specs(specs)
    impl_helper.analyze_in_place(preprocess, False, specs, types, str(folder))
    write_input_layout(columns, folder=folder)


def write_input_layout(columns: Sequence[Column], *, folder: Path) -> None:
    """Adds the raw columns to a TFT output folder, so that whoever reads it knows how to parse raw rows."""
    from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils

    raw = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(sparse_specs(columns)))
    metadata_io.write_metadata(raw, str(folder / "metadata"))


def _from_schema(column: Column, schema: Schema, config: TransformConfig) -> Scaling | Words | None:
    """Returns the step if a curated schema states all its constants."""
    spec = schema.feature(column.name) if schema.curated else None
    if spec is None:
        return None
    if column.kind is ColumnKind.TEXT:
        return None if spec.domain is None else Words(vocabulary=tuple(dict.fromkeys(filter(None, spec.domain))))
    low, high = spec.minimum, spec.maximum
    if config.numeric != "min_max" or low is None or high is None or not math.isfinite(high - low):
        return None
    return _scaled(low, high)


def _numeric(config: TransformConfig, statistic: npt.NDArray[np.float32]) -> Buckets | Scaling:
    if config.numeric == "bucketize":
        return Buckets(boundaries=bucket_boundaries(statistic, config.num_buckets))
    numbers: list[float] = statistic.tolist()
    if not numbers:
        return Scaling(offset=0.0, scale=1.0, clipped=config.numeric == "min_max")
    if config.numeric == "z_score":
        mean, variance = numbers
        return Scaling(offset=mean, scale=math.sqrt(variance) or 1.0, clipped=False)
    return _scaled(*numbers)


def _scaled(low: float, high: float) -> Scaling:
    return Scaling(offset=low, scale=(high - low) or 1.0, clipped=True)
