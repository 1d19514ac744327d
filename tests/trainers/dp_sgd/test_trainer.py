"""The trainer ``dp_sgd``: the contract, and what is its own.

Clipped sums come from the naive engine here, so that nothing rests on the engines, which have tests of their own.
"""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from probity.digest import digest_bytes, digest_tree
from probity.errors import ConfigError, TrainingError
from probity.model import NonPrivate
from probity.recipe import ModelConfig
from probity.trainers.base import Population, TrainerSettings, Uncalibrated
from probity.trainers.dp_sgd import choice
from probity.trainers.dp_sgd import trainer as module
from probity.trainers.dp_sgd.choice import Choice
from probity.trainers.dp_sgd.settings import DpSgdSettings
from probity.trainers.dp_sgd.steps import Steps
from probity.trainers.dp_sgd.trainer import DpSgdTrainer
from probity.trainers.testing import TrainerContract
from probity.trainers.testing_world import agreed, make_request
from tests.trainers.dp_sgd import naive

ROWS = 480


@pytest.fixture(scope="module", autouse=True)
def naive_engine():
    def choose(model, asked, *, l2_clip_norm):
        return Choice(name="naive", clipped_sum=naive.clipped_sum(model, l2_clip_norm=l2_clip_norm))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "choose", choose)
        yield


class TestDpSgdTrainer(TrainerContract):
    @pytest.fixture(scope="class")
    def trainer(self):
        return DpSgdTrainer()

    @pytest.fixture(scope="class")
    def settings(self):
        return DpSgdSettings(target_epsilon=3.0, expected_batch_size=160, epochs=2, noise_seed=5)


def train(world, workdir, *, model=None, mechanism=None, seed=7, change=None, **settings):
    given = DpSgdSettings(**{"noise_multiplier": 1.0, "expected_batch_size": 160, "epochs": 2, **settings})
    request = make_request(
        world, given, mechanism=mechanism or agreed(DpSgdTrainer(), given, world), model=model, seed=seed
    )
    request = request if change is None else replace(request, **change(request))
    workdir.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        # The contract exports for real; here it would only take time.
        patch.setattr("probity.trainers.export.export", lambda *_, **__: digest_bytes(b"not exported"))
        return DpSgdTrainer().train(request, workdir=workdir, report=lambda fraction, text: None)


def logistic():
    return ModelConfig(kind="logistic")


def test_it_says_what_it_executed(world, tmp_path):
    record = train(world, tmp_path, model=logistic(), delta=1e-4, l2_clip_norm=0.5)
    mechanism = record.mechanism
    assert (mechanism.steps, mechanism.sampling, mechanism.sampling_prob) == (6, "poisson", 1 / 3)
    assert (mechanism.noise_source, mechanism.engine, mechanism.normalization) == (
        "os_entropy",
        "naive",
        "expected_batch_size",
    )
    assert (record.steps, record.epochs, record.best_epoch) == (6, 2, 2)
    assert record.target_delta == 1e-4
    assert not record.chosen_on_eval
    assert set(record.history) == {"val_loss", "val_auc"}
    assert record.warnings == ()


def test_noise_and_batches_come_from_the_system_and_not_from_the_seed(world, tmp_path):
    """The same request twice: other batches and noise each time, whether noise is added or only batches are drawn."""
    for noise_multiplier in (1.0, 0.0):
        settings = {"model": logistic(), "noise_multiplier": noise_multiplier, "epochs": 1}
        one = train(world, tmp_path / f"a{noise_multiplier}", **settings)
        other = train(world, tmp_path / f"b{noise_multiplier}", **settings)
        assert one.weights != other.weights
        assert one.mechanism.noise_source == other.mechanism.noise_source == "os_entropy"


def test_a_noise_seed_is_marked_in_mechanism_and_warnings(world, tmp_path):
    record = train(world, tmp_path, model=logistic(), epochs=1, noise_seed=1)
    assert record.mechanism.noise_source == "fixed_seed"
    assert any("noise_seed is for tests" in warning for warning in record.warnings)


def test_only_its_own_proposal_is_executed(world, tmp_path):
    """More steps than were paid for, fewer that would be claimed, another sampler, no mechanism: nothing is trained."""
    given = DpSgdSettings(noise_multiplier=1.0, expected_batch_size=160, epochs=2)
    right = agreed(DpSgdTrainer(), given, world)
    wrongs = [
        {"steps": 5},
        {"steps": 7},
        {"noise_multiplier": 2.0},
        {"sampling_prob": 0.3},
        {"sampling": "shuffled", "max_participations": 2},
        {"l2_clip_norm": 2.0},
        {"noise_source": "fixed_seed"},
        {"normalization": "actual_batch_size"},
        {"unit": "person"},
    ]
    for wrong in [NonPrivate(), *(right.model_copy(update=change) for change in wrongs)]:
        with pytest.raises(ConfigError, match="mechanism"):
            train(world, tmp_path, model=logistic(), mechanism=wrong)
    assert list(tmp_path.iterdir()) == []


def test_the_noise_of_an_asked_epsilon_is_the_platforms_to_find(world, tmp_path):
    given = {"noise_multiplier": None, "target_epsilon": 2.0, "epochs": 1}
    settings = DpSgdSettings(**given, expected_batch_size=160)
    proposal = DpSgdTrainer().propose(settings, Population(num_rows=ROWS, num_units=ROWS, unit="row"))
    assert isinstance(proposal, Uncalibrated)
    mechanism = proposal.with_noise_multiplier(1.7)
    record = train(world, tmp_path, model=logistic(), mechanism=mechanism, **given)
    assert record.mechanism == mechanism.model_copy(update={"engine": "naive"})
    assert "epsilon" not in json.dumps(record.mechanism.to_json())


def with_units(units):
    def change(request):
        return {"units": units, "dataset": request.dataset.model_copy(update={"privacy_unit": "person"})}

    return change


def test_units_are_people_where_the_data_say_so(world, tmp_path, monkeypatch):
    """160 people of three rows each: probability, steps and number of units are theirs, and two rows at most."""
    seen, execute = [], Steps.execute
    monkeypatch.setattr(Steps, "execute", lambda self, rows, **rest: (seen.append(rows), execute(self, rows, **rest)))
    units = np.arange(ROWS) % 160
    settings = DpSgdSettings(noise_multiplier=1.0, expected_batch_size=40, epochs=2, rows_per_unit=2)
    population = Population(num_rows=ROWS, num_units=160, unit="person")
    mechanism = DpSgdTrainer().propose(settings, population)
    assert (mechanism.sampling_prob, mechanism.steps, mechanism.rows_per_unit) == (0.25, 8, 2)
    record = train(
        world,
        tmp_path,
        model=logistic(),
        mechanism=mechanism,
        change=with_units(units),
        expected_batch_size=40,
        rows_per_unit=2,
    )
    assert (record.num_train_units, record.num_train_examples) == (160, ROWS)
    assert record.mechanism.unit == "person"
    assert max(map(np.max, seen)) >= 160
    assert all(set(np.unique(units[rows], return_counts=True)[1]) == {2} for rows in seen if len(rows))


def test_each_row_is_clipped_to_its_share_of_the_units_norm(world, tmp_path, monkeypatch):
    seen = []

    def choose(model, asked, *, l2_clip_norm):
        seen.append((asked, l2_clip_norm))
        raise ConfigError("model", seen="", allowed="", remedy="")

    monkeypatch.setattr(module, "choose", choose)
    given = {"noise_multiplier": 1.0, "rows_per_unit": 4, "l2_clip_norm": 0.6, "engine": "book_keeping"}
    settings = DpSgdSettings(**given, expected_batch_size=40, epochs=2)
    mechanism = DpSgdTrainer().propose(settings, Population(num_rows=ROWS, num_units=160, unit="person"))
    with pytest.raises(ConfigError):
        train(
            world,
            tmp_path,
            mechanism=mechanism,
            change=with_units(np.arange(ROWS) % 160),
            expected_batch_size=40,
            **given,
        )
    assert seen == [("book_keeping", pytest.approx(0.15))]


def test_units_that_do_not_fit_the_rows_are_refused(world, tmp_path):
    """A person's rows must never count as one person each because their numbers were left out."""
    settings = DpSgdSettings(noise_multiplier=1.0, expected_batch_size=160, epochs=2)
    trainer = DpSgdTrainer()
    people = trainer.propose(settings, Population(num_rows=ROWS, num_units=ROWS, unit="person"))
    with pytest.raises(ConfigError, match="no units for 480 rows of unit person"):
        train(world, tmp_path, mechanism=people, change=with_units(None))
    few = trainer.propose(settings, Population(num_rows=ROWS, num_units=300, unit="person"))
    with pytest.raises(ConfigError, match="units of 300 rows for 480 rows"):
        train(world, tmp_path, mechanism=few, change=with_units(np.arange(300)))
    rows = trainer.propose(settings, Population(num_rows=ROWS, num_units=ROWS, unit="row"))
    with pytest.raises(ConfigError, match="of unit row"):
        train(world, tmp_path, mechanism=rows, change=lambda request: {"units": np.arange(ROWS)})


def test_shuffled_batches_are_recorded_as_such(world, tmp_path):
    record = train(world, tmp_path, model=logistic(), sampling="shuffled", expected_batch_size=200, epochs=1)
    assert (record.mechanism.sampling, record.mechanism.max_participations) == ("shuffled", 1)
    assert record.mechanism.steps == record.steps == 3


def test_patience_is_said_and_paid_in_full(world, tmp_path):
    """With steps this long the loss on eval rises at once."""
    record = train(
        world,
        tmp_path,
        model=logistic(),
        noise_multiplier=0.0,
        l2_clip_norm=10.0,
        epochs=9,
        patience=1,
        optimizer={"learning_rate": 40.0},
    )
    assert record.chosen_on_eval
    assert record.epochs == record.best_epoch + 1 < 9
    assert record.steps == 3 * record.epochs < record.mechanism.steps == 27
    assert any(f"after {record.steps} of 27 steps" in warning for warning in record.warnings)
    assert any("privacy of its rows is not covered" in warning for warning in record.warnings)
    losses = record.history["val_loss"]
    assert record.best_epoch == 1 + int(np.argmin(losses))


def test_checkpoints_end_with_the_training(world, tmp_path, monkeypatch):
    monkeypatch.setattr("probity.trainers.dp_sgd.checkpoints.Checkpoints.due", True)
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    kept = {"change": lambda request: {"checkpoints": folder}, "model": logistic(), "noise_seed": 1}
    calm = train(world, tmp_path / "calm", **{**kept, "change": None})
    with monkeypatch.context() as patch:
        patch.setattr(module, "_export", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(world, tmp_path / "failed", **kept)
    assert len(list(folder.iterdir())) == 1
    resumed = train(world, tmp_path / "resumed", **kept)
    assert list(folder.iterdir()) == []
    assert resumed.weights == calm.weights
    assert resumed.mechanism == calm.mechanism
    assert any("went on from step 6" in warning for warning in resumed.warnings)


@pytest.mark.parametrize(
    "other", [{"seed": 8}, {"l2_clip_norm": 0.9}, {"epochs": 3}, {"model": ModelConfig(kind="mlp", hidden=(2,))}]
)
def test_a_checkpoint_of_another_training_is_not_taken_up(world, tmp_path, monkeypatch, other):
    """Told apart before the first step: the loop is not even started."""
    identities = []

    class Stop(Exception):
        pass

    def stop(job, steps, snapshot):
        identities.append(job.checkpoints._identity)
        raise Stop

    monkeypatch.setattr(module, "_loop", stop)
    for changes in ({}, {}, other):
        with pytest.raises(Stop):
            train(world, tmp_path, **{"model": logistic(), **changes})
    assert identities[0] == identities[1] != identities[2]


REWEIGHING = {"method": "reweighing", "across": "group"}


def test_reweighing_weighs_losses_before_clipping_and_says_that_no_epsilon_covers_it(world, tmp_path, monkeypatch):
    given = []

    class Recording(Steps):
        def __init__(self, *arguments, weights=None, **named):
            given.append(weights)
            super().__init__(*arguments, weights=weights, **named)

    monkeypatch.setattr("probity.trainers.dp_sgd.steps.Steps", Recording)
    fixed = {"model": logistic(), "noise_seed": 1, "epochs": 1}
    plain = train(world, tmp_path / "plain", **fixed)
    record = train(world, tmp_path / "weighted", mitigation=REWEIGHING, **fixed)
    labels, codes = world.examples.arrays("train")[1], world.groups["train"]
    rows = (codes == 0) & (labels == 1)
    by_hand = (codes == 0).mean() * labels.mean() / rows.mean()
    assert given[0] is None
    np.testing.assert_allclose(given[1][rows], by_hand, rtol=1e-5)
    assert record.weights != plain.weights
    assert record.mechanism == plain.mechanism  # what is accounted does not depend on weights, nor does it cover them
    assert record.uncovered == ("the weights of reweighing: counts of training rows by group and label",)
    assert record.mitigation.unmitigated is None
    assert "second private training" in record.mitigation.no_comparison


def test_planted_gradients_weigh_one_beside_weighted_rows(world, tmp_path, monkeypatch):
    seen = []

    class Stop(Exception):
        pass

    def stop(job, steps, snapshot):
        seen.append((job.weights, job.train[1]))
        raise Stop

    monkeypatch.setattr(module, "_loop", stop)
    given = DpSgdSettings(noise_multiplier=1.0, expected_batch_size=160, epochs=2, mitigation=REWEIGHING)
    planted = np.array([True, False, True, True])
    population = Population(num_rows=ROWS + 3, num_units=ROWS + 3, unit="row")
    mechanism = DpSgdTrainer().propose(given, population)
    request = make_request(world, given, mechanism=mechanism, model=logistic(), canaries=planted)
    with pytest.raises(Stop):
        DpSgdTrainer().train(request, workdir=tmp_path, report=lambda fraction, text: None)
    weights, labels = seen[0]
    assert len(weights) == len(labels) == ROWS + 3
    assert weights[-3:].tolist() == [1.0, 1.0, 1.0]


def test_a_checkpoint_under_other_weights_is_not_taken_up(world, tmp_path, monkeypatch):
    identities = []

    class Stop(Exception):
        pass

    def stop(job, steps, snapshot):
        identities.append(job.checkpoints._identity)
        raise Stop

    monkeypatch.setattr(module, "_loop", stop)
    for moved in (0, 0, 1):
        codes = {**world.groups, "train": np.roll(world.groups["train"], moved)}
        with pytest.raises(Stop):
            train(replace(world, groups=codes), tmp_path, model=logistic(), mitigation=REWEIGHING)
    assert identities[0] == identities[1] != identities[2]


def test_thresholds_by_group_cost_no_second_training(world, tmp_path):
    """The same weights with and without the rule, both exported; the thresholds come from the eval split."""
    given = DpSgdSettings(
        noise_multiplier=1.0,
        expected_batch_size=160,
        epochs=1,
        noise_seed=1,
        mitigation={"method": "threshold_optimizer", "across": "group", "min_group_size": 50},
    )
    request = make_request(world, given, mechanism=agreed(DpSgdTrainer(), given, world), model=logistic())
    record = DpSgdTrainer().train(request, workdir=tmp_path, report=lambda fraction, text: None)
    assert record.weights == train(world, tmp_path / "plain", model=logistic(), epochs=1, noise_seed=1).weights
    assert record.mitigation.unmitigated == digest_tree(tmp_path / "unmitigated/saved_model") != record.digest
    assert record.mitigation.fitted_on == "eval"
    assert record.uncovered == ()
    assert not (tmp_path / "model.keras").exists()


def write_module(world, name, body):
    (world.folder / name).write_text(f"import tensorflow as tf\ndef build_model(inputs):\n{body}")
    return ModelConfig(module=name)


LOOKUP = """    layers = tf.keras.layers
    joined = layers.Concatenate()(list(inputs.values()))
    ids = layers.Lambda(lambda x: tf.cast(tf.argmax(x, axis=1), tf.int32))(inputs["city_xf"])
    place = layers.Embedding(5, 3)(ids)
    waves = layers.Flatten()(layers.Conv1D(4, 3, activation="relu")(layers.Reshape((9, 1))(joined)))
    return layers.Dense(1, activation="sigmoid")(layers.Concatenate()([place, waves]))
"""


def test_a_users_module_with_embedding_and_convolution(world, tmp_path):
    model = write_module(world, "lookup.py", LOOKUP)
    try:
        record = train(world, tmp_path, model=model, epochs=1)
        assert record.num_parameters == 5 * 3 + (3 * 4 + 4) + (3 + 28 + 1)
        assert record.mechanism.steps == 3
    finally:
        (world.folder / "lookup.py").unlink()


LEAK = """    class Leak(tf.keras.layers.Layer):
        def build(self, shape):
            self.seen = self.add_weight(name="seen", shape=(shape[-1],), trainable=False)
        def call(self, x, training=False):
            if training:
                self.seen.assign_add(tf.reduce_sum(x, 0))
            return x
    joined = tf.keras.layers.Concatenate()(list(inputs.values()))
    return tf.keras.layers.Dense(1, activation="sigmoid")(Leak()(joined))
"""


def test_a_layer_that_remembers_rows_past_the_noise_gives_no_model(world, tmp_path):
    model = write_module(world, "leak.py", LEAK)
    try:
        with pytest.raises(TrainingError, match="not trainable were changed"):
            train(world, tmp_path, model=model, epochs=1)
    finally:
        (world.folder / "leak.py").unlink()


@pytest.mark.parametrize("engine", ["auto", "tensorflow_privacy"])
def test_the_engines_train_the_model_that_the_naive_one_trains(world, tmp_path, monkeypatch, engine):
    """End to end with repeatable noise; a noisy sum may fall to the neighbouring point of the grid."""
    settings = {"noise_seed": 5, "epochs": 1, "physical_batch_size": 100, "l2_clip_norm": 0.3}
    naively = train(world, tmp_path / "naive", **settings)
    monkeypatch.setattr(module, "choose", choice.choose)
    record = train(world, tmp_path / "engine", **settings, engine=engine)
    assert record.mechanism.engine == {"auto": "book_keeping"}.get(engine, engine)
    assert record.warnings == naively.warnings
    for name, numbers in naively.history.items():
        assert record.history[name] == pytest.approx(numbers, abs=1e-4)


def test_settings_of_another_trainer_are_refused(world, tmp_path):
    request = make_request(world, TrainerSettings(), mechanism=NonPrivate())
    with pytest.raises(TypeError, match="DpSgdSettings"):
        DpSgdTrainer().train(request, workdir=tmp_path, report=lambda fraction, text: None)
    with pytest.raises(TypeError, match="DpSgdSettings"):
        DpSgdTrainer().propose(TrainerSettings(), Population(num_rows=1, num_units=1, unit="row"))


def test_importing_the_trainer_imports_nothing_heavy():
    code = (
        "import probity.trainers.dp_sgd.trainer, sys; "
        "print([name for name in ('tensorflow', 'cryptography', 'scipy', 'tensorflow_privacy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
