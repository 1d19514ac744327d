"""The suite that every trainer has to pass, ours and other people's.

A subclass in a test module gives it the trainer; pytest collects the tests from there::

    class TestMyTrainer(TrainerContract):
        @pytest.fixture(scope="class")
        def trainer(self):
            return MyTrainer()

        @pytest.fixture(scope="class")
        def settings(self):
            return MySettings(epochs=2)

The rows are made up. They hold a numeric column with a name that is no identifier, a float and a text column, missing
values, and a sensitive column that is no feature; its groups are in the request where the settings ask for them. The
test split is announced but not on disk: reading it fails.
"""

# ruff: noqa: S101 - a suite of tests asserts

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import TypeAdapter

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
from probity.digest import digest_bytes, digest_file, digest_tree
from probity.model import UNMITIGATED, Mechanism, TrainedModel
from probity.predictor import SavedModelPredictor
from probity.recipe import ModelConfig
from probity.task import TASKS, Task
from probity.tfexample import LabelKind, encode, write_arrays
from probity.trainers.base import Groups, Population, Trainer, TrainerSettings, TrainingRequest, Uncalibrated

__all__ = ["Trained", "TrainerContract", "World", "agreed", "make_request", "make_world", "transformed"]

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
        dataset=Dataset(
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
        ),
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


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What one training left."""

    record: TrainedModel
    workdir: Path
    progress: list[tuple[float, str]]


class TrainerContract:
    """Guarantees of every trainer, as tests."""

    @pytest.fixture(scope="class")
    def trainer(self) -> Trainer:
        """The trainer under test; a subclass gives it."""
        raise NotImplementedError("give a fixture 'trainer' of scope 'class'")

    @pytest.fixture(scope="class")
    def settings(self, trainer: Trainer) -> TrainerSettings:
        """Settings that train in a few seconds; the trainer's defaults unless a subclass gives others."""
        return trainer.settings_type()

    @pytest.fixture(scope="class")
    def world(self, tmp_path_factory: pytest.TempPathFactory) -> World:
        """The made-up data."""
        return make_world(tmp_path_factory.mktemp("world"))

    @pytest.fixture(scope="class")
    def trained(
        self, trainer: Trainer, settings: TrainerSettings, world: World, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[Trained]:
        """The model that most tests look at."""
        with _nothing_written_elsewhere(world, tmp_path_factory.mktemp("elsewhere")):
            request = make_request(world, settings, mechanism=agreed(trainer, settings, world))
            yield _train(trainer, request, tmp_path_factory.mktemp("workdir"))

    def test_it_names_itself_and_its_settings(self, trainer: Trainer) -> None:
        """The entry point finds it by its name, and its settings refuse unknown keys."""
        assert trainer.name
        assert issubclass(trainer.settings_type, TrainerSettings)
        assert trainer.settings_type.model_config["extra"] == "forbid"

    def test_the_record_is_complete_and_reads_back(
        self, trained: Trained, trainer: Trainer, world: World, settings: TrainerSettings
    ) -> None:
        """The record says what was trained, on what, and how."""
        record = trained.record
        assert TrainedModel.from_json(json.loads(json.dumps(record.to_json()))) == record
        assert record.trainer == trainer.name
        assert record.digest == digest_tree(trained.workdir / "saved_model")
        assert record.train_examples == world.examples.files["train"].digest
        assert record.transform == world.transform.digest
        assert record.num_train_examples == record.num_train_units == world.examples.files["train"].num_rows
        assert set(record.settings) == set(settings.to_json())
        assert None not in (record.best_epoch, record.epochs, record.steps)
        assert 1 <= (record.best_epoch or 0) <= (record.epochs or 0) <= (record.steps or 0)
        assert {len(numbers) for numbers in record.history.values()} <= {record.epochs}

    def test_the_mechanism_is_one_of_the_union_and_no_epsilon_is_stated(self, trained: Trained) -> None:
        """What happened is said; what it means for privacy is for the audit to say."""
        stated = trained.record.to_json()
        assert TypeAdapter(Mechanism).validate_python(stated["mechanism"]) == trained.record.mechanism
        assert "epsilon" not in set(_keys(stated))

    def test_what_was_executed_is_what_was_agreed(
        self, trained: Trained, trainer: Trainer, settings: TrainerSettings, world: World
    ) -> None:
        """Nothing beyond the mechanism that was accounted and paid for before training was executed.

        What computed it may depend on the model, which a proposal does not see.
        """
        executed, proposed = trained.record.mechanism, agreed(trainer, settings, world)
        assert executed.model_dump(exclude={"engine"}) == proposed.model_dump(exclude={"engine"})

    def test_it_writes_the_model_and_the_keras_file(self, trained: Trained) -> None:
        """Later stages find both under their fixed names; there is no Keras file where it would not score as served."""
        assert (trained.workdir / "saved_model" / "saved_model.pb").is_file()
        assert (trained.workdir / "model.keras").is_file() == (not _served_columns(trained))

    def test_the_model_without_mitigation_is_the_one_on_record(
        self, trained: Trained, settings: TrainerSettings
    ) -> None:
        """What a mitigation changed can be measured, or the record says why not; it asks for no group by itself."""
        mitigation = trained.record.mitigation
        assert (mitigation is not None) == bool(settings.across)
        if mitigation is None:
            assert not (trained.workdir / UNMITIGATED).exists()
            return
        assert mitigation.across == settings.across
        if mitigation.unmitigated is not None:
            folder = trained.workdir / UNMITIGATED / "saved_model"
            assert digest_tree(folder) == mitigation.unmitigated != trained.record.digest
            assert not set(SavedModelPredictor(folder).columns) & set(mitigation.served_columns)

    def test_progress_ascends_within_its_range(self, trained: Trained) -> None:
        """A progress bar can show it."""
        fractions = [fraction for fraction, _ in trained.progress]
        assert fractions
        assert fractions == sorted(fractions)
        assert 0 <= fractions[0] <= fractions[-1] <= 1

    def test_both_signatures_equal_the_keras_model(self, trained: Trained, world: World) -> None:
        """Serving computes what training computed, on raw rows with missing values."""
        import tensorflow as tf

        predictor = SavedModelPredictor(trained.workdir / "saved_model")
        if _served_columns(trained):
            columns, examples = predictor.predict(world.raw), predictor.predict_examples(encode(world.raw))
            np.testing.assert_allclose(columns, examples, atol=1e-6, rtol=0)
            assert 0 <= columns.min() <= columns.max() <= 1
            return
        model = tf.keras.models.load_model(trained.workdir / "model.keras", compile=False)
        inputs = {tensor.name: None for tensor in tf.nest.flatten(model.input)}
        arrays = transformed(world.folder, world.raw)
        expected = model.predict({name: arrays[name] for name in inputs}, verbose=0).reshape(-1)
        np.testing.assert_allclose(predictor.predict(world.raw), expected, atol=1e-6, rtol=0)
        np.testing.assert_allclose(predictor.predict_examples(encode(world.raw)), expected, atol=1e-6, rtol=0)
        assert expected.min() >= 0
        assert expected.max() <= 1

    def test_label_and_sensitive_columns_are_not_needed(self, trained: Trained, world: World) -> None:
        """A client sends features only, and what the record says that a decision rule asks for."""
        predictor = SavedModelPredictor(trained.workdir / "saved_model")
        asked = [*(column.name for column in world.dataset.features), *_served_columns(trained)]
        features = world.raw.select(asked)
        assert predictor.columns == tuple(sorted(features.column_names))
        np.testing.assert_array_equal(predictor.predict(features), predictor.predict(world.raw))
        bare, full = predictor.predict_examples(encode(features)), predictor.predict_examples(encode(world.raw))
        np.testing.assert_array_equal(bare, full)

    def test_unknown_and_missing_values_are_scored(self, trained: Trained) -> None:
        """A row that training never saw, even an empty one, gets a probability, the same through both signatures."""
        predictor = SavedModelPredictor(trained.workdir / "saved_model")
        rows = pa.table(
            {
                "hours-per-week": pa.array([None, 10**9, -5], pa.int64()),
                "balance": pa.array([None, float("nan"), 1e30], pa.float32()),
                "city": pa.array([None, "Nowhere", ""], pa.string()),
                **{name: pa.array([None, "Nobody", ""], pa.string()) for name in _served_columns(trained)},
            }
        )
        scores = predictor.predict(rows)
        assert np.isfinite(scores).all()
        assert ((scores >= 0) & (scores <= 1)).all()
        np.testing.assert_allclose(predictor.predict_examples(encode(rows)), scores, atol=1e-6, rtol=0)

    def test_no_rows_give_no_scores(self, trained: Trained, world: World) -> None:
        """The empty batch is a batch."""
        predictor = SavedModelPredictor(trained.workdir / "saved_model")
        assert predictor.predict(world.raw.slice(0, 0)).shape == (0,)
        assert predictor.predict_examples([]).shape == (0,)

    def test_the_seed_decides_the_weights_and_the_test_split_does_not(
        self, trained: Trained, trainer: Trainer, settings: TrainerSettings, world: World, tmp_path: Path
    ) -> None:
        """Equal weights for an equal seed, although the record of the test split says something else."""
        assert not world.examples.path("test").exists()
        files = {**world.examples.files, "test": SplitFile(path="x", digest=digest_bytes(b"other"), num_rows=1)}
        for seed, equal in ((7, True), (8, False)):
            (tmp_path / str(seed)).mkdir()
            request = make_request(world, settings, mechanism=agreed(trainer, settings, world), seed=seed)
            request = replace(request, examples=replace(world.examples, files=files))
            again = _train(trainer, request, tmp_path / str(seed))
            assert (again.record.weights == trained.record.weights) is equal

    @pytest.mark.parametrize("task", [task for task in TASKS if task != "binary"])
    def test_every_task_it_declares_gives_its_form_of_scores(
        self, task: Task, trainer: Trainer, settings: TrainerSettings, tmp_path: Path
    ) -> None:
        """Both signatures give what :mod:`probity.trainers.objective` says."""
        if task not in getattr(trainer, "tasks", ()):
            pytest.skip("the trainer does not say that it can train for this task")
        if settings.across and task != "binary":
            pytest.skip("these settings even out binary decisions, and are refused for other tasks")
        (tmp_path / "world").mkdir()
        (tmp_path / "model").mkdir()
        world = make_world(tmp_path / "world", task=task)
        _train(trainer, make_request(world, settings, mechanism=agreed(trainer, settings, world)), tmp_path / "model")
        predictor = SavedModelPredictor(tmp_path / "model" / "saved_model")
        scores = predictor.scores(world.raw)
        assert (scores.dtype, scores.shape) == (np.float32, (world.raw.num_rows, world.dataset.num_scores))
        rounding = 1e-6 * max(1.0, float(np.abs(scores).max()))
        np.testing.assert_allclose(predictor.scores_of_examples(encode(world.raw)), scores, atol=rounding, rtol=0)
        assert np.isfinite(scores).all()
        if task != "regression":
            assert scores.min() >= 0
            assert scores.max() <= 1
        if task == "multiclass":
            np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)


def _served_columns(trained: Trained) -> tuple[str, ...]:
    return () if trained.record.mitigation is None else trained.record.mitigation.served_columns


def _train(trainer: Trainer, request: TrainingRequest, workdir: Path) -> Trained:
    progress: list[tuple[float, str]] = []
    record = trainer.train(request, workdir=workdir, report=lambda fraction, text: progress.append((fraction, text)))
    return Trained(record=record, workdir=workdir, progress=progress)


@contextlib.contextmanager
def _nothing_written_elsewhere(world: World, elsewhere: Path) -> Iterator[None]:
    """Fails if the inputs or the current folder changed while training ran."""
    before = digest_tree(world.folder)
    with contextlib.chdir(elsewhere):
        yield
    assert digest_tree(world.folder) == before, "the trainer changed its inputs"
    assert not list(elsewhere.iterdir()), "the trainer wrote into the current folder"


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


def _keys(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _keys(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _keys(inner)
