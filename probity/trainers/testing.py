"""The suite that every trainer has to pass, ours and other people's.

A subclass in a test module gives it the trainer; pytest collects the tests from there::

    class TestMyTrainer(TrainerContract):
        @pytest.fixture(scope="class")
        def trainer(self):
            return MyTrainer()

        @pytest.fixture(scope="class")
        def settings(self):
            return MySettings(epochs=2)

The rows are made up: see :mod:`probity.trainers.testing_world`.
"""

# ruff: noqa: S101 - a suite of tests asserts

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pydantic import TypeAdapter

from probity.data import SplitFile
from probity.digest import digest_bytes, digest_tree
from probity.model import UNMITIGATED, Mechanism, TrainedModel
from probity.predictor import SavedModelPredictor
from probity.task import TASKS, Task
from probity.tfexample import encode
from probity.trainers.base import Trainer, TrainerSettings, TrainingRequest
from probity.trainers.testing_world import World, agreed, make_request, make_world, transformed

__all__ = ["Trained", "TrainerContract"]


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


def _keys(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _keys(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _keys(inner)
