"""Shadow models: halves of the data, scores of all rows, and an interruption that costs one training at most."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from probity.canaries import read_array
from probity.data import Dataset
from probity.errors import ConfigError
from probity.platform.shadows import require_trainable, train_shadows
from probity.predictor import SavedModelPredictor
from probity.tfexample import write_arrays as write_examples
from probity.trainers.plain import PlainSettings, PlainTrainer
from probity.trainers.testing_world import agreed, make_request, make_world

ROWS = 120


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = make_world(tmp_path_factory.mktemp("world"), rows=ROWS)
    # The trainers' world has no test rows on disk, because no trainer may read them.
    from probity.digest import digest_file

    inputs, labels = world.examples.arrays("eval")
    path = world.examples.folder / "test.tfrecord.gz"
    write_examples(path, inputs, labels)
    entry = world.examples.files["test"].model_copy(update={"digest": digest_file(path), "num_rows": len(labels)})
    return dataclasses.replace(
        world, examples=dataclasses.replace(world.examples, files={**world.examples.files, "test": entry})
    )


class Interrupted(Exception):
    pass


class Counting(PlainTrainer):
    """Counts trainings, and is interrupted in one of them."""

    def __init__(self, *, fails_at=None):
        self.rows = []
        self.fails_at = fails_at

    def train(self, request, *, workdir, report):
        if len(self.rows) == self.fails_at:
            raise Interrupted
        self.rows.append(request.examples.files["train"].num_rows)
        return super().train(request, workdir=workdir, report=report)


def run(world, trainer, kept, out, *, number=3):
    settings = PlainSettings(epochs=1, batch_size=32)
    request = make_request(world, settings, mechanism=agreed(trainer, settings, world))
    out.mkdir()
    train_shadows(trainer, request, raw=None, number=number, kept=kept, out=out, report=lambda done, text: None)
    return read_array(out / "shadows.npz", "trained_on"), read_array(out / "shadows.npz", "scores")


@pytest.mark.heavy
def test_an_interrupted_stage_goes_on_and_ends_as_if_nothing_had_happened(world, tmp_path):
    assert isinstance(world.dataset, Dataset)
    whole = Counting()
    trained_on, scores = run(world, whole, None, tmp_path / "whole")
    rows = ROWS + len(world.examples.arrays("test")[1])
    assert trained_on.shape == scores.shape == (3, rows)
    assert whole.rows == trained_on.sum(axis=1).tolist()
    assert 0.3 < trained_on.mean() < 0.7
    assert len({half.tobytes() for half in trained_on}) == 3
    assert np.isfinite(scores).all()

    kept = tmp_path / "kept"
    kept.mkdir()
    first = Counting(fails_at=2)
    with pytest.raises(Interrupted):
        run(world, first, kept, tmp_path / "first")
    (kept / "shadow-1.npz").write_bytes(b"cut off")  # killed while it was written
    second = Counting()
    again, again_scores = run(world, second, kept, tmp_path / "second")
    assert len(first.rows) == 2
    assert len(second.rows) == 2
    np.testing.assert_array_equal(again, trained_on)
    np.testing.assert_allclose(again_scores, scores, atol=1e-6)


@pytest.mark.slow
def test_shadows_of_a_mitigated_model_get_their_own_rows_groups_and_score_as_served(world, tmp_path):
    """Their decision depends on the group, so there is no Keras file to score by."""
    groups = []

    class Watching(PlainTrainer):
        def train(self, request, *, workdir, report):
            groups.append(request.groups.codes)
            record = super().train(request, workdir=workdir, report=report)
            assert not (workdir / "model.keras").exists()
            served.append(SavedModelPredictor(workdir / "saved_model").predict(pooled))
            return record

    served, pooled = [], pa.concat_tables([world.raw_train, world.raw])
    raw = SimpleNamespace(table={"train": world.raw_train, "test": world.raw, "eval": world.raw}.__getitem__)
    mitigation = {"method": "threshold_optimizer", "across": "group", "min_group_size": 10}
    settings = PlainSettings(epochs=1, batch_size=32, mitigation=mitigation)
    request = make_request(world, settings, mechanism=agreed(PlainTrainer(), settings, world))
    train_shadows(Watching(), request, raw=raw, number=1, kept=None, out=tmp_path, report=lambda done, text: None)
    half, scores = (read_array(tmp_path / "shadows.npz", name)[0] for name in ("trained_on", "scores"))
    by_hand = np.array([group == "b" for group in pooled.column("group").to_pylist()], np.int64)
    np.testing.assert_array_equal(groups[0]["train"], by_hand[half])
    np.testing.assert_array_equal(groups[0]["eval"], world.groups["eval"])
    np.testing.assert_allclose(scores, served[0], atol=1e-6)


def test_settings_that_do_not_fit_half_of_the_data_are_refused_before_the_model_is_trained(world):
    from probity.trainers.dp_sgd.settings import DpSgdSettings
    from probity.trainers.dp_sgd.trainer import DpSgdTrainer

    large = DpSgdSettings(noise_multiplier=1.0, expected_batch_size=110)
    with pytest.raises(ConfigError, match="shadow_models"):
        require_trainable(DpSgdTrainer(), large, world.dataset, world.examples)
    small = DpSgdSettings(noise_multiplier=1.0, expected_batch_size=30)
    require_trainable(DpSgdTrainer(), small, world.dataset, world.examples)
