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
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from probity.data import Column, ColumnKind, Dataset, Schema, TransformConstant, TransformedFeature
from probity.errors import ConfigError
from probity.platform.analysis import bucket_boundaries, dense, dense_number, learn, sparse_specs
from probity.platform.private_statistics import Measured
from probity.recipe import TransformConfig
from probity.suggestion import did_you_mean

__all__ = [
    "MISSING",
    "SUFFIX",
    "UNKNOWN",
    "Buckets",
    "Recipe",
    "Scaling",
    "Words",
    "prepare",
    "public_step",
    "write_graph",
    "write_input_layout",
]

SUFFIX = "_xf"
UNKNOWN = "(unknown)"
MISSING = "(missing)"

Source = Literal["schema", "config", "private statistics", "training data"]
Measure = Callable[[Sequence[Column]], Measured]
"""Computes what constants are made from, with noise, for the columns it is given."""
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


Step = Buckets | Scaling | Words


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is done to each feature column, and where its constants came from."""

    steps: dict[str, Step]
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
    dataset: Dataset,
    schema: Schema,
    config: TransformConfig,
    *,
    empty: Collection[str],
    train: Path,
    scratch: Path,
    public_first: bool = False,
    measure: Measure | None = None,
) -> Recipe:
    """Finds the constants: in the config and a curated schema where these state them, else in the training split.

    Args:
        dataset: The columns' roles.
        schema: The schema in force.
        config: The kind of preprocessing.
        empty: Names of columns without any value in the training split, from which nothing can be learnt.
        train: The training split.
        scratch: A folder that does not exist yet, for the analysis.
        public_first: Whether public bounds replace what would otherwise be learnt, as private training needs it.
        measure: Computes what no public fact states with noise; ``None``: it is learnt without noise.

    Raises:
        ConfigError: If ``transform.boundaries`` names what is no numeric feature.
    """
    _require_numeric(config, dataset)
    known = {
        column.name: found
        for column in dataset.features
        if (found := public_step(column, schema, config, public_first=public_first)) is not None
    }
    unknown = [column for column in dataset.features if column.name not in known]
    if measure is not None and unknown:
        source: Source = "private statistics"
        found_steps = _measured(measure(unknown), unknown, config)
    else:
        source = "training data"
        found_steps = _learnt(unknown, config, empty=empty, train=train, scratch=scratch)
    return Recipe(
        steps={
            column.name: known[column.name][0] if column.name in known else found_steps[column.name]
            for column in dataset.features
        },
        sources={column.name: known.get(column.name, (None, source))[1] for column in dataset.features},
        kinds={
            column.name: "vocabulary" if column.kind is ColumnKind.TEXT else _KIND[config.numeric]
            for column in dataset.features
        },
    )


def public_step(
    column: Column, schema: Schema, config: TransformConfig, *, public_first: bool
) -> tuple[Step, Literal["schema", "config"]] | None:
    """Returns what is done to a column if public facts state all its constants, and where they stand; else ``None``."""
    if column.name in config.boundaries:
        return Buckets(boundaries=config.boundaries[column.name]), "config"
    step = _from_schema(column, schema, config, public_first=public_first)
    return None if step is None else (step, "schema")


def _learnt(
    columns: Sequence[Column], config: TransformConfig, *, empty: Collection[str], train: Path, scratch: Path
) -> dict[str, Step]:
    """Computes constants from the training rows, without noise."""
    filled = [column for column in columns if column.name not in empty]
    steps: dict[str, Step] = {
        column.name: Words(vocabulary=()) if column.kind is ColumnKind.TEXT else _numeric(config, _NOTHING)
        for column in columns
    }
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
    return steps


def _measured(found: Measured, columns: Sequence[Column], config: TransformConfig) -> dict[str, Step]:
    """Makes constants of what was measured with noise."""
    steps: dict[str, Step] = {}
    for column in columns:
        if column.kind is ColumnKind.TEXT:
            steps[column.name] = Words(vocabulary=found.vocabularies[column.name])
            continue
        quantiles = found.quantiles[column.name]
        statistic = quantiles
        if config.numeric == "z_score" and len(quantiles):
            statistic = np.array([quantiles.mean(), quantiles.var()], np.float32)
        elif config.numeric == "min_max" and len(quantiles):
            statistic = np.array(found.bounds[column.name], np.float32)
        steps[column.name] = _numeric(config, statistic)
    return steps


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


def _from_schema(column: Column, schema: Schema, config: TransformConfig, *, public_first: bool) -> Step | None:
    """Returns the step if a curated schema states all its constants."""
    spec = schema.feature(column.name) if schema.curated else None
    if spec is None or not spec.reviewed:
        return None
    if column.kind is ColumnKind.TEXT:
        return None if spec.domain is None else Words(vocabulary=tuple(dict.fromkeys(filter(None, spec.domain))))
    low, high = spec.minimum, spec.maximum
    if low is None or high is None or not math.isfinite(high - low):
        return None
    if config.numeric == "min_max":
        return _scaled(low, high)
    if not public_first:
        return None
    if config.numeric == "z_score":  # there is no public mean: the middle and half the width scale to [-1, 1]
        return Scaling(offset=(low + high) / 2, scale=(high - low) / 2 or 1.0, clipped=False)
    return Buckets(boundaries=_even_boundaries(low, high, config.num_buckets, whole=column.kind is ColumnKind.INT))


def _even_boundaries(low: float, high: float, num_buckets: int, *, whole: bool) -> tuple[float, ...]:
    """Returns boundaries of buckets of equal width; of one whole number each where there are no more of these."""
    if whole and high - low < num_buckets:
        return tuple(np.arange(math.floor(low) + 1.0, math.floor(high) + 1.0).tolist())
    return tuple(np.linspace(low, high, num_buckets + 1)[1:-1].tolist()) if high > low else ()


def _require_numeric(config: TransformConfig, dataset: Dataset) -> None:
    kinds = {column.name: column.kind for column in dataset.features}
    for name in config.boundaries:
        if kinds.get(name) in (None, ColumnKind.TEXT):
            raise ConfigError(
                f"transform.boundaries.{name}",
                seen="a column of text"
                if name in kinds
                else f"no feature of this name{did_you_mean(name, list(kinds))}",
                allowed=f"numeric features: {', '.join(n for n, kind in kinds.items() if kind is not ColumnKind.TEXT)}",
                remedy="correct the name, or remove the boundaries",
            )


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
