"""Transform: raw examples and a schema become the model's inputs, through one graph for training and serving.

Constants come from a curated schema where it states them, else from the training split alone. The graph is applied to
each split by TensorFlow, and is the very graph that the exported model carries.

Only feature columns enter it: the label, the privacy unit and sensitive columns that are no features are
not even decoded.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from probity.data import (
    Column,
    ColumnKind,
    Dataset,
    Examples,
    PrivateStatistics,
    Schema,
    SplitFile,
    Transform,
    TransformConstant,
    TransformedExamples,
    TransformedFeature,
)
from probity.data_source import SPLITS
from probity.digest import digest_file, digest_json
from probity.errors import ConfigError, DataError
from probity.platform import preprocessing, private_statistics
from probity.platform.analysis import run_analysis, sparse_specs
from probity.platform.labels import training_labels
from probity.platform.preprocessing import SUFFIX, UNKNOWN, Recipe
from probity.recipe import TransformConfig
from probity.tfexample import LabelKind, read_records, write_arrays
from probity.transform_graph import Arrays, graph_function
from probity.usercode import load_function, module_path, user_error

__all__ = ["planned_private_statistics", "transform"]

_GRAPH = "transform_fn"
_KEY = "transform.module"
_ROUNDING = 1e-9
"""By how much the sum of the shares may come out above the whole, for rounding."""


def planned_private_statistics(
    config: TransformConfig, dataset: Dataset, schema: Schema, num_units: int
) -> PrivateStatistics | None:
    """Returns what differentially private statistics will cost at most, known before any row is read for them.

    Returns:
        The cost, or ``None`` where none are asked for, or public facts state every constant.
    """
    asked = config.private_statistics
    unknown = [
        column
        for column in dataset.features
        if preprocessing.public_step(column, schema, config, public_first=True) is None
    ]
    if asked is None or config.module is not None or not unknown:
        return None
    texts = any(column.kind is ColumnKind.TEXT for column in unknown)
    return PrivateStatistics(
        epsilon=asked.epsilon * (1 + _ROUNDING),
        delta=private_statistics.delta_for(asked, num_units) if texts else 0.0,
        unit=dataset.privacy_unit,
        mechanisms=tuple(f"constants of {column.name}" for column in unknown),
    )


def transform(
    examples: Examples,
    dataset: Dataset,
    schema: Schema,
    config: TransformConfig,
    *,
    root: Path,
    out: Path,
    public_first: bool = False,
    units: npt.NDArray[np.int64] | None = None,
) -> tuple[Transform, TransformedExamples]:
    """Analyses the training split, writes the graph, and applies it to every split.

    Guarantees: constants depend on the training split and the schema alone; columns that are not features never enter
    the graph; every output is finite, float32 and of known width; equal inputs give an equal digest and equal files.

    Args:
        examples: The raw rows.
        dataset: The columns' roles.
        schema: Domains and bounds; they are used as constants only if it is curated.
        config: How to preprocess.
        root: The config file's folder, where a user's module is looked for.
        out: An empty folder; gets ``transform_fn/`` and ``examples/``.
        public_first: Whether the model will be trained with differential privacy: then public facts are used wherever
            there are any, and what they leave open is measured with noise where the config says so.
        units: For each training row the number of its protected unit; ``None`` where each row is a unit.

    Returns:
        The layout of the graph, and the transformed rows below ``out / "examples"``.

    Raises:
        ConfigError: If there is no feature, or the user's module cannot be used.
        DataError: If there is no training row, a label is missing, or an output is not finite.
    """
    _require_rows(examples, dataset)
    # Reading raises if a file is not the one that was recorded.
    tables: dict[str, pa.Table] = {split: examples.table(split) for split in SPLITS}
    labels = {split: training_labels(table, dataset, split) for split, table in tables.items()}
    graph = out / _GRAPH
    if config.module is None:
        measuring = _Measuring(tables["train"], dataset, schema, config, units) if public_first else None
        made = _own_graph(examples, dataset, schema, config, tables["train"], measuring=measuring, out=out)
    else:
        made = _user_graph(config.module, examples, dataset, root=root, folder=graph)
    transformed, unknown = _apply(
        graph, made.outputs, examples, labels, folder=out / "examples", label_kind=_label_kind(dataset)
    )
    record = Transform(
        digest=_meaning(dataset.features, made.outputs, made.recipe, made.module, transformed),
        graph=_GRAPH,
        inputs=dataset.features,
        outputs=made.outputs,
        constants=made.constants,
        private_statistics=made.spent,
        module=made.module,
        label_kind=transformed.label_kind,
        unknown_rates=unknown,
    )
    return record, transformed


@dataclass(frozen=True, kw_only=True)
class _Made:
    """What is on record of a graph: made from a recipe, or by the user's module with this digest."""

    outputs: tuple[TransformedFeature, ...]
    constants: tuple[TransformConstant, ...]
    recipe: Recipe | None = None
    module: str | None = None
    spent: PrivateStatistics | None = None


def _require_rows(examples: Examples, dataset: Dataset) -> None:
    if not dataset.features:
        raise ConfigError(
            "data",
            seen="every column is the label, sensitive, excluded or the privacy unit",
            allowed="at least one feature column",
            remedy="exclude fewer columns, or mark a sensitive one with also_feature: true",
        )
    if examples.files["train"].num_rows == 0:
        raise DataError(
            "split train", seen="no rows", allowed="at least one row", remedy="use more data or other split shares"
        )


def _own_graph(
    examples: Examples,
    dataset: Dataset,
    schema: Schema,
    config: TransformConfig,
    train: pa.Table,
    *,
    measuring: _Measuring | None,
    out: Path,
) -> _Made:
    recipe = preprocessing.prepare(
        dataset,
        schema,
        config,
        empty=[column.name for column in dataset.features if not _has_value(train.column(column.name))],
        train=examples.path("train"),
        scratch=out / "analysis",
        public_first=measuring is not None,
        measure=measuring if config.private_statistics is not None else None,
    )
    shutil.rmtree(out / "analysis", ignore_errors=True)
    preprocessing.write_graph(recipe, dataset.features, folder=out / _GRAPH)
    spent = None if measuring is None else measuring.spent
    return _Made(outputs=recipe.outputs, constants=recipe.constants, recipe=recipe, spent=spent)


class _Measuring:
    """Measures columns of the training rows with noise, and keeps what that cost."""

    def __init__(
        self,
        train: pa.Table,
        dataset: Dataset,
        schema: Schema,
        config: TransformConfig,
        units: npt.NDArray[np.int64] | None,
    ) -> None:
        self._train = train
        self._dataset = dataset
        self._schema = schema
        self._config = config
        self._units = units
        self.spent: PrivateStatistics | None = None

    def __call__(self, columns: Sequence[Column]) -> private_statistics.Measured:
        asked = self._config.private_statistics
        if asked is None:
            raise AssertionError("nothing was asked for")
        rows = private_statistics.bounded_rows(self._train, self._units)
        # What nobody reviewed was inferred from the rows: as a public bound it would cost nothing and hide nothing.
        public = [spec for spec in self._schema.features if self._schema.curated and spec.reviewed]
        specs = {spec.name: spec for spec in public}
        measured = private_statistics.measure(
            rows,
            columns,
            specs=specs,
            epsilon=asked.epsilon,
            delta=private_statistics.delta_for(asked, rows.num_rows),
            max_vocabulary=self._config.max_vocabulary,
            unit=self._dataset.privacy_unit,
        )
        self.spent = measured.spent
        return measured


def _meaning(
    inputs: Sequence[Column],
    outputs: Sequence[TransformedFeature],
    recipe: Recipe | None,
    module: str | None,
    transformed: TransformedExamples,
) -> str:
    """Returns the digest of what the graph computes: what goes in and out, its constants, its code, its effect.

    The bytes of a SavedModel will not do: TensorFlow writes random names and an unordered map into each, so equal
    graphs differ. What a user's module computes is known only by its effect, hence the digests of the transformed rows.
    """
    return digest_json(
        {
            "inputs": [column.to_json() for column in inputs],
            "outputs": [feature.to_json() for feature in outputs],
            "constants": None if recipe is None else recipe.to_json(),
            "module": module,
            "effect": {split: entry.digest for split, entry in transformed.files.items()},
            "versions": {name: version(name) for name in ("tensorflow", "tensorflow-transform")},
        }
    )


def _apply(
    graph: Path,
    outputs: Sequence[TransformedFeature],
    examples: Examples,
    labels: Mapping[str, npt.NDArray[np.float32]],
    *,
    folder: Path,
    label_kind: LabelKind,
) -> tuple[TransformedExamples, dict[str, float]]:
    """Runs each split through the graph, checks what comes out, and writes it with the labels."""
    apply = graph_function(graph, outputs)
    folder.mkdir()
    files: dict[str, SplitFile] = {}
    unknown: dict[str, float] = {}
    for split in SPLITS:
        arrays = apply(read_records(examples.path(split)))
        _require_finite(arrays, outputs, split)
        if split == "eval":
            unknown = _unknown_rates(arrays, outputs)
        path = folder / f"{split}.tfrecord.gz"
        write_arrays(path, arrays, labels[split], label_kind=label_kind)
        files[split] = SplitFile(path=path.name, digest=digest_file(path), num_rows=len(labels[split]))
    made = TransformedExamples(folder=folder, files=files, outputs=tuple(outputs), label_kind=label_kind)
    return made, unknown


def _label_kind(dataset: Dataset) -> LabelKind:
    return "float32" if dataset.task == "regression" else "int64"


def _has_value(column: pa.ChunkedArray) -> bool:
    """Returns whether a column has a value that is not missing: not null, NaN or the empty text."""
    given = column.drop_null()
    if pa.types.is_floating(given.type):
        given = given.filter(pc.invert(pc.is_nan(given)))
    elif pa.types.is_string(given.type):
        given = given.filter(pc.not_equal(given, ""))
    return len(given) > 0


def _require_finite(arrays: Arrays, outputs: Sequence[TransformedFeature], split: str) -> None:
    for feature in outputs:
        broken = int((~np.isfinite(arrays[feature.name])).any(axis=1).sum())
        if broken:
            raise DataError(
                f"feature {feature.source}",
                seen=f"its transformed form {feature.name} is not finite in {broken} rows of split {split}",
                allowed="finite numbers",
                remedy="remove infinite values from the column, use numeric: bucketize, or mend the preprocessing_fn",
            )


def _unknown_rates(arrays: Arrays, outputs: Sequence[TransformedFeature]) -> dict[str, float]:
    return {
        feature.source: float(arrays[feature.name][:, feature.labels.index(UNKNOWN)].mean())
        for feature in outputs
        if UNKNOWN in feature.labels and len(arrays[feature.name])
    }


# -- the user's own preprocessing_fn ----------------------------------------------------------------------------------


def _user_graph(module: str, examples: Examples, dataset: Dataset, *, root: Path, folder: Path) -> _Made:
    import tensorflow_transform as tft
    from tensorflow_transform import impl_helper

    path = module_path(module, root=root, key=_KEY)
    function = load_function(module, "preprocessing_fn", root=root, key=_KEY)
    columns = dataset.features
    try:
        run_analysis(function, columns, train=examples.path("train"), folder=folder)
        preprocessing.write_input_layout(columns, folder=folder)
        specs = tft.TFTransformOutput(str(folder)).transformed_feature_spec()
        types = impl_helper.get_type_specs_from_feature_specs(sparse_specs(columns))
        analysed = tft.get_analyze_input_columns(function, types)
    except Exception as error:
        raise user_error(
            error,
            path,
            key=_KEY,
            doing="analysing the training split",
            allowed="tensors of fixed width, from TensorFlow and TensorFlow Transform operations on the sparse inputs",
        ) from error
    outputs = tuple(_user_output(name, specs[name], path.name) for name in sorted(specs))
    constants = tuple(
        TransformConstant(feature=name, kind="preprocessing_fn", source="training data") for name in sorted(analysed)
    )
    return _Made(outputs=outputs, constants=constants, module=digest_file(path))


def _user_output(name: str, spec: Any, module: str) -> TransformedFeature:
    import tensorflow as tf

    shape = tuple(getattr(spec, "shape", ()))
    dense = isinstance(spec, tf.io.FixedLenFeature) and len(shape) <= 1 and spec.dtype in (tf.float32, tf.int64)
    if not dense or not name.endswith(SUFFIX) or name == SUFFIX:
        raise ConfigError(
            _KEY,
            seen=f"output {name!r} of {module} is {type(spec).__name__} of {spec.dtype.name}, rank {len(shape) + 1}",
            allowed=f"dense float32 or int64 of shape (rows,) or (rows, width), named with the suffix {SUFFIX}",
            remedy="make it dense and of fixed width (one-hot, not text), and name it after its source column",
        )
    return TransformedFeature(name=name, source=name.removesuffix(SUFFIX), width=int(np.prod(shape, dtype=int)))
