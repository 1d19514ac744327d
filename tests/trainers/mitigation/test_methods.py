"""Mitigation of the plain trainer: what each method leaves, records and refuses."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from probity.digest import digest_bytes, digest_tree
from probity.errors import ConfigError, TrainingError
from probity.model import NonPrivate
from probity.predictor import SavedModelPredictor
from probity.trainers.mitigation.group_rule import common_threshold
from probity.trainers.mitigation.reweighing import READS
from probity.trainers.plain import PlainSettings, PlainTrainer
from probity.trainers.testing import TrainerContract
from probity.trainers.testing_world import make_request

EPOCHS = {"epochs": 2, "batch_size": 96, "learning_rate": 0.01}


@pytest.mark.heavy
class TestPlainWithThresholds(TrainerContract):
    @pytest.fixture(scope="class")
    def trainer(self):
        return PlainTrainer()

    @pytest.fixture(scope="class")
    def settings(self):
        mitigation = {"method": "threshold_optimizer", "across": "group", "min_group_size": 50}
        return PlainSettings(**EPOCHS, mitigation=mitigation)

    def test_the_served_decision_is_the_unmitigated_score_above_the_groups_threshold(self, trained, world):
        """Through the files alone: what a server answers, against the model without the rule."""
        after, before = (
            SavedModelPredictor(trained.workdir / place) for place in ("saved_model", "unmitigated/saved_model")
        )
        scores, decided = before.predict(world.raw), after.predict(world.raw) > 0.5
        groups = np.array(world.raw.column("group").to_pylist())
        for group in ("a", "b"):
            mine = groups == group
            assert scores[mine & decided].min() > scores[mine & ~decided].max()
        rates = [decided[(groups == g) & (world.raw.column("outcome").to_numpy() == 1)].mean() for g in ("a", "b")]
        assert rates[0] == pytest.approx(rates[1], abs=0.03)  # equal opportunity, on the rows that it was chosen on
        unknown = world.raw.set_column(
            world.raw.column_names.index("group"), "group", pa.array([None] * world.raw.num_rows, pa.string())
        )
        np.testing.assert_array_equal(after.predict(unknown), scores)

    def test_the_record_says_that_the_decision_depends_on_the_group(self, trained):
        """A reader of the record has to learn it, and which split was read."""
        mitigation = trained.record.mitigation
        assert mitigation.served_columns == ("group",)
        assert mitigation.fitted_on == "eval"
        assert trained.record.uncovered == ()
        assert any("disparate treatment" in warning for warning in trained.record.warnings)


def train(world, workdir, mitigation, *, change=None, **settings):
    given = PlainSettings(**{**EPOCHS, **settings}, mitigation=mitigation)
    request = make_request(world, given, mechanism=NonPrivate())
    request = request if change is None else replace(request, **change(request))
    workdir.mkdir(exist_ok=True)
    return PlainTrainer().train(request, workdir=workdir, report=lambda fraction, text: None)


@pytest.fixture(scope="module")
def plain(world, tmp_path_factory):
    """The record of the training without mitigation that others are compared with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("probity.trainers.export.export", lambda *_, **__: digest_bytes(b"not exported"))
        return train(world, tmp_path_factory.mktemp("plain"), "none")


@pytest.mark.usefixtures("no_export")
def test_reweighing_changes_the_weights_and_says_what_it_read(world, tmp_path, plain):
    record = train(world, tmp_path / "reweighed", {"method": "reweighing", "across": "group"})
    assert record.weights != plain.weights
    assert record.uncovered == (READS,)
    assert record.mitigation.fitted_on == "train"
    assert record.mitigation.unmitigated == digest_bytes(str(tmp_path / "reweighed/unmitigated").encode())
    assert record.settings["mitigation"] == {"method": "reweighing", "across": ["group"]}


@pytest.mark.usefixtures("no_export")
def test_groups_that_do_not_matter_change_nothing(world, tmp_path, plain):
    """All rows in one group: every weight is 1, so the training is the one without mitigation, bit by bit."""

    def alone(request):
        codes = {split: np.zeros_like(codes) for split, codes in request.groups.codes.items()}
        return {"groups": replace(request.groups, codes=codes)}

    record = train(world, tmp_path / "one", {"method": "reweighing", "across": "group"}, change=alone)
    assert record.weights == plain.weights
    with pytest.raises(TrainingError, match="1 groups"):
        train(world, tmp_path / "two", {"method": "threshold_optimizer", "across": "group"}, change=alone)


@pytest.mark.usefixtures("no_export")
@pytest.mark.parametrize("fault", ["none", "other attributes", "too few rows"])
def test_groups_of_other_rows_or_attributes_are_refused(world, tmp_path, fault):
    def change(request):
        groups = request.groups
        if fault == "other attributes":
            return {"groups": replace(groups, across=("race",))}
        short = {split: codes[:-1] for split, codes in groups.codes.items()}
        return {"groups": None if fault == "none" else replace(groups, codes=short)}

    with pytest.raises(ConfigError, match=r"mitigation\.across"):
        train(world, tmp_path, {"method": "reweighing", "across": "group"}, change=change)


@pytest.mark.heavy
@pytest.mark.parametrize(
    "mitigation",
    [
        {"method": "mindiff", "across": "group", "batch_size": 32},
        {"method": "exponentiated_gradient", "across": "group", "constraint": "demographic_parity", "max_iter": 1},
    ],
    ids=lambda mitigation: mitigation["method"],
)
def test_a_method_that_trains_anew_exports_a_model_that_never_sees_the_group(world, tmp_path, mitigation):
    """The Keras file loads without this package's code, and scores as the SavedModel does."""
    import tensorflow as tf

    record = train(world, tmp_path, mitigation)
    assert record.mitigation.served_columns == ()
    assert record.mitigation.unmitigated == digest_tree(tmp_path / "unmitigated/saved_model") != record.digest
    assert record.digest == digest_tree(tmp_path / "saved_model")
    predictor = SavedModelPredictor(tmp_path / "saved_model")
    assert predictor.columns == ("balance", "city", "hours-per-week")
    model = tf.keras.models.load_model(tmp_path / "model.keras", compile=False)
    inputs, _ = world.examples.arrays("eval")
    names = [tensor.name for tensor in tf.nest.flatten(model.input)]
    scores = model.predict({name: inputs[name] for name in names}, verbose=0)[:, 0]
    np.testing.assert_allclose(predictor.predict(world.raw), scores, atol=1e-6)
    assert {len(numbers) for numbers in record.history.values()} == {record.epochs}


def test_the_common_threshold_of_the_request_is_the_rules(world, tmp_path):
    """A platform that decides at 0.3 gets scores that are to be compared with 0.3."""
    mitigation = {"method": "threshold_optimizer", "across": "group", "constraint": "demographic_parity"}
    mitigation["min_group_size"] = 50
    train(world, tmp_path, mitigation, change=lambda request: {"decision_threshold": 0.3})
    decided = SavedModelPredictor(tmp_path / "saved_model").predict(world.raw) > common_threshold(0.3)
    groups = np.array(world.raw.column("group").to_pylist())
    rates = [decided[groups == group].mean() for group in ("a", "b")]
    assert rates[0] == pytest.approx(rates[1], abs=0.02)
