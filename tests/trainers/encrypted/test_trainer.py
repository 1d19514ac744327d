"""The trainer around a worker that computes in the clear: the suite of every trainer, and what is its own."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fake_encrypted import FakeWorker, environment

from probity.digest import digest_tree
from probity.errors import ConfigError, WorkerContractError
from probity.model import PLAINTEXT, Encrypted
from probity.recipe import ModelConfig
from probity.trainers.encrypted.settings import EncryptedSettings
from probity.trainers.encrypted.trainer import EncryptedTrainer
from probity.trainers.testing import TrainerContract
from probity.trainers.testing_world import agreed, make_request, make_world

COLUMNS = {"hospital": ("hours-per-week", "city"), "bank": ("balance",)}


def trainer_with(worker, tmp_path):
    return EncryptedTrainer(environment=environment(tmp_path), runner=worker)


class TestEncryptedTrainer(TrainerContract):
    @pytest.fixture(scope="class")
    def trainer(self, tmp_path_factory):
        return trainer_with(FakeWorker(), tmp_path_factory.mktemp("environment"))

    @pytest.fixture(scope="class")
    def settings(self):
        return EncryptedSettings(epochs=2, batch_size=64, compare=False)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def by_columns(world, tmp_path_factory):
    """A training of two owners of columns, with its comparison, and the worker that did it."""
    worker, folder = FakeWorker(), tmp_path_factory.mktemp("columns")
    trainer = trainer_with(worker, tmp_path_factory.mktemp("environment"))
    settings = EncryptedSettings(
        epochs=2, batch_size=64, data_owners={"by": "columns", "groups": COLUMNS, "label_owner": "bank"}
    )
    request = make_request(world, settings, mechanism=agreed(trainer, settings, world))
    lines = []
    record = trainer.train(request, workdir=folder, report=lambda fraction, text: lines.append(text))
    return worker, record, folder, lines


def test_owners_of_columns_give_the_model_that_the_clear_training_gives(by_columns):
    """The joined columns stand in another order than the model's, and come back in its own."""
    _, record, _, _ = by_columns
    assert record.encryption.largest_weight_difference < 1e-5


def test_no_row_stays_in_the_clear_in_the_run_folder(by_columns):
    worker, _, folder, _ = by_columns
    assert {"owners/bank/rows.parquet", "owners/hospital/rows.parquet"} == set(worker.seen[0])
    assert not list(folder.rglob("*.parquet"))
    assert not (folder / "worker" / "probe_inputs.npz").exists()


def test_the_comparison_is_on_record_and_on_disk(by_columns):
    _, record, folder, _ = by_columns
    assert record.encryption.plaintext == digest_tree(folder / PLAINTEXT / "saved_model")
    assert record.encryption.seconds_per_epoch == 0.5
    assert record.encryption.sent_bytes == {"server0": 1_000_000}
    assert record.history == {"seconds": (0.5, 0.5)}


def test_progress_names_epochs(by_columns):
    assert any("epoch 2 of 2 on shares" in line for line in by_columns[3])


def test_what_is_revealed_follows_from_the_settings_alone(world, tmp_path):
    trainer = trainer_with(FakeWorker(), tmp_path)
    quiet = agreed(trainer, EncryptedSettings(), world)
    told = agreed(trainer, EncryptedSettings(reveal={"loss": True}), world)
    assert isinstance(quiet, Encrypted)
    assert {entry.what for entry in told.revealed} - {entry.what for entry in quiet.revealed} == {
        "the mean squared error of each epoch"
    }
    assert {entry.to for entry in told.revealed} == {"model_owner"}


def test_a_model_that_contradicts_its_probe_is_refused(world, tmp_path):
    trainer = trainer_with(FakeWorker(shift=0.1), tmp_path)
    settings = EncryptedSettings(epochs=1, batch_size=64, compare=False)
    request = make_request(world, settings, mechanism=agreed(trainer, settings, world))
    with pytest.raises(WorkerContractError, match="differ by up to"):
        trainer.train(request, workdir=tmp_path / "model", report=lambda fraction, text: None)
    assert not list((tmp_path / "model").rglob("*.parquet"))


def test_layers_that_shares_cannot_compute_are_named_before_the_worker_starts(world, tmp_path):
    worker = FakeWorker()
    trainer = trainer_with(worker, tmp_path)
    settings = EncryptedSettings(epochs=1, batch_size=64)
    request = make_request(world, settings, mechanism=agreed(trainer, settings, world))
    request = replace(request, model=ModelConfig(kind="mlp", hidden=(4,), dropout=0.5))
    with pytest.raises(ConfigError, match=r"dropout_1 \(Dropout\)"):
        trainer.train(request, workdir=tmp_path / "model", report=lambda fraction, text: None)
    assert worker.bodies == []


def test_the_worker_is_told_nothing_but_what_the_parties_need(by_columns):
    body = by_columns[0].bodies[0]
    assert [len(owner["columns"]) for owner in body["owners"]] == [7, 2]
    assert np.isclose(body["learning_rate"], 0.5)
    assert body["reveal_loss"] is False
