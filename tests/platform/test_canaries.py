"""Planting: rows that the schema allows, among the training rows and nowhere else."""

import json
import shutil

import numpy as np
import pytest

from probity.audit_plan import CanariesConfig
from probity.canaries import Canaries, Coins
from probity.data import ColumnKind, FeatureSpec, Schema
from probity.digest import digest_bytes
from probity.platform import canaries
from probity.platform.training import planted_units, population_of
from probity.runs import CANARIES, TRANSFORM, RunFolder, write_splits
from probity.storage import write_record
from probity.trainers.testing_world import make_world

SPECS = {
    "hours-per-week": FeatureSpec(name="hours-per-week", kind=ColumnKind.INT, required=True, minimum=1, maximum=80),
    "balance": FeatureSpec(name="balance", kind=ColumnKind.FLOAT, required=True, minimum=-5.0, maximum=5.0),
    "city": FeatureSpec(name="city", kind=ColumnKind.TEXT, required=False, domain=("Lund", "Ulm")),
}


def make_schema(**changes):
    features = tuple({**SPECS, **changes}.values())
    return Schema(digest=digest_bytes(b"schema"), curated=True, features=features)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"), rows=60)


def test_a_column_that_the_schema_says_nothing_of_is_named(world, tmp_path):
    silent = make_schema(balance=FeatureSpec(name="balance", kind=ColumnKind.FLOAT, required=False))
    record = plant(world, tmp_path, Coins.flip(rows=0, gradients=4, seed=1), schema=silent)
    assert record.empty_columns == ("balance",)


def plant(world, out, coins, *, schema=None):
    return canaries.plant(
        coins,
        schema=schema or make_schema(),
        dataset=world.dataset,
        transform=world.transform,
        transform_folder=world.folder,
        transformed=world.examples,
        seed=1,
        out=out,
    )


def test_planted_rows_are_the_last_of_the_training_split_and_of_no_other(world, tmp_path):
    run = RunFolder(tmp_path / "runs" / "20260101T000000Z-a-0000")
    out = run.path / CANARIES
    out.mkdir(parents=True)
    coins = Coins.flip(rows=50, gradients=10, seed=2)
    record = plant(world, out, coins)
    assert record == Canaries.from_json(json.loads((out / "canaries.json").read_text()))
    assert (record.rows_planted, record.gradients_planted) == (coins.rows.sum(), coins.gradients.sum())
    (run.path / TRANSFORM).mkdir()
    write_record(run.path / TRANSFORM / "transform.json", world.transform)
    shutil.copytree(world.examples.folder, run.path / TRANSFORM / "examples")
    write_splits(run.path / TRANSFORM / "examples", world.examples.files)
    inputs, labels = run.planted().arrays("train")
    plain, plain_labels = world.examples.arrays("train")
    assert len(labels) == len(plain_labels) + record.rows_planted == run.planted().files["train"].num_rows
    for name, array in plain.items():
        np.testing.assert_array_equal(inputs[name][: len(plain_labels)], array)
    assert run.planted().files["eval"] == world.examples.files["eval"]
    assert run.transformed().files["train"].num_rows == len(plain_labels)


def test_gradients_are_for_trainers_that_can_plant_them():
    asked = CanariesConfig(count=100, gradients=500)
    assert len(canaries.coins_for(asked, plants_gradients=True, seed=1).gradients) == 500
    assert len(canaries.coins_for(asked, plants_gradients=False, seed=1).gradients) == 0
    assert canaries.coins_for(None, plants_gradients=True, seed=1).planted == 0


def test_each_planted_canary_is_a_unit_of_its_own(world):
    units = np.array([0, 0, 1, 2, 2])
    assert planted_units(units, planted=2).tolist() == [0, 0, 1, 2, 2, 3, 4]
    assert planted_units(None, planted=2) is None

    found = population_of(world.dataset, world.examples, units, planted=2)
    assert (found.num_rows, found.num_units) == (62, 5)
